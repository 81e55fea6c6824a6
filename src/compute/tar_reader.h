#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::compute {

/// Yields the next bytes into the buffer; 0 at the end.
using ByteSource = std::function<Result<size_t>(std::span<std::byte>)>;

/// Unpacks a POSIX tar stream (ustar, with GNU and pax long names) into an existing directory.
///
/// Makes regular files, directories and symbolic links with the archive's modes; the owner is us.
/// kInvalid for anything else and for names that are absolute, contain "..", or lead through a
/// link: nothing is ever written outside `directory`. kCorrupt for a wrong checksum or an archive
/// that ends without its end mark. Runs of zero blocks inside files are left as holes. Nothing is
/// synced.
Status unpack_tar(const ByteSource& source, const std::string& directory);

/// True if an archive member may have this name: relative, without "..", not empty.
bool is_safe_member_name(std::string_view name);

}  // namespace tide::compute
