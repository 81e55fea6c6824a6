#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "objectstore/object_store.h"

namespace tide::objectstore::internal {

/// Where unfinished writes live, directly under the store's directory. No key component may be it.
inline constexpr std::string_view kTemporaryDirectory = ".tide-unfinished";

/// Objects as plain files below `directory`, which is created if needed.
///
/// Every write goes to a temporary file, is synced, then linked or renamed to its place, and the
/// directory is synced. Several processes may use one directory at a time.
Result<std::unique_ptr<ObjectStore>> open_local_store(const std::string& directory);

}  // namespace tide::objectstore::internal
