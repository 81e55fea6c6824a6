#pragma once

#include <rocksdb/status.h>

#include <string_view>

#include "base/status.h"

namespace tide::pagestore {

/// RocksDB's status in our words; `what` is the verb phrase put in front.
Status status_of(const rocksdb::Status& status, std::string_view what);

}  // namespace tide::pagestore
