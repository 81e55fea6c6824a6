#include "pgformat/wal_effects.h"

#include <array>
#include <vector>

#include "base/crc32c.h"
#include "pgformat/transaction_record.h"

namespace tide::pgformat {
namespace {

constexpr size_t kRelmapSize = 512;
constexpr uint16_t kDoNotReplicate = 0xFFFF;

// Heap flags that say a visibility-map bit was cleared on the way.
constexpr uint8_t kAllVisibleCleared = 0x01;     // insert, multi-insert, delete, old page of update
constexpr uint8_t kNewAllVisibleCleared = 0x02;  // new page of update
constexpr uint8_t kAllFrozenCleared = 0x01;      // lock, lock updated

/// One bit per operation (the info's high four bits) that leaves its work to the pages it names.
struct PageRmgr {
  Rmgr rmgr;
  uint16_t operations;
};
constexpr std::array kPageRmgrs = {
    PageRmgr{Rmgr::kBtree, 0x7FFF},     // 00 to E0
    PageRmgr{Rmgr::kHash, 0x1FFF},      // 00 to C0
    PageRmgr{Rmgr::kGin, 0x03FE},       // 10 to 90
    PageRmgr{Rmgr::kGist, 0x00CF},      // 00 to 30, 60, 70
    PageRmgr{Rmgr::kSequence, 0x0001},  // 00
    PageRmgr{Rmgr::kSpgist, 0x01FE},    // 10 to 80
    PageRmgr{Rmgr::kBrin, 0x3F3F},      // 00 to 50, each with or without 80 (new page)
    PageRmgr{Rmgr::kGeneric, 0x0001},   // 00
};

class Decoder {
 public:
  Decoder(const WalRecord& record, EffectSink& sink)
      : record_(record), sink_(sink), data_(record.main_data()) {}

  Status decode() {
    uint8_t rmgr = record_.rmgr();
    if (rmgr >= kFirstCustomRmgr) {
      return Status(Code::kInvalid, fmt::format("{}: custom resource managers are not supported",
                                                record_.describe()))
          .with_hint(
              "An extension wrote this record. Its pages could not be rebuilt: remove the "
              "extension from shared_preload_libraries.");
    }
    xid_ = record_.xid();
    TIDE_TRY(decode_by_rmgr());
    // Main data of records with page redo is that redo's business; all else was read to its end.
    if (data_.failed()) return corrupt("its data is too short");
    if (xid_ != kInvalidXid) TIDE_TRY(sink_.xid_used(xid_));
    return {};
  }

 private:
  Status corrupt(std::string_view reason) const {
    return Status(Code::kCorrupt, fmt::format("{}: {}", record_.describe(), reason));
  }
  Status unknown() const {
    return Status(Code::kCorrupt, fmt::format("unknown WAL record: {}", record_.describe()))
        .with_hint("Only WAL of PostgreSQL 15 can be read.");
  }
  /// To be called after reading and before using what was read.
  Status check_read() const { return data_.failed() ? corrupt("its data is too short") : Status(); }

  Status decode_by_rmgr() {
    switch (static_cast<Rmgr>(record_.rmgr())) {
      case Rmgr::kXlog:
        return decode_xlog();
      case Rmgr::kHeap:
        return decode_heap();
      case Rmgr::kHeap2:
        return decode_heap2();
      default:
        break;
    }
    for (const PageRmgr& known : kPageRmgrs) {
      if (!record_.is(known.rmgr)) continue;
      if ((known.operations >> (record_.info() >> 4) & 1) == 0) return unknown();
      return pages();
    }
    if (!record_.blocks().empty()) return corrupt("it must not name blocks");
    switch (static_cast<Rmgr>(record_.rmgr())) {
      case Rmgr::kXact:
        return decode_xact();
      case Rmgr::kSmgr:
        return decode_smgr();
      case Rmgr::kClog:
        return decode_clog();
      case Rmgr::kDatabase:
        return decode_database();
      case Rmgr::kTablespace:
        // Tablespaces are refused in SQL; an empty one leaves nothing to store.
        if (record_.info() != tablespace::kCreate && record_.info() != tablespace::kDrop) {
          return unknown();
        }
        return {};
      case Rmgr::kMultixact:
        return decode_multixact();
      case Rmgr::kRelmap:
        return decode_relmap();
      case Rmgr::kStandby:
        return decode_standby();
      case Rmgr::kCommitTs:
        return decode_commit_ts();
      case Rmgr::kReplicationOrigin:
        return decode_replication_origin();
      case Rmgr::kLogicalMessage:
        return decode_logical_message();
      default:
        return unknown();
    }
  }

