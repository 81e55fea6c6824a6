#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/lsn.h"
#include "base/result.h"
#include "learner/source.h"
#include "mirror/catalog.h"
#include "mirror/catalog_heap.h"
#include "mirror/lake_table.h"
#include "mirror/transaction_buffer.h"
#include "pgformat/heap_record.h"

namespace tide::mirror {

/// What the rows of a relation's file are to us.
struct FileUse {
  enum class Kind : uint8_t { kIgnored, kCatalog, kHeap, kToast };
  Kind kind = Kind::kIgnored;
  CatalogTable catalog = CatalogTable::kClass;
  uint32_t relation = 0;
};

/// One committed transaction's effect on the files of a database, found before its rows are
/// applied.
struct CommitScope {
  Lsn at;                                    ///< end of the commit record
  std::unordered_set<RelFork> rewritten;     ///< files that were filled with whole pages
  std::unordered_map<RelFork, Lsn> cut_off;  ///< files emptied in place: what came before is gone
};

/// One database in the lake: its catalogs at an LSN, and its tables. One thread.
///
/// What users' tables there are follows from the catalogs: reconcile() compares the two after every
/// transaction that changed them. Rows that the WAL does not spell out (rewrites, attached
/// partitions, columns whose old rows read differently) are read from pages of the page store.
class DatabaseMirror {
 public:
  DatabaseMirror(Database database, learner::PageSource& source, uint64_t& next_segment)
      : database_(std::move(database)), source_(source), next_segment_(next_segment) {}

  const Database& database() const { return database_; }
  void set_database(Database database) { database_ = std::move(database); }
  const Catalog& catalog() const { return catalog_; }

  /// Reads all catalogs from pages as of `at`. `open`, if given, receives what transactions in
  /// progress have done to them.
  Status load_catalogs(Lsn at, TransactionBuffer* open);
  /// Makes the lake's tables agree with the catalogs, reading rows from pages as of `at`. `open` as
  /// above: given when the WAL before `at` was not read.
  Status load_tables(Lsn at, TransactionBuffer* open);
  /// At a restart: a table as its last cut recorded it; adopt_tables() follows once all are in.
  void restore_table(std::unique_ptr<LakeTable> table, std::map<uint32_t, RelFork> heaps);
  Status adopt_tables(Lsn at);

  FileUse use_of(const RelFork& file) const;
  CatalogHeap& catalog_heap(CatalogTable table) { return heaps_.at(table); }

  /// A committed change of a catalog.
  Status apply_catalog(CatalogTable table, const BufferedChange& change);
  /// The database's relation map has changed: mapped catalogs may lie in other files.
  Status reload_mapped(Lsn at);
  /// After a transaction's catalog changes. Reads rows of tables whose rows are not in the WAL.
  Status reconcile(const CommitScope& scope);
  /// A committed row change of a table or of a TOAST table.
  Status apply_row(const CommitScope& scope, const FileUse& use, const BufferedChange& change);
  /// After a transaction's rows.
  void end_transaction();

  const std::map<uint32_t, std::unique_ptr<LakeTable>>& tables() const { return tables_; }
  LakeTable* table_of_heap(uint32_t relation);
  /// Why a user's table is not in the lake.
  const std::map<uint32_t, std::string>& not_mirrored() const { return not_mirrored_; }
  /// Tables that went since the last call.
  std::vector<std::unique_ptr<LakeTable>> take_dropped() { return std::exchange(dropped_, {}); }
  /// All tables, when the database itself goes.
  std::vector<std::unique_ptr<LakeTable>> take_all();
  /// True once after rows or tables changed.
  bool take_touched() { return std::exchange(touched_, false); }
  void touch() { touched_ = true; }
  /// Raised with every change of what tables and columns there are.
  uint64_t catalog_version() const { return catalog_version_; }

  /// Names ("schema.table") of tables that stay out; follow_exclusions() makes it so.
  void exclude(std::set<std::string> names) { excluded_ = std::move(names); }
  Status follow_exclusions(Lsn at);
  bool has_relation(std::string_view qualified_name) const;

 private:
  RelFork file_of(const Relation& relation) const;
  Status load_catalog(CatalogTable table, const RelFork& file, Lsn at, TransactionBuffer* open);
  Result<std::map<uint32_t, uint32_t>> relation_map(Lsn at);
  /// The lake table whose rows the relation's are: its own, or its topmost partitioned table's;
  /// 0 if it is in no lake table.
  uint32_t table_for(uint32_t relation) const;
  /// Empty if the table belongs into the lake.
  std::string reason_against(const Relation& relation) const;
  Status reconcile_relation(uint32_t oid, const CommitScope& scope);
  Status load_heap(LakeTable& table, uint32_t relation, LakeTable::Heap& heap, Lsn at,
                   TransactionBuffer* open);
  void route(uint32_t relation, const RelFork& file, FileUse use);
  void unroute(uint32_t relation);
  std::string qualified_name(const Relation& relation) const;
  void drop_table(uint32_t oid);
  void drop_heap(uint32_t relation);
  Result<std::string> fetch_toasted(const pgtypes::ToastPointer& pointer, Lsn at);
  Status append_row(LakeTable& table, LakeTable::Heap& heap, pgformat::TupleId id,
                    const pgformat::HeapTuple& tuple, Lsn at);
  void fail_table(LakeTable& table, const Status& why);
  /// Heaps with a column that shows a value of one of the types, or of the row type of one of the
  /// relations, in any depth.
  std::set<uint32_t> tables_with_type(const std::set<uint32_t>& types,
                                      const std::set<uint32_t>& row_types) const;

  Database database_;
  learner::PageSource& source_;
  uint64_t& next_segment_;
  Catalog catalog_;
  std::map<CatalogTable, CatalogHeap> heaps_;
  std::unordered_map<RelFork, FileUse> uses_;
  std::unordered_map<uint32_t, RelFork> routed_;  ///< by relation
  std::map<uint32_t, std::unique_ptr<LakeTable>> tables_;
  std::unordered_map<uint32_t, uint32_t> table_of_heap_;
  std::map<uint32_t, std::string> not_mirrored_;
  std::vector<std::unique_ptr<LakeTable>> dropped_;
  std::set<std::string> excluded_;
  std::set<uint32_t> rebuild_;  ///< heaps whose rows read differently now, while reconciling
  std::unordered_map<uint32_t, Lsn> loaded_at_;  ///< heaps read from pages within this transaction
  /// Chunks of this transaction: TOAST value -> chunk number -> bytes.
  std::unordered_map<uint32_t, std::map<int32_t, std::string>> chunks_;
  uint64_t catalog_version_ = 1;
  bool touched_ = true;
};

/// The entries of a pg_filenode.map (relmapper.c): relation oid -> file node.
Result<std::map<uint32_t, uint32_t>> parse_relation_map(std::string_view bytes);

}  // namespace tide::mirror
