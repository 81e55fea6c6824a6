#include "pagestore/ingest.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "pagestore/base_backup.h"
#include "pagestore/page_version.h"

namespace tide::pagestore {
namespace {

constexpr size_t kBatchBytes = 2 << 20;
constexpr size_t kSizesKept = 1 << 18;
constexpr uint32_t kCopyRun = 64;  // pages copied at a time
constexpr Fork kForks[] = {Fork::kMain, Fork::kFreeSpaceMap, Fork::kVisibilityMap, Fork::kInit};
constexpr std::string_view kPresent = "1";

RelFork with_fork(RelFork rel, Fork fork) {
  rel.fork = fork;
  return rel;
}

std::string tagged(VersionTag tag) { return std::string(1, static_cast<char>(tag)); }

/// Records whose effects depend on what is stored, beyond relation sizes. Everything before them is
/// committed first, so that reads of the store see it.
bool reads_the_store(const pgformat::WalRecord& record) {
  using pgformat::Rmgr;
  return record.is(Rmgr::kDatabase) || record.is(Rmgr::kMultixact) || record.is(Rmgr::kClog) ||
         record.is(Rmgr::kCommitTs) || record.is(Rmgr::kReplicationOrigin) ||
         (record.is(Rmgr::kXlog) && record.info() == pgformat::xlog::kParameterChange);
}

/// Groups items by the page they lie on.
template <typename Item, typename PageOf>
std::map<uint32_t, std::vector<Item>> by_page(std::span<const Item> items, PageOf page_of) {
  std::map<uint32_t, std::vector<Item>> pages;
  for (const Item& item : items) pages[page_of(item)].push_back(item);
  return pages;
}

}  // namespace

struct Ingest::Batch {
  rocksdb::WriteBatch writes;
};

Ingest::Ingest(PageStore& store, TimelineId timeline, ImageQueue& images)
    : store_(store),
      timeline_(timeline),
      images_(images),
      batch_(std::make_unique<Batch>()),
      applied_(store.ingested(timeline)) {}

Ingest::~Ingest() = default;

Status Ingest::apply(const pgformat::WalRecordView& view) {
  TIDE_TRY(record_.parse(view));
  if (reads_the_store(record_)) TIDE_TRY(commit());
  Status effects = pgformat::decode_effects(record_, *this);
  if (!effects.ok()) {
    return std::move(effects).with_context(
        fmt::format("ingest {} of {}", record_.describe(), timeline_));
  }
  applied_ = record_.end();
  return {};
}

Status Ingest::commit() {
  if (applied_ <= store_.ingested(timeline_)) return {};
  TIDE_TRY(store_.write(timeline_, batch_->writes, applied_));
  batch_->writes.Clear();
  origins_.clear();
  if (sizes_.size() > kSizesKept) sizes_.clear();
  return {};
}

Status Ingest::spill() {
  if (!is_full()) return {};
  TIDE_TRY(store_.write_ahead(batch_->writes));
  batch_->writes.Clear();
  return {};
}

bool Ingest::is_full() const { return batch_->writes.GetDataSize() >= kBatchBytes; }

void Ingest::put(Kind kind, std::string_view body, std::string_view value) {
  batch_->writes.Put(version_key(kind, timeline_, body, lsn()), rocksdb::Slice(value));
}

void Ingest::put_slru(Slru slru, uint32_t page, std::string_view version) {
  std::string body = slru_body(slru, page);
  put(Kind::kSlru, body, version);
  if (is_base(version)) {
    images_.got_base(timeline_, Kind::kSlru, body);
  } else {
    images_.grew(timeline_, Kind::kSlru, body, version.size());
  }
}

Result<uint32_t> Ingest::size_of(const RelFork& rel) {
  auto known = sizes_.find(rel);
  if (known != sizes_.end()) return known->second;
  auto stored = TIDE_TRY(store_.rel_size(timeline_, rel, store_.ingested(timeline_)));
  uint32_t blocks = stored.value_or(kNoRelation);
  sizes_[rel] = blocks;
  return blocks;
}

void Ingest::set_size(const RelFork& rel, uint32_t blocks) {
  std::string value;
  append(value, blocks);
  put(Kind::kRelSize, rel_body(rel), value);
  sizes_[rel] = blocks;
}

Status Ingest::extend_to(const PageTag& tag, bool makes_page) {
  uint32_t blocks = TIDE_TRY(size_of(tag.rel));
  uint32_t begin = blocks == kNoRelation ? 0 : blocks;
  if (blocks != kNoRelation && tag.block < blocks) return {};
  // PostgreSQL 15 extends by zeros without a record; older pages of a truncated part must not show.
  for (uint32_t gap = begin; gap < tag.block; ++gap) {
    put(Kind::kPage, page_body({tag.rel, gap}), tagged(VersionTag::kZeros));
    TIDE_TRY(spill());
  }
  // The block itself was zeros, too, when the record met it; just before, as its own LSN is taken.
  if (!makes_page) {
    batch_->writes.Put(version_key(Kind::kPage, timeline_, page_body(tag), lsn() - 1),
                       tagged(VersionTag::kZeros));
  }
  if (tag.rel.fork == Fork::kInit && blocks == kNoRelation)
    put(Kind::kInitFork, rel_body(tag.rel), kPresent);
  set_size(tag.rel, tag.block + 1);
  return {};
}

Status Ingest::page_record(const PageTag& tag, bool will_init) {
  TIDE_TRY(extend_to(tag, will_init));
  std::string body = page_body(tag);
  put(Kind::kPage, body, encode_record(record_.bytes(), will_init));
  if (will_init) {
    images_.got_base(timeline_, Kind::kPage, body);
  } else {
    images_.grew(timeline_, Kind::kPage, body, record_.bytes().size());
  }
  return {};
}

Status Ingest::page_image(const PageTag& tag, BytesView page) {
  TIDE_TRY(extend_to(tag, true));
  std::string body = page_body(tag);
  put(Kind::kPage, body, encode_image(page.data()));
  images_.got_base(timeline_, Kind::kPage, body);
  return {};
}

Status Ingest::vm_clear(const PageTag& vm_page, std::span<const uint32_t> heap_blocks,
                        uint8_t flags) {
  uint32_t blocks = TIDE_TRY(size_of(vm_page.rel));
  if (blocks == kNoRelation || vm_page.block >= blocks) return {};
  std::string version = tagged(VersionTag::kVmClear);
  append(version, flags);
  for (uint32_t block : heap_blocks) append(version, block);
  std::string body = page_body(vm_page);
  put(Kind::kPage, body, version);
  images_.grew(timeline_, Kind::kPage, body, version.size());
  return {};
}

Status Ingest::rel_create(const RelFork& fork) {
  if (TIDE_TRY(size_of(fork)) != kNoRelation) return {};
  set_size(fork, 0);
  if (fork.fork == Fork::kInit) put(Kind::kInitFork, rel_body(fork), kPresent);
  return {};
}

Status Ingest::truncate_map(const RelFork& map, const pgformat::MapTruncation& truncation,
                            char tail_tag, uint32_t heap_blocks) {
  uint32_t blocks = TIDE_TRY(size_of(map));
  if (blocks == kNoRelation) return {};
  if (truncation.has_tail && truncation.tail_block < blocks) {
    std::string version(1, tail_tag);
    append(version, heap_blocks);
    put(Kind::kPage, page_body({map, truncation.tail_block}), version);
  }
  if (truncation.blocks < blocks) set_size(map, truncation.blocks);
  return {};
}

Status Ingest::rel_truncate(const RelFork& main, uint32_t blocks, uint32_t flags) {
  if ((flags & pgformat::kTruncateHeap) != 0) set_size(main, blocks);
  if ((flags & pgformat::kTruncateVm) != 0) {
    TIDE_TRY(truncate_map(with_fork(main, Fork::kVisibilityMap), pgformat::vm_truncation(blocks),
                          static_cast<char>(VersionTag::kVmTail), blocks));
  }
  if ((flags & pgformat::kTruncateFsm) != 0) {
    TIDE_TRY(truncate_map(with_fork(main, Fork::kFreeSpaceMap), pgformat::fsm_truncation(blocks),
                          static_cast<char>(VersionTag::kFsmTail), blocks));
  }
  return {};
}

Status Ingest::drop_fork(const RelFork& rel) {
  if (TIDE_TRY(size_of(rel)) == kNoRelation) return {};
  set_size(rel, kNoRelation);
  if (rel.fork == Fork::kInit) put(Kind::kInitFork, rel_body(rel), "");
  return {};
}

Status Ingest::rel_drop(std::span<const RelFork> relations) {
  for (const RelFork& relation : relations) {
    for (Fork fork : kForks) TIDE_TRY(drop_fork(with_fork(relation, fork)));
  }
  return {};
}

Status Ingest::db_create(uint32_t spc, uint32_t db) {
  put(Kind::kDatabase, database_body(spc, db), kPresent);
  return {};
}

Status Ingest::drop_relations_of(uint32_t spc, uint32_t db) {
  return store_.versions().list(
      timeline_, Kind::kRelSize, database_body(spc, db), store_.ingested(timeline_),
      [&](std::string_view body, Lsn, std::string_view) { return drop_fork(rel_of_body(body)); });
}

Status Ingest::db_copy(uint32_t source_spc, uint32_t source_db, uint32_t spc, uint32_t db) {
  TIDE_TRY(drop_relations_of(spc, db));
  TIDE_TRY(db_create(spc, db));
  Lsn before = store_.ingested(timeline_);
  auto map = TIDE_TRY(store_.versions().newest(timeline_, Kind::kRelMap,
                                               database_body(source_spc, source_db), before));
  if (map) put(Kind::kRelMap, database_body(spc, db), map->value);
  return store_.versions().list(
      timeline_, Kind::kRelSize, database_body(source_spc, source_db), before,
      [&](std::string_view body, Lsn, std::string_view value) -> Status {
        uint32_t blocks = load<uint32_t>(value.data());
        if (blocks == kNoRelation) return {};
        RelFork source = rel_of_body(body);
        RelFork target{spc, db, source.rel, source.fork};
        std::vector<std::byte> pages(size_t{kCopyRun} * kPageSize);
        for (uint32_t begin = 0; begin < blocks; begin += kCopyRun) {
          std::vector<PageTag> tags;
          for (uint32_t block = begin; block < std::min(blocks, begin + kCopyRun); ++block) {
            tags.push_back({source, block});
          }
          TIDE_TRY(store_.pages().read(timeline_, tags, before, pages.data()));
          for (size_t i = 0; i < tags.size(); ++i) {
            put(Kind::kPage, page_body({target, tags[i].block}),
                encode_image(pages.data() + i * kPageSize));
          }
          TIDE_TRY(spill());
        }
        set_size(target, blocks);
        if (target.fork == Fork::kInit) put(Kind::kInitFork, rel_body(target), kPresent);
        return {};
      });
}

Status Ingest::db_drop(uint32_t db, std::span<const uint32_t> tablespaces) {
  for (uint32_t spc : tablespaces) {
    TIDE_TRY(drop_relations_of(spc, db));
    put(Kind::kDatabase, database_body(spc, db), "");
    put(Kind::kRelMap, database_body(spc, db), "");
  }
  return {};
}

Status Ingest::relmap_update(uint32_t spc, uint32_t db, BytesView content) {
  put(Kind::kRelMap, database_body(spc, db), as_chars(content));
  return {};
}

Status Ingest::clog_status(std::span<const uint32_t> xids, pgformat::XidStatus status) {
  for (const auto& [page, members] : by_page(xids, pgformat::clog_page)) {
    std::string version = tagged(VersionTag::kXactStatus);
    append(version, static_cast<uint8_t>(status));
    for (uint32_t xid : members) append(version, xid);
    put_slru(Slru::kClog, page, version);
  }
  return {};
}

Status Ingest::commit_time(int64_t unix_time_us, Lsn begin, Lsn /*end*/) {
  std::string key = version_prefix(Kind::kCommitTime, timeline_, "");
  append_be64(key, static_cast<uint64_t>(std::max<int64_t>(unix_time_us, 0)));
  append_be64(key, begin.value());
  batch_->writes.Put(key, "");
  return {};
}

Status Ingest::commit_timestamps(std::span<const uint32_t> xids,
                                 pgformat::CommitTimestamp timestamp) {
  if (!TIDE_TRY(tracks_commit_timestamps())) return {};
  for (const auto& [page, members] : by_page(xids, pgformat::commit_ts_page)) {
    std::string version = tagged(VersionTag::kCommitTimestamps);
    append(version, timestamp.time);
    append(version, timestamp.origin);
    for (uint32_t xid : members) append(version, xid);
    put_slru(Slru::kCommitTs, page, version);
  }
  return {};
}

Result<bool> Ingest::tracks_commit_timestamps() {
  if (!tracks_commit_timestamps_) {
    auto control = TIDE_TRY(stored_control_file(store_, timeline_, store_.ingested(timeline_)));
    tracks_commit_timestamps_ = control.track_commit_timestamp != 0;
  }
  return *tracks_commit_timestamps_;
}

Status Ingest::clog_zero_page(uint32_t page) {
  put_slru(Slru::kClog, page, tagged(VersionTag::kZeros));
  return {};
}

Status Ingest::remove_slru_pages(Slru slru, const std::function<bool(uint32_t page)>& removable) {
  return store_.versions().list(timeline_, Kind::kSlru, std::string(1, static_cast<char>(slru)),
                                store_.ingested(timeline_),
                                [&](std::string_view body, Lsn, std::string_view value) -> Status {
                                  bool gone = value.front() == static_cast<char>(VersionTag::kGone);
                                  uint32_t page = slru_of_body(body).page;
                                  if (!gone && removable(page)) {
                                    put_slru(slru, page, tagged(VersionTag::kGone));
                                  }
                                  return {};
                                });
}

Status Ingest::clog_truncate(uint32_t cutoff_page, uint32_t oldest_xid, uint32_t oldest_xid_db) {
  pgformat::CheckPoint* now = TIDE_TRY(tracked());
  now->oldest_xid = oldest_xid;
  now->oldest_xid_db = oldest_xid_db;
  TIDE_TRY(put_tracked());
  // As PostgreSQL: nothing is removed if the newest page seems to lie before the cutoff.
  uint32_t newest = pgformat::clog_page(static_cast<uint32_t>(now->next_xid));
  if (pgformat::slru_page_precedes(Slru::kClog, newest, cutoff_page)) return {};
  return remove_slru_pages(Slru::kClog, [&](uint32_t page) {
    return pgformat::slru_segment_is_removable(Slru::kClog, page, cutoff_page);
  });
}

Status Ingest::commit_ts_zero_page(uint32_t page) {
  put_slru(Slru::kCommitTs, page, tagged(VersionTag::kZeros));
  return {};
}

Status Ingest::commit_ts_truncate(uint32_t cutoff_page, uint32_t oldest_xid) {
  pgformat::CheckPoint* now = TIDE_TRY(tracked());
  now->oldest_commit_ts_xid = oldest_xid;
  TIDE_TRY(put_tracked());
  return remove_slru_pages(Slru::kCommitTs, [&](uint32_t page) {
    return pgformat::slru_segment_is_removable(Slru::kCommitTs, page, cutoff_page);
  });
}

Status Ingest::multixact_create(const pgformat::MultixactCreate& create) {
  const OffsetChange offsets[] = {{create.multi, create.offset},
                                  {create.next_multi(), create.next_offset()}};
  for (const auto& [page, changes] :
       by_page(std::span<const OffsetChange>(offsets), [](const OffsetChange& change) {
         return pgformat::multixact_offsets_page(change.multi);
       })) {
    std::string version = tagged(VersionTag::kMultixactOffsets);
    for (const OffsetChange& change : changes) append(version, change);
    put_slru(Slru::kMultixactOffsets, page, version);
  }
  std::vector<MemberChange> members;
  uint32_t offset = create.offset;
  for (const pgformat::MultixactMember& member : create.members) {
    members.push_back({offset++, member.xid, member.status});
  }
  for (const auto& [page, changes] :
       by_page(std::span<const MemberChange>(members), [](const MemberChange& change) {
         return pgformat::multixact_members_page(change.offset);
       })) {
    std::string version = tagged(VersionTag::kMultixactMembers);
    for (const MemberChange& change : changes) append(version, change);
    put_slru(Slru::kMultixactMembers, page, version);
  }
  return {};
}

Status Ingest::multixact_zero_offsets_page(uint32_t page) {
  // PostgreSQL 15.18 and later write the first entry of the next page with the last multixact of
  // the page before, possibly ahead of this record.
  auto version = TIDE_TRY(store_.versions().newest(timeline_, Kind::kSlru,
                                                   slru_body(Slru::kMultixactOffsets, page),
                                                   store_.ingested(timeline_)));
  bool made_in_advance =
      version && version->value.front() == static_cast<char>(VersionTag::kMultixactOffsets);
  if (!made_in_advance) put_slru(Slru::kMultixactOffsets, page, tagged(VersionTag::kZeros));
  return {};
}

Status Ingest::multixact_zero_members_page(uint32_t page) {
  put_slru(Slru::kMultixactMembers, page, tagged(VersionTag::kZeros));
  return {};
}

Status Ingest::multixact_truncate(const pgformat::MultixactTruncate& truncate) {
  pgformat::CheckPoint* now = TIDE_TRY(tracked());
  now->oldest_multi = truncate.end_multi;
  now->oldest_multi_db = truncate.oldest_multi_db;
  TIDE_TRY(put_tracked());
  TIDE_TRY(remove_slru_pages(Slru::kMultixactMembers, [&](uint32_t page) {
    return truncate.removes_members_segment(page / pgformat::kSlruPagesPerSegment);
  }));
  return remove_slru_pages(Slru::kMultixactOffsets, [&](uint32_t page) {
    return pgformat::slru_segment_is_removable(Slru::kMultixactOffsets, page,
                                               truncate.offsets_cutoff_page());
  });
}

Status Ingest::twophase_put(uint32_t xid, BytesView state_file) {
  put(Kind::kTwoPhase, number_body(xid), as_chars(state_file));
  return {};
}

Status Ingest::twophase_delete(uint32_t xid) {
  put(Kind::kTwoPhase, number_body(xid), "");
  return {};
}

Result<pgformat::CheckPoint*> Ingest::tracked() {
  if (!have_tracked_) {
    tracked_ = TIDE_TRY(store_.checkpoint(timeline_, store_.ingested(timeline_)));
    have_tracked_ = true;
  }
  return &tracked_;
}

Status Ingest::put_tracked() {
  put(Kind::kCheckpoint, "", encode_checkpoint(tracked_));
  return {};
}

Status Ingest::xid_used(uint32_t xid) {
  return see_xid(TIDE_TRY(tracked()), xid) ? put_tracked() : Status();
}

Status Ingest::next_oid(uint32_t oid) {
  TIDE_TRY(tracked())->next_oid = oid;
  return put_tracked();
}

Status Ingest::next_multixact(uint32_t next_multi, uint32_t next_offset) {
  pgformat::advance_next_multi(TIDE_TRY(tracked()), next_multi, next_offset);
  return put_tracked();
}

Status Ingest::checkpoint(const pgformat::CheckPoint& checkpoint, bool shutdown) {
  pgformat::merge_checkpoint(TIDE_TRY(tracked()), checkpoint, shutdown);
  return put_tracked();
}

Status Ingest::running_xacts(const pgformat::RunningXacts& running) {
  pgformat::CheckPoint* now = TIDE_TRY(tracked());
  now->oldest_active_xid = running.oldest_running_xid;
  see_xid(now, running.next_xid - 1);
  return put_tracked();
}

Status Ingest::parameter_change(const pgformat::ParameterChange& change) {
  pgformat::ControlFile control =
      TIDE_TRY(stored_control_file(store_, timeline_, store_.ingested(timeline_)));
  change.apply(&control);
  tracks_commit_timestamps_ = control.track_commit_timestamp != 0;
  put(Kind::kControl, "", control.serialize());
  return {};
}

Status Ingest::full_page_writes_change(bool on) {
  TIDE_TRY(tracked())->full_page_writes = on ? 1 : 0;
  return put_tracked();
}

Status Ingest::replication_origin_set(uint16_t id, Lsn remote_lsn, bool force) {
  if (!force) {
    auto pending = origins_.find(id);
    uint64_t known = pending == origins_.end() ? 0 : pending->second;
    if (pending == origins_.end()) {
      auto stored = TIDE_TRY(store_.versions().newest(timeline_, Kind::kOrigin, number_body(id),
                                                      store_.ingested(timeline_)));
      if (stored && stored->value.size() == sizeof(uint64_t))
        known = load<uint64_t>(stored->value.data());
    }
    if (known >= remote_lsn.value()) return {};
  }
  origins_[id] = remote_lsn.value();
  std::string value;
  append(value, remote_lsn.value());
  put(Kind::kOrigin, number_body(id), value);
  return {};
}

Status Ingest::replication_origin_drop(uint16_t id) {
  origins_[id] = 0;
  put(Kind::kOrigin, number_body(id), "");
  return {};
}

// Effects without anything to store: messages are for consumers of the WAL, a restore point can be
// branched at by its time, and a switch only moves the LSN.
Status Ingest::logical_message(const pgformat::LogicalMessage& /*message*/) { return {}; }
Status Ingest::restore_point(std::string_view /*name*/, int64_t /*unix_time_us*/) { return {}; }
Status Ingest::wal_switch() { return {}; }

}  // namespace tide::pagestore
