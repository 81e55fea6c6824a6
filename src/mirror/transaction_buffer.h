#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/lsn.h"
#include "base/result.h"
#include "env/file.h"
#include "pgformat/heap_record.h"

namespace tide::mirror {

/// One thing that a transaction did, as it is kept until the transaction ends.
struct BufferedChange {
  enum class Kind : uint8_t {
    kInsert,
    kDelete,
    kUpdate,
    kPages,     ///< whole pages of `rel` were written (a rewrite, CREATE DATABASE): rows unknown
    kTruncate,  ///< `rel` was cut off at block old.block(): what this transaction put behind is
                ///< gone
  };
  Kind kind = Kind::kInsert;
  Lsn lsn;
  RelFork rel;
  pgformat::TupleId old;
  pgformat::TupleId fresh;
  pgformat::HeapTuple tuple;
};

/// Keeps what open transactions did to rows until they commit; subtransactions apart, since each
/// may abort by itself. What does not fit into memory goes to files, which nobody needs after a
/// restart: the WAL is read again. One thread.
class TransactionBuffer {
 public:
  struct Options {
    std::string spill_directory;  ///< emptied at construction
    size_t memory_bytes = size_t{256} << 20;
  };
  explicit TransactionBuffer(Options options);
  ~TransactionBuffer();

  /// To be called in the order of the WAL.
  Status add(uint32_t xid, const BufferedChange& change);
  /// Calls `visit` with the changes of these transactions (a committed one with its committed
  /// subtransactions) in the order they were added in, which LSNs do not tell of changes that a
  /// scan of pages found. Views hold until the next call.
  using Visit = std::function<Status(const BufferedChange& change)>;
  Status visit(std::span<const uint32_t> xids, const Visit& visit) const;
  /// Forgets what these transactions did: they were applied or aborted.
  void drop(std::span<const uint32_t> xids);

  /// PREPARE TRANSACTION: these outlive their compute.
  void prepare(std::span<const uint32_t> xids);
  /// A new compute begins: what was not prepared has aborted without a word.
  void drop_unprepared();

  /// All transactions older than `xid` have ended.
  void drop_older(uint32_t xid);

  std::vector<uint32_t> xids() const;
  bool has(uint32_t xid) const { return logs_.contains(xid); }
  /// Where reading must begin again to know all open transactions; `none` if there are none.
  Lsn oldest(Lsn none) const;
  size_t transactions() const { return logs_.size(); }
  uint64_t bytes() const { return memory_ + spilled_; }

 private:
  struct Log;
  class Cursor;
  Status spill_largest();

  Options options_;
  std::unordered_map<uint32_t, std::unique_ptr<Log>> logs_;
  std::multiset<Lsn> firsts_;  ///< of logs_
  std::unordered_set<uint32_t> prepared_;
  uint64_t next_sequence_ = 0;
  size_t memory_ = 0;
  uint64_t spilled_ = 0;
};

}  // namespace tide::mirror
