#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "deltalog/schema.h"

namespace tide::deltalog {

__extension__ typedef __int128 Int128;

/// One value of a primitive type: a partition's, a bound of statistics, an operand of a predicate.
/// By type:
///   boolean                          bool
///   byte, short, integer, long       int64_t
///   date                             int64_t, days since 1970-01-01
///   timestamp, timestamp_ntz         int64_t, microseconds since 1970-01-01 (UTC; local)
///   float, double                    double
///   decimal                          Int128, unscaled at the type's scale
///   string, binary                   std::string
/// monostate is null.
using Value = std::variant<std::monostate, bool, int64_t, double, Int128, std::string>;

inline bool is_null(const Value& value) { return std::holds_alternative<std::monostate>(value); }

/// Order of two values of one type; unordered when either is null or NaN, or when they are of
/// different C++ types. Strings by bytes, which for UTF-8 is by code points.
std::partial_ordering compare(const Value& a, const Value& b);

/// From the text form that partition values have in the log; an empty text is null for every type.
/// Timestamps as "2020-01-02 03:04:05.678" (read as UTC) or ISO 8601 with zone. kCorrupt if it is
/// no such value, kInvalid for a type that has no text form (array, variant ...).
Result<Value> parse_value(const std::optional<std::string>& text, const DataType& type);
/// The text form: what parse_value() reads, timestamps as ISO 8601 in UTC. Nothing for null.
std::optional<std::string> write_value(const Value& value, const DataType& type);

/// "12.30" at scale 2 -> 1230; exponents allowed. Nothing if it is no number, has more digits
/// behind the point than `scale` (other than zeros), or does not fit 38 digits.
std::optional<Int128> parse_decimal(std::string_view text, int scale);
std::string write_decimal(Int128 unscaled, int scale);

/// Days since 1970-01-01 of "YYYY-MM-DD" (years may have a sign and more digits).
std::optional<int64_t> parse_date(std::string_view text);
std::string write_date(int64_t days);
/// Microseconds since 1970-01-01 of "YYYY-MM-DD[ T]hh:mm[:ss[.f]][Z|+hh[:mm[:ss]]]", or of a date.
std::optional<int64_t> parse_timestamp(std::string_view text);
/// "YYYY-MM-DDThh:mm:ss.ffffff", with as many digits as asked for (3 or 6; cut, not rounded).
std::string write_timestamp(int64_t micros, int digits, char separator = 'T');

}  // namespace tide::deltalog
