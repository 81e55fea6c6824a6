#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// Values in PostgreSQL's text forms (DateStyle ISO, IntervalStyle postgres, bytea_output hex,
/// extra_float_digits 1): what the output functions print. Days and microseconds count from
/// 1970-01-01; infinities are the largest and smallest numbers.
namespace tide::pgwire {

inline constexpr int32_t kDateInfinity = INT32_MAX;
inline constexpr int64_t kTimestampInfinity = INT64_MAX;

struct Interval {
  int32_t months = 0;
  int32_t days = 0;
  int64_t microseconds = 0;
};

using int128 = __int128;

void append_text_float4(std::string& out, float value);
void append_text_float8(std::string& out, double value);
/// A decimal number with `scale` digits behind the point.
void append_text_numeric(std::string& out, int128 unscaled, int scale);
void append_text_date(std::string& out, int32_t days);
void append_text_time(std::string& out, int64_t microseconds);
void append_text_timestamp(std::string& out, int64_t microseconds);
/// `offset_seconds`: east of UTC, at that moment.
void append_text_timestamptz(std::string& out, int64_t microseconds, int32_t offset_seconds);
void append_text_timetz(std::string& out, int64_t microseconds, int32_t offset_seconds);
void append_text_interval(std::string& out, const Interval& value);
void append_text_bytea(std::string& out, std::string_view bytes);
/// 16 bytes in network order.
void append_text_uuid(std::string& out, std::string_view bytes);
/// One element of an array's text: quoted where array_in needs it.
void append_array_element(std::string& out, std::string_view text);

/// An array's elements in row-major order; nulls are absent.
struct ArrayText {
  int dimensions = 1;
  std::vector<std::optional<std::string>> elements;
};
/// Reads "{1,NULL,\"a b\"}". kInvalid for malformed text; more than one dimension is refused.
Result<ArrayText> parse_array(std::string_view text);

/// Calendar date of a day number (proleptic Gregorian; year 0 is 1 BC).
struct CivilDate {
  int64_t year;
  int month;
  int day;
};
CivilDate civil_date(int64_t days);
int64_t days_of(int64_t year, int month, int day);

}  // namespace tide::pgwire
