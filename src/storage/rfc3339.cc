#include "storage/rfc3339.h"

#include <cstdio>
#include <ctime>

#include <fmt/format.h>

namespace tide::storage {

Result<int64_t> parse_rfc3339(std::string_view text) {
  Status invalid = Status(Code::kInvalid, fmt::format("not a time: \"{}\"", text))
                       .with_hint("Write it as in RFC 3339: 2026-11-22T10:00:00.5Z or with an offset such as +01:00.");
  std::string copy(text);
  std::tm parts{};
  char separator = 0;
  int used = 0;
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2d%c%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &separator, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used) != 7 ||
      (separator != 'T' && separator != 't' && separator != ' ')) {
    return invalid;
  }
  if (parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 ||
      parts.tm_min > 59 || parts.tm_sec > 60) {
    return invalid;
  }
  std::string_view rest = std::string_view(copy).substr(static_cast<size_t>(used));
  int64_t micros = 0;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    int64_t scale = 100000;
    size_t digits = 0;
    for (; digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9'; ++digits, scale /= 10) {
      micros += (rest[digits] - '0') * scale;
    }
    if (digits == 0) return invalid;
    rest.remove_prefix(digits);
  }
  int offset_minutes = 0;
  if (rest != "Z" && rest != "z") {
    char sign = 0;
    int hours = 0;
    int minutes = 0;
    std::string offset(rest);
    if (std::sscanf(offset.c_str(), "%c%2d:%2d%n", &sign, &hours, &minutes, &used) != 3 ||
        static_cast<size_t>(used) != offset.size() || (sign != '+' && sign != '-')) {
      return invalid;
    }
    offset_minutes = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  return (static_cast<int64_t>(::timegm(&parts)) - offset_minutes * 60) * 1000000 + micros;
}

std::string format_rfc3339(int64_t unix_us) {
  std::time_t seconds = unix_us / 1000000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", text, unix_us % 1000000);
}

}  // namespace tide::storage
