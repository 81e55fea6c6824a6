#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/image_queue.h"
#include "pagestore/page_store.h"
#include "pgformat/wal_effects.h"

namespace tide::pagestore {

/// Turns a timeline's WAL records into versions. One thread.
///
/// Effects gather in a batch until commit(); the batch ends at a record's end, and enters the store
/// together with that LSN. A record with very many effects enters in parts, the LSN with the last
/// one, so the store may hold versions above its ingested LSN: nothing here reads above that. After
/// an error the object must be thrown away: a fresh one continues from what the store has.
class Ingest : private pgformat::EffectSink {
 public:
  Ingest(PageStore& store, TimelineId timeline, ImageQueue& images);
  ~Ingest() override;

  Status apply(const pgformat::WalRecordView& record);
  /// Enters everything applied so far.
  Status commit();
  /// End of the last record applied.
  Lsn applied() const { return applied_; }
  /// True once the batch has grown so large that it should be committed.
  bool is_full() const;

 private:
  Status page_record(const PageTag& tag, bool will_init) override;
  Status page_image(const PageTag& tag, BytesView page) override;
  Status vm_clear(const PageTag& vm_page, std::span<const uint32_t> heap_blocks,
                  uint8_t flags) override;
  Status rel_create(const RelFork& fork) override;
  Status rel_truncate(const RelFork& main, uint32_t blocks, uint32_t flags) override;
  Status rel_drop(std::span<const RelFork> relations) override;
  Status db_create(uint32_t spc, uint32_t db) override;
  Status db_copy(uint32_t source_spc, uint32_t source_db, uint32_t spc, uint32_t db) override;
  Status db_drop(uint32_t db, std::span<const uint32_t> tablespaces) override;
  Status relmap_update(uint32_t spc, uint32_t db, BytesView content) override;
  Status clog_status(std::span<const uint32_t> xids, pgformat::XidStatus status) override;
  Status commit_time(int64_t unix_time_us, Lsn begin, Lsn end) override;
  Status commit_timestamps(std::span<const uint32_t> xids,
                           pgformat::CommitTimestamp timestamp) override;
  Status clog_zero_page(uint32_t page) override;
  Status clog_truncate(uint32_t cutoff_page, uint32_t oldest_xid, uint32_t oldest_xid_db) override;
  Status commit_ts_zero_page(uint32_t page) override;
  Status commit_ts_truncate(uint32_t cutoff_page, uint32_t oldest_xid) override;
  Status multixact_create(const pgformat::MultixactCreate& create) override;
  Status multixact_zero_offsets_page(uint32_t page) override;
  Status multixact_zero_members_page(uint32_t page) override;
  Status multixact_truncate(const pgformat::MultixactTruncate& truncate) override;
  Status twophase_put(uint32_t xid, BytesView state_file) override;
  Status twophase_delete(uint32_t xid) override;
  Status xid_used(uint32_t xid) override;
  Status next_oid(uint32_t oid) override;
  Status next_multixact(uint32_t next_multi, uint32_t next_offset) override;
  Status checkpoint(const pgformat::CheckPoint& checkpoint, bool shutdown) override;
  Status running_xacts(const pgformat::RunningXacts& running) override;
  Status parameter_change(const pgformat::ParameterChange& change) override;
  Status full_page_writes_change(bool on) override;
  Status replication_origin_set(uint16_t id, Lsn remote_lsn, bool force) override;
  Status replication_origin_drop(uint16_t id) override;
  Status logical_message(const pgformat::LogicalMessage& message) override;
  Status restore_point(std::string_view name, int64_t unix_time_us) override;
  Status wal_switch() override;

  Lsn lsn() const { return record_.end(); }
  void put(Kind kind, std::string_view body, std::string_view value);
  void put_slru(Slru slru, uint32_t page, std::string_view version);
  /// Enters a part of a record with very many effects; nobody sees it before the record's commit().
  Status spill();
  Result<uint32_t> size_of(const RelFork& rel);
  void set_size(const RelFork& rel, uint32_t blocks);
  /// `makes_page`: the version that follows needs no older one.
  Status extend_to(const PageTag& tag, bool makes_page);
  Status drop_fork(const RelFork& rel);
  Status drop_relations_of(uint32_t spc, uint32_t db);
  Status truncate_map(const RelFork& map, const pgformat::MapTruncation& truncation, char tail_tag,
                      uint32_t heap_blocks);
  Status remove_slru_pages(Slru slru, const std::function<bool(uint32_t page)>& removable);
  Result<pgformat::CheckPoint*> tracked();
  Status put_tracked();
  /// Cluster state as of the last record applied, whether committed or not.
  Result<bool> tracks_commit_timestamps();

  PageStore& store_;
  TimelineId timeline_;
  ImageQueue& images_;
  struct Batch;
  std::unique_ptr<Batch> batch_;
  pgformat::WalRecord record_;
  Lsn applied_;
  /// Sizes as of the last record applied, whether committed or not; kNoRelation for what is not
  /// there.
  std::unordered_map<RelFork, uint32_t> sizes_;
  bool have_tracked_ = false;
  pgformat::CheckPoint tracked_;
  std::optional<bool> tracks_commit_timestamps_;
  /// Of the batch: replication origins that it moves.
  std::unordered_map<uint16_t, uint64_t> origins_;
};

}  // namespace tide::pagestore
