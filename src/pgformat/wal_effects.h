#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pgformat/control_file.h"
#include "pgformat/page.h"
#include "pgformat/wal_record.h"

namespace tide::pgformat {

/// Flags of a relation truncation: which forks it cuts.
inline constexpr uint32_t kTruncateHeap = 0x1;
inline constexpr uint32_t kTruncateVm = 0x2;
inline constexpr uint32_t kTruncateFsm = 0x4;

struct MultixactCreate {
  uint32_t multi = 0;
  uint32_t offset = 0;  ///< of its first member
  std::span<const MultixactMember> members;

  /// PostgreSQL 15.18 and later keep offsets[next_multi()] = next_offset() as well, so that a
  /// multixact's length can be read before the next one exists.
  uint32_t next_multi() const { return multixact_after(multi); }
  uint32_t next_offset() const {
    uint32_t next = offset + static_cast<uint32_t>(members.size());
    return next == 0 ? 1 : next;
  }
};

struct MultixactTruncate {
  uint32_t oldest_multi_db = 0;
  uint32_t begin_multi = 0;
  uint32_t end_multi = 0;  ///< the new oldest multixact
  uint32_t begin_offset = 0;
  uint32_t end_offset = 0;  ///< of its first member

  /// Offsets segments go by slru_segment_is_removable(kMultixactOffsets, page, this): one multixact
  /// back, as the page of `end_multi` need not exist yet.
  uint32_t offsets_cutoff_page() const {
    uint32_t previous = end_multi == kFirstMultiXact ? 0xFFFFFFFFU : end_multi - 1;
    return multixact_offsets_page(previous);
  }
  /// True for the members segments [segment of begin_offset, segment of end_offset), on their
  /// circle.
  bool removes_members_segment(uint32_t segment) const;
};

struct RunningXacts {
  uint32_t next_xid = 0;
  uint32_t oldest_running_xid = 0;
  uint32_t latest_completed_xid = 0;
  bool subxids_overflowed = false;
  uint32_t xid_count = 0;
  uint32_t subxid_count = 0;
};

struct ParameterChange {
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_xacts = 0;
  int32_t max_locks_per_xact = 0;
  int32_t wal_level = 0;
  bool wal_log_hints = false;
  bool track_commit_timestamp = false;

  void apply(ControlFile* control) const;
};

struct LogicalMessage {
  uint32_t db = 0;
  bool transactional = false;
  std::string_view prefix;
  BytesView body;
};

/// What a store of pages must do for one record. Everything a record calls belongs together and
/// takes effect at record.end(). Arguments are valid during the call only.
///
/// No method has a default: a kind of effect that a store forgets must not compile.
class EffectSink {
 public:
  virtual ~EffectSink() = default;

  // -- Pages. A block at or behind the end of its fork extends it; blocks in between become zeros,
  // a
  //    fork that is unknown comes into being.

  /// Redo of the record changes this page: keep the raw record. With `will_init` the page's older
  /// history is not needed for its content from here on.
  virtual Status page_record(const PageTag& tag, bool will_init) = 0;
  /// The page's whole new content, kPageSize bytes, with pd_lsn set (all zeros for a new page).
  virtual Status page_image(const PageTag& tag, BytesView page) = 0;
  /// Clears `flags` of one or two heap blocks on a visibility-map page, which no block reference
  /// names: vm_clear_bits() for each, then pd_lsn = record end unless the page is new. A fork or
  /// page that does not exist stays so.
  virtual Status vm_clear(const PageTag& vm_page, std::span<const uint32_t> heap_blocks,
                          uint8_t flags) = 0;

  // -- Relations and databases. Relations named by their main fork mean all forks.

  /// Makes the fork with size 0; one that exists stays as it is.
  virtual Status rel_create(const RelFork& fork) = 0;
  /// Main fork (made if absent) to `blocks`, if flags say so; visibility and free-space map by
  /// vm_truncation() and fsm_truncation(), if they exist.
  virtual Status rel_truncate(const RelFork& main, uint32_t blocks, uint32_t flags) = 0;
  /// All forks of these relations end. Unknown ones are fine.
  virtual Status rel_drop(std::span<const RelFork> relations) = 0;
  /// An empty database directory.
  virtual Status db_create(uint32_t spc, uint32_t db) = 0;
  /// All relations and the relation map of one database copied as they are before this record; what
  /// the target held before is gone.
  virtual Status db_copy(uint32_t source_spc, uint32_t source_db, uint32_t spc, uint32_t db) = 0;
  virtual Status db_drop(uint32_t db, std::span<const uint32_t> tablespaces) = 0;
  /// New content of pg_filenode.map (512 bytes); database 0 in tablespace 1664 is the shared one.
  virtual Status relmap_update(uint32_t spc, uint32_t db, BytesView content) = 0;

