#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "columns/row_set.h"

namespace tide::duck {

/// Which rows of a file or batch are deleted, laid out to be asked for millions of rows: one bit a
/// row, in blocks of 4096 rows of which only those with a deleted row are there. At most an eighth
/// of a byte a row. Immutable.
class DeletedRows {
 public:
  static constexpr uint64_t kBlockRows = 4096;

  DeletedRows() = default;
  explicit DeletedRows(const columns::RowSet& rows);

  bool empty() const { return count_ == 0; }
  /// How many rows are deleted.
  uint64_t count() const { return count_; }
  bool contains(uint64_t row) const {
    const uint64_t* block = block_of(row);
    return block != nullptr && (block[row % kBlockRows / 64] >> row % 64 & 1) != 0;
  }
  /// 64 words, bit `row % 4096` of which tells about `row`; nullptr: no row of its block is
  /// deleted.
  const uint64_t* block_of(uint64_t row) const {
    const uint64_t block = row / kBlockRows;
    if (block >= blocks_.size() || blocks_[block] == kNone) return nullptr;
    return words_.data() + uint64_t{blocks_[block]} * (kBlockRows / 64);
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  std::vector<uint32_t> blocks_;  ///< Number of the block's words, or kNone.
  std::vector<uint64_t> words_;
  uint64_t count_ = 0;
};

}  // namespace tide::duck
