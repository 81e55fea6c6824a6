#include "deltalog/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace tide::deltalog {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
/// Dates beyond these years cannot be timestamps in int64 microseconds.
constexpr int64_t kYearMax = 290'000;

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar.
int64_t days_of(int64_t year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

struct CivilDay {
  int64_t year;
  int month;
  int day;
};

CivilDay civil_of(int64_t days) {
  days += 719'468;
  int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  int64_t day_of_era = days - era * 146'097;
  int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted_month = (5 * day_of_year + 2) / 153;
  int day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
  int month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

int days_in_month(int64_t year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : kDays[month - 1];
}

/// Reads digits and punctuation from the front of a text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}
  bool done() const { return text_.empty(); }
  bool take(char c) {
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  /// Between `least` and `most` digits.
  std::optional<int64_t> digits(size_t least, size_t most) {
    int64_t value = 0;
    size_t count = 0;
    while (count < most && count < text_.size() && text_[count] >= '0' && text_[count] <= '9') {
      value = value * 10 + (text_[count++] - '0');
    }
    if (count < least) return std::nullopt;
    text_.remove_prefix(count);
    return value;
  }
  /// A fraction of a second in microseconds, further digits dropped.
  std::optional<int64_t> fraction() {
    int64_t value = 0;
    size_t count = 0;
    while (count < text_.size() && text_[count] >= '0' && text_[count] <= '9') {
      if (count < 6) value = value * 10 + (text_[count] - '0');
      ++count;
    }
    if (count == 0) return std::nullopt;
    for (size_t i = count; i < 6; ++i) value *= 10;
    text_.remove_prefix(count);
    return value;
  }

 private:
  std::string_view text_;
};

std::optional<int64_t> scan_date(Scanner& scanner) {
  bool negative = scanner.take('-');
  if (!negative) scanner.take('+');
  std::optional<int64_t> year = scanner.digits(4, 7);
  if (!year || !scanner.take('-')) return std::nullopt;
  std::optional<int64_t> month = scanner.digits(1, 2);
  if (!month || *month < 1 || *month > 12 || !scanner.take('-')) return std::nullopt;
  std::optional<int64_t> day = scanner.digits(1, 2);
  int64_t signed_year = negative ? -*year : *year;
  if (!day || *day < 1 || *day > days_in_month(signed_year, static_cast<int>(*month))) {
    return std::nullopt;
  }
  return days_of(signed_year, static_cast<int>(*month), static_cast<int>(*day));
}

/// Seconds east of UTC behind a time; 0 for none.
std::optional<int64_t> scan_zone(Scanner& scanner) {
  while (scanner.take(' ')) {
  }
  if (scanner.done() || scanner.take('Z')) return scanner.done() ? std::optional(0L) : std::nullopt;
  bool negative = scanner.take('-');
  if (!negative && !scanner.take('+')) return std::nullopt;
  std::optional<int64_t> hours = scanner.digits(1, 2);
  if (!hours || *hours > 18) return std::nullopt;
  int64_t seconds = *hours * 3600;
  for (int64_t unit : {60, 1}) {
    if (scanner.done()) break;
    scanner.take(':');
    std::optional<int64_t> part = scanner.digits(2, 2);
    if (!part || *part > 59) return std::nullopt;
    seconds += *part * unit;
  }
  if (!scanner.done()) return std::nullopt;
  return negative ? -seconds : seconds;
}

std::optional<double> parse_double(std::string_view text) {
  for (auto [name, value] : {std::pair<std::string_view, double>{"NaN", std::nan("")},
                             {"Infinity", std::numeric_limits<double>::infinity()},
                             {"-Infinity", -std::numeric_limits<double>::infinity()}}) {
    if (text == name) return value;
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error != std::errc()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error != std::errc()) return std::nullopt;
  return value;
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

template <typename T>
Value value_or_null(std::optional<T> value) {
  return value ? Value(std::move(*value)) : Value();
}

std::optional<int64_t> in_range(std::optional<int64_t> value, int64_t max) {
  if (value && (*value > max || *value < -max - 1)) return std::nullopt;
  return value;
}

}  // namespace

std::partial_ordering compare(const Value& a, const Value& b) {
  if (a.index() != b.index() || is_null(a)) return std::partial_ordering::unordered;
  return std::visit(
      [&](const auto& left) -> std::partial_ordering {
        using T = std::decay_t<decltype(left)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return std::partial_ordering::unordered;
        } else {
          const T& right = std::get<T>(b);
          if (left < right) return std::partial_ordering::less;
          if (right < left) return std::partial_ordering::greater;
          if (left == right) return std::partial_ordering::equivalent;
          return std::partial_ordering::unordered;
        }
      },
      a);
}

Result<Value> parse_value(const std::optional<std::string>& text, const DataType& type) {
  if (!text || text->empty()) return Value();
  Value value;
  switch (type.kind) {
    case TypeKind::kBool:
      if (*text == "true" || *text == "True" || *text == "TRUE") return Value(true);
      if (*text == "false" || *text == "False" || *text == "FALSE") return Value(false);
      break;
    case TypeKind::kByte:
      value = value_or_null(in_range(parse_integer(*text), 0x7F));
      break;
    case TypeKind::kShort:
      value = value_or_null(in_range(parse_integer(*text), 0x7FFF));
      break;
    case TypeKind::kInteger:
      value = value_or_null(in_range(parse_integer(*text), 0x7FFFFFFF));
      break;
    case TypeKind::kLong:
      value = value_or_null(parse_integer(*text));
      break;
    case TypeKind::kFloat:
      // The value is the float that the text means, not the double beside it.
      if (std::optional<double> number = parse_double(*text)) {
        value = static_cast<double>(static_cast<float>(*number));
      }
      break;
    case TypeKind::kDouble:
      value = value_or_null(parse_double(*text));
      break;
    case TypeKind::kDecimal:
      value = value_or_null(parse_decimal(*text, type.scale));
      break;
    case TypeKind::kString:
    case TypeKind::kBinary:
      return Value(*text);
    case TypeKind::kDate:
      value = value_or_null(parse_date(*text));
      break;
    case TypeKind::kTimestamp:
    case TypeKind::kTimestampNtz:
      value = value_or_null(parse_timestamp(*text));
      break;
    case TypeKind::kVoid:
      return Value();
    default:
      return Status(Code::kInvalid, fmt::format("type {} has no text form", to_string(type)));
  }
  if (is_null(value)) {
    return Status(Code::kCorrupt, fmt::format("\"{}\" is no {}", *text, to_string(type)));
  }
  return value;
}

std::optional<std::string> write_value(const Value& value, const DataType& type) {
  if (is_null(value)) return std::nullopt;
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const double* number = std::get_if<double>(&value)) {
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
    return type.kind == TypeKind::kFloat ? fmt::format("{}", static_cast<float>(*number))
                                         : fmt::format("{}", *number);
  }
  if (const Int128* unscaled = std::get_if<Int128>(&value)) {
    return write_decimal(*unscaled, type.scale);
  }
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  int64_t number = std::get<int64_t>(value);
  switch (type.kind) {
    case TypeKind::kDate:
      return write_date(number);
    case TypeKind::kTimestamp:
      return write_timestamp(number, 6) + "Z";
    case TypeKind::kTimestampNtz:
      return write_timestamp(number, 6, ' ');
    default:
      return fmt::format("{}", number);
  }
}

