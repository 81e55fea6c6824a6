#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pgformat/wal_record.h"

namespace tide::pgformat {

/// Values that lie unaligned in a record's bytes.
template <typename T>
class PackedArray {
 public:
  PackedArray() = default;
  explicit PackedArray(BytesView bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size() / sizeof(T); }
  bool empty() const { return bytes_.empty(); }
  T operator[](size_t i) const { return load<T>(bytes_.data() + i * sizeof(T)); }

 private:
  BytesView bytes_;
};

struct FileNode {
  uint32_t spc;
  uint32_t db;
  uint32_t rel;
};

struct DroppedStats {
  int32_t kind;
  uint32_t db;
  uint32_t object;
};

/// A commit or abort record, of an ordinary or a prepared transaction. Views point into the record.
struct TransactionEnd {
  bool committed = false;
  bool prepared = false;  ///< COMMIT PREPARED or ROLLBACK PREPARED
  uint32_t xid = 0;       ///< the transaction; for a prepared one not the record's own xid
  int64_t time = 0;       ///< microseconds since 2000-01-01 UTC, as in the record
  uint32_t db = 0;        ///< 0: not given
  uint32_t spc = 0;
  PackedArray<uint32_t> subxids;
  PackedArray<FileNode> dropped_files;
  PackedArray<DroppedStats> dropped_stats;
  BytesView invalidations;  ///< 16 bytes each
  std::string_view gid;     ///< of a prepared transaction, only at wal_level logical
  bool has_origin = false;
  Lsn origin_lsn;
  int64_t origin_time = 0;  ///< like `time`

  /// `time` in microseconds since 1970-01-01 UTC.
  int64_t unix_time_us() const { return time + kPostgresEpochUs; }
};

/// Reads a record of resource manager kXact with one of the four ending operations.
Result<TransactionEnd> parse_transaction_end(const WalRecord& record);

/// A PREPARE TRANSACTION record, which is the state file's content without its checksum.
struct PrepareRecord {
  uint32_t xid = 0;
  uint32_t db = 0;
  int64_t time = 0;  ///< microseconds since 2000-01-01 UTC
  std::string_view gid;
  PackedArray<uint32_t> subxids;
  PackedArray<FileNode> commit_drops;
  PackedArray<FileNode> abort_drops;
  Lsn origin_lsn;
  int64_t origin_time = 0;
};

Result<PrepareRecord> parse_prepare(const WalRecord& record);
/// The same from the content of a pg_twophase file (with or without its checksum at the end).
Result<PrepareRecord> parse_twophase_state(BytesView content);

}  // namespace tide::pgformat
