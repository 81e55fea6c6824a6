#include "pagestore/page_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <chrono>

#include "base/bytes.h"
#include "env/file.h"
#include "obs/log.h"
#include "pagestore/history_policy.h"
#include "pagestore/page_version.h"
#include "pagestore/remote_files.h"
#include "pagestore/rocks_status.h"

namespace tide::pagestore {
namespace {

/// The versions of one thing share a prefix: the key without its LSN.
class ThingPrefix : public rocksdb::SliceTransform {
 public:
  const char* Name() const override { return "tide.thing"; }
  rocksdb::Slice Transform(const rocksdb::Slice& key) const override {
    return {key.data(), key.size() - kKeyLsnSize};
  }
  bool InDomain(const rocksdb::Slice& key) const override {
    return key.size() >= kKeyHeadSize + kKeyLsnSize;
  }
};

constexpr int kOpenFilesMax = 1024;

rocksdb::Options database_options(const Options& options, std::shared_ptr<HistoryPolicy> policy) {
  rocksdb::Options db;
  db.create_if_missing = true;
  db.prefix_extractor = std::make_shared<ThingPrefix>();
  db.compaction_filter_factory = make_history_filter(std::move(policy));
  db.write_buffer_size = options.memtable_bytes;
  db.max_write_buffer_number = 4;
  db.memtable_prefix_bloom_size_ratio = 0.05;
  db.max_background_jobs = options.background_jobs;
  db.target_file_size_base = 64 << 20;
  db.max_bytes_for_level_base = 256 << 20;
  db.level_compaction_dynamic_level_bytes = true;
  db.compression = rocksdb::kLZ4Compression;
  db.bottommost_compression = rocksdb::kZSTD;
  // Images and init records dominate the bytes; kept apart, compactions move keys only.
  db.enable_blob_files = true;
  db.min_blob_size = 1024;
  db.blob_file_size = 64 << 20;
  db.blob_compression_type = rocksdb::kLZ4Compression;
  db.enable_blob_garbage_collection = true;
  db.bytes_per_sync = 1 << 20;
  db.max_open_files = kOpenFilesMax;
  db.paranoid_checks = true;
  db.keep_log_file_num = 4;
  db.stats_dump_period_sec = 0;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = false;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.block_size = 16 << 10;
  table.format_version = 5;
  db.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return db;
}

std::string plain_key(Kind kind, TimelineId id) { return version_prefix(kind, id, ""); }

constexpr Kind kTimelineKinds[] = {Kind::kPage,     Kind::kRelSize,    Kind::kInitFork,
                                   Kind::kDatabase, Kind::kRelMap,     Kind::kSlru,
                                   Kind::kTwoPhase, Kind::kOrigin,     Kind::kCheckpoint,
                                   Kind::kControl,  Kind::kCommitTime, Kind::kIngested};

std::string commit_time_prefix(TimelineId id, int64_t time_us) {
  std::string key = plain_key(Kind::kCommitTime, id);
  append_be64(key, static_cast<uint64_t>(time_us));
  return key;
}

}  // namespace

PageStore::PageStore(Options options, std::unique_ptr<rocksdb::Env> env,
                     std::unique_ptr<rocksdb::DB> db, std::shared_ptr<HistoryPolicy> policy,
                     redo::RedoPool& redo)
    : options_(std::move(options)),
      policy_(std::move(policy)),
      env_(std::move(env)),
      db_(std::move(db)),
      versions_(*db_, tree_),
      reader_(versions_, redo) {}

PageStore::~PageStore() = default;

Result<std::unique_ptr<PageStore>> PageStore::open(Options options, redo::RedoPool& redo) {
  TIDE_TRY(env::make_directories(options.directory));
  auto policy = std::make_shared<HistoryPolicy>();
  rocksdb::Options db_options = database_options(options, policy);
  std::unique_ptr<rocksdb::Env> env;
  if (options.file_system != nullptr) {
    env = rocksdb::NewCompositeEnv(options.file_system);
    db_options.env = env.get();
    set_lazy_open(db_options);
  }
  rocksdb::DB* raw = nullptr;
  rocksdb::Status opened = rocksdb::DB::Open(db_options, options.directory, &raw);
  if (!opened.ok()) {
    return status_of(opened, "open")
        .with_detail(fmt::format("The page store's directory is {}.", options.directory))
        .with_hint(
            "`tide fsck` checks the files; with an object store a fresh data directory opens the "
            "last upload.");
  }
  std::unique_ptr<rocksdb::DB> db(raw);
  TIDE_TRY(status_of(db->SetDBOptions({{"max_open_files", std::to_string(kOpenFilesMax)}}),
                     "set options"));
  std::unique_ptr<PageStore> store(
      new PageStore(std::move(options), std::move(env), std::move(db), std::move(policy), redo));
  TIDE_TRY(store->load_timelines());
  return store;
}

Status PageStore::load_timelines() {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options));
  const std::string kind(1, static_cast<char>(Kind::kTimeline));
  for (iterator->Seek(kind); iterator->Valid() && iterator->key().starts_with(kind);
       iterator->Next()) {
    TimelineInfo info = TIDE_TRY(TimelineInfo::from_json(iterator->value().ToStringView()));
    std::string ingested;
    rocksdb::Status read =
        db_->Get(rocksdb::ReadOptions(), plain_key(Kind::kIngested, info.id), &ingested);
    Lsn lsn = info.branch_lsn;
    if (read.ok() && ingested.size() == sizeof(uint64_t))
      lsn = Lsn(load<uint64_t>(ingested.data()));
    if (!read.ok() && !read.IsNotFound()) return status_of(read, "read ingested LSN");
    tree_.put(info);
    progress_[info.id] = {lsn, lsn};
  }
  TIDE_TRY(status_of(iterator->status(), "read timelines"));
  refresh_policy();
  return {};
}

