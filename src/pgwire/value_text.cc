#include "pgwire/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

namespace tide::pgwire {

namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;

/// Shortest digits that read back as `value`, in the form of PostgreSQL's float output: plain
/// between 1e-4 and 10^`plain_digits`, else with an exponent of at least two digits.
template <typename Float>
void append_float(std::string& out, Float value, int plain_digits) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::isinf(value)) {
    out += value < 0 ? "-Infinity" : "Infinity";
    return;
  }
  char buffer[64];
  auto [end, error] = std::to_chars(buffer, std::end(buffer), value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  size_t e = text.find('e');
  int exponent = 0;
  std::string_view exponent_text = text.substr(e + 1);
  if (exponent_text.front() == '+') exponent_text.remove_prefix(1);
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  if (value == 0) {
    out += '0';
    return;
  }
  if (exponent < -4 || exponent >= plain_digits) {
    out += digits[0];
    if (digits.size() > 1) {
      out += '.';
      out += digits.substr(1);
    }
    fmt::format_to(std::back_inserter(out), "e{}{:02}", exponent < 0 ? '-' : '+',
                   std::abs(exponent));
    return;
  }
  if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    out += digits;
    return;
  }
  size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    out += digits;
    out.append(whole - digits.size(), '0');
  } else {
    out += digits.substr(0, whole);
    out += '.';
    out += digits.substr(whole);
  }
}

/// ".123", without trailing zeros; nothing for whole seconds.
void append_fraction(std::string& out, int64_t micros) {
  if (micros == 0) return;
  std::string digits = fmt::format("{:06}", micros);
  while (digits.back() == '0') digits.pop_back();
  out += '.';
  out += digits;
}

void append_clock(std::string& out, int64_t micros_of_day) {
  int64_t seconds = micros_of_day / kMicrosPerSecond;
  fmt::format_to(std::back_inserter(out), "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60,
                 seconds % 60);
  append_fraction(out, micros_of_day % kMicrosPerSecond);
}

void append_offset(std::string& out, int32_t offset) {
  out += offset < 0 ? '-' : '+';
  int32_t absolute = std::abs(offset);
  fmt::format_to(std::back_inserter(out), "{:02}", absolute / 3600);
  if (absolute % 3600 != 0) {
    fmt::format_to(std::back_inserter(out), ":{:02}", absolute / 60 % 60);
    if (absolute % 60 != 0) fmt::format_to(std::back_inserter(out), ":{:02}", absolute % 60);
  }
}

/// Year, month and day; yields true if the year is BC, whose mark goes to the end.
bool append_day(std::string& out, int64_t days) {
  CivilDate date = civil_date(days);
  bool before_christ = date.year <= 0;
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}",
                 before_christ ? 1 - date.year : date.year, date.month, date.day);
  return before_christ;
}

bool append_infinity(std::string& out, int64_t value) {
  if (value == kTimestampInfinity) {
    out += "infinity";
    return true;
  }
  if (value <= -kTimestampInfinity) {
    out += "-infinity";
    return true;
  }
  return false;
}

int64_t floor_div(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

/// Yields true if the moment is BC.
bool append_moment(std::string& out, int64_t micros) {
  int64_t days = floor_div(micros, kMicrosPerDay);
  bool before_christ = append_day(out, days);
  out += ' ';
  append_clock(out, micros - days * kMicrosPerDay);
  return before_christ;
}

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

bool equals_null(std::string_view text) {
  return text.size() == 4 && (text[0] | 0x20) == 'n' && (text[1] | 0x20) == 'u' &&
         (text[2] | 0x20) == 'l' && (text[3] | 0x20) == 'l';
}

}  // namespace

