#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tide::pgwire {

/// When clocks of a place show what: a compiled time zone (TZif, RFC 8536), as PostgreSQL's
/// TimeZone names them. Immutable.
class TimeZone {
 public:
  static TimeZone utc() { return fixed(0); }
  static TimeZone fixed(int32_t offset_seconds);
  /// kCorrupt unless `bytes` are a TZif file.
  static Result<TimeZone> parse(std::string_view bytes);
  /// "+02", "<+0530>-05:30" and "UTC" as PostgreSQL spells zones without rules; kNotFound else.
  static Result<TimeZone> from_text(std::string_view name);

  /// Seconds east of UTC at a moment.
  int32_t offset_at(int64_t unix_seconds) const;

 private:
  struct Rule {  ///< A day of the year as POSIX TZ has it, and the second of that day.
    char kind = 'M';
    int month = 0;
    int week = 0;
    int day = 0;
    int32_t time = 7200;
  };
  struct Footer {
    bool present = false;
    int32_t standard = 0;
    bool has_summer = false;
    int32_t summer = 0;
    Rule begin;
    Rule end;
  };
  static bool parse_footer(std::string_view text, Footer& footer);
  static int64_t moment_of(const Rule& rule, int64_t year);
  int32_t footer_offset(int64_t unix_seconds) const;

  std::vector<int64_t> moments_;
  std::vector<int32_t> offsets_;  ///< from moments_[i] on
  int32_t first_ = 0;             ///< before moments_[0]
  Footer footer_;
};

}  // namespace tide::pgwire
