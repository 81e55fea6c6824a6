#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide {

/// A byte position in a timeline's WAL (PostgreSQL's XLogRecPtr); printed as "X/Y" in hexadecimal.
class Lsn {
 public:
  constexpr Lsn() = default;
  constexpr explicit Lsn(uint64_t value) : value_(value) {}

  /// Reads PostgreSQL's form "16/B374D848"; kInvalid otherwise.
  static Result<Lsn> parse(std::string_view text);
  static constexpr Lsn max() { return Lsn(std::numeric_limits<uint64_t>::max()); }

  constexpr uint64_t value() const { return value_; }
  constexpr bool is_valid() const { return value_ != 0; }
  std::string to_string() const;

  friend constexpr auto operator<=>(Lsn, Lsn) = default;
  friend constexpr Lsn operator+(Lsn lsn, uint64_t bytes) { return Lsn(lsn.value_ + bytes); }
  friend constexpr Lsn operator-(Lsn lsn, uint64_t bytes) { return Lsn(lsn.value_ - bytes); }
  friend constexpr uint64_t operator-(Lsn end, Lsn begin) { return end.value_ - begin.value_; }

 private:
  uint64_t value_ = 0;
};

/// WAL geometry of every Tidewater cluster: PostgreSQL's defaults.
inline constexpr uint64_t kWalPageSize = 8192;
inline constexpr uint64_t kWalSegmentSize = 16 * 1024 * 1024;
inline constexpr uint64_t kWalShortHeaderSize = 24;
inline constexpr uint64_t kWalLongHeaderSize = 40;

/// The canonical spelling of a position: one that points just past a page header (offset 24, or 40
/// at a segment's start) is the page's start. XLogInsert's end and the reader's end then compare
/// equal.
constexpr Lsn normalize(Lsn lsn) {
  uint64_t in_segment = lsn.value() % kWalSegmentSize;
  if (in_segment == kWalLongHeaderSize) return lsn - kWalLongHeaderSize;
  if (in_segment > kWalPageSize && in_segment % kWalPageSize == kWalShortHeaderSize) {
    return lsn - kWalShortHeaderSize;
  }
  return lsn;
}

/// Where PostgreSQL would put the first byte of a record that is inserted at `lsn`: behind the page
/// header if `lsn` is a page's start.
constexpr Lsn record_start(Lsn lsn) {
  if (lsn.value() % kWalSegmentSize == 0) return lsn + kWalLongHeaderSize;
  if (lsn.value() % kWalPageSize == 0) return lsn + kWalShortHeaderSize;
  return lsn;
}

}  // namespace tide

template <>
struct fmt::formatter<tide::Lsn> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(tide::Lsn lsn, Context& context) const {
    return fmt::format_to(context.out(), "{:X}/{:X}", lsn.value() >> 32, lsn.value() & 0xFFFFFFFFU);
  }
};
