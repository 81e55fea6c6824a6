#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace tide::pgtypes {

/// A numeric's payload (numeric.c, NumericChoice) taken apart: groups of four decimal digits, the
/// first worth 10000^weight.
struct Numeric {
  enum Special : uint8_t { kFinite, kNan, kInfinity, kMinusInfinity };

  Special special = kFinite;
  bool negative = false;
  int scale = 0;  ///< digits behind the point that are shown
  int weight = 0;
  int count = 0;  ///< groups stored; all others are zero
  const char* groups = nullptr;

  /// Group `index` from the front, 0 to 9999; zero where none is stored.
  uint16_t group(int index) const {
    return index < 0 || index >= count ? uint16_t{0} : load<uint16_t>(groups + index * 2);
  }

  /// False for bytes that are no numeric; then `number` is undefined.
  static bool parse(std::string_view payload, Numeric& number) {
    if (payload.size() < 2) return false;
    auto header = load<uint16_t>(payload.data());
    size_t start = 2;
    number.special = kFinite;
    if ((header & 0xC000) == 0xC000) {
      number.special = (header & 0xF000) == 0xC000   ? kNan
                       : (header & 0xF000) == 0xD000 ? kInfinity
                                                     : kMinusInfinity;
      return payload.size() == 2;
    }
    if ((header & 0x8000) != 0) {
      number.negative = (header & 0x2000) != 0;
      number.scale = (header & 0x1F80) >> 7;
      number.weight = (header & 0x3F) - ((header & 0x40) != 0 ? 0x40 : 0);
    } else {
      if (payload.size() < 4) return false;
      number.negative = (header & 0xC000) == 0x4000;
      number.scale = header & 0x3FFF;
      number.weight = load<int16_t>(payload.data() + 2);
      start = 4;
    }
    if ((payload.size() - start) % 2 != 0) return false;
    number.count = static_cast<int>((payload.size() - start) / 2);
    number.groups = payload.data() + start;
    for (int i = 0; i < number.count; ++i) {
      if (number.group(i) > 9999) return false;
    }
    return true;
  }
};

}  // namespace tide::pgtypes