Status PageStore::add_timeline(const TimelineInfo& info) {
  std::lock_guard shape(shape_mutex_);
  if (auto known = tree_.find(info.id)) {
    if (known->parent == info.parent && known->branch_lsn == info.branch_lsn) return {};
    return {Code::kExists, fmt::format("timeline {} exists already", info.id)};
  }
  if (info.parent) {
    auto parent = tree_.find(*info.parent);
    if (!parent) return {Code::kNotFound, fmt::format("no timeline {}", *info.parent)};
    Lsn oldest = std::max(history_cutoff(*info.parent), parent->branch_lsn);
    if (info.branch_lsn < oldest) {
      return Status(Code::kOutOfRange,
                    fmt::format("no history of {} at {}", *info.parent, info.branch_lsn))
          .with_detail(fmt::format("History is kept from {} on.", oldest));
    }
  }
  TIDE_TRY(write_durably(Kind::kTimeline, number_body(info.id.value), info.to_json()));
  tree_.put(info);
  {
    std::lock_guard lock(mutex_);
    progress_.try_emplace(info.id, Progress{info.branch_lsn, info.branch_lsn});
  }
  refresh_policy();
  return {};
}

Status PageStore::remove_timeline(TimelineId id) {
  std::lock_guard shape(shape_mutex_);
  if (!tree_.find(id)) return {};
  if (tree_.has_children(id)) return {Code::kConflict, fmt::format("timeline {} has branches", id)};
  rocksdb::WriteBatch batch;
  for (Kind kind : kTimelineKinds) {
    batch.DeleteRange(plain_key(kind, id), plain_key(kind, TimelineId{id.value + 1}));
  }
  batch.Delete(plain_key(Kind::kTimeline, id));
  rocksdb::WriteOptions durable;
  durable.sync = true;
  TIDE_TRY(status_of(db_->Write(durable, &batch), "remove timeline"));
  tree_.remove(id);
  {
    std::lock_guard lock(mutex_);
    progress_.erase(id);
  }
  progressed_.notify_all();
  refresh_policy();
  return {};
}

