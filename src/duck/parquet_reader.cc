#include "duck/parquet_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "duck/sql_text.h"

namespace tide::duck {
namespace {

/// read_parquet()'s parameter `schema`: what to look for, and what to make of it.
std::string schema_map(const std::vector<ParquetColumn>& columns) {
  const bool by_id = std::all_of(columns.begin(), columns.end(), [](const ParquetColumn& column) {
    return column.field_id.has_value();
  });
  std::string out;
  for (const ParquetColumn& column : columns) {
    const std::string key =
        by_id ? std::to_string(*column.field_id)
              : quote_literal(column.physical.empty() ? column.name : column.physical);
    const std::string value =
        column.missing_value ? quote_literal(*column.missing_value) : "NULL::VARCHAR";
    out += fmt::format("{}{}: {{'name': {}, 'type': {}, 'default_value': {}}}",
                       out.empty() ? "" : ", ", key, quote_literal(column.name),
                       quote_literal(to_sql(column.type)), value);
  }
  return fmt::format("MAP {{{}}}", out);
}

}  // namespace

std::string parquet_scan_sql(const ParquetScan& scan) {
  std::string names;
  for (const ParquetColumn& column : scan.columns) {
    names += (names.empty() ? "" : ", ") + quote_identifier(column.name);
  }
  if (scan.files.empty()) {
    std::string nulls;
    for (const ParquetColumn& column : scan.columns) {
      nulls += fmt::format("{}NULL::{} AS {}", nulls.empty() ? "" : ", ", to_sql(column.type),
                           quote_identifier(column.name));
    }
    return fmt::format("SELECT {} WHERE false", nulls);
  }
  std::string sql = fmt::format("SELECT {} FROM read_parquet({}, schema = {})", names,
                                quote_files(scan.files), schema_map(scan.columns));
  if (scan.deletions) {
    sql += fmt::format(" WHERE tide_live({}, file_index, file_row_number)", *scan.deletions);
  }
  return sql;
}

Result<uint64_t> count_parquet_rows(Connection& connection, const std::vector<std::string>& files) {
  if (files.empty()) return uint64_t{0};
  const std::unique_ptr<QueryResult> result = TIDE_TRY(connection.query(fmt::format(
      "SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({})", quote_files(files))));
  const columns::Batch batch = TIDE_TRY(result->all());
  return batch.columns[0].value<uint64_t>(0);
}

Result<std::vector<ResultColumn>> parquet_columns(Connection& connection, const std::string& path) {
  const std::unique_ptr<Prepared> prepared = TIDE_TRY(
      connection.prepare(fmt::format("SELECT * FROM read_parquet({})", quote_files({path}))));
  return prepared->columns();
}

Result<columns::Batch> read_parquet(Connection& connection, const std::string& path,
                                    const std::vector<ParquetColumn>& columns) {
  const std::unique_ptr<QueryResult> result =
      TIDE_TRY(connection.query(parquet_scan_sql({{path}, columns, {}})));
  return result->all();
}

}  // namespace tide::duck
