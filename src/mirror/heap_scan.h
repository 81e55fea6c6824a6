#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "learner/source.h"
#include "pgformat/heap_record.h"
#include "pgformat/page.h"

namespace tide::mirror {

/// What became of transactions, as of one LSN: pg_xact and multixacts out of the page store.
class TransactionStatus {
 public:
  TransactionStatus(learner::PageSource& source, Lsn at) : source_(source), at_(at) {}

  /// A transaction that a crash ended is "in progress" for ever.
  Result<pgformat::XidStatus> status(uint32_t xid);
  /// The transaction of a multixact that updated or deleted; 0 if all only locked.
  Result<uint32_t> updater(uint32_t multixact);

 private:
  Result<const std::byte*> page(pgformat::Slru slru, uint32_t page);

  learner::PageSource& source_;
  Lsn at_;
  std::unordered_map<uint64_t, std::string> pages_;
};

/// A row version found by scan_heap() with what was open about it at the scan's LSN.
struct ScannedTuple {
  pgformat::TupleId id;
  pgformat::HeapTuple tuple;
  uint32_t inserter = 0;  ///< transaction in progress that inserted it; 0: it is there for all
  uint32_t deleter = 0;   ///< transaction in progress that deleted it; 0: none
};

/// Reads a heap's pages as of `at` and calls `visit` with every row version that is there or may
/// come to be there or to go (heapam_visibility.c's rules, for a snapshot of all transactions that
/// had committed by `at`). With `all_versions`, also with dead and aborted ones, through `dead`.
Status scan_heap(learner::PageSource& source, const RelFork& rel, Lsn at,
                 TransactionStatus& transactions,
                 const std::function<Status(const ScannedTuple& tuple)>& visit,
                 const std::function<Status(const ScannedTuple& tuple)>& dead = nullptr);

}  // namespace tide::mirror
