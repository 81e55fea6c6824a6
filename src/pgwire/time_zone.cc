#include "pgwire/time_zone.h"

#include <algorithm>
#include <cctype>

#include "base/bytes.h"
#include "pgwire/value_text.h"

namespace tide::pgwire {

namespace {

constexpr int64_t kDay = 86'400;
constexpr size_t kHeaderSize = 44;

/// Reads "[+-]H[H[H]][:MM[:SS]]"; false if there is none.
bool take_clock(std::string_view& text, int32_t& seconds) {
  int sign = 1;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    sign = text[0] == '-' ? -1 : 1;
    text.remove_prefix(1);
  }
  int32_t parts[3] = {0, 0, 0};
  int count = 0;
  while (count < 3) {
    size_t digits = 0;
    while (digits < text.size() && digits < 3 &&
           std::isdigit(static_cast<unsigned char>(text[digits]))) {
      parts[count] = parts[count] * 10 + (text[digits] - '0');
      ++digits;
    }
    if (digits == 0) return false;
    text.remove_prefix(digits);
    ++count;
    if (text.empty() || text[0] != ':' || count == 3) break;
    text.remove_prefix(1);
  }
  if (parts[1] > 59 || parts[2] > 59 || parts[0] > 167) return false;
  seconds = sign * (parts[0] * 3600 + parts[1] * 60 + parts[2]);
  return true;
}

/// A zone's abbreviation: letters, or anything between < and >.
bool take_abbreviation(std::string_view& text) {
  if (!text.empty() && text[0] == '<') {
    size_t end = text.find('>');
    if (end == text.npos) return false;
    text.remove_prefix(end + 1);
    return true;
  }
  size_t letters = 0;
  while (letters < text.size() && std::isalpha(static_cast<unsigned char>(text[letters])))
    ++letters;
  text.remove_prefix(letters);
  return letters >= 3;
}

bool take_number(std::string_view& text, int& number) {
  size_t digits = 0;
  number = 0;
  while (digits < text.size() && digits < 3 &&
         std::isdigit(static_cast<unsigned char>(text[digits]))) {
    number = number * 10 + (text[digits] - '0');
    ++digits;
  }
  text.remove_prefix(digits);
  return digits > 0;
}

bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

}  // namespace

TimeZone TimeZone::fixed(int32_t offset_seconds) {
  TimeZone zone;
  zone.first_ = offset_seconds;
  return zone;
}

Result<TimeZone> TimeZone::from_text(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  if (upper == "UTC" || upper == "GMT" || upper == "ETC/UTC" || upper == "Z") return utc();
  std::string_view text = name;
  // "<+02>-02": the sign of POSIX is the other way round.
  if (!text.empty() && text[0] == '<' && take_abbreviation(text)) {
    int32_t seconds = 0;
    if (take_clock(text, seconds) && text.empty()) return fixed(-seconds);
  }
  return Status(Code::kNotFound, "no such fixed time zone");
}

Result<TimeZone> TimeZone::parse(std::string_view bytes) {
  Status corrupt(Code::kCorrupt, "not a time zone file");
  // A first block with 32-bit times, and from version 2 on a second one with 64-bit times.
  size_t at = 0;
  int width = 4;
  for (int block = 0; block < 2; ++block) {
    if (bytes.size() - at < kHeaderSize || bytes.substr(at, 4) != "TZif") return corrupt;
    char version = bytes[at + 4];
    auto count = [&](int i) -> size_t { return load_be32(bytes.data() + at + 20 + i * 4); };
    size_t isutc = count(0), isstd = count(1), leap = count(2), times = count(3), types = count(4),
           chars = count(5);
    constexpr size_t kMany = 100'000;
    if (isutc > kMany || isstd > kMany || leap > kMany || times > kMany || types > 256 ||
        chars > kMany || types == 0) {
      return corrupt;
    }
    size_t w = static_cast<size_t>(width);
    size_t size = times * w + times + types * 6 + chars + leap * (w + 4) + isstd + isutc;
    if (bytes.size() - at - kHeaderSize < size) return corrupt;
    bool last = version == '\0' || width == 8;
    if (last) {
      TimeZone zone;
      const char* data = bytes.data() + at + kHeaderSize;
      const char* indexes = data + times * w;
      const char* infos = indexes + times;
      std::vector<int32_t> offsets;
      bool found_standard = false;
      for (size_t i = 0; i < types; ++i) {
        offsets.push_back(static_cast<int32_t>(load_be32(infos + i * 6)));
        if (!found_standard && infos[i * 6 + 4] == 0) {
          zone.first_ = offsets.back();
          found_standard = true;
        }
      }
      // Local mean time, the type of index 0, is what PostgreSQL prints before the first change.
      zone.first_ = offsets[0];
      for (size_t i = 0; i < times; ++i) {
        size_t index = static_cast<unsigned char>(indexes[i]);
        if (index >= types) return corrupt;
        zone.moments_.push_back(width == 8 ? static_cast<int64_t>(load_be64(data + i * 8))
                                           : static_cast<int32_t>(load_be32(data + i * 4)));
        zone.offsets_.push_back(offsets[index]);
      }
      if (!std::is_sorted(zone.moments_.begin(), zone.moments_.end())) return corrupt;
      std::string_view footer = bytes.substr(at + kHeaderSize + size);
      if (width == 8 && footer.size() > 2 && footer[0] == '\n') {
        footer.remove_prefix(1);
        footer = footer.substr(0, footer.find('\n'));
        if (!footer.empty() && !parse_footer(footer, zone.footer_)) zone.footer_ = {};
      }
      return zone;
    }
    at += kHeaderSize + size;
    width = 8;
  }
  return corrupt;
}