  Status pages() {
    for (const BlockRef& block : record_.blocks()) {
      TIDE_TRY(sink_.page_record(block.tag, block.replaces_page()));
    }
    return {};
  }

  Status decode_xlog() {
    uint8_t op = record_.info();
    if (op == xlog::kFpi || op == xlog::kFpiForHint) return page_images(op == xlog::kFpi);
    if (!record_.blocks().empty()) return corrupt("it must not name blocks");
    switch (op) {
      case xlog::kCheckpointShutdown:
      case xlog::kCheckpointOnline: {
        auto checkpoint = data_.read<CheckPoint>();
        TIDE_TRY(check_read());
        TIDE_TRY(check_timeline(checkpoint.tli));
        return sink_.checkpoint(checkpoint, op == xlog::kCheckpointShutdown);
      }
      case xlog::kNoop:
      case xlog::kBackupEnd:
      case xlog::kOverwriteContrecord:
        return {};
      case xlog::kNextOid: {
        auto oid = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.next_oid(oid);
      }
      case xlog::kSwitch:
        return sink_.wal_switch();
      case xlog::kParameterChange: {
        ParameterChange change;
        change.max_connections = data_.read<int32_t>();
        change.max_worker_processes = data_.read<int32_t>();
        change.max_wal_senders = data_.read<int32_t>();
        change.max_prepared_xacts = data_.read<int32_t>();
        change.max_locks_per_xact = data_.read<int32_t>();
        change.wal_level = data_.read<int32_t>();
        change.wal_log_hints = data_.read<uint8_t>() != 0;
        change.track_commit_timestamp = data_.read<uint8_t>() != 0;
        TIDE_TRY(check_read());
        return sink_.parameter_change(change);
      }
      case xlog::kRestorePoint: {
        auto time = data_.read<int64_t>();
        std::string_view name = as_chars(data_.take(64));
        TIDE_TRY(check_read());
        return sink_.restore_point(name.substr(0, name.find('\0')), time + kPostgresEpochUs);
      }
      case xlog::kFpwChange: {
        bool on = data_.read<uint8_t>() != 0;
        TIDE_TRY(check_read());
        return sink_.full_page_writes_change(on);
      }
      case xlog::kEndOfRecovery:
        return corrupt("a compute ended a recovery, which must never happen")
            .with_detail("The end of a recovery begins another timeline of PostgreSQL.")
            .with_hint("Do not promote a standby or run recovery on a compute.");
      default:
        return unknown();
    }
  }

  Status check_timeline(uint32_t tli) const {
    if (tli == kTimelineId) return {};
    return corrupt(fmt::format("it is on timeline {} of PostgreSQL, not {}", tli, kTimelineId));
  }

  Status page_images(bool required) {
    std::array<std::byte, kPageSize> page;
    for (const BlockRef& block : record_.blocks()) {
      if (!block.apply_image) {
        if (required) return corrupt(fmt::format("no image of {}", block.tag));
        continue;  // a hint logged while full_page_writes was off
      }
      if (Status restored = restore_image(block, page.data()); !restored.ok()) {
        return std::move(restored).with_context(record_.describe());
      }
      if (!page_is_new(page.data())) set_page_lsn(page.data(), record_.end());
      TIDE_TRY(sink_.page_image(block.tag, page));
    }
    return {};
  }

  /// Clears bits of one heap block, or of two in one go if they lie on the same map page.
  Status vm_clear(const RelFork& heap, const uint32_t* heap_blocks, size_t count, uint8_t flags) {
    RelFork vm = heap;
    vm.fork = Fork::kVisibilityMap;
    if (count == 2 && vm_block(heap_blocks[0]) != vm_block(heap_blocks[1])) {
      TIDE_TRY(vm_clear(heap, heap_blocks, 1, flags));
      return vm_clear(heap, heap_blocks + 1, 1, flags);
    }
    return sink_.vm_clear({vm, vm_block(heap_blocks[0])}, {heap_blocks, count}, flags);
  }

  /// The pages of a record that concerns one heap block, and its map bits if the byte at `offset`
  /// of the main data has `flag`.
  Status heap_block(size_t offset, uint8_t flag, uint8_t vm_flags) {
    const BlockRef* block = record_.block(0);
    if (block == nullptr) return corrupt("it names no block 0");
    data_.take(offset);
    auto flags = data_.read<uint8_t>();
    TIDE_TRY(check_read());
    TIDE_TRY(pages());
    if ((flags & flag) == 0) return {};
    return vm_clear(block->tag.rel, &block->tag.block, 1, vm_flags);
  }

