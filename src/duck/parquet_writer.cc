#include "duck/parquet_writer.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>

#include "duck/sql_text.h"
#include "env/file.h"

namespace tide::duck {
namespace {

using columns::Column;
using columns::Kind;
using columns::Type;

/// One column's entry in FIELD_IDS; empty where there is nothing to say.
std::string field_id_entry(std::string_view name, const FieldId& field, const Type& type) {
  std::string children;
  for (size_t i = 0; i < field.children.size() && i < type.children.size(); ++i) {
    const std::string child_name = type.kind == Kind::kList ? "element" : type.children[i].name;
    const std::string child = field_id_entry(child_name, field.children[i], type.children[i].type);
    if (!child.empty()) children += (children.empty() ? "" : ", ") + child;
  }
  if (children.empty()) {
    return field.id ? fmt::format("{}: {}", quote_literal(name), *field.id) : std::string();
  }
  const std::string own = field.id ? fmt::format("__duckdb_field_id: {}, ", *field.id) : "";
  return fmt::format("{}: {{{}{}}}", quote_literal(name), own, children);
}

std::string copy_options(const std::vector<ResultColumn>& columns, const ParquetOptions& options) {
  std::string field_ids;
  for (size_t i = 0; i < options.field_ids.size() && i < columns.size(); ++i) {
    const std::string entry =
        field_id_entry(columns[i].name, options.field_ids[i], columns[i].type);
    if (!entry.empty()) field_ids += (field_ids.empty() ? "" : ", ") + entry;
  }
  std::string out = fmt::format(
      "FORMAT parquet, PARQUET_VERSION V1, COMPRESSION {}, ROW_GROUP_SIZE {}, USE_TMP_FILE false",
      options.compression == Compression::kZstd ? "zstd" : "snappy", options.row_group_rows);
  if (!field_ids.empty()) out += fmt::format(", FIELD_IDS {{{}}}", field_ids);
  return out;
}

struct Leaf {
  std::vector<std::string> path;
  Type type;
};

/// Leaves below `path` in the file's order, which is their number in its metadata.
void list_leaves(const Type& type, std::vector<std::string>& path, std::vector<Leaf>& leaves) {
  if (type.children.empty()) {
    leaves.push_back({path, type});
    return;
  }
  for (const columns::Field& field : type.children) {
    path.push_back(type.kind == Kind::kList ? "element" : field.name);
    list_leaves(field.type, path, leaves);
    path.pop_back();
  }
}

/// From the footer just written, row group by row group. What COPY's RETURN_STATS says of a whole
/// file is not enough: bounds there leave out a row group with NaN in it without a word.
Result<std::vector<ColumnStatistics>> read_statistics(Connection& connection,
                                                      const std::vector<ResultColumn>& columns,
                                                      const std::string& path) {
  std::vector<Leaf> leaves;
  for (const ResultColumn& column : columns) {
    std::vector<std::string> name = {column.name};
    list_leaves(column.type, name, leaves);
  }
  std::string sql;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Type& type = leaves[i].type;
    auto bound = [&](std::string_view text) {
      if (type.kind == Kind::kBinary) return std::string("NULL::BLOB");
      return fmt::format("CAST(CASE column_id WHEN {} THEN {} END AS {})", i, text, to_sql(type));
    };
    sql += fmt::format(
        "{}sum(stats_null_count) FILTER (column_id = {})::BIGINT, "
        "coalesce(bool_and(known) FILTER (column_id = {}), false), min({}), max({})",
        i == 0 ? "SELECT " : ", ", i, i, bound("least_value"), bound("greatest_value"));
  }
  sql += fmt::format(
      " FROM (SELECT column_id, stats_null_count, "
      "coalesce(stats_min_value, stats_min) AS least_value, "
      "coalesce(stats_max_value, stats_max) AS greatest_value, "
      "stats_null_count = num_values OR (least_value IS NOT NULL AND greatest_value IS NOT NULL "
      "AND min_is_exact AND max_is_exact) AS known FROM parquet_metadata({}))",
      quote_files({path}));
  const std::unique_ptr<QueryResult> result = TIDE_TRY(connection.query(sql));
  const columns::Batch row = TIDE_TRY(result->all());
  std::vector<ColumnStatistics> statistics;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Column* values = &row.columns[4 * i];
    const bool known = values[1].value<uint8_t>(0) != 0;
    ColumnStatistics column{std::move(leaves[i].path), leaves[i].type, values[0].value<uint64_t>(0),
                            Column(leaves[i].type)};
    for (const size_t bound : {2, 3}) {
      if (known) {
        column.bounds.append_from(values[bound], 0);
      } else {
        column.bounds.append_null();
      }
    }
    statistics.push_back(std::move(column));
  }
  return statistics;
}

Result<WrittenFile> copy_to(Connection& connection, std::string_view select,
                            const std::string& path, const ParquetOptions& options) {
  const std::unique_ptr<Prepared> prepared = TIDE_TRY(connection.prepare(select));
  const std::vector<ResultColumn> columns = TIDE_TRY(prepared->columns());
  if (columns.empty()) return Status(Code::kInvalid, "a Parquet file needs columns");
  const std::unique_ptr<QueryResult> result = TIDE_TRY(connection.query(fmt::format(
      "COPY ({}) TO {} ({})", select, quote_literal(path), copy_options(columns, options))));
  WrittenFile file;
  file.rows = result->rows_changed();
  file.columns = TIDE_TRY(read_statistics(connection, columns, path));
  const env::FileDescriptor fd = TIDE_TRY(env::open_file(path, O_RDONLY));
  TIDE_TRY(env::sync_data(fd.get(), path));
  file.bytes = TIDE_TRY(env::file_size(path));
  const std::string parent = std::filesystem::path(path).parent_path().string();
  TIDE_TRY(env::sync_directory(parent.empty() ? "." : parent));
  return file;
}

}  // namespace

Result<WrittenFile> write_parquet(Connection& connection, std::string_view select,
                                  const std::string& path, const ParquetOptions& options) {
  if (env::exists(path)) return Status(Code::kExists, fmt::format("{} exists", path));
  Result<WrittenFile> file = copy_to(connection, select, path, options);
  if (!file.ok()) {
    env::remove_file(path).ignore("the error of the write is what matters");
    return Status(file.status()).with_context(fmt::format("write {}", path));
  }
  return file;
}

Result<WrittenFile> write_parquet(Engine& engine, Connection& connection,
                                  std::vector<RowSegment> segments,
                                  const std::vector<columns::Field>& fields,
                                  const std::string& path, const ParquetOptions& options) {
  const Registration rows = TIDE_TRY(engine.register_rows(std::move(segments), fields));
  std::string names;
  for (const columns::Field& field : fields) {
    names += (names.empty() ? "" : ", ") + quote_identifier(field.name);
  }
  return write_parquet(connection, fmt::format("SELECT {} FROM tide_rows({})", names, rows.id()),
                       path, options);
}

}  // namespace tide::duck
