#include "storage/rfc3339.h"

#include <fmt/format.h>

#include <ctime>

namespace tide::storage {

namespace {

constexpr int64_t kSecond = 1000000;

/// Takes text from front to back; any mismatch makes the whole fail.
class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  int number(size_t digits) {
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (rest_.empty() || rest_.front() < '0' || rest_.front() > '9') {
        failed_ = true;
        return 0;
      }
      value = value * 10 + (rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  /// The next character, which must be one of these.
  char one_of(std::string_view characters) {
    if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) {
      failed_ = true;
      return '\0';
    }
    char taken = rest_.front();
    rest_.remove_prefix(1);
    return taken;
  }
  bool next_is(char character) const { return !rest_.empty() && rest_.front() == character; }
  bool next_is_digit() const {
    return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9';
  }
  bool complete() const { return !failed_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

int days_of_month(int year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : kDays[month - 1];
}

}  // namespace

Result<int64_t> parse_rfc3339(std::string_view text) {
  Parser parser(text);
  std::tm parts{};
  int year = parser.number(4);
  parser.one_of("-");
  int month = parser.number(2);
  parser.one_of("-");
  parts.tm_mday = parser.number(2);
  parser.one_of("Tt ");
  parts.tm_hour = parser.number(2);
  parser.one_of(":");
  parts.tm_min = parser.number(2);
  parser.one_of(":");
  parts.tm_sec = parser.number(2);
  int64_t micros = 0;
  if (parser.next_is('.')) {
    parser.one_of(".");
    int64_t scale = kSecond / 10;
    do {
      micros += parser.number(1) * scale;
      scale /= 10;
    } while (parser.next_is_digit());
  }
  int offset_minutes = 0;
  int offset_hours = 0;
  char zone = parser.one_of("Zz+-");
  if (zone == '+' || zone == '-') {
    offset_hours = parser.number(2);
    parser.one_of(":");
    offset_minutes = parser.number(2);
  }
  if (!parser.complete() || month < 1 || month > 12 || parts.tm_mday < 1 ||
      parts.tm_mday > days_of_month(year, month) || parts.tm_hour > 23 || parts.tm_min > 59 ||
      parts.tm_sec > 60 || offset_hours > 23 || offset_minutes > 59) {
    return Status(Code::kInvalid, fmt::format("not a time: \"{}\"", text))
        .with_hint(
            "Write it as in RFC 3339: 2026-11-22T10:00:00.5Z or with an offset such as +01:00.");
  }
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  int64_t offset = (offset_hours * 60 + offset_minutes) * 60 * (zone == '-' ? -1 : 1);
  return (static_cast<int64_t>(::timegm(&parts)) - offset) * kSecond + micros;
}

std::string format_rfc3339(int64_t unix_us) {
  int64_t micros = (unix_us % kSecond + kSecond) % kSecond;
  std::time_t seconds = (unix_us - micros) / kSecond;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:06}Z", text, micros);
}

}  // namespace tide::storage
