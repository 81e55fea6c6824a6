#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pgformat/wal_record.h"

namespace tide::pgformat {

/// Where a tuple lies in its relation: block and offset number (from 1), as one number that sorts
/// like a ctid.
struct TupleId {
  uint64_t value = 0;

  constexpr TupleId() = default;
  constexpr TupleId(uint32_t block, uint16_t offset) : value(uint64_t{block} << 16 | offset) {}
  constexpr explicit TupleId(uint64_t packed) : value(packed) {}
  constexpr uint32_t block() const { return static_cast<uint32_t>(value >> 16); }
  constexpr uint16_t offset() const { return static_cast<uint16_t>(value); }
  friend constexpr auto operator<=>(TupleId, TupleId) = default;
};

/// A heap tuple without the parts of its header that only say who made it: what follows the
/// header's fixed 23 bytes (null bitmap, padding, data), and what is needed to read that.
struct HeapTuple {
  uint16_t infomask2 = 0;  ///< low 11 bits: number of attributes
  uint16_t infomask = 0;
  uint8_t hoff = 0;  ///< where the data begins, counted from the tuple's first byte
  BytesView body;    ///< from the tuple's byte 23 on
};
inline constexpr size_t kHeapTupleHeaderSize = 23;
inline constexpr uint16_t kHeapNattsMask = 0x07FF;
inline constexpr uint16_t kHeapHasNull = 0x0001;  ///< of infomask

/// A row version that one WAL record made or ended.
struct HeapChange {
  enum class Kind : uint8_t {
    kInsert,   ///< `fresh` holds `tuple`
    kDelete,   ///< `old` ends
    kUpdate,   ///< both
    kInplace,  ///< `fresh` has the data part `tuple.body` now; visible at once, whoever commits
  };
  Kind kind = Kind::kInsert;
  RelFork rel;
  TupleId old;
  TupleId fresh;
  HeapTuple tuple;
};

/// Finds the tuple that an update's prefix and suffix are copied from. Needed only for relations
/// without logical logging (the system catalogs).
using OldTuple = std::function<Result<HeapTuple>(const RelFork& rel, TupleId id)>;
using HeapChangeSink = std::function<Status(const HeapChange& change)>;

/// True for records that heap_changes() finds something in.
bool changes_heap_rows(const WalRecord& record);

/// Calls `sink` for each row version that a record of the heap resource managers makes or ends
/// (heapam.c's heap_xlog_*). Locks, pruning, freezing, visibility-map bits change no row.
///
/// Views point into the record or into `scratch`, and hold until the next change. kCorrupt for a
/// record that contradicts itself, or whose old tuple is unknown.
Status heap_changes(const WalRecord& record, const OldTuple& old_tuple, std::string& scratch,
                    const HeapChangeSink& sink);

/// The tuple that `id` names on a page; kNotFound if its line pointer has no storage.
Result<HeapTuple> tuple_on_page(const std::byte* page, uint16_t offset);

}  // namespace tide::pgformat
