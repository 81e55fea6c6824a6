#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "columns/type.h"

namespace tide::deltalog {

/// Types of a Delta table's schema. More than columns::Kind has: a table by another writer may hold
/// types that the lake's own tables never do; they are carried, and refused where they would be
/// read.
enum class TypeKind : uint8_t {
  kBool,
  kByte,
  kShort,
  kInteger,
  kLong,
  kFloat,
  kDouble,
  kDecimal,
  kString,
  kBinary,
  kDate,
  kTimestamp,
  kTimestampNtz,
  kVoid,
  kVariant,
  kOther,   ///< Any other name (interval, geometry(...)); DataType::spelling keeps it.
  kArray,   ///< One child, "element".
  kMap,     ///< Two children, "key" and "value".
  kStruct,  ///< A child per field.
};

struct SchemaField;

struct DataType {
  TypeKind kind = TypeKind::kString;
  uint8_t precision = 0;  ///< Of kDecimal, 1 to 38.
  uint8_t scale = 0;      ///< Of kDecimal, 0 to precision.
  std::string spelling;   ///< Of kOther: the name, or the JSON text of what is no known type.
  std::vector<SchemaField> children;

  DataType() = default;
  DataType(TypeKind k) : kind(k) {}  // NOLINT: implicit on purpose
  bool operator==(const DataType&) const;
};

struct SchemaField {
  std::string name;
  DataType type;
  bool nullable = true;
  /// delta.columnMapping.id; the Parquet field id.
  std::optional<int32_t> column_id;
  /// delta.columnMapping.physicalName; empty where there is none.
  std::string physical_name;
  /// The other metadata (comments, delta.typeChanges, defaults ...): text of a JSON object.
  std::string metadata = "{}";

  bool operator==(const SchemaField&) const = default;
};

struct Schema {
  std::vector<SchemaField> fields;

  /// Names of a Delta schema are unique without regard to (ASCII) case. Null if there is none.
  const SchemaField* find(std::string_view name) const;
  bool operator==(const Schema&) const = default;
};

/// kCorrupt unless `json` is a struct type in Spark's JSON form. Unknown type names are no error.
Result<Schema> parse_schema(std::string_view json);
std::string write_schema(const Schema& schema);
/// One type, as `type_json` on the lake socket and in `type` of a field.
Result<DataType> parse_type(std::string_view json);
std::string write_type(const DataType& type);

/// "decimal(10,2)", "map<string,array<long>>".
std::string to_string(const DataType& type);
/// The first type inside `type` that no reader of ours can make values of (variant, interval,
/// geometry ...), in words; nothing if there is none. void is readable: always NULL.
std::optional<std::string> unreadable_part(const DataType& type);

/// byte becomes short. kInvalid for void, map, variant and others, which the lake's rows do not
/// have.
Result<columns::Type> to_columns(const DataType& type);
Result<std::vector<columns::Field>> to_columns(const Schema& schema);
DataType from_columns(const columns::Type& type);
Schema from_columns(const std::vector<columns::Field>& fields);

/// Gives every field, at every level, that has none an id above `max_column_id` (raised) and a
/// physical name, which is its name: what column mapping in name mode needs of a new table.
void assign_column_mapping(Schema& schema, int32_t& max_column_id);

/// Takes ids and physical names away, at every level: what annotations mean while the mode is none.
void forget_column_mapping(SchemaField& field);

/// DuckDB's name of the type with which it reads such a column, nested names quoted; physical or
/// logical names of nested fields. kInvalid for types that cannot be read.
enum class Names { kLogical, kPhysical };
Result<std::string> duckdb_type(const DataType& type, Names names);

/// The name by which files, statistics and partition values know the field.
inline const std::string& physical_name(const SchemaField& field) {
  return field.physical_name.empty() ? field.name : field.physical_name;
}
/// True if a field inside the type, at any level, has another physical than logical name.
bool renames_inside(const DataType& type);

}  // namespace tide::deltalog
