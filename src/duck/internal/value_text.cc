#include "duck/internal/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace tide::duck {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kNanosPerDay = 86'400'000'000'000;

std::string digits_of(unsigned __int128 value) {
  if (value == 0) return "0";
  std::string text;
  for (; value != 0; value /= 10) text += static_cast<char>('0' + static_cast<int>(value % 10));
  std::reverse(text.begin(), text.end());
  return text;
}

/// ".5" of 500000 with width 6; nothing of 0.
std::string fraction_text(int64_t fraction, int width) {
  if (fraction == 0) return "";
  std::string text = fmt::format(".{:0{}}", fraction, width);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

std::string clock_text(int64_t seconds) {
  return fmt::format("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

/// Year, month, day of days since 1970-01-01 (proleptic Gregorian).
std::array<int64_t, 3> civil_of(int64_t days) {
  days += 719'468;
  const int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const int64_t day_of_era = days - era * 146'097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const int64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  const int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

void append_unit(std::string& out, int64_t amount, std::string_view unit) {
  if (amount == 0) return;
  if (!out.empty()) out += ' ';
  out += fmt::format("{} {}{}", amount, unit, amount == 1 || amount == -1 ? "" : "s");
}

}  // namespace

std::string hugeint_text(capi::Hugeint value) {
  const auto number = static_cast<__int128>(value.upper) << 64 | value.lower;
  if (number >= 0) return digits_of(static_cast<unsigned __int128>(number));
  return "-" + digits_of(-static_cast<unsigned __int128>(number));
}

std::string uhugeint_text(uint64_t lower, uint64_t upper) {
  return digits_of(static_cast<unsigned __int128>(upper) << 64 | lower);
}

std::string uuid_text(capi::Hugeint stored) {
  // Stored with the highest bit flipped, so that signed numbers sort like UUIDs.
  const uint64_t high = static_cast<uint64_t>(stored.upper) ^ uint64_t { 1 } << 63;
  const uint64_t low = stored.lower;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, high >> 16 & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffff'ffff'ffff);
}

std::string time_text(int64_t micros) {
  return clock_text(micros / kMicrosPerSecond) + fraction_text(micros % kMicrosPerSecond, 6);
}

std::string time_ns_text(int64_t nanos) {
  return clock_text(nanos / 1'000'000'000) + fraction_text(nanos % 1'000'000'000, 9);
}

std::string time_tz_text(uint64_t stored) {
  // 40 bits of microseconds, 24 bits of what 15:59:59 exceeds the offset by.
  constexpr int64_t kMaxOffset = 16 * 3600 - 1;
  const int64_t offset = kMaxOffset - static_cast<int64_t>(stored & 0xff'ffff);
  const int64_t distance = offset < 0 ? -offset : offset;
  std::string zone = fmt::format("{}{:02}", offset < 0 ? '-' : '+', distance / 3600);
  if (distance % 3600 != 0) zone += fmt::format(":{:02}", distance / 60 % 60);
  if (distance % 60 != 0) zone += fmt::format(":{:02}", distance % 60);
  return time_text(static_cast<int64_t>(stored >> 24)) + zone;
}

std::string interval_text(capi::Interval value) {
  std::string out;
  append_unit(out, value.months / 12, "year");
  append_unit(out, value.months % 12, "month");
  append_unit(out, value.days, "day");
  if (value.micros != 0) {
    if (!out.empty()) out += ' ';
    if (value.micros < 0) out += '-';
    const uint64_t distance = value.micros < 0 ? -static_cast<uint64_t>(value.micros)
                                               : static_cast<uint64_t>(value.micros);
    out += clock_text(static_cast<int64_t>(distance / kMicrosPerSecond)) +
           fraction_text(static_cast<int64_t>(distance % kMicrosPerSecond), 6);
  }
  return out.empty() ? "00:00:00" : out;
}

std::string timestamp_ns_text(int64_t nanos) {
  if (nanos == std::numeric_limits<int64_t>::max()) return "infinity";
  if (nanos == -std::numeric_limits<int64_t>::max()) return "-infinity";
  int64_t days = nanos / kNanosPerDay;
  int64_t rest = nanos % kNanosPerDay;
  if (rest < 0) {
    --days;
    rest += kNanosPerDay;
  }
  const auto [year, month, day] = civil_of(days);
  return fmt::format("{:04}-{:02}-{:02} {}", year, month, day, time_ns_text(rest));
}

std::string bit_text(std::string_view stored) {
  std::string out;
  if (stored.empty()) return out;
  const auto padding = static_cast<size_t>(stored[0]);
  for (size_t bit = padding; bit < (stored.size() - 1) * 8; ++bit) {
    out += (static_cast<unsigned char>(stored[1 + bit / 8]) >> (7 - bit % 8) & 1) != 0 ? '1' : '0';
  }
  return out;
}

}  // namespace tide::duck
