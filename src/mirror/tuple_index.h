#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pgformat/heap_record.h"

namespace tide::mirror {

/// Where a row lies in the lake: a unit (a file, or a segment in memory) and the row's number in
/// it.
struct RowPlace {
  uint32_t unit = 0;
  uint32_t row = 0;
  friend constexpr bool operator==(RowPlace, RowPlace) = default;
};

/// From where PostgreSQL keeps a row (block, offset) to where the lake keeps it.
///
/// Rows that follow each other in both are one run of 12 bytes, so a table that was loaded in order
/// costs some 50 bytes a block of 8 KiB. A row that was deleted keeps its entry until its place is
/// used again: PostgreSQL never names it in between. One thread.
class TupleIndex {
 public:
  void set(pgformat::TupleId id, RowPlace place);
  std::optional<RowPlace> find(pgformat::TupleId id) const;
  void clear() { blocks_.clear(); }
  /// In memory, approximately.
  size_t bytes() const;

 private:
  struct Run {
    uint16_t offset;
    uint16_t count;
    RowPlace place;
    bool covers(uint16_t at) const { return at >= offset && at < offset + count; }
  };
  using Block = std::vector<Run>;  // by offset, not overlapping

  std::vector<Block> blocks_;
};

}  // namespace tide::mirror