  Status decode_heap() {
    switch (record_.info() & heap::kOpMask) {
      case heap::kInsert:
        return heap_block(2, kAllVisibleCleared, kVmValidBits);
      case heap::kDelete:
        return heap_block(7, kAllVisibleCleared, kVmValidBits);
      case heap::kLock:
        return heap_block(7, kAllFrozenCleared, kVmAllFrozen);
      case heap::kUpdate:
      case heap::kHotUpdate:
        return heap_update();
      case heap::kConfirm:
      case heap::kInplace:
      case heap::kTruncate:  // for logical decoding only; names no block
        return pages();
      default:
        return unknown();
    }
  }

  Status heap_update() {
    const BlockRef* new_block = record_.block(0);
    if (new_block == nullptr) return corrupt("it names no block 0");
    const BlockRef* old_block = record_.block(1);
    if (old_block == nullptr) old_block = new_block;
    data_.take(7);  // old xmax, old offset, infobits
    auto flags = data_.read<uint8_t>();
    TIDE_TRY(check_read());
    TIDE_TRY(pages());
    uint32_t heap_blocks[2];
    size_t count = 0;
    if ((flags & kNewAllVisibleCleared) != 0) heap_blocks[count++] = new_block->tag.block;
    if ((flags & kAllVisibleCleared) != 0 && (count == 0 || old_block != new_block)) {
      heap_blocks[count++] = old_block->tag.block;
    }
    if (count == 0) return {};
    return vm_clear(new_block->tag.rel, heap_blocks, count, kVmValidBits);
  }

  Status decode_heap2() {
    switch (record_.info() & heap::kOpMask) {
      case heap2::kMultiInsert:
        return heap_block(0, kAllVisibleCleared, kVmValidBits);
      case heap2::kLockUpdated:
        return heap_block(7, kAllFrozenCleared, kVmAllFrozen);
      case heap2::kPrune:
      case heap2::kVacuum:
      case heap2::kFreezePage:
      case heap2::kVisible:
      case heap2::kNewCid:   // for logical decoding only; names no block
      case heap2::kRewrite:  // likewise: a mapping file for slots
        return pages();
      default:
        return unknown();
    }
  }

  Status decode_xact() {
    switch (record_.info() & xact::kOpMask) {
      case xact::kCommit:
      case xact::kCommitPrepared:
      case xact::kAbort:
      case xact::kAbortPrepared:
        return transaction_end();
      case xact::kPrepare:
        return prepare();
      case xact::kAssignment: {
        note_xid(data_.read<uint32_t>());
        auto count = data_.read<int32_t>();
        for (int32_t i = 0; i < count && !data_.failed(); ++i) note_xid(data_.read<uint32_t>());
        return check_read();
      }
      case xact::kInvalidations:
        return {};
      default:
        return unknown();
    }
  }

  void note_xid(uint32_t xid) {
    if (is_normal_xid(xid)) xid_ = newer_xid(xid_, xid);
  }

  Status transaction_end() {
    TransactionEnd end = TIDE_TRY(parse_transaction_end(record_));
    std::vector<uint32_t> many;
    std::span<const uint32_t> xids(&end.xid, 1);
    note_xid(end.xid);
    if (!end.subxids.empty()) {
      many.reserve(end.subxids.size() + 1);
      many.push_back(end.xid);
      for (size_t i = 0; i < end.subxids.size(); ++i) {
        many.push_back(end.subxids[i]);
        note_xid(end.subxids[i]);
      }
      xids = many;
    }
    TIDE_TRY(sink_.clog_status(xids, end.committed ? XidStatus::kCommitted : XidStatus::kAborted));
    if (end.committed) {
      CommitTimestamp timestamp;
      timestamp.time = end.has_origin ? end.origin_time : end.time;
      timestamp.origin = record_.origin();
      TIDE_TRY(sink_.commit_timestamps(xids, timestamp));
      TIDE_TRY(sink_.commit_time(end.unix_time_us(), record_.start(), record_.end()));
    }
    if (end.has_origin) TIDE_TRY(advance_origin(end.origin_lsn));
    if (!end.dropped_files.empty()) {
      std::vector<RelFork> relations(end.dropped_files.size());
      for (size_t i = 0; i < relations.size(); ++i) {
        FileNode node = end.dropped_files[i];
        relations[i] = {node.spc, node.db, node.rel, Fork::kMain};
      }
      TIDE_TRY(sink_.rel_drop(relations));
    }
    if (end.prepared) TIDE_TRY(sink_.twophase_delete(end.xid));
    return {};
  }

