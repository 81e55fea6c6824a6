#include <fmt/format.h>

#include <cstdlib>
#include <iterator>
#include <limits>

#include "pgtypes/internal/print.h"

namespace tide::pgtypes {
namespace {

constexpr int64_t kMicrosPerSecond = 1000000;
constexpr int64_t kMicrosPerDay = 86400 * kMicrosPerSecond;
constexpr int64_t kDaysTo2000 = 730425;  ///< from 0000-03-01 of the proleptic Gregorian calendar

struct Day {
  int64_t year;  ///< astronomical: 0 is 1 BC
  int month;
  int day;
};

/// `days` since 2000-01-01. Counts in years that begin in March, so that a leap day is the last.
Day day_of(int64_t days) {
  int64_t z = days + kDaysTo2000;
  int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  int64_t of_era = z - era * 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month = (5 * of_year + 2) / 153;
  Day day;
  day.day = static_cast<int>(of_year - (153 * month + 2) / 5 + 1);
  day.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
  day.year = year_of_era + era * 400 + (day.month <= 2 ? 1 : 0);
  return day;
}

void append_two(int64_t value, std::string& out) {
  out += static_cast<char>('0' + value / 10);
  out += static_cast<char>('0' + value % 10);
}

/// ".5", nothing for zero.
void append_fraction(int64_t microseconds, std::string& out) {
  if (microseconds == 0) return;
  fmt::format_to(std::back_inserter(out), ".{:06}", microseconds);
  while (out.back() == '0') out.pop_back();
}

void append_day(const Day& day, std::string& out) {
  int64_t year = day.year > 0 ? day.year : 1 - day.year;
  if (year < 10000) {
    append_two(year / 100, out);
    append_two(year % 100, out);
  } else {
    fmt::format_to(std::back_inserter(out), "{}", year);
  }
  out += '-';
  append_two(day.month, out);
  out += '-';
  append_two(day.day, out);
}

/// As EncodeTimezone(): "+05", "-03:30", "+00:19:32".
void append_zone(int32_t seconds_west, std::string& out) {
  int64_t seconds = std::abs(int64_t{seconds_west});
  out += seconds_west <= 0 ? '+' : '-';
  fmt::format_to(std::back_inserter(out), "{:02}", seconds / 3600);
  if (seconds % 3600 == 0) return;
  fmt::format_to(std::back_inserter(out), ":{:02}", seconds / 60 % 60);
  if (seconds % 60 != 0) fmt::format_to(std::back_inserter(out), ":{:02}", seconds % 60);
}

/// An interval as its fields; all fields of one of the three numbers have one sign.
struct Fields {
  int64_t years, months, days, hours, minutes, seconds, microseconds;
  bool has_time() const { return hours != 0 || minutes != 0 || seconds != 0 || microseconds != 0; }
  bool negative_time() const { return hours < 0 || minutes < 0 || seconds < 0 || microseconds < 0; }
};

void print_iso(const Fields& fields, std::string& out) {
  auto append_part = [&](int64_t value, char unit) {
    if (value != 0) fmt::format_to(std::back_inserter(out), "{}{}", value, unit);
  };
  if (fields.years == 0 && fields.months == 0 && fields.days == 0 && !fields.has_time()) {
    out += "PT0S";
    return;
  }
  out += 'P';
  append_part(fields.years, 'Y');
  append_part(fields.months, 'M');
  append_part(fields.days, 'D');
  if (!fields.has_time()) return;
  out += 'T';
  append_part(fields.hours, 'H');
  append_part(fields.minutes, 'M');
  if (fields.seconds == 0 && fields.microseconds == 0) return;
  if (fields.seconds < 0 || fields.microseconds < 0) out += '-';
  fmt::format_to(std::back_inserter(out), "{}", std::abs(fields.seconds));
  append_fraction(std::abs(fields.microseconds), out);
  out += 'S';
}

void print_traditional(const Fields& fields, std::string& out) {
  bool first = true;
  bool after_negative = false;
  auto append_part = [&](int64_t value, std::string_view unit) {
    if (value == 0) return;
    fmt::format_to(std::back_inserter(out), "{}{}{} {}{}", first ? "" : " ",
                   after_negative && value > 0 ? "+" : "", value, unit, value == 1 ? "" : "s");
    after_negative = value < 0;
    first = false;
  };
  append_part(fields.years, "year");
  append_part(fields.months, "mon");
  append_part(fields.days, "day");
  if (!first && !fields.has_time()) return;
  fmt::format_to(std::back_inserter(out), "{}{}{:02}:{:02}:{:02}", first ? "" : " ",
                 fields.negative_time() ? "-"
                 : after_negative       ? "+"
                                        : "",
                 std::abs(fields.hours), std::abs(fields.minutes), std::abs(fields.seconds));
  append_fraction(std::abs(fields.microseconds), out);
}

}  // namespace

void print_date(int32_t days, std::string& out) {
  if (days == std::numeric_limits<int32_t>::max()) {
    out += "infinity";
  } else if (days == std::numeric_limits<int32_t>::min()) {
    out += "-infinity";
  } else {
    Day day = day_of(days);
    append_day(day, out);
    if (day.year <= 0) out += " BC";
  }
}

void print_time(int64_t microseconds, std::string& out) {
  int64_t seconds = microseconds / kMicrosPerSecond;
  fmt::format_to(std::back_inserter(out), "{:02}:{:02}:{:02}", seconds / 3600,
                 std::abs(seconds / 60 % 60), std::abs(seconds % 60));
  append_fraction(std::abs(microseconds % kMicrosPerSecond), out);
}

void print_timetz(int64_t microseconds, int32_t seconds_west, std::string& out) {
  print_time(microseconds, out);
  append_zone(seconds_west, out);
}

void print_timestamp(int64_t microseconds, bool with_zone, std::string& out) {
  if (microseconds == std::numeric_limits<int64_t>::max()) {
    out += "infinity";
    return;
  }
  if (microseconds == std::numeric_limits<int64_t>::min()) {
    out += "-infinity";
    return;
  }
  int64_t days = microseconds / kMicrosPerDay;
  int64_t time = microseconds % kMicrosPerDay;
  if (time < 0) {
    time += kMicrosPerDay;
    --days;
  }
  Day day = day_of(days);
  append_day(day, out);
  out += ' ';
  int64_t seconds = time / kMicrosPerSecond;
  append_two(seconds / 3600, out);
  out += ':';
  append_two(seconds / 60 % 60, out);
  out += ':';
  append_two(seconds % 60, out);
  append_fraction(time % kMicrosPerSecond, out);
  if (with_zone) out += "+00";
  if (day.year <= 0) out += " BC";
}

void print_interval(int64_t microseconds, int32_t days, int32_t months, IntervalStyle style,
                    std::string& out) {
  Fields fields;
  fields.years = months / 12;
  fields.months = months % 12;
  fields.days = days;
  fields.hours = microseconds / (3600 * kMicrosPerSecond);
  fields.minutes = microseconds / (60 * kMicrosPerSecond) % 60;
  fields.seconds = microseconds / kMicrosPerSecond % 60;
  fields.microseconds = microseconds % kMicrosPerSecond;
  if (style == IntervalStyle::kIso8601) {
    print_iso(fields, out);
  } else {
    print_traditional(fields, out);
  }
}

}  // namespace tide::pgtypes
