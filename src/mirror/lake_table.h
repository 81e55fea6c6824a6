#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/type.h"
#include "mirror/catalog.h"
#include "mirror/cut.h"
#include "mirror/cut_log.h"
#include "mirror/heap_rows.h"
#include "mirror/row_reader.h"

namespace tide::mirror {

/// A lake table as one moment sees it. Immutable.
struct TableSnapshot {
  uint32_t oid = 0;
  std::string directory;
  std::vector<LakeColumn> columns;
  std::map<uint32_t, std::shared_ptr<const HeapVersion>> heaps;  ///< by relation
};

/// A table of PostgreSQL as one table of the lake: an ordinary table, a materialized view, or a
/// partitioned table with all its partitions. One thread.
class LakeTable {
 public:
  LakeTable(uint32_t database, uint32_t oid, uint64_t& next_segment)
      : database_(database), oid_(oid), next_segment_(next_segment) {}
  /// As a cut left it; the heaps' files are to be loaded.
  LakeTable(const CutState::Table& state, uint64_t& next_segment);

  uint32_t database() const { return database_; }
  uint32_t oid() const { return oid_; }
  const std::string& schema() const { return schema_; }
  const std::string& name() const { return name_; }
  char kind() const { return kind_; }
  uint32_t owner() const { return owner_; }
  const std::vector<LakeColumn>& columns() const { return columns_; }
  /// Of columns that have no mapping: "geom: type geometry of an extension has no mapping".
  const std::vector<std::string>& left_out() const { return left_out_; }

  /// Takes names and columns over from the catalog.
  enum class Change {
    kNone,
    kNames,    ///< of the table or of columns; files stay
    kColumns,  ///< columns came or went; files stay
    kRebuild,  ///< what is stored reads differently now: all rows must be read anew
  };
  Result<Change> follow(const Catalog& catalog);

  /// Gives columns (by index) a column beside them that keeps the exact text of values which have
  /// no place in their type: "amount__text". Readers of heaps are to be made anew.
  void add_text_columns(const std::vector<size_t>& columns);

  /// The heaps whose rows the table holds: its own, or its partitions', by relation.
  struct Heap {
    RelFork file;
    HeapRows rows;
    std::unique_ptr<RowReader> reader;
    /// PostgreSQL's current column layout of the heap, to notice changes.
    std::vector<pgtypes::Attribute> attributes;
  };
  std::map<uint32_t, Heap>& heaps() { return heaps_; }
  const std::map<uint32_t, Heap>& heaps() const { return heaps_; }
  Heap& add_heap(uint32_t relation, const RelFork& file);
  /// Its files go with the next cut.
  void remove_heap(uint32_t relation);
  /// Makes the reader of one heap for its columns as the catalog has them now. True if rows stored
  /// before read differently now (a column got a default for old rows).
  Result<bool> make_reader(Heap& heap, uint32_t relation, const Catalog& catalog);

  /// Names and types of the files' columns.
  std::vector<columns::Field> fields() const;
  /// As of now; the same one if nothing changed since the last call.
  std::shared_ptr<const TableSnapshot> snapshot();

  bool is_dirty() const;
  uint64_t live_rows() const;
  uint64_t fresh_rows() const;
  uint64_t fresh_bytes() const;

  Publication& publication() { return publication_; }
  const Publication& publication() const { return publication_; }

  /// Fixes what is to become durable. Of a dropped table: that its files go.
  TableCut begin_cut(bool dropped);
  /// The cut is durable and published.
  void finish_cut(const TableCut& cut);
  void abandon_cut(const TableCut& cut);

  std::string last_error;

 private:
  LakeColumn new_column(const std::string& name, int16_t number, columns::Type type,
                        std::string pg_type);

  uint32_t database_;
  uint32_t oid_;
  uint64_t& next_segment_;
  std::string schema_;
  std::string name_;
  char kind_ = 'r';
  uint32_t owner_ = 0;
  std::vector<LakeColumn> columns_;
  std::vector<std::string> left_out_;
  int next_column_id_ = 1;
  std::set<std::string> used_names_;  ///< physical names ever used, lower case
  std::map<uint32_t, Heap> heaps_;
  std::vector<LakeFile> orphans_;  ///< files of heaps that left the table
  Publication publication_;
  std::shared_ptr<const TableSnapshot> snapshot_;
  bool columns_changed_ = true;  ///< since snapshot_ was made
};

/// PostgreSQL's spelling of a type with its modifier, as format_type() writes the common ones.
std::string type_spelling(const Catalog& catalog, uint32_t type, int32_t typmod);

}  // namespace tide::mirror
