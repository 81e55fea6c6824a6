#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "learner/wal_stream.h"
#include "mirror/database_mirror.h"
#include "mirror/transaction_buffer.h"
#include "pgformat/transaction_record.h"

namespace tide::mirror {

/// One timeline's databases in the lake, kept by its WAL: buffers what transactions do until they
/// commit, then applies it, in the order of the commit records. Not thread-safe but where it says
/// so.
class TimelineMirror {
 public:
  struct Options {
    TimelineId timeline;
    std::string spill_directory;
  };
  TimelineMirror(Options options, learner::PageSource& source);

  /// Reads everything as of `at` (a record's end) from pages; the WAL is then followed from there.
  Status load(Lsn at);
  /// At a restart, after restore_table() of all tables as of `at`: the WAL is then followed from
  /// `from` on, and what committed up to `at` is not applied again.
  Status resume(Lsn at, Lsn from);
  /// Tables that are to stay out of the lake, "schema.table" by database name.
  void exclude(std::map<std::string, std::set<std::string>> tables);
  /// A database of the state that is restored.
  DatabaseMirror& restore_database(uint32_t oid);

  /// One record, in the order of the WAL.
  Status apply(const pgformat::WalRecordView& record);
  /// Another compute writes from here on: what was in progress, unless prepared, has ended.
  void new_writer() { buffer_.drop_unprepared(); }

  /// Every commit up to here is in the tables.
  Lsn applied() const { return applied_; }
  /// Where the WAL must be read from again to have all open transactions whole.
  Lsn restart_lsn() const { return buffer_.oldest(applied_); }
  /// Commit time of the newest transaction applied, microseconds since 1970.
  int64_t commit_time_us() const { return commit_time_us_; }
  uint64_t transactions() const { return transactions_; }

  const std::map<uint32_t, std::unique_ptr<DatabaseMirror>>& databases() const {
    return databases_;
  }
  std::map<uint32_t, std::unique_ptr<DatabaseMirror>>& databases() { return databases_; }
  /// Null if there is no such database in the lake.
  DatabaseMirror* database(std::string_view name);
  const SharedCatalog& shared() const { return shared_; }
  /// Tables that were dropped and whose end no cut has recorded yet.
  std::vector<LakeTable*> dropped();
  bool has_dropped() { return !dropped().empty(); }
  void forget_dropped(const TableCut& cut);
  /// Dropped tables that were never published leave nothing behind.
  void forget_unpublished_drops();
  /// The table that a cut is of, dropped or not; null if a cut has taken its end already. A table
  /// that left the lake and came back is another one, under the same oid.
  LakeTable* find_table(const TableCut& cut);
  const TransactionBuffer& buffer() const { return buffer_; }
  uint64_t& next_segment() { return next_segment_; }

 private:
  Status load_shared(Lsn at, TransactionBuffer* open);
  Status load_database(const Database& database, Lsn at, TransactionBuffer* open);
  static bool belongs_into_lake(const Database& database) {
    return !database.is_template && database.allows_connections && database.is_utf8();
  }
  FileUse use_of(const RelFork& file);
  CatalogHeap* catalog_heap(const RelFork& file, const FileUse& use);
  Status heap_record(const pgformat::WalRecord& record);
  Status transaction_record(const pgformat::WalRecord& record);
  Status commit(const pgformat::TransactionEnd& end, Lsn at);
  Status apply_catalog_changes(std::span<const uint32_t> xids, CommitScope& scope);
  Status follow_databases(Lsn at);
  void buffer_mark(const pgformat::WalRecord& record, const RelFork& rel, BufferedChange::Kind kind,
                   uint32_t block);

  Options options_;
  learner::PageSource& source_;
  TransactionBuffer buffer_;
  SharedCatalog shared_;
  std::map<CatalogTable, CatalogHeap> shared_heaps_;
  std::unordered_map<RelFork, CatalogTable> shared_files_;
  std::map<uint32_t, std::unique_ptr<DatabaseMirror>> databases_;
  std::vector<std::unique_ptr<LakeTable>> dropped_;

  std::map<std::string, std::set<std::string>> excluded_;

  Lsn applied_;
  Lsn skip_until_;  ///< commits up to here are in the restored tables
  int64_t commit_time_us_ = 0;
  uint64_t transactions_ = 0;
  uint64_t next_segment_ = 1;

  /// Transactions in progress that changed catalogs, wrote whole pages, truncated or moved mapped
  /// catalogs: their commit needs a first look before their rows.
  std::unordered_set<uint32_t> special_;
  std::unordered_map<uint32_t, std::unordered_set<uint32_t>> moved_maps_;  ///< databases, by xid
  std::pair<uint32_t, RelFork> last_pages_;

  // Reused.
  pgformat::WalRecord record_;
  std::string scratch_;
  RelFork cached_file_;
  FileUse cached_use_;
  bool cache_valid_ = false;
};

}  // namespace tide::mirror