  // -- Transactions.

  /// A transaction and its subtransactions, of any number, in no order across CLOG pages.
  virtual Status clog_status(std::span<const uint32_t> xids, XidStatus status) = 0;
  /// A commit became durable: microseconds since 1970-01-01 UTC. State at `end` includes it.
  virtual Status commit_time(int64_t unix_time_us, Lsn begin, Lsn end) = 0;
  /// Entries of pg_commit_ts; to be ignored while track_commit_timestamp is off (control file).
  virtual Status commit_timestamps(std::span<const uint32_t> xids, CommitTimestamp timestamp) = 0;
  virtual Status clog_zero_page(uint32_t page) = 0;
  /// Removes segments by slru_segment_is_removable(); oldestXid and its database advance.
  virtual Status clog_truncate(uint32_t cutoff_page, uint32_t oldest_xid,
                               uint32_t oldest_xid_db) = 0;
  virtual Status commit_ts_zero_page(uint32_t page) = 0;
  virtual Status commit_ts_truncate(uint32_t cutoff_page, uint32_t oldest_xid) = 0;
  /// offsets[multi], offsets[next_multi()], the members; an offsets page that does not exist yet
  /// is made.
  virtual Status multixact_create(const MultixactCreate& create) = 0;
  /// The page becomes zeros, unless multixact_create made it in advance: then it must stay.
  virtual Status multixact_zero_offsets_page(uint32_t page) = 0;
  virtual Status multixact_zero_members_page(uint32_t page) = 0;
  virtual Status multixact_truncate(const MultixactTruncate& truncate) = 0;
  /// The whole content of pg_twophase/%08X, checksum included.
  virtual Status twophase_put(uint32_t xid, BytesView state_file) = 0;
  virtual Status twophase_delete(uint32_t xid) = 0;

  // -- Counters and cluster state. Helpers that apply them to a CheckPoint: control_file.h.

  /// The next transaction id lies behind this one (advance_next_xid()). At most once a record, with
  /// the newest id it names.
  virtual Status xid_used(uint32_t xid) = 0;
  /// The next OID is exactly this.
  virtual Status next_oid(uint32_t oid) = 0;
  /// At least these (advance_next_multi()).
  virtual Status next_multixact(uint32_t next_multi, uint32_t next_offset) = 0;
  /// merge_checkpoint(). A shutdown checkpoint is the last record of its compute's life.
  virtual Status checkpoint(const CheckPoint& checkpoint, bool shutdown) = 0;
  virtual Status running_xacts(const RunningXacts& running) = 0;
  virtual Status parameter_change(const ParameterChange& change) = 0;
  virtual Status full_page_writes_change(bool on) = 0;
  /// Replication origin `id` has replayed up to `remote_lsn`; moves backwards only if `force`.
  virtual Status replication_origin_set(uint16_t id, Lsn remote_lsn, bool force) = 0;
  virtual Status replication_origin_drop(uint16_t id) = 0;
  virtual Status logical_message(const LogicalMessage& message) = 0;
  virtual Status restore_point(std::string_view name, int64_t unix_time_us) = 0;
  /// The rest of the segment is empty; record.end() is the next segment's start.
  virtual Status wal_switch() = 0;
};

/// Calls `sink` for every effect of the record, and stops at the first error.
///
/// kCorrupt, naming record and position: a resource manager or operation that PostgreSQL 15 does
/// not have, data of the wrong length, block references where none belong, a second timeline.
/// kInvalid: a custom resource manager. Nothing is ever skipped silently; kinds of records without
/// any effect on stored state (locks, invalidations, logical-decoding hints, tablespaces, whose use
/// is refused) are listed in docs/formats/wal-effects.md.
Status decode_effects(const WalRecord& record, EffectSink& sink);

}  // namespace tide::pgformat
