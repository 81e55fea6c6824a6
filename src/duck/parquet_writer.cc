#include "duck/parquet_writer.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <set>

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

/// What the row groups say of one leaf.
struct Footer {
  uint64_t nulls = 0;
  bool known = true;
  std::set<std::string> least;  ///< As text; of row groups with values only.
  std::set<std::string> greatest;
};

Result<std::vector<Footer>> read_footer(Connection& connection, const std::string& path,
                                        size_t leaves) {
  const std::unique_ptr<QueryResult> result = TIDE_TRY(connection.query(
      "SELECT column_id::BIGINT, stats_null_count::BIGINT, num_values::BIGINT, "
      "coalesce(min_is_exact AND max_is_exact, false), coalesce(stats_min_value, stats_min), "
      "coalesce(stats_max_value, stats_max) FROM parquet_metadata(" +
      quote_files({path}) + ")"));
  const columns::Batch rows = TIDE_TRY(result->all());
  const Column* c = rows.columns.data();
  std::vector<Footer> footers(leaves);
  for (size_t row = 0; row < rows.rows(); ++row) {
    const size_t leaf = c[0].value<uint64_t>(row);
    if (leaf >= leaves || c[1].is_null(row)) {
      return Status(Code::kBug, "a footer is not of the columns just written");
    }
    Footer& footer = footers[leaf];
    footer.nulls += c[1].value<uint64_t>(row);
    if (c[1].value<uint64_t>(row) == c[2].value<uint64_t>(row)) continue;  // nothing but nulls
    if (c[3].value<uint8_t>(row) == 0 || c[4].is_null(row) || c[5].is_null(row)) {
      footer.known = false;
      continue;
    }
    footer.least.emplace(c[4].bytes_at(row));
    footer.greatest.emplace(c[5].bytes_at(row));
  }
  return footers;
}

/// `least(CAST('1' AS BIGINT), CAST('7' AS BIGINT))`
std::string extreme(std::string_view function, const std::set<std::string>& texts,
                    const Type& type) {
  std::string casts;
  for (const std::string& text : texts) {
    casts += fmt::format("{}CAST({} AS {})", casts.empty() ? "" : ", ", quote_literal(text),
                         to_sql(type));
  }
  return fmt::format("{}({})", function, casts);
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
  const std::vector<Footer> footers = TIDE_TRY(read_footer(connection, path, leaves.size()));
  std::string bounds;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const bool known =
        footers[i].known && !footers[i].least.empty() && leaves[i].type.kind != Kind::kBinary;
    const std::string null = fmt::format("NULL::{}", to_sql(leaves[i].type));
    bounds += fmt::format("{}{}, {}", bounds.empty() ? "SELECT " : ", ",
                          known ? extreme("least", footers[i].least, leaves[i].type) : null,
                          known ? extreme("greatest", footers[i].greatest, leaves[i].type) : null);
  }
  const std::unique_ptr<QueryResult> result = TIDE_TRY(connection.query(bounds));
  const columns::Batch row = TIDE_TRY(result->all());
  std::vector<ColumnStatistics> statistics;
  for (size_t i = 0; i < leaves.size(); ++i) {
    ColumnStatistics column{std::move(leaves[i].path), leaves[i].type, footers[i].nulls,
                            Column(leaves[i].type)};
    column.bounds.append_from(row.columns[2 * i], 0);
    column.bounds.append_from(row.columns[2 * i + 1], 0);
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