Lsn PageStore::ingested(TimelineId id) const {
  std::lock_guard lock(mutex_);
  auto found = progress_.find(id);
  return found == progress_.end() ? Lsn() : found->second.ingested;
}

Lsn PageStore::durable(TimelineId id) const {
  std::lock_guard lock(mutex_);
  auto found = progress_.find(id);
  return found == progress_.end() ? Lsn() : found->second.durable;
}

Status PageStore::wait_for(TimelineId id, Lsn lsn, int timeout_ms) const {
  lsn = normalize(lsn);
  std::unique_lock lock(mutex_);
  auto reached = [&] {
    auto found = progress_.find(id);
    return found == progress_.end() || found->second.ingested >= lsn;
  };
  if (!reached() && wait_hook_) {
    auto hook = wait_hook_;
    lock.unlock();
    hook(id);
    lock.lock();
  }
  if (!progressed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), reached)) {
    auto found = progress_.find(id);
    return {Code::kRetry,
            fmt::format("{} is ingested up to {}, wanted {}", id, found->second.ingested, lsn)};
  }
  if (!progress_.contains(id)) return {Code::kNotFound, fmt::format("no timeline {}", id)};
  return {};
}

void PageStore::set_wait_hook(std::function<void(TimelineId)> hook) {
  std::lock_guard lock(mutex_);
  wait_hook_ = std::move(hook);
}

Status PageStore::write_ahead(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return status_of(db_->Write(options, &batch), "write");
}

Status PageStore::write(TimelineId id, rocksdb::WriteBatch& batch, Lsn end) {
  uint64_t value = end.value();
  batch.Put(plain_key(Kind::kIngested, id),
            rocksdb::Slice(reinterpret_cast<const char*>(&value), sizeof value));
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  TIDE_TRY(status_of(db_->Write(options, &batch), "write"));
  {
    std::lock_guard lock(mutex_);
    auto found = progress_.find(id);
    if (found != progress_.end()) found->second.ingested = end;
  }
  progressed_.notify_all();
  return {};
}

Status PageStore::put_image(Kind kind, TimelineId id, std::string_view body, Lsn lsn,
                            std::string_view image) {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return status_of(db_->Put(options, version_key(kind, id, body, lsn), rocksdb::Slice(image)),
                   "write image");
}

Result<std::optional<uint32_t>> PageStore::rel_size(TimelineId id, const RelFork& rel,
                                                    Lsn at) const {
  auto version = TIDE_TRY(versions_.newest(id, Kind::kRelSize, rel_body(rel), at));
  if (!version || version->value.size() != sizeof(uint32_t)) return std::optional<uint32_t>();
  uint32_t blocks = load<uint32_t>(version->value.data());
  if (blocks == kNoRelation) return std::optional<uint32_t>();
  return std::optional<uint32_t>(blocks);
}

Result<std::vector<PageStore::Database>> PageStore::databases(TimelineId id, Lsn at) const {
  std::vector<Database> databases;
  TIDE_TRY(versions_.list(id, Kind::kDatabase, "", at,
                          [&](std::string_view body, Lsn, std::string_view value) {
                            bool shared = body.size() == 8 && load_be32(&body[4]) == 0;
                            if (value.empty() || body.size() != 8 || shared) return Status();
                            databases.push_back({load_be32(body.data()), load_be32(&body[4])});
                            return Status();
                          }));
  return databases;
}

Result<std::vector<PageStore::Relation>> PageStore::relations(TimelineId id, uint32_t db,
                                                              Lsn at) const {
  // A database may have relations in any tablespace, and bodies begin with that.
  std::vector<Relation> relations;
  TIDE_TRY(versions_.list(
      id, Kind::kRelSize, "", at, [&](std::string_view body, Lsn, std::string_view value) {
        RelFork fork = rel_of_body(body);
        uint32_t blocks = value.size() == 4 ? load<uint32_t>(value.data()) : kNoRelation;
        if (fork.db == db && fork.fork == Fork::kMain && blocks != kNoRelation)
          relations.push_back({fork, blocks});
        return Status();
      }));
  return relations;
}

