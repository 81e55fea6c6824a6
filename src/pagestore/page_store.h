#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pagestore/page_reader.h"
#include "pagestore/timeline_tree.h"
#include "pagestore/tracked_checkpoint.h"
#include "pagestore/versions.h"

namespace rocksdb {
class DB;
class Env;
class FileSystem;
class WriteBatch;
}  // namespace rocksdb

namespace tide::pagestore {

class HistoryPolicy;

struct Options {
  std::string directory;               ///< of the database
  uint64_t memtable_bytes = 64 << 20;  ///< of one write buffer; four may exist
  uint64_t block_cache_bytes = 128 << 20;
  int background_jobs = 2;
  /// Where the database's files come from; null: local files only.
  std::shared_ptr<rocksdb::FileSystem> file_system;
};

/// Every page of every branch of one project, at every LSN of the history window.
///
/// One RocksDB database without a write-ahead log of its own: what is ingested from PostgreSQL's
/// WAL comes back from there. One column family, so that a flush keeps a record's effects and the
/// LSN up to which records are in together. Thread-safe; per timeline one ingesting thread.
class PageStore {
 public:
  static Result<std::unique_ptr<PageStore>> open(Options options, redo::RedoPool& redo);
  ~PageStore();

  /// Adds a timeline, durably. Adding it again with the same parent and LSN is fine; kExists
  /// otherwise, kOutOfRange where the parent has no history (any more) at `branch_lsn`.
  Status add_timeline(const TimelineInfo& info);
  /// Removes a timeline and its versions, durably; kConflict while it has children.
  Status remove_timeline(TimelineId id);
  const TimelineTree& tree() const { return tree_; }

  const Versions& versions() const { return versions_; }
  const PageReader& pages() const { return reader_; }

  /// Everything below is in the store and readable.
  Lsn ingested(TimelineId id) const;
  /// What a crash of this process cannot take away any more; the WAL below may be removed.
  Lsn durable(TimelineId id) const;

  /// Waits until `lsn` is ingested; kRetry after `timeout_ms`.
  Status wait_for(TimelineId id, Lsn lsn, int timeout_ms) const;
  /// Called (from any thread) when somebody waits for an LSN that is not there yet.
  void set_wait_hook(std::function<void(TimelineId)> hook);

  /// Enters all effects of the records up to `end` at once.
  Status write(TimelineId id, rocksdb::WriteBatch& batch, Lsn end);
  /// Enters versions above the ingested LSN, which stays; write() of the record they belong to
  /// follows. Until then nobody may read above the ingested LSN; after a crash they are written
  /// again, the same.
  Status write_ahead(rocksdb::WriteBatch& batch);
  /// Stores `image` as the version of `body` at `lsn`, in the place of the version that led to it.
  Status put_image(Kind kind, TimelineId id, std::string_view body, Lsn lsn,
                   std::string_view image);

  /// Blocks of a relation fork; nothing if it does not exist at `at`.
  Result<std::optional<uint32_t>> rel_size(TimelineId id, const RelFork& rel, Lsn at) const;
  /// Databases with their tablespaces, and the main forks of a database's relations (0: the shared
  /// ones).
  struct Database {
    uint32_t spc;
    uint32_t db;
  };
  Result<std::vector<Database>> databases(TimelineId id, Lsn at) const;
  struct Relation {
    RelFork fork;
    uint32_t blocks;
  };
  Result<std::vector<Relation>> relations(TimelineId id, uint32_t db, Lsn at) const;
  /// pg_filenode.map of a database (1664, 0: the shared one); nothing if there is none.
  Result<std::optional<std::string>> relation_map(TimelineId id, uint32_t spc, uint32_t db,
                                                  Lsn at) const;
  /// Bytes of all relations of a database.
  Result<uint64_t> database_bytes(TimelineId id, uint32_t db, Lsn at) const;
  /// Bytes of all relations of all databases.
  Result<uint64_t> total_bytes(TimelineId id, Lsn at) const;
  /// What a checkpoint at `at` would say; kOutOfRange where the timeline has no state.
  Result<pgformat::CheckPoint> checkpoint(TimelineId id, Lsn at) const;

  /// Where the first commit after `time_us` begins: the state at that LSN is the state at that
  /// time.
  struct TimePoint {
    Lsn lsn;
    enum Kind { kExact, kBeforeHistory, kAfterEnd } kind;
  };
  Result<TimePoint> lsn_for_time(TimelineId id, int64_t time_us) const;

  /// After a failed write or flush (disk full): lets the database accept writes again, if it can.
  Status resume();
  /// Makes everything ingested so far durable. Long: seconds.
  Status flush();

  /// History below is no longer promised (branches keep what they need). Not above what is durable:
  /// after a crash that is all there is.
  Status set_history_cutoff(TimelineId id, Lsn cutoff);
  Lsn history_cutoff(TimelineId id) const;

  /// The timeline's learner needs no WAL below `lsn`, durably. Never goes back; returns the highest
  /// ever. kNotFound if there is no such timeline.
  Result<Lsn> confirm(TimelineId id, Lsn lsn);

  /// Small named blobs that belong to the project (the control plane's state), written durably.
  Status put_metadata(std::string_view name, std::string_view value);
  /// kNotFound if it was never put.
  Result<std::string> metadata(std::string_view name) const;

  /// Reads every stored byte and checks its checksum.
  Status verify() const;
  uint64_t disk_bytes() const;
  /// Bytes of a timeline's own versions, approximately.
  uint64_t own_bytes(TimelineId id) const;
  std::string statistics() const;

  rocksdb::DB& db() { return *db_; }

 private:
  struct Progress {
    Lsn ingested;
    Lsn durable;
  };

  PageStore(Options options, std::unique_ptr<rocksdb::Env> env, std::unique_ptr<rocksdb::DB> db,
            std::shared_ptr<HistoryPolicy> policy, redo::RedoPool& redo);
  Status load_timelines();
  void refresh_policy();
  Result<uint64_t> sum_of_sizes(TimelineId id, std::string_view prefix, Lsn at) const;
  Status write_durably(Kind kind, std::string_view key_body, std::string_view value);

  Options options_;
  std::shared_ptr<HistoryPolicy> policy_;
  std::unique_ptr<rocksdb::Env> env_;  // of db_, if its files come from the object store
  std::unique_ptr<rocksdb::DB> db_;
  TimelineTree tree_;
  Versions versions_;
  PageReader reader_;

  std::mutex shape_mutex_;    // one change of the tree at a time; taken before all others
  mutable std::mutex mutex_;  // guards progress_, wait_hook_
  mutable std::condition_variable progressed_;
  std::map<TimelineId, Progress> progress_;
  std::function<void(TimelineId)> wait_hook_;
};

}  // namespace tide::pagestore
