#include "delta/scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "delta/internal/scan_sql.h"
#include "deltalog/deletion_vector.h"
#include "deltalog/path.h"
#include "deltalog/protocol.h"
#include "duck/connection.h"
#include "duck/sql_text.h"

namespace tide::delta {
namespace {

using deltalog::SchemaField;
using deltalog::TypeKind;

/// Local path of a file that the log names.
Result<std::string> local_file(TableDirectory& directory, const std::string& name) {
  if (!deltalog::is_absolute(name)) return directory.local_path(name);
  if (name.starts_with('/')) return name;
  return Status(Code::kInvalid, fmt::format("{} lies where we cannot read", name));
}

Result<std::vector<deltalog::Value>> partition_of(
    const deltalog::AddFile& add, const std::vector<const SchemaField*>& partition_fields) {
  std::vector<deltalog::Value> values;
  for (const SchemaField* field : partition_fields) {
    auto text = add.partition_values.find(deltalog::physical_name(*field));
    if (text == add.partition_values.end()) {
      // Old writers used the logical name although columns were mapped.
      text = add.partition_values.find(field->name);
    }
    if (text == add.partition_values.end()) {
      values.emplace_back();
      continue;
    }
    Result<deltalog::Value> value = deltalog::parse_value(text->second, field->type);
    if (!value.ok()) {
      return std::move(value).status().with_context(
          fmt::format("partition column \"{}\" of {}", field->name, add.path));
    }
    values.push_back(std::move(value).value());
  }
  return values;
}

/// Physical names of the scan's timestamp columns that some file stores without zone. Files of
/// other kinds beside it would be misread: kInvalid.
Result<std::vector<std::string>> zoneless_columns(duck::Engine& engine, const ScanText& scan) {
  std::set<std::string> wanted;
  for (size_t i = 0; i < scan.columns.size(); ++i) {
    if (scan.columns[i].type.kind == TypeKind::kTimestamp && !scan.partition_index[i]) {
      wanted.insert(deltalog::physical_name(scan.columns[i]));
    }
  }
  if (wanted.empty() || scan.files.empty()) return std::vector<std::string>();
  std::string files;
  for (const ScanText::File& file : scan.files) {
    if (!files.empty()) files += ", ";
    files += duck::quote_literal(literal_path(file.path));
  }
  std::string names;
  for (const std::string& name : wanted) {
    if (!names.empty()) names += ", ";
    names += duck::quote_literal(name);
  }
  // DuckDB's own words: `type` INT96, or a logical type with isAdjustedToUTC=0.
  std::string sql = fmt::format(
      "SELECT name, bool_or(zoneless), bool_and(zoneless) FROM (SELECT name, type = 'INT96' OR "
      "coalesce(logical_type LIKE '%isAdjustedToUTC=0%', false) AS zoneless FROM "
      "parquet_schema([{}]) WHERE name IN ({})) GROUP BY name ORDER BY name",
      files, names);
  std::unique_ptr<duck::Connection> connection = TIDE_TRY(engine.connect());
  auto query = TIDE_TRY(connection->query(sql));
  columns::Batch rows = TIDE_TRY(query->all());
  std::vector<std::string> zoneless;
  for (size_t row = 0; row < rows.rows(); ++row) {
    bool some = rows.columns[1].value<uint8_t>(row) != 0;
    bool all = rows.columns[2].value<uint8_t>(row) != 0;
    std::string name(rows.columns[0].bytes_at(row));
    // In a session whose TimeZone is UTC, which engines start with, mixed files read right as
    // they are.
    if (some && all) zoneless.push_back(std::move(name));
  }
  return zoneless;
}

}  // namespace

Result<columns::RowSet> load_deletion_vector(TableDirectory& directory,
                                             const deltalog::DeletionVectorDescriptor& descriptor) {
  if (descriptor.storage_type == 'i') return deltalog::read_inline(descriptor);
  deltalog::DeletionVectorPlace place = TIDE_TRY(deltalog::place_of(descriptor));
  uint64_t offset = static_cast<uint64_t>(descriptor.offset.value_or(1));
  uint64_t size = static_cast<uint64_t>(descriptor.size_in_bytes) + 8;
  std::string bytes;
  if (deltalog::is_absolute(place.file)) {
    std::string path = TIDE_TRY(local_file(directory, place.file));
    std::unique_ptr<TableDirectory> root = local_directory("/");
    bytes = TIDE_TRY(root->read_range(path.substr(1), offset, size));
  } else {
    bytes = TIDE_TRY(directory.read_range(place.file, offset, size));
  }
  Result<columns::RowSet> rows = deltalog::read_from_file(descriptor, as_bytes(bytes), offset);
  if (!rows.ok()) return std::move(rows).status().with_context(place.file);
  return rows;
}

Result<Scan> scan_table(TableDirectory& directory, duck::Engine& engine,
                        const deltalog::TableState& state, const ScanOptions& options) {
  TIDE_TRY(deltalog::check_readable(state.protocol()));
  ScanText text;
  text.mapping = TIDE_TRY(deltalog::column_mapping(state.protocol(), state.metadata()));
  deltalog::Schema schema = state.schema();
  if (text.mapping == deltalog::ColumnMapping::kNone) {
    // Annotations mean nothing before the mode is switched on.
    for (SchemaField& field : schema.fields) deltalog::forget_column_mapping(field);
  }
  Scan scan;
  scan.version = state.version();
  for (const std::string& name : options.columns) {
    const SchemaField* field = schema.find(name);
    if (field == nullptr) {
      return Status(Code::kNotFound, fmt::format("there is no column \"{}\"", name));
    }
    scan.schema.fields.push_back(*field);
  }
  if (options.columns.empty()) scan.schema = schema;
  TIDE_TRY(deltalog::check_readable(scan.schema));
  std::vector<SchemaField> partition_columns;
  for (const std::string& name : state.metadata().partition_columns) {
    const SchemaField* field = schema.find(name);
    if (field == nullptr) {
      return Status(Code::kCorrupt,
                    fmt::format("partition column \"{}\" is not in the schema", name));
    }
    partition_columns.push_back(*field);
  }
  std::vector<const SchemaField*> partition_fields;
  for (const SchemaField& field : partition_columns) partition_fields.push_back(&field);
  text.columns = scan.schema.fields;
  for (const SchemaField& field : text.columns) {
    std::optional<size_t> index;
    for (size_t i = 0; i < partition_columns.size(); ++i) {
      if (partition_columns[i].name == field.name) index = i;
    }
    text.partition_index.push_back(index);
  }

  deltalog::FileFilter filter(schema, state.metadata().partition_columns, options.predicates);
  std::vector<std::shared_ptr<const duck::DeletedRows>> deleted;
  bool any_deleted = false;
  for (const deltalog::AddFile* add : state.sorted_files()) {
    if (!filter.may_match(*add)) {
      ++scan.files_skipped;
      continue;
    }
    ScanFile file;
    file.add = *add;
    file.path = TIDE_TRY(local_file(directory, deltalog::file_name(add->path)));
    file.partition = TIDE_TRY(partition_of(*add, partition_fields));
    if (add->deletion_vector) {
      columns::RowSet rows = TIDE_TRY(load_deletion_vector(directory, *add->deletion_vector));
      if (!rows.empty()) {
        file.deleted = std::make_shared<const duck::DeletedRows>(rows);
        any_deleted = true;
      }
    }
    deleted.push_back(file.deleted);
    text.files.push_back({file.path, file.partition});
    scan.files.push_back(std::move(file));
  }
  if (any_deleted) {
    scan.deletions = engine.register_deletions(std::move(deleted));
    text.deletions = scan.deletions.id();
  }
  if (options.inspect_files) text.zoneless = TIDE_TRY(zoneless_columns(engine, text));
  scan.sql = TIDE_TRY(scan_sql(text));
  return scan;
}

}  // namespace tide::delta
