#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "columns/type.h"
#include "deltalog/action.h"
#include "mirror/heap_rows.h"

namespace tide::mirror {

/// A column of a lake table.
struct LakeColumn {
  std::string name;
  std::string physical;  ///< its name in the files: never changes, never used again for another one
  int id = 0;            ///< column-mapping id, likewise
  int16_t number = 0;    ///< attnum in the table's relation
  columns::Type type;
  bool nullable = true;
  std::string pg_type;  ///< "numeric(10,2)"
  /// Of a column that only keeps the exact text of values which the column with this attnum has no
  /// place for: its attnum. 0: a column of PostgreSQL's.
  int16_t text_of = 0;
};

/// Where a table is published as a Delta table, and up to where.
struct Publication {
  std::string directory;  ///< below the lake's root
  std::string id;         ///< Delta's metaData.id
  int64_t version = -1;   ///< newest commit of ours; -1: none yet
  int64_t created_ms = 0;
  bool schema_changed = true;  ///< the next commit carries metaData
};

/// One table's part of a cut: what of it becomes durable, and how.
struct TableCut {
  struct Heap {
    uint32_t relation = 0;
    RelFork file;
    HeapCut rows;
    std::vector<LakeFile> written;                            ///< the segments' live rows, in order
    std::vector<deltalog::DeletionVectorDescriptor> vectors;  ///< of rows.dirty_files, in order
    /// Files that one new file takes the place of: small ones, or with many rows deleted.
    HeapCut merge;
    std::optional<LakeFile> merged;   ///< nothing: no row of them is live
    std::vector<int64_t> merged_ids;  ///< ctids of its rows, in order
  };

  uint32_t database = 0;
  uint32_t oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';
  std::vector<LakeColumn> columns;
  int next_column_id = 1;
  std::set<std::string> used_names;  ///< physical names ever used, lower case
  Publication publication;  ///< as before the cut; version is raised when it has been committed
  std::vector<Heap> heaps;
  std::vector<LakeFile> orphans;
  bool dropped = false;

  std::string commit;  ///< lines of the Delta commit; empty: nothing to publish
};

/// A moment of a timeline's lake that is made durable as a whole: all commits up to `lsn`, of all
/// tables, and nothing above.
struct Cut {
  uint64_t number = 0;
  Lsn lsn;
  Lsn restart_lsn;  ///< WAL is read from here after a restart: open transactions begin there
  int64_t commit_time_us = 0;
  int64_t timestamp_ms = 0;  ///< in-commit timestamp of all its commits
  std::vector<TableCut> tables;
};

}  // namespace tide::mirror
