#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/row_set.h"
#include "delta/table_directory.h"
#include "deltalog/data_skipping.h"
#include "deltalog/table_state.h"
#include "duck/deleted_rows.h"
#include "duck/engine.h"

namespace tide::delta {

struct ScanOptions {
  /// Files that cannot match all of these are left out. The rows are not filtered: the caller's
  /// WHERE does that.
  std::vector<deltalog::Predicate> predicates;
  /// Logical names of the columns to read, in this order; empty: all, in the schema's order.
  std::vector<std::string> columns;
  /// Looks into the footers of files for timestamps in INT96 or without zone, which would otherwise
  /// be taken for times of the session's TimeZone. Not needed where all files are the lake's own.
  bool inspect_files = true;
};

struct ScanFile {
  deltalog::AddFile add;
  std::string path;  ///< Local and absolute.
  /// Null where nothing is deleted.
  std::shared_ptr<const duck::DeletedRows> deleted;
  /// Values of the table's partition columns, in their order.
  std::vector<deltalog::Value> partition;
};

/// What reads a table at one version with DuckDB. Must be kept until the last query with `sql` has
/// ended: it holds the deletion vectors.
struct Scan {
  int64_t version = -1;
  /// The columns that `sql` yields, with logical names.
  deltalog::Schema schema;
  std::vector<ScanFile> files;
  size_t files_skipped = 0;
  /// A SELECT without ORDER BY. It names local files by read_parquet, casts nothing that the
  /// files' types do not need, and lets filters on columns reach the files.
  std::string sql;
  duck::Registration deletions;
};

/// kInvalid, naming the feature, column type or place, for what we cannot read; kCorrupt for
/// deletion vectors and partition values that contradict themselves; kNotFound for an unknown
/// column.
Result<Scan> scan_table(TableDirectory& directory, duck::Engine& engine,
                        const deltalog::TableState& state, const ScanOptions& options);

/// The rows that the vector names, from its file or itself. Checked.
Result<columns::RowSet> load_deletion_vector(TableDirectory& directory,
                                             const deltalog::DeletionVectorDescriptor& descriptor);

}  // namespace tide::delta