std::optional<Int128> parse_decimal(std::string_view text, int scale) {
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int exponent = 0;
  if (size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    std::optional<int64_t> parsed = parse_integer(text.substr(e + 1));
    if (!parsed || *parsed > 1000 || *parsed < -1000) return std::nullopt;
    exponent = static_cast<int>(*parsed);
    text = text.substr(0, e);
  }
  Int128 value = 0;
  constexpr Int128 kLimit =
      static_cast<Int128>(1'000'000'000'000'000'000) * 10'000'000'000'000'000'000U;
  bool any = false;
  bool point = false;
  int digits_behind = 0;
  for (char c : text) {
    if (c == '.') {
      if (point) return std::nullopt;
      point = true;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    any = true;
    // Trailing zeros beyond the scale are dropped below; digits beyond 38 are none of ours.
    if (value >= kLimit) return std::nullopt;
    value = value * 10 + (c - '0');
    if (point) ++digits_behind;
  }
  if (!any) return std::nullopt;
  int shift = scale - digits_behind + exponent;
  for (; shift > 0 && value != 0; --shift) {
    if (value >= kLimit) return std::nullopt;
    value *= 10;
  }
  for (; shift < 0 && value != 0; ++shift) {
    if (value % 10 != 0) return std::nullopt;
    value /= 10;
  }
  return negative ? -value : value;
}

std::string write_decimal(Int128 unscaled, int scale) {
  bool negative = unscaled < 0;
  auto rest = static_cast<unsigned __int128>(unscaled);
  if (negative) rest = -rest;
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(rest % 10));
    rest /= 10;
  } while (rest != 0);
  while (digits.size() <= static_cast<size_t>(scale)) digits += '0';
  std::reverse(digits.begin(), digits.end());
  if (scale > 0) digits.insert(digits.size() - static_cast<size_t>(scale), 1, '.');
  return negative ? "-" + digits : digits;
}

