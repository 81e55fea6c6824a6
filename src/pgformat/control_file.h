#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace tide::pgformat {

inline constexpr uint32_t kControlVersion = 1300;
inline constexpr uint32_t kCatalogVersion = 202209061;
inline constexpr size_t kControlFileSize = 8192;

/// The counters and horizons of a cluster at one LSN, laid out as in WAL and pg_control.
struct CheckPoint {
  uint64_t redo = 0;
  uint32_t tli = 1;
  uint32_t prev_tli = 1;
  uint8_t full_page_writes = 0;
  uint8_t padding1[7] = {};
  uint64_t next_xid = 3;  ///< with its epoch
  uint32_t next_oid = 0;
  uint32_t next_multi = 1;
  uint32_t next_multi_offset = 0;
  uint32_t oldest_xid = 3;
  uint32_t oldest_xid_db = 1;
  uint32_t oldest_multi = 1;
  uint32_t oldest_multi_db = 1;
  uint32_t padding2 = 0;
  int64_t time = 0;  ///< seconds since the Unix epoch
  uint32_t oldest_commit_ts_xid = 0;
  uint32_t newest_commit_ts_xid = 0;
  uint32_t oldest_active_xid = 0;  ///< 0 in a shutdown checkpoint
  uint32_t padding3 = 0;
};
static_assert(sizeof(CheckPoint) == 88 && offsetof(CheckPoint, next_xid) == 24 &&
              offsetof(CheckPoint, time) == 64 && offsetof(CheckPoint, oldest_active_xid) == 80);

enum class ClusterState : uint32_t {
  kStartup = 0,
  kShutDown = 1,
  kShutDownInRecovery = 2,
  kShuttingDown = 3,
  kInCrashRecovery = 4,
  kInArchiveRecovery = 5,
  kInProduction = 6,
};

/// pg_control of PostgreSQL 15, laid out as in the file.
struct ControlFile {
  uint64_t system_id = 0;
  uint32_t control_version = kControlVersion;
  uint32_t catalog_version = kCatalogVersion;
  ClusterState state = ClusterState::kStartup;
  uint32_t padding1 = 0;
  int64_t time = 0;
  uint64_t checkpoint_lsn = 0;  ///< start of the last checkpoint record
  CheckPoint checkpoint;
  uint64_t unlogged_lsn = 0;
  uint64_t min_recovery_point = 0;
  uint32_t min_recovery_point_tli = 0;
  uint32_t padding2 = 0;
  uint64_t backup_start_point = 0;
  uint64_t backup_end_point = 0;
  uint8_t backup_end_required = 0;
  uint8_t padding3[3] = {};
  int32_t wal_level = 0;  ///< 0 minimal, 1 replica, 2 logical
  uint8_t wal_log_hints = 0;
  uint8_t padding4[3] = {};
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_xacts = 0;
  int32_t max_locks_per_xact = 0;
  uint8_t track_commit_timestamp = 0;
  uint8_t padding5[3] = {};
  uint32_t max_align = 8;
  double float_format = 1234567.0;
  uint32_t block_size = 8192;
  uint32_t relation_segment_blocks = 131072;
  uint32_t wal_block_size = 8192;
  uint32_t wal_segment_size = 16 * 1024 * 1024;
  uint32_t name_length = 64;
  uint32_t index_max_keys = 32;
  uint32_t toast_max_chunk_size = 1996;
  uint32_t large_object_block_size = 2048;
  uint8_t float8_by_value = 1;
  uint8_t padding6[3] = {};
  uint32_t data_checksum_version = 0;
  uint8_t mock_authentication_nonce[32] = {};
  uint32_t crc = 0;  ///< set by serialize()
  uint32_t padding7 = 0;

  /// The 8,192 bytes of the file, with the right CRC whatever `crc` holds.
  std::string serialize() const;
};
static_assert(sizeof(ControlFile) == 296 && offsetof(ControlFile, checkpoint) == 40 &&
              offsetof(ControlFile, float_format) == 208 && offsetof(ControlFile, crc) == 288);

/// Reads pg_control. kCorrupt: too short, or the CRC is wrong; kInvalid: a healthy file of another
/// PostgreSQL version, or with other block or segment sizes than the ones we are built for.
Result<ControlFile> parse_control_file(BytesView bytes);

/// Moves `checkpoint.next_xid` behind `xid` (0 changes nothing).
void advance_next_xid(CheckPoint* checkpoint, uint32_t xid);
/// Moves the multixact counters to at least these values, on their circles.
void advance_next_multi(CheckPoint* checkpoint, uint32_t next_multi, uint32_t next_offset);
/// Takes over what a checkpoint record says, by the rules of PostgreSQL's redo: counters exactly
/// from a shutdown checkpoint, as minimum from an online one (whose next_oid is ignored: NEXTOID
/// records are newer); horizons only forward. `redo` is the record's.
void merge_checkpoint(CheckPoint* tracked, const CheckPoint& record, bool shutdown);

}  // namespace tide::pgformat
