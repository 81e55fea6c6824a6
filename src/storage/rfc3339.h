#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::storage {

/// Reads "2026-11-22T10:00:00.123456Z", with any offset; microseconds since 1970. kInvalid
/// otherwise.
Result<int64_t> parse_rfc3339(std::string_view text);
/// In UTC, with six decimals.
std::string format_rfc3339(int64_t unix_us);

}  // namespace tide::storage