  Status advance_origin(Lsn remote_lsn) {
    if (record_.origin() == 0 || record_.origin() == kDoNotReplicate) return {};
    return sink_.replication_origin_set(record_.origin(), remote_lsn, false);
  }

  Status prepare() {
    PrepareRecord prepare = TIDE_TRY(parse_prepare(record_));
    note_xid(prepare.xid);
    for (size_t i = 0; i < prepare.subxids.size(); ++i) note_xid(prepare.subxids[i]);
    // PostgreSQL writes the record's data to the file as it is, and its checksum behind it.
    BytesView body = record_.main_data();
    Bytes file(body.begin(), body.end());
    file.resize(body.size() + sizeof(uint32_t));
    store(file.data() + body.size(), crc32c(body));
    TIDE_TRY(sink_.twophase_put(prepare.xid, file));
    return advance_origin(prepare.origin_lsn);
  }

  RelFork read_file_node() {
    RelFork rel;
    rel.spc = data_.read<uint32_t>();
    rel.db = data_.read<uint32_t>();
    rel.rel = data_.read<uint32_t>();
    return rel;
  }

  Status decode_smgr() {
    switch (record_.info()) {
      case smgr::kCreate: {
        RelFork rel = read_file_node();
        auto fork = data_.read<int32_t>();
        TIDE_TRY(check_read());
        if (fork < 0 || fork > static_cast<int32_t>(Fork::kInit)) {
          return corrupt(fmt::format("fork {}", fork));
        }
        rel.fork = static_cast<Fork>(fork);
        return sink_.rel_create(rel);
      }
      case smgr::kTruncate: {
        auto blocks = data_.read<uint32_t>();
        RelFork rel = read_file_node();
        auto flags = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        if ((flags & ~(kTruncateHeap | kTruncateVm | kTruncateFsm)) != 0) {
          return corrupt(fmt::format("truncation flags {:X}", flags));
        }
        return sink_.rel_truncate(rel, blocks, flags);
      }
      default:
        return unknown();
    }
  }

  Status decode_clog() {
    auto page = data_.read<uint32_t>();
    switch (record_.info()) {
      case clog::kZeroPage:
        TIDE_TRY(check_read());
        return sink_.clog_zero_page(page);
      case clog::kTruncate: {
        auto oldest_xid = data_.read<uint32_t>();
        auto oldest_xid_db = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.clog_truncate(page, oldest_xid, oldest_xid_db);
      }
      default:
        return unknown();
    }
  }

  Status decode_commit_ts() {
    auto page = data_.read<uint32_t>();
    switch (record_.info()) {
      case commit_ts::kZeroPage:
        TIDE_TRY(check_read());
        return sink_.commit_ts_zero_page(page);
      case commit_ts::kTruncate: {
        auto oldest_xid = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.commit_ts_truncate(page, oldest_xid);
      }
      default:
        return unknown();
    }
  }

  Status decode_database() {
    auto db = data_.read<uint32_t>();
    switch (record_.info()) {
      case database::kCreateFileCopy: {
        auto spc = data_.read<uint32_t>();
        auto source_db = data_.read<uint32_t>();
        auto source_spc = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.db_copy(source_spc, source_db, spc, db);
      }
      case database::kCreateWalLog: {
        auto spc = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.db_create(spc, db);
      }
      case database::kDrop: {
        auto count = data_.read<int32_t>();
        std::vector<uint32_t> tablespaces;
        for (int32_t i = 0; i < count && !data_.failed(); ++i) {
          tablespaces.push_back(data_.read<uint32_t>());
        }
        TIDE_TRY(check_read());
        return sink_.db_drop(db, tablespaces);
      }
      default:
        return unknown();
    }
  }

  Status decode_multixact() {
    switch (record_.info()) {
      case multixact::kZeroOffsetsPage:
      case multixact::kZeroMembersPage: {
        auto page = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return record_.info() == multixact::kZeroOffsetsPage
                   ? sink_.multixact_zero_offsets_page(page)
                   : sink_.multixact_zero_members_page(page);
      }
      case multixact::kCreate: {
        MultixactCreate create;
        create.multi = data_.read<uint32_t>();
        create.offset = data_.read<uint32_t>();
        auto count = data_.read<int32_t>();
        if (count < 0 ||
            data_.remaining() != static_cast<size_t>(count) * sizeof(MultixactMember)) {
          return corrupt(fmt::format("{} members in {} bytes", count, data_.remaining()));
        }
        std::vector<MultixactMember> members(static_cast<size_t>(count));
        for (MultixactMember& member : members) {
          member = data_.read<MultixactMember>();
          if (member.status > 5) return corrupt(fmt::format("member status {}", member.status));
          note_xid(member.xid);
        }
        create.members = members;
        TIDE_TRY(sink_.multixact_create(create));
        return sink_.next_multixact(create.next_multi(), create.next_offset());
      }
      case multixact::kTruncate: {
        MultixactTruncate truncate;
        truncate.oldest_multi_db = data_.read<uint32_t>();
        truncate.begin_multi = data_.read<uint32_t>();
        truncate.end_multi = data_.read<uint32_t>();
        truncate.begin_offset = data_.read<uint32_t>();
        truncate.end_offset = data_.read<uint32_t>();
        TIDE_TRY(check_read());
        return sink_.multixact_truncate(truncate);
      }
      default:
        return unknown();
    }
  }

