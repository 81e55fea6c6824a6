#include "duck/deleted_rows.h"

namespace tide::duck {

DeletedRows::DeletedRows(const columns::RowSet& rows) {
  const std::vector<uint32_t> numbers = rows.rows();
  count_ = numbers.size();
  if (numbers.empty()) return;
  blocks_.assign(numbers.back() / kBlockRows + 1, kNone);
  for (const uint32_t row : numbers) {
    uint32_t& block = blocks_[row / kBlockRows];
    if (block == kNone) {
      block = static_cast<uint32_t>(words_.size() / (kBlockRows / 64));
      words_.resize(words_.size() + kBlockRows / 64, 0);
    }
    words_[uint64_t{block} * (kBlockRows / 64) + row % kBlockRows / 64] |= uint64_t{1} << row % 64;
  }
}

}  // namespace tide::duck
