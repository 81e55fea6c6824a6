#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "duck/internal/duckdb_c.h"

/// Values that columns have no type for, as DuckDB's cast to VARCHAR writes them.
namespace tide::duck {

std::string hugeint_text(capi::Hugeint value);
std::string uhugeint_text(uint64_t lower, uint64_t upper);
std::string uuid_text(capi::Hugeint stored);
/// "13:45:06", "13:45:06.5": as many digits behind the point as are needed.
std::string time_text(int64_t micros);
std::string time_ns_text(int64_t nanos);
/// "13:45:06+02", "13:45:06.5-03:30".
std::string time_tz_text(uint64_t stored);
/// "1 year 2 months 3 days 04:05:06".
std::string interval_text(capi::Interval value);
/// "2024-02-03 04:05:06.123456789".
std::string timestamp_ns_text(int64_t nanos);
/// "0101": of the stored form, one byte with the number of padding bits and the bits.
std::string bit_text(std::string_view stored);

}  // namespace tide::duck
