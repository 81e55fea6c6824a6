#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

struct roaring_bitmap_s;

namespace tide::columns {

/// A set of row numbers, compressed (a 32-bit Roaring bitmap). A value: copies are independent.
class RowSet {
 public:
  RowSet();
  RowSet(const RowSet& other);
  RowSet(RowSet&& other) noexcept;
  RowSet& operator=(RowSet other) noexcept;
  ~RowSet();

  /// False if it was there already.
  bool add(uint32_t row);
  void add_all(const RowSet& other);
  bool contains(uint32_t row) const;
  uint64_t size() const;
  bool empty() const { return size() == 0; }
  /// Ascending.
  std::vector<uint32_t> rows() const;

  /// CRoaring's portable form: what a Delta deletion vector holds per 2^32 rows.
  std::string encode() const;
  /// kCorrupt unless `bytes` are one valid bitmap, no more and no less.
  static Result<RowSet> decode(BytesView bytes);
  /// Length of the bitmap at the front of `bytes`, which may have more behind it. kCorrupt unless
  /// it is whole and valid.
  static Result<size_t> encoded_size(BytesView bytes);

  friend bool operator==(const RowSet& a, const RowSet& b);

 private:
  explicit RowSet(roaring_bitmap_s* bitmap) : bitmap_(bitmap) {}
  roaring_bitmap_s* bitmap_;
};

}  // namespace tide::columns