CivilDate civil_date(int64_t days) {
  // Years of the era begin in March, so that the leap day is the last of its year.
  int64_t shifted = days + 719'468;
  int64_t era = floor_div(shifted, 146'097);
  int64_t day_of_era = shifted - era * 146'097;
  int64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_index = (5 * day_of_year + 2) / 153;
  CivilDate date{};
  date.day = static_cast<int>(day_of_year - (153 * month_index + 2) / 5 + 1);
  date.month = static_cast<int>(month_index < 10 ? month_index + 3 : month_index - 9);
  date.year = year_of_era + era * 400 + (date.month <= 2 ? 1 : 0);
  return date;
}

int64_t days_of(int64_t year, int month, int day) {
  if (month <= 2) --year;
  int64_t era = floor_div(year, 400);
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

void append_text_float4(std::string& out, float value) { append_float(out, value, 6); }
void append_text_float8(std::string& out, double value) { append_float(out, value, 15); }

void append_text_numeric(std::string& out, int128 unscaled, int scale) {
  bool negative = unscaled < 0;
  unsigned __int128 rest = negative ? -static_cast<unsigned __int128>(unscaled)
                                    : static_cast<unsigned __int128>(unscaled);
  char reversed[48];
  int count = 0;
  do {
    reversed[count++] = static_cast<char>('0' + static_cast<int>(rest % 10));
    rest /= 10;
  } while (rest != 0);
  while (count <= scale && count < static_cast<int>(sizeof reversed)) reversed[count++] = '0';
  if (negative) out += '-';
  while (count > 0) {
    if (count == scale) out += '.';
    out += reversed[--count];
  }
}

void append_text_date(std::string& out, int32_t days) {
  if (days == kDateInfinity) {
    out += "infinity";
  } else if (days <= -kDateInfinity) {
    out += "-infinity";
  } else if (append_day(out, days)) {
    out += " BC";
  }
}

void append_text_time(std::string& out, int64_t microseconds) { append_clock(out, microseconds); }

void append_text_timestamp(std::string& out, int64_t microseconds) {
  if (append_infinity(out, microseconds)) return;
  if (append_moment(out, microseconds)) out += " BC";
}

void append_text_timestamptz(std::string& out, int64_t microseconds, int32_t offset_seconds) {
  if (append_infinity(out, microseconds)) return;
  int64_t local;
  if (__builtin_add_overflow(microseconds, offset_seconds * kMicrosPerSecond, &local)) {
    local = microseconds;
    offset_seconds = 0;
  }
  bool before_christ = append_moment(out, local);
  append_offset(out, offset_seconds);
  if (before_christ) out += " BC";
}

void append_text_timetz(std::string& out, int64_t microseconds, int32_t offset_seconds) {
  append_clock(out, microseconds);
  append_offset(out, offset_seconds);
}

void append_text_interval(std::string& out, const Interval& value) {
  bool empty = true;
  bool before = false;
  auto part = [&](int64_t number, std::string_view unit) {
    if (number == 0) return;
    fmt::format_to(std::back_inserter(out), "{}{}{} {}{}", empty ? "" : " ",
                   before && number > 0 ? "+" : "", number, unit, number == 1 ? "" : "s");
    before = number < 0;
    empty = false;
  };
  part(value.months / 12, "year");
  part(value.months % 12, "mon");
  part(value.days, "day");
  if (!empty && value.microseconds == 0) return;
  bool minus = value.microseconds < 0;
  uint64_t micros = minus ? -static_cast<uint64_t>(value.microseconds)
                          : static_cast<uint64_t>(value.microseconds);
  if (!empty) out += ' ';
  if (minus) {
    out += '-';
  } else if (before) {
    out += '+';
  }
  uint64_t seconds = micros / kMicrosPerSecond;
  fmt::format_to(std::back_inserter(out), "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60,
                 seconds % 60);
  append_fraction(out, static_cast<int64_t>(micros % kMicrosPerSecond));
}

void append_text_bytea(std::string& out, std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  out += "\\x";
  for (char c : bytes) {
    out += kHex[static_cast<unsigned char>(c) >> 4];
    out += kHex[static_cast<unsigned char>(c) & 15];
  }
}

void append_text_uuid(std::string& out, std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += kHex[static_cast<unsigned char>(bytes[i]) >> 4];
    out += kHex[static_cast<unsigned char>(bytes[i]) & 15];
  }
}

void append_array_element(std::string& out, std::string_view text) {
  bool quote =
      text.empty() || equals_null(text) || std::any_of(text.begin(), text.end(), [](char c) {
        return c == '"' || c == '\\' || c == '{' || c == '}' || c == ',' || is_space(c);
      });
  if (!quote) {
    out += text;
    return;
  }
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

Result<ArrayText> parse_array(std::string_view text) {
  auto malformed = [text](std::string_view why) {
    return Status(Code::kInvalid, fmt::format("malformed array literal: \"{}\"", text))
        .with_detail(std::string(why));
  };
  size_t at = 0;
  auto skip_space = [&] {
    while (at < text.size() && is_space(text[at])) ++at;
  };
  skip_space();
  if (at >= text.size() || text[at] != '{') {
    return malformed("Array value must start with \"{\".");
  }
  ++at;
  ArrayText array;
  skip_space();
  bool closed = at < text.size() && text[at] == '}';
  if (closed) ++at;
  while (!closed) {
    skip_space();
    if (at < text.size() && text[at] == '{') {
      return malformed("Arrays of more than one dimension are not supported here.");
    }
    std::string element;
    bool quoted = false;
    size_t kept = 0;  // trailing blanks behind this do not count
    while (at < text.size() && text[at] != ',' && text[at] != '}') {
      char c = text[at++];
      if (c == '{') return malformed("Unexpected \"{\" character.");
      if (c == '"') {
        if (quoted || !element.empty()) return malformed("Unexpected array element.");
        quoted = true;
        while (true) {
          if (at >= text.size()) return malformed("Unexpected end of input.");
          c = text[at++];
          if (c == '"') break;
          if (c == '\\') {
            if (at >= text.size()) return malformed("Unexpected end of input.");
            c = text[at++];
          }
          element += c;
        }
        kept = element.size();
        continue;
      }
      if (c == '\\') {
        if (at >= text.size()) return malformed("Unexpected end of input.");
        c = text[at++];
        element += c;
        kept = element.size();
        continue;
      }
      if (quoted && !is_space(c)) return malformed("Unexpected array element.");
      element += c;
      if (!is_space(c)) kept = element.size();
    }
    if (at >= text.size()) return malformed("Unexpected end of input.");
    element.resize(kept);
    if (!quoted && element.empty()) return malformed("Unexpected array element.");
    if (!quoted && equals_null(element)) {
      array.elements.emplace_back(std::nullopt);
    } else {
      array.elements.emplace_back(std::move(element));
    }
    closed = text[at++] == '}';
  }
  skip_space();
  if (at != text.size()) return malformed("Junk after closing right brace.");
  return array;
}

}  // namespace tide::pgwire