Result<std::optional<std::string>> PageStore::relation_map(TimelineId id, uint32_t spc, uint32_t db,
                                                           Lsn at) const {
  auto version = TIDE_TRY(versions_.newest(id, Kind::kRelMap, database_body(spc, db), at));
  if (!version || version->value.empty()) return std::optional<std::string>();
  return std::optional(std::move(version->value));
}

Result<uint64_t> PageStore::sum_of_sizes(TimelineId id, std::string_view prefix, Lsn at) const {
  uint64_t blocks = 0;
  TIDE_TRY(versions_.list(id, Kind::kRelSize, prefix, at,
                          [&](std::string_view, Lsn, std::string_view value) {
                            uint32_t size = load<uint32_t>(value.data());
                            if (size != kNoRelation) blocks += size;
                            return Status();
                          }));
  return blocks * kPageSize;
}

Result<uint64_t> PageStore::database_bytes(TimelineId id, uint32_t db, Lsn at) const {
  constexpr uint32_t kDefaultTablespace = 1663;
  return sum_of_sizes(id, database_body(kDefaultTablespace, db), at);
}

Result<uint64_t> PageStore::total_bytes(TimelineId id, Lsn at) const {
  return sum_of_sizes(id, "", at);
}

Result<pgformat::CheckPoint> PageStore::checkpoint(TimelineId id, Lsn at) const {
  auto version = TIDE_TRY(versions_.newest(id, Kind::kCheckpoint, "", at));
  if (!version) return Status(Code::kOutOfRange, fmt::format("{} has no state at {}", id, at));
  return decode_checkpoint(version->value);
}

Result<PageStore::TimePoint> PageStore::lsn_for_time(TimelineId id, int64_t time_us) const {
  // Commits close in time may stand in WAL in another order: the earliest of those after `time_us`
  // counts, as in PostgreSQL's own recovery_target_time.
  constexpr int kCommitsCompared = 1000;
  auto levels = tree_.levels(id, Lsn::max());
  std::reverse(levels.begin(), levels.end());
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto& level = levels[i];
    rocksdb::ReadOptions options;
    options.total_order_seek = true;
    std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options));
    const std::string mine = plain_key(Kind::kCommitTime, level.timeline);
    Lsn earliest = Lsn::max();
    int compared = 0;
    for (iterator->Seek(commit_time_prefix(level.timeline, time_us + 1));
         iterator->Valid() && iterator->key().starts_with(mine) && compared < kCommitsCompared;
         iterator->Next(), ++compared) {
      Lsn commit(load_be64(iterator->key().data() + iterator->key().size() - 8));
      if (commit < level.limit) earliest = std::min(earliest, commit);
    }
    TIDE_TRY(status_of(iterator->status(), "read commit times"));
    if (earliest == Lsn::max()) continue;
    bool root = i == 0;
    auto info = tree_.find(level.timeline);
    bool too_old =
        earliest < history_cutoff(level.timeline) || (root && info && time_us < info->created_us);
    return TimePoint{earliest, too_old ? TimePoint::kBeforeHistory : TimePoint::kExact};
  }
  return TimePoint{ingested(id), TimePoint::kAfterEnd};
}

Status PageStore::resume() { return status_of(db_->Resume(), "resume"); }

Status PageStore::flush() {
  std::map<TimelineId, Progress> before;
  {
    std::lock_guard lock(mutex_);
    before = progress_;
  }
  rocksdb::FlushOptions options;
  options.wait = true;
  options.allow_write_stall = true;
  TIDE_TRY(status_of(db_->Flush(options), "flush"));
  std::lock_guard lock(mutex_);
  for (const auto& [id, progress] : before) {
    auto found = progress_.find(id);
    if (found != progress_.end())
      found->second.durable = std::max(found->second.durable, progress.ingested);
  }
  return {};
}