  Status decode_relmap() {
    if (record_.info() != relmap::kUpdate) return unknown();
    auto db = data_.read<uint32_t>();
    auto spc = data_.read<uint32_t>();
    auto size = data_.read<int32_t>();
    BytesView content = data_.rest();
    TIDE_TRY(check_read());
    if (size != kRelmapSize || content.size() != kRelmapSize) {
      return corrupt(fmt::format("relation map of {} bytes", size));
    }
    return sink_.relmap_update(spc, db, content);
  }

  Status decode_standby() {
    switch (record_.info()) {
      case standby::kLock:
      case standby::kInvalidations:
        return {};
      case standby::kRunningXacts:
        break;
      default:
        return unknown();
    }
    RunningXacts running;
    running.xid_count = data_.read<uint32_t>();
    running.subxid_count = data_.read<uint32_t>();
    running.subxids_overflowed = (data_.read<uint32_t>() & 0xFF) != 0;
    running.next_xid = data_.read<uint32_t>();
    running.oldest_running_xid = data_.read<uint32_t>();
    running.latest_completed_xid = data_.read<uint32_t>();
    TIDE_TRY(check_read());
    // Only ids before next_xid exist.
    note_xid(running.next_xid - 1);
    return sink_.running_xacts(running);
  }

  Status decode_replication_origin() {
    switch (record_.info()) {
      case replication_origin::kSet: {
        Lsn remote_lsn(data_.read<uint64_t>());
        auto id = data_.read<uint16_t>();
        bool force = data_.read<uint8_t>() != 0;
        TIDE_TRY(check_read());
        return sink_.replication_origin_set(id, remote_lsn, force);
      }
      case replication_origin::kDrop: {
        auto id = data_.read<uint16_t>();
        TIDE_TRY(check_read());
        return sink_.replication_origin_drop(id);
      }
      default:
        return unknown();
    }
  }

  Status decode_logical_message() {
    if (record_.info() != 0) return unknown();
    LogicalMessage message;
    message.db = data_.read<uint32_t>();
    message.transactional = (data_.read<uint32_t>() & 0xFF) != 0;
    auto prefix_size = data_.read<uint64_t>();
    auto body_size = data_.read<uint64_t>();
    std::string_view prefix = as_chars(data_.take(prefix_size));
    message.body = data_.take(body_size);
    TIDE_TRY(check_read());
    if (prefix.empty() || prefix.back() != '\0' || data_.remaining() != 0) {
      return corrupt("its prefix or body has a wrong length");
    }
    message.prefix = prefix.substr(0, prefix.size() - 1);
    return sink_.logical_message(message);
  }

  const WalRecord& record_;
  EffectSink& sink_;
  ByteReader data_;
  uint32_t xid_ = kInvalidXid;  // the newest that the record names
};

}  // namespace

bool MultixactTruncate::removes_members_segment(uint32_t segment) const {
  uint32_t begin = multixact_members_segment(begin_offset);
  uint32_t end = multixact_members_segment(end_offset);
  return begin <= end ? segment >= begin && segment < end : segment >= begin || segment < end;
}

void ParameterChange::apply(ControlFile* control) const {
  control->max_connections = max_connections;
  control->max_worker_processes = max_worker_processes;
  control->max_wal_senders = max_wal_senders;
  control->max_prepared_xacts = max_prepared_xacts;
  control->max_locks_per_xact = max_locks_per_xact;
  control->wal_level = wal_level;
  control->wal_log_hints = wal_log_hints ? 1 : 0;
  control->track_commit_timestamp = track_commit_timestamp ? 1 : 0;
}

Status decode_effects(const WalRecord& record, EffectSink& sink) {
  return Decoder(record, sink).decode();
}

}  // namespace tide::pgformat
