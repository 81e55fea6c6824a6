#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "pgtypes/internal/datum_walk.h"
#include "pgtypes/tuple.h"

namespace tide::pgtypes {

/// An array's payload (array.h, ArrayType) taken apart, and a walk over its elements in storage
/// order. Offsets in PostgreSQL's structs count from the datum, whose header has four bytes.
class ArrayView {
 public:
  static constexpr int kMaxDimensions = 6;

  int dimensions = 0;
  uint32_t element_type = 0;
  std::array<int32_t, kMaxDimensions> sizes{};
  std::array<int32_t, kMaxDimensions> lower_bounds{};
  int64_t count = 0;  ///< elements

  /// False for bytes that are no array.
  bool parse(std::string_view payload, int16_t length, char align) {
    constexpr size_t kFixed = 12;
    if (payload.size() < kFixed) return false;
    dimensions = load<int32_t>(payload.data());
    auto data_offset = load<int32_t>(payload.data() + 4);
    element_type = load<uint32_t>(payload.data() + 8);
    if (dimensions < 0 || dimensions > kMaxDimensions) return false;
    size_t bounds_end = kFixed + static_cast<size_t>(dimensions) * 8;
    if (payload.size() < bounds_end) return false;
    count = dimensions == 0 ? 0 : 1;
    for (int i = 0; i < dimensions; ++i) {
      sizes[static_cast<size_t>(i)] = load<int32_t>(payload.data() + kFixed + i * 4);
      lower_bounds[static_cast<size_t>(i)] =
          load<int32_t>(payload.data() + kFixed + (dimensions + i) * 4);
      if (sizes[static_cast<size_t>(i)] < 0) return false;
      count *= sizes[static_cast<size_t>(i)];
      if (count > INT32_MAX / 8) return false;
    }
    size_t start = (bounds_end + kVarlenaHeaderSize + 7) & ~size_t{7};
    if (data_offset != 0) {
      size_t bitmap_size = static_cast<size_t>(count + 7) / 8;
      if (data_offset < 0 || payload.size() - bounds_end < bitmap_size) return false;
      start = static_cast<size_t>(data_offset);
      if (start < bounds_end + kVarlenaHeaderSize + bitmap_size || start % 8 != 0) return false;
      bitmap_ = payload.data() + bounds_end;
    }
    if (start > payload.size() + kVarlenaHeaderSize) {
      // Without elements the padding before them may be missing too.
      if (count > 0 && bitmap_ == nullptr) return false;
      start = payload.size() + kVarlenaHeaderSize;
    }
    data_ = payload.substr(start - kVarlenaHeaderSize);
    length_ = length;
    mask_ = align_mask(align);
    return true;
  }

  /// The next of `count` elements; false if it does not fit.
  bool next(bool& null, std::string_view& datum) {
    int64_t index = index_++;
    null = bitmap_ != nullptr && (bitmap_[index / 8] >> (index % 8) & 1) == 0;
    return null || take_datum(data_, offset_, length_, mask_, datum);
  }

 private:
  const char* bitmap_ = nullptr;
  std::string_view data_;
  size_t offset_ = 0;
  int64_t index_ = 0;
  int16_t length_ = 0;
  uint8_t mask_ = 0;
};

/// A composite value's payload as a tuple: behind the header come typmod, type oid, six bytes that
/// hold nothing, then what a heap tuple has from t_infomask2 on.
inline bool composite_tuple(std::string_view payload, TupleView& tuple) {
  constexpr size_t kFixed = kTupleHeaderSize - kVarlenaHeaderSize;
  if (payload.size() < kFixed) return false;
  tuple.infomask2 = load<uint16_t>(payload.data() + 14);
  tuple.infomask = load<uint16_t>(payload.data() + 16);
  tuple.header_size = static_cast<uint8_t>(payload[18]);
  tuple.body = payload.substr(kFixed);
  return true;
}

}  // namespace tide::pgtypes