bool TimeZone::parse_footer(std::string_view text, Footer& footer) {
  int32_t seconds = 0;
  if (!take_abbreviation(text) || !take_clock(text, seconds)) return false;
  footer.standard = -seconds;
  footer.present = true;
  if (text.empty()) return true;
  if (!take_abbreviation(text)) return false;
  footer.summer = footer.standard + 3600;
  if (!text.empty() && text[0] != ',') {
    if (!take_clock(text, seconds)) return false;
    footer.summer = -seconds;
  }
  for (Rule* rule : {&footer.begin, &footer.end}) {
    if (text.empty() || text[0] != ',') return false;
    text.remove_prefix(1);
    if (text.empty()) return false;
    if (text[0] == 'M') {
      text.remove_prefix(1);
      rule->kind = 'M';
      if (!take_number(text, rule->month) || text.empty() || text[0] != '.') return false;
      text.remove_prefix(1);
      if (!take_number(text, rule->week) || text.empty() || text[0] != '.') return false;
      text.remove_prefix(1);
      if (!take_number(text, rule->day)) return false;
      if (rule->month < 1 || rule->month > 12 || rule->week < 1 || rule->week > 5 || rule->day > 6)
        return false;
    } else {
      rule->kind = text[0] == 'J' ? 'J' : 'N';
      if (text[0] == 'J') text.remove_prefix(1);
      if (!take_number(text, rule->day)) return false;
    }
    if (!text.empty() && text[0] == '/') {
      text.remove_prefix(1);
      if (!take_clock(text, rule->time)) return false;
    }
  }
  footer.has_summer = true;
  return text.empty();
}

/// The rule's moment in a year as local wall-clock seconds.
int64_t TimeZone::moment_of(const Rule& rule, int64_t year) {
  int64_t day;
  if (rule.kind == 'M') {
    int64_t first = days_of(year, rule.month, 1);
    int64_t weekday = ((first + 4) % 7 + 7) % 7;  // 1970-01-01 was a Thursday
    day = first + (rule.day - weekday + 7) % 7 + (rule.week - 1) * 7;
    int64_t next_month =
        rule.month == 12 ? days_of(year + 1, 1, 1) : days_of(year, rule.month + 1, 1);
    while (day >= next_month) day -= 7;
  } else {
    day = days_of(year, 1, 1) + rule.day;
    if (rule.kind == 'J') {
      --day;
      if (is_leap(year) && rule.day >= 60) ++day;
    }
  }
  return day * kDay + rule.time;
}

int32_t TimeZone::footer_offset(int64_t unix_seconds) const {
  if (!footer_.has_summer) return footer_.standard;
  int64_t local = unix_seconds + footer_.standard;
  int64_t days = local / kDay - (local % kDay < 0 ? 1 : 0);
  int64_t year = civil_date(days).year;
  int64_t begin = moment_of(footer_.begin, year) - footer_.standard;
  int64_t end = moment_of(footer_.end, year) - footer_.summer;
  bool summer = begin < end ? unix_seconds >= begin && unix_seconds < end
                            : unix_seconds >= begin || unix_seconds < end;
  return summer ? footer_.summer : footer_.standard;
}

int32_t TimeZone::offset_at(int64_t unix_seconds) const {
  if (moments_.empty() || unix_seconds < moments_.front()) {
    return moments_.empty() && footer_.present ? footer_offset(unix_seconds) : first_;
  }
  if (unix_seconds >= moments_.back() && footer_.present) return footer_offset(unix_seconds);
  auto next = std::upper_bound(moments_.begin(), moments_.end(), unix_seconds);
  return offsets_[static_cast<size_t>(next - moments_.begin()) - 1];
}

}  // namespace tide::pgwire
