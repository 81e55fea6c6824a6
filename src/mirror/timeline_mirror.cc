#include "mirror/timeline_mirror.h"

#include <algorithm>

#include "mirror/heap_scan.h"
#include "obs/log.h"
#include "pgformat/xid.h"

namespace tide::mirror {
namespace {

using pgformat::HeapChange;
using pgformat::HeapTuple;
using pgformat::Rmgr;
using pgformat::WalRecord;
namespace pg = pgformat;

}  // namespace

TimelineMirror::TimelineMirror(Options options, learner::PageSource& source)
    : options_(std::move(options)),
      source_(source),
      buffer_({.spill_directory = options_.spill_directory}) {}

Status TimelineMirror::load_shared(Lsn at, TransactionBuffer* open) {
  auto bytes = TIDE_TRY(source_.relation_map(kGlobalTablespace, 0, at));
  if (!bytes) return {Code::kCorrupt, fmt::format("no shared relation map at {}", at)};
  auto map = TIDE_TRY(parse_relation_map(*bytes));
  for (CatalogTable table : kSharedCatalogs) {
    RelFork file{kGlobalTablespace, 0, map[catalog_oid(table)], Fork::kMain};
    CatalogHeap& heap = shared_heaps_[table];
    shared_files_.erase(heap.file);
    heap.clear();
    heap.file = file;
    shared_files_[file] = table;
    shared_.clear(table);
    TransactionStatus transactions(source_, at);
    auto keep = [&](const ScannedTuple& found) -> Status {
      heap.put(found.id, found.tuple);
      return {};
    };
    TIDE_TRY(scan_heap(
        source_, file, at, transactions,
        [&](const ScannedTuple& found) -> Status {
          heap.put(found.id, found.tuple);
          if (open != nullptr && (found.inserter != 0 || found.deleter != 0)) {
            BufferedChange change{
                BufferedChange::Kind::kInsert, at, file, {}, found.id, found.tuple};
            if (found.inserter != 0) {
              special_.insert(found.inserter);
              TIDE_TRY(open->add(found.inserter, change));
            }
            if (found.deleter != 0) {
              special_.insert(found.deleter);
              change = {BufferedChange::Kind::kDelete, at, file, found.id, {}, {}};
              TIDE_TRY(open->add(found.deleter, change));
            }
          }
          return found.inserter == 0 ? shared_.insert(table, found.id, found.tuple) : Status();
        },
        keep));
  }
  return {};
}

Status TimelineMirror::load_database(const Database& database, Lsn at, TransactionBuffer* open) {
  auto mirror = std::make_unique<DatabaseMirror>(database, source_, next_segment_);
  mirror->exclude(excluded_[database.name]);
  TIDE_TRY(mirror->load_catalogs(at, open));
  TIDE_TRY(mirror->load_tables(at, open));
  obs::info("database {}: {} tables at {}", database.name, mirror->tables().size(), at);
  databases_[database.oid] = std::move(mirror);
  return {};
}

Status TimelineMirror::load(Lsn at) {
  TIDE_TRY(load_shared(at, &buffer_));
  shared_.take_changed();
  std::vector<Database> wanted;
  shared_.databases().for_each([&](uint32_t, const Database& database) {
    if (belongs_into_lake(database)) wanted.push_back(database);
  });
  for (const Database& database : wanted) TIDE_TRY(load_database(database, at, &buffer_));
  // Which of the open transactions changed catalogs is not known: all get the first look.
  for (uint32_t xid : buffer_.xids()) special_.insert(xid);
  applied_ = at;
  skip_until_ = Lsn();
  cache_valid_ = false;
  return {};
}

void TimelineMirror::exclude(std::map<std::string, std::set<std::string>> tables) {
  excluded_ = std::move(tables);
  for (auto& [oid, database] : databases_) database->exclude(excluded_[database->database().name]);
}

DatabaseMirror& TimelineMirror::restore_database(uint32_t oid) {
  std::unique_ptr<DatabaseMirror>& database = databases_[oid];
  if (database == nullptr) {
    Database stub;
    stub.oid = oid;
    database = std::make_unique<DatabaseMirror>(stub, source_, next_segment_);
  }
  return *database;
}

Status TimelineMirror::resume(Lsn at, Lsn from) {
  TIDE_TRY(load_shared(at, nullptr));
  shared_.take_changed();
  std::vector<Database> wanted;
  shared_.databases().for_each([&](uint32_t, const Database& database) {
    if (belongs_into_lake(database)) wanted.push_back(database);
  });
  for (const Database& row : wanted) {
    DatabaseMirror& database = restore_database(row.oid);
    database.set_database(row);
    database.exclude(excluded_[row.name]);
    TIDE_TRY(database.load_catalogs(at, nullptr));
    TIDE_TRY(database.adopt_tables(at));
  }
  for (const auto& [oid, database] : databases_) {
    if (shared_.databases().find(oid) == nullptr) {
      return {Code::kCorrupt,
              fmt::format("the lake has a database {} that is not there at {}", oid, at)};
    }
  }
  skip_until_ = at;
  applied_ = from;
  cache_valid_ = false;
  return {};
}

DatabaseMirror* TimelineMirror::database(std::string_view name) {
  for (auto& [oid, database] : databases_) {
    if (database->database().name == name) return database.get();
  }
  return nullptr;
}

std::vector<LakeTable*> TimelineMirror::dropped() {
  for (auto& [oid, database] : databases_) {
    for (auto& table : database->take_dropped()) dropped_.push_back(std::move(table));
  }
  std::vector<LakeTable*> tables;
  for (auto& table : dropped_) tables.push_back(table.get());
  return tables;
}

void TimelineMirror::forget_dropped(const TableCut& cut) {
  std::erase_if(dropped_, [&](const std::unique_ptr<LakeTable>& table) {
    return table->publication().id == cut.publication.id;
  });
}

void TimelineMirror::forget_unpublished_drops() {
  std::erase_if(dropped_, [](const std::unique_ptr<LakeTable>& table) {
    return table->publication().directory.empty();
  });
}

LakeTable* TimelineMirror::find_table(const TableCut& cut) {
  auto is_it = [&](const LakeTable& table) { return table.publication().id == cut.publication.id; };
  if (auto found = databases_.find(cut.database); found != databases_.end()) {
    auto table = found->second->tables().find(cut.oid);
    if (table != found->second->tables().end() && is_it(*table->second)) return table->second.get();
  }
  for (LakeTable* table : dropped()) {
    if (is_it(*table)) return table;
  }
  return nullptr;
}

FileUse TimelineMirror::use_of(const RelFork& file) {
  if (cache_valid_ && file == cached_file_) return cached_use_;
  FileUse use;
  if (file.fork == Fork::kMain) {
    if (file.db == 0) {
      if (auto shared = shared_files_.find(file); shared != shared_files_.end()) {
        use = {FileUse::Kind::kCatalog, shared->second, catalog_oid(shared->second)};
      }
    } else if (auto database = databases_.find(file.db); database != databases_.end()) {
      use = database->second->use_of(file);
    }
  }
  cached_file_ = file;
  cached_use_ = use;
  cache_valid_ = true;
  return use;
}

CatalogHeap* TimelineMirror::catalog_heap(const RelFork& file, const FileUse& use) {
  if (file.db == 0) return &shared_heaps_.at(use.catalog);
  return &databases_.at(file.db)->catalog_heap(use.catalog);
}

void TimelineMirror::buffer_mark(const WalRecord& record, const RelFork& rel,
                                 BufferedChange::Kind kind, uint32_t block) {
  BufferedChange change;
  change.kind = kind;
  change.lsn = record.start();
  change.rel = rel;
  change.old = pgformat::TupleId(block, 0);
  special_.insert(record.xid());
  buffer_.add(record.xid(), change).ignore("a mark of no bytes; the next row reports a full disk");
}

Status TimelineMirror::heap_record(const WalRecord& record) {
  const pg::BlockRef* block = record.block(0);
  if (block == nullptr) return {};
  FileUse use = use_of(block->tag.rel);
  if (use.kind == FileUse::Kind::kIgnored) return {};
  BufferedChange buffered;
  buffered.lsn = record.start();
  if (use.kind != FileUse::Kind::kCatalog) {
    return pg::heap_changes(record, nullptr, scratch_, [&](const HeapChange& change) -> Status {
      if (change.kind == HeapChange::Kind::kInplace) return {};
      buffered.kind = static_cast<BufferedChange::Kind>(change.kind);
      buffered.rel = change.rel;
      buffered.old = change.old;
      buffered.fresh = change.fresh;
      buffered.tuple = change.tuple;
      return buffer_.add(record.xid(), buffered);
    });
  }
  CatalogHeap& heap = *catalog_heap(block->tag.rel, use);
  // What was committed by skip_until_ is in the heap already, as it was read from its pages then.
  bool known = record.end() <= skip_until_;
  Status done = pg::heap_changes(
      record, [&](const RelFork&, pg::TupleId id) { return heap.find(id); }, scratch_,
      [&](const HeapChange& change) -> Status {
        if (change.kind == HeapChange::Kind::kInplace) {
          if (!known) heap.overwrite(change.fresh, change.tuple.body);
          return {};
        }
        buffered.kind = static_cast<BufferedChange::Kind>(change.kind);
        buffered.rel = change.rel;
        buffered.old = change.old;
        buffered.fresh = change.fresh;
        buffered.tuple = change.tuple;
        if (!known && change.kind != HeapChange::Kind::kDelete)
          heap.put(change.fresh, change.tuple);
        special_.insert(record.xid());
        return buffer_.add(record.xid(), buffered);
      });
  // The version an old update started from may be gone by now; then its transaction has ended too.
  if (known && done.code() == Code::kCorrupt) return {};
  return done;
}

Status TimelineMirror::apply(const pgformat::WalRecordView& view) {
  TIDE_TRY(record_.parse(view));
  const WalRecord& record = record_;
  Status done;
  switch (static_cast<Rmgr>(record.rmgr())) {
    case Rmgr::kHeap:
    case Rmgr::kHeap2:
      if (pg::changes_heap_rows(record)) done = heap_record(record);
      break;
    case Rmgr::kXact:
      done = transaction_record(record);
      break;
    case Rmgr::kXlog:
      if (record.info() == pg::xlog::kFpi && record.xid() != pg::kInvalidXid) {
        for (const pg::BlockRef& block : record.blocks()) {
          if (block.tag.rel.fork != Fork::kMain) continue;
          if (last_pages_ == std::pair(record.xid(), block.tag.rel)) continue;
          if (use_of(block.tag.rel).kind == FileUse::Kind::kIgnored) continue;
          last_pages_ = {record.xid(), block.tag.rel};
          buffer_mark(record, block.tag.rel, BufferedChange::Kind::kPages, 0);
        }
      }
      break;
    case Rmgr::kSmgr:
      if (record.info() == pg::smgr::kTruncate && record.xid() != pg::kInvalidXid) {
        ByteReader data(record.main_data());
        auto blocks = data.read<uint32_t>();
        RelFork rel;
        rel.spc = data.read<uint32_t>();
        rel.db = data.read<uint32_t>();
        rel.rel = data.read<uint32_t>();
        if (!data.failed() && use_of(rel).kind != FileUse::Kind::kIgnored) {
          buffer_mark(record, rel, BufferedChange::Kind::kTruncate, blocks);
        }
      }
      break;
    case Rmgr::kRelmap: {
      ByteReader data(record.main_data());
      auto database = data.read<uint32_t>();
      moved_maps_[record.xid()].insert(database);
      special_.insert(record.xid());
      break;
    }
    case Rmgr::kStandby:
      if (record.info() == pg::standby::kRunningXacts) {
        ByteReader data(record.main_data());
        data.take(16);  // counts, overflow, next xid
        auto oldest = data.read<uint32_t>();
        // Whoever is older has ended, even if a crash kept it from saying so.
        if (!data.failed()) buffer_.drop_older(oldest);
      }
      break;
    default:
      break;
  }
  if (!done.ok()) return std::move(done).with_context(record.describe());
  applied_ = record.end();
  return {};
}

Status TimelineMirror::transaction_record(const WalRecord& record) {
  switch (record.info() & pg::xact::kOpMask) {
    case pg::xact::kCommit:
    case pg::xact::kCommitPrepared:
    case pg::xact::kAbort:
    case pg::xact::kAbortPrepared: {
      pg::TransactionEnd end = TIDE_TRY(pg::parse_transaction_end(record));
      if (end.committed) return commit(end, record.end());
      buffer_.drop(std::span(&end.xid, 1));
      special_.erase(end.xid);
      moved_maps_.erase(end.xid);
      for (size_t i = 0; i < end.subxids.size(); ++i) {
        uint32_t xid = end.subxids[i];
        buffer_.drop(std::span(&xid, 1));
        special_.erase(xid);
        moved_maps_.erase(xid);
      }
      return {};
    }
    case pg::xact::kPrepare: {
      pg::PrepareRecord prepare = TIDE_TRY(pg::parse_prepare(record));
      std::vector<uint32_t> xids = {prepare.xid};
      for (size_t i = 0; i < prepare.subxids.size(); ++i) xids.push_back(prepare.subxids[i]);
      buffer_.prepare(xids);
      return {};
    }
    default:
      return {};
  }
}

Status TimelineMirror::commit(const pgformat::TransactionEnd& end, Lsn at) {
  std::vector<uint32_t> xids;
  bool special = false;
  auto take = [&](uint32_t xid) {
    if (xid == pg::kInvalidXid) return;
    if (buffer_.has(xid) || special_.contains(xid)) xids.push_back(xid);
    special = special_.erase(xid) > 0 || special;
  };
  take(end.xid);
  for (size_t i = 0; i < end.subxids.size(); ++i) take(end.subxids[i]);
  if (xids.empty()) return {};
  if (at <= skip_until_) {
    buffer_.drop(xids);
    for (uint32_t xid : xids) moved_maps_.erase(xid);
    return {};
  }
  CommitScope scope{at, {}, {}};
  if (special) TIDE_TRY(apply_catalog_changes(xids, scope));
  DatabaseMirror* database = nullptr;
  uint32_t database_oid = 0;
  std::unordered_set<DatabaseMirror*> touched;
  TIDE_TRY(buffer_.visit(xids, [&](const BufferedChange& change) -> Status {
    if (change.kind >= BufferedChange::Kind::kPages) return {};
    if (database == nullptr || change.rel.db != database_oid) {
      auto found = databases_.find(change.rel.db);
      if (found == databases_.end()) return {};
      database = found->second.get();
      database_oid = change.rel.db;
      touched.insert(database);
    }
    FileUse use = use_of(change.rel);
    if (use.kind != FileUse::Kind::kHeap && use.kind != FileUse::Kind::kToast) return {};
    if (!scope.cut_off.empty()) {
      auto cut = scope.cut_off.find(change.rel);
      if (cut != scope.cut_off.end() && change.lsn < cut->second) return {};
    }
    return database->apply_row(scope, use, change);
  }));
  for (DatabaseMirror* each : touched) each->end_transaction();
  if (special) {
    for (auto& [oid, each] : databases_) each->end_transaction();
  }
  buffer_.drop(xids);
  commit_time_us_ = end.unix_time_us();
  ++transactions_;
  return {};
}

Status TimelineMirror::apply_catalog_changes(std::span<const uint32_t> xids, CommitScope& scope) {
  TIDE_TRY(buffer_.visit(xids, [&](const BufferedChange& change) -> Status {
    if (change.kind == BufferedChange::Kind::kPages) {
      scope.rewritten.insert(change.rel);
      return {};
    }
    if (change.kind == BufferedChange::Kind::kTruncate) {
      // TRUNCATE of a table made in the same transaction; VACUUM cuts off empty pages only.
      if (change.old.block() == 0) scope.cut_off[change.rel] = change.lsn;
      return {};
    }
    FileUse use = use_of(change.rel);
    if (use.kind != FileUse::Kind::kCatalog) return {};
    if (change.rel.db != 0) {
      return databases_.at(change.rel.db)->apply_catalog(use.catalog, change);
    }
    if (change.kind != BufferedChange::Kind::kDelete) {
      TIDE_TRY(shared_.insert(use.catalog, change.fresh, change.tuple));
    }
    if (change.kind != BufferedChange::Kind::kInsert) shared_.remove(use.catalog, change.old);
    return {};
  }));
  for (uint32_t xid : xids) {
    auto moved = moved_maps_.find(xid);
    if (moved == moved_maps_.end()) continue;
    for (uint32_t oid : moved->second) {
      if (oid == 0) {
        TIDE_TRY(load_shared(scope.at, nullptr));
      } else if (auto database = databases_.find(oid); database != databases_.end()) {
        TIDE_TRY(database->second->reload_mapped(scope.at));
      }
    }
    moved_maps_.erase(moved);
  }
  cache_valid_ = false;
  if (shared_.take_changed()) TIDE_TRY(follow_databases(scope.at));
  for (auto& [oid, database] : databases_) TIDE_TRY(database->reconcile(scope));
  cache_valid_ = false;
  return {};
}

Status TimelineMirror::follow_databases(Lsn at) {
  std::vector<Database> fresh;
  shared_.databases().for_each([&](uint32_t oid, const Database& row) {
    if (!belongs_into_lake(row)) return;
    auto known = databases_.find(oid);
    if (known == databases_.end()) {
      fresh.push_back(row);
    } else {
      known->second->set_database(row);
    }
  });
  for (auto database = databases_.begin(); database != databases_.end();) {
    const Database* row = shared_.databases().find(database->first);
    if (row != nullptr && belongs_into_lake(*row)) {
      ++database;
      continue;
    }
    obs::info("database {} leaves the lake at {}", database->second->database().name, at);
    for (auto& table : database->second->take_all()) dropped_.push_back(std::move(table));
    database = databases_.erase(database);
  }
  for (const Database& row : fresh) TIDE_TRY(load_database(row, at, nullptr));
  return {};
}

}  // namespace tide::mirror
