#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "duck/connection.h"
#include "duck/engine.h"

namespace tide::duck {

/// Parquet field ids of a column and, for structs, of its fields in order (for lists: of the
/// element). Missing ones are not written.
struct FieldId {
  std::optional<int32_t> id;
  std::vector<FieldId> children;
};

enum class Compression { kZstd, kSnappy };

struct ParquetOptions {
  std::vector<FieldId> field_ids;  ///< Of the columns, in order; empty: none.
  Compression compression = Compression::kZstd;
  uint64_t row_group_rows = 122'880;
};

/// What is known of one leaf column of a file.
struct ColumnStatistics {
  /// From the column down: {"address", "city"}; elements of a list are "element".
  std::vector<std::string> path;
  columns::Type type;
  /// Of a leaf within lists: of the elements.
  uint64_t null_count = 0;
  /// Two values, the least and the greatest, exact and whole; both null where that is not known: no
  /// values, NaN or infinities among them, binaries, very long text.
  columns::Column bounds;
};

struct WrittenFile {
  uint64_t rows = 0;
  uint64_t bytes = 0;
  std::vector<ColumnStatistics> columns;  ///< In the file's order.
};

/// Writes what a SELECT yields, in its order, as Parquet that Delta readers expect: format version
/// 1, lists of three levels, timestamps in microseconds (adjusted to UTC for TIMESTAMP WITH TIME
/// ZONE only), decimals as INT32, INT64 or fixed bytes by precision. When this returns, the file
/// and its name are durable. kExists if there is a file of this name; after an error there is none.
Result<WrittenFile> write_parquet(Connection& connection, std::string_view select,
                                  const std::string& path, const ParquetOptions& options);
/// The same for batches; rows keep their order, row k of the file is the k-th that is not deleted.
Result<WrittenFile> write_parquet(Engine& engine, Connection& connection,
                                  std::vector<RowSegment> segments,
                                  const std::vector<columns::Field>& fields,
                                  const std::string& path, const ParquetOptions& options);

}  // namespace tide::duck
