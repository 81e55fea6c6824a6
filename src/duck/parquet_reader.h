#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "duck/connection.h"

namespace tide::duck {

/// A column as a reader wants it.
struct ParquetColumn {
  std::string name;
  columns::Type type;
  std::string physical;             ///< Its name in the files; empty: `name`.
  std::optional<int32_t> field_id;  ///< Read by this instead of its name.
  /// For files that lack the column, as text that casts to the type; nothing: NULL.
  std::optional<std::string> missing_value;
};

/// Files of one table. Columns are read by field id if all have one, else by name.
struct ParquetScan {
  std::vector<std::string> files;
  std::vector<ParquetColumn> columns;
  /// Of Engine::register_deletions(), by the files' order; only for files that have deletions.
  std::optional<int64_t> deletions;
};

/// The SELECT that reads a table: for a TableResolver or write_parquet(). Filters and columns of
/// the query around it reach the files. Files that lack a column give its missing value, files with
/// a narrower type are widened.
std::string parquet_scan_sql(const ParquetScan& scan);

/// Rows in files, from their footers.
Result<uint64_t> count_parquet_rows(Connection& connection, const std::vector<std::string>& files);
/// Columns of a file as DuckDB reads them.
Result<std::vector<ResultColumn>> parquet_columns(Connection& connection, const std::string& path);
/// A whole small file, e.g. a checkpoint, in its order. kOutOfRange for more than 1 GB.
Result<columns::Batch> read_parquet(Connection& connection, const std::string& path,
                                    const std::vector<ParquetColumn>& columns);

}  // namespace tide::duck
