#pragma once

#include <cstring>
#include <string_view>

#include "pgtypes/varlena.h"

namespace tide::pgtypes {

/// Alignment in bytes minus one; typalign c, s, i, d.
constexpr uint8_t align_mask(char align) {
  return align == 'c' ? 0 : align == 's' ? 1 : align == 'd' ? 7 : 3;
}

/// Takes the datum at or behind `offset`, aligned as att_align_pointer() does: a varlena that
/// begins with a byte other than zero is not padded. `data` begins at an aligned place. Moves
/// `offset` behind the datum; false if it does not fit.
inline bool take_datum(std::string_view data, size_t& offset, int16_t length, uint8_t mask,
                       std::string_view& datum) {
  if (length > 0) {
    size_t at = (offset + mask) & ~size_t{mask};
    if (at > data.size() || data.size() - at < static_cast<size_t>(length)) return false;
    datum = std::string_view(data.data() + at, static_cast<size_t>(length));
    offset = at + static_cast<size_t>(length);
    return true;
  }
  if (length == -1) {
    if (offset >= data.size()) return false;
    size_t at = data[offset] != 0 ? offset : (offset + mask) & ~size_t{mask};
    if (at >= data.size()) return false;
    size_t size = varlena_size(data.data() + at, data.size() - at);
    if (size == 0) return false;
    datum = std::string_view(data.data() + at, size);
    offset = at + size;
    return true;
  }
  if (length != -2) return false;
  size_t at = (offset + mask) & ~size_t{mask};
  if (at >= data.size()) return false;
  const void* end = std::memchr(data.data() + at, 0, data.size() - at);
  if (end == nullptr) return false;
  size_t size = static_cast<size_t>(static_cast<const char*>(end) - (data.data() + at)) + 1;
  datum = std::string_view(data.data() + at, size);
  offset = at + size;
  return true;
}

}  // namespace tide::pgtypes