Status PageStore::write_durably(Kind kind, std::string_view key_body, std::string_view value) {
  rocksdb::WriteOptions durable;
  durable.sync = true;
  std::string key(1, static_cast<char>(kind));
  key += key_body;
  return status_of(db_->Put(durable, key, rocksdb::Slice(value)), "write metadata");
}

Status PageStore::set_history_cutoff(TimelineId id, Lsn cutoff) {
  std::lock_guard shape(shape_mutex_);
  auto info = tree_.find(id);
  cutoff = std::min(cutoff, durable(id));
  if (!info || cutoff <= info->history_cutoff) return {};
  info->history_cutoff = cutoff;
  // Durable before any version goes: a restart must not promise what is no longer there.
  TIDE_TRY(write_durably(Kind::kTimeline, number_body(id.value), info->to_json()));
  tree_.put(*info);
  refresh_policy();
  return {};
}

Lsn PageStore::history_cutoff(TimelineId id) const {
  auto info = tree_.find(id);
  return info ? info->history_cutoff : Lsn();
}

Result<Lsn> PageStore::confirm(TimelineId id, Lsn lsn) {
  std::lock_guard shape(shape_mutex_);
  auto info = tree_.find(id);
  if (!info) return Status(Code::kNotFound, fmt::format("no timeline {}", id));
  if (lsn <= info->confirmed_lsn) return info->confirmed_lsn;
  info->confirmed_lsn = lsn;
  TIDE_TRY(write_durably(Kind::kTimeline, number_body(id.value), info->to_json()));
  tree_.put(*info);
  return lsn;
}

Status PageStore::put_metadata(std::string_view name, std::string_view value) {
  return write_durably(Kind::kMetadata, name, value);
}

Result<std::string> PageStore::metadata(std::string_view name) const {
  std::string value;
  std::string key(1, static_cast<char>(Kind::kMetadata));
  key += name;
  rocksdb::Status read = db_->Get(rocksdb::ReadOptions(), key, &value);
  if (read.IsNotFound()) return Status(Code::kNotFound, fmt::format("no metadata \"{}\"", name));
  TIDE_TRY(status_of(read, "read metadata"));
  return value;
}

void PageStore::refresh_policy() {
  HistoryPolicy::Table table;
  for (const TimelineInfo& info : tree_.all()) {
    table[info.id] = {info.history_cutoff, tree_.branch_points(info.id)};
  }
  policy_->replace(std::move(table));
}

Status PageStore::verify() const {
  TIDE_TRY(status_of(db_->VerifyChecksum(), "verify tables"));
  // Blob files are verified by reading every value.
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  options.fill_cache = false;
  options.verify_checksums = true;
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options));
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
  }
  return status_of(iterator->status(), "verify values");
}

uint64_t PageStore::disk_bytes() const {
  uint64_t tables = 0;
  uint64_t blobs = 0;
  db_->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &tables);
  db_->GetIntProperty(rocksdb::DB::Properties::kTotalBlobFileSize, &blobs);
  return tables + blobs;
}

uint64_t PageStore::own_bytes(TimelineId id) const {
  uint64_t total = 0;
  for (Kind kind : {Kind::kPage, Kind::kSlru, Kind::kRelSize}) {
    std::string begin = plain_key(kind, id);
    std::string end = plain_key(kind, TimelineId{id.value + 1});
    rocksdb::Range range(begin, end);
    rocksdb::SizeApproximationOptions options;
    options.include_files = true;
    options.include_memtables = true;
    uint64_t size = 0;
    if (db_->GetApproximateSizes(options, db_->DefaultColumnFamily(), &range, 1, &size).ok())
      total += size;
  }
  return total;
}

std::string PageStore::statistics() const {
  std::string text;
  db_->GetProperty("rocksdb.stats", &text);
  return text;
}

}  // namespace tide::pagestore
