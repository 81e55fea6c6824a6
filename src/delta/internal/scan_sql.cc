#include "delta/internal/scan_sql.h"

#include <fmt/format.h>

#include <algorithm>

#include "duck/sql_text.h"

namespace tide::delta {
namespace {

using deltalog::DataType;
using deltalog::Names;
using deltalog::physical_name;
using deltalog::SchemaField;
using deltalog::TypeKind;
using duck::quote_identifier;
using duck::quote_literal;

/// `expression`, whose nested fields have physical names, with logical ones.
std::string with_logical_names(const std::string& expression, const DataType& type, int depth) {
  if (!deltalog::renames_inside(type)) return expression;
  std::string variable = fmt::format("x{}", depth);
  switch (type.kind) {
    case TypeKind::kStruct: {
      std::string fields;
      for (const SchemaField& field : type.children) {
        std::string inner =
            fmt::format("struct_extract({}, {})", expression, quote_literal(physical_name(field)));
        if (!fields.empty()) fields += ", ";
        fields += fmt::format("{} := {}", quote_identifier(field.name),
                              with_logical_names(inner, field.type, depth));
      }
      return fmt::format("CASE WHEN {} IS NULL THEN NULL ELSE struct_pack({}) END", expression,
                         fields);
    }
    case TypeKind::kArray:
      return fmt::format("list_transform({}, lambda {}: {})", expression, variable,
                         with_logical_names(variable, type.children.at(0).type, depth + 1));
    case TypeKind::kMap:
      return fmt::format(
          "map_from_entries(list_transform(map_entries({}), lambda {}: struct_pack(\"key\" := {}, "
          "\"value\" := {})))",
          expression, variable,
          with_logical_names(variable + ".\"key\"", type.children.at(0).type, depth + 1),
          with_logical_names(variable + ".\"value\"", type.children.at(1).type, depth + 1));
    default:
      return expression;
  }
}

/// A partition value as text that casts to the column's type whatever the session's settings.
std::string literal_of(const deltalog::Value& value, const DataType& type) {
  if (deltalog::is_null(value)) return "NULL";
  if (type.kind == TypeKind::kBinary) {
    std::string bytes;
    for (char c : std::get<std::string>(value)) {
      bytes += fmt::format("\\x{:02X}", static_cast<uint8_t>(c));
    }
    return quote_literal(bytes);
  }
  return quote_literal(*deltalog::write_value(value, type));
}

/// The column's value for each file, picked by file_index; a constant where all are equal.
Result<std::string> partition_expression(const ScanText& scan, const SchemaField& field,
                                         size_t index) {
  std::string type = TIDE_TRY(deltalog::duckdb_type(field.type, Names::kLogical));
  std::vector<std::string> literals;
  literals.reserve(scan.files.size());
  for (const ScanText::File& file : scan.files) {
    literals.push_back(literal_of(file.partition.at(index), field.type));
  }
  bool equal = std::all_of(literals.begin(), literals.end(),
                           [&](const std::string& one) { return one == literals.front(); });
  if (equal) return fmt::format("CAST({} AS {})", literals.front(), type);
  std::string list;
  for (const std::string& literal : literals) {
    if (!list.empty()) list += ',';
    list += literal;
  }
  return fmt::format("list_extract(CAST([{}] AS {}[]), CAST(file_index AS BIGINT) + 1)", list,
                     type);
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string literal_path(const std::string& path) {
  std::string literal;
  for (char c : path) {
    if (c == '*' || c == '?' || c == '[') {
      literal += '[';
      literal += c;
      literal += ']';
    } else {
      literal += c;
    }
  }
  return literal;
}

Result<std::string> scan_sql(const ScanText& scan) {
  if (scan.columns.empty()) return Status(Code::kInvalid, "the table has no columns");
  std::string select;
  std::string schema;
  bool by_id = scan.mapping == deltalog::ColumnMapping::kId;
  for (size_t i = 0; i < scan.columns.size(); ++i) {
    if (!scan.partition_index[i] && !scan.columns[i].column_id) by_id = false;
  }
  for (size_t i = 0; i < scan.columns.size(); ++i) {
    const SchemaField& field = scan.columns[i];
    std::string type = TIDE_TRY(deltalog::duckdb_type(field.type, Names::kLogical));
    std::string expression;
    if (scan.files.empty() || field.type.kind == TypeKind::kVoid) {
      expression = fmt::format("CAST(NULL AS {})", type);
    } else if (scan.partition_index[i]) {
      expression = TIDE_TRY(partition_expression(scan, field, *scan.partition_index[i]));
    } else {
      bool zoneless = contains(scan.zoneless, physical_name(field));
      std::string stored = TIDE_TRY(deltalog::duckdb_type(field.type, Names::kPhysical));
      if (zoneless) stored = "TIMESTAMP";
      // The names inside read_parquet are ours, so that those of columns in files cannot clash with
      // file_index and the like.
      std::string name = fmt::format("c{}", i);
      if (!schema.empty()) schema += ", ";
      schema += fmt::format(
          "{}: {{name: '{}', type: {}, default_value: NULL}}",
          by_id ? std::to_string(*field.column_id) : quote_literal(physical_name(field)), name,
          quote_literal(stored));
      expression = with_logical_names(name, field.type, 0);
      if (zoneless) expression = fmt::format("timezone('UTC', {})", name);
    }
    if (!select.empty()) select += ", ";
    select += fmt::format("{} AS {}", expression, quote_identifier(field.name));
  }
  if (scan.files.empty()) return fmt::format("SELECT {} WHERE false", select);
  // A schema must not be empty: with partition columns only, rows still count.
  if (schema.empty()) {
    schema = "'__tide_none': {name: '__tide_none', type: 'INTEGER', default_value: NULL}";
  }
  std::string files;
  for (const ScanText::File& file : scan.files) {
    if (!files.empty()) files += ", ";
    files += quote_literal(literal_path(file.path));
  }
  std::string sql =
      fmt::format("SELECT {} FROM read_parquet([{}], schema=MAP {{{}}})", select, files, schema);
  if (scan.deletions) {
    sql += fmt::format(" WHERE tide_live({}, file_index, file_row_number)", *scan.deletions);
  }
  return sql;
}

}  // namespace tide::delta