std::optional<int64_t> parse_date(std::string_view text) {
  Scanner scanner(text);
  std::optional<int64_t> days = scan_date(scanner);
  if (!days || scanner.done()) return days;
  // Spark's readers take a date with a time behind it as that day.
  if (parse_timestamp(text)) return days;
  return std::nullopt;
}

std::string write_date(int64_t days) {
  CivilDay civil = civil_of(days);
  if (civil.year < 0) return fmt::format("-{:04}-{:02}-{:02}", -civil.year, civil.month, civil.day);
  return fmt::format("{:04}-{:02}-{:02}", civil.year, civil.month, civil.day);
}

std::optional<int64_t> parse_timestamp(std::string_view text) {
  Scanner scanner(text);
  std::optional<int64_t> days = scan_date(scanner);
  if (!days || *days > kYearMax * 366 || *days < -kYearMax * 366) return std::nullopt;
  int64_t micros = 0;
  if (!scanner.done()) {
    if (!scanner.take('T') && !scanner.take(' ')) return std::nullopt;
    std::optional<int64_t> hour = scanner.digits(1, 2);
    if (!hour || *hour > 24 || !scanner.take(':')) return std::nullopt;
    std::optional<int64_t> minute = scanner.digits(1, 2);
    if (!minute || *minute > 59) return std::nullopt;
    int64_t second = 0;
    int64_t fraction = 0;
    if (scanner.take(':')) {
      std::optional<int64_t> parsed = scanner.digits(1, 2);
      if (!parsed || *parsed > 60) return std::nullopt;
      second = *parsed;
      if (scanner.take('.')) {
        std::optional<int64_t> behind = scanner.fraction();
        if (!behind) return std::nullopt;
        fraction = *behind;
      }
    }
    std::optional<int64_t> zone = scan_zone(scanner);
    if (!zone) return std::nullopt;
    micros = ((*hour * 60 + *minute) * 60 + second - *zone) * kMicrosPerSecond + fraction;
  }
  int64_t result = 0;
  if (__builtin_mul_overflow(*days, kMicrosPerDay, &result) ||
      __builtin_add_overflow(result, micros, &result)) {
    return std::nullopt;
  }
  return result;
}

std::string write_timestamp(int64_t micros, int digits, char separator) {
  int64_t days = floor_div(micros, kMicrosPerDay);
  int64_t of_day = micros - days * kMicrosPerDay;
  int64_t seconds = of_day / kMicrosPerSecond;
  int64_t fraction = of_day % kMicrosPerSecond;
  std::string text = fmt::format("{}{}{:02}:{:02}:{:02}", write_date(days), separator,
                                 seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (digits == 3) return text + fmt::format(".{:03}", fraction / 1000);
  return text + fmt::format(".{:06}", fraction);
}

}  // namespace tide::deltalog
