#include "mirror/tuple_index.h"

#include <algorithm>

namespace tide::mirror {

void TupleIndex::set(pgformat::TupleId id, RowPlace place) {
  if (id.block() >= blocks_.size()) blocks_.resize(id.block() + 1);
  Block& block = blocks_[id.block()];
  uint16_t offset = id.offset();
  // The first run behind `offset`; the one before may cover it or end just before it.
  auto next = std::upper_bound(block.begin(), block.end(), offset,
                               [](uint16_t at, const Run& run) { return at < run.offset; });
  if (next != block.begin()) {
    Run& before = *(next - 1);
    if (before.covers(offset)) {
      // Takes the row out of the run: up to two runs are left of it.
      Run head{before.offset, static_cast<uint16_t>(offset - before.offset), before.place};
      auto behind = static_cast<uint16_t>(offset + 1 - before.offset);
      Run tail{static_cast<uint16_t>(offset + 1),
               static_cast<uint16_t>(before.count - behind),
               {before.place.unit, before.place.row + behind}};
      auto at = block.erase(next - 1);
      if (tail.count > 0) at = block.insert(at, tail);
      if (head.count > 0) at = block.insert(at, head) + 1;
      next = at;
    }
  }
  bool extends_before = false;
  if (next != block.begin()) {
    Run& before = *(next - 1);
    extends_before = before.offset + before.count == offset && before.place.unit == place.unit &&
                     before.place.row + before.count == place.row;
    if (extends_before) ++before.count;
  }
  if (!extends_before) next = block.insert(next, Run{offset, 1, place}) + 1;
  if (next != block.end()) {
    Run& grown = *(next - 1);
    if (grown.offset + grown.count == next->offset && grown.place.unit == next->place.unit &&
        grown.place.row + grown.count == next->place.row) {
      grown.count = static_cast<uint16_t>(grown.count + next->count);
      block.erase(next);
    }
  }
}

std::optional<RowPlace> TupleIndex::find(pgformat::TupleId id) const {
  if (id.block() >= blocks_.size()) return std::nullopt;
  const Block& block = blocks_[id.block()];
  auto next = std::upper_bound(block.begin(), block.end(), id.offset(),
                               [](uint16_t at, const Run& run) { return at < run.offset; });
  if (next == block.begin() || !(next - 1)->covers(id.offset())) return std::nullopt;
  const Run& run = *(next - 1);
  return RowPlace{run.place.unit, run.place.row + id.offset() - run.offset};
}

size_t TupleIndex::bytes() const {
  size_t sum = blocks_.capacity() * sizeof(Block);
  for (const Block& block : blocks_) sum += block.capacity() * sizeof(Run);
  return sum;
}

}  // namespace tide::mirror
