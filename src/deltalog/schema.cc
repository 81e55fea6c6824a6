#include "deltalog/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "deltalog/internal/json.h"

namespace tide::deltalog {
namespace {

using json::Json;

constexpr std::string_view kColumnId = "delta.columnMapping.id";
constexpr std::string_view kPhysicalName = "delta.columnMapping.physicalName";
/// Nesting beyond this is an attack on our stack, not a table.
constexpr int kDepthMax = 100;

struct PrimitiveName {
  std::string_view name;
  TypeKind kind;
};
constexpr std::array<PrimitiveName, 14> kPrimitives = {{
    {"boolean", TypeKind::kBool},
    {"byte", TypeKind::kByte},
    {"short", TypeKind::kShort},
    {"integer", TypeKind::kInteger},
    {"long", TypeKind::kLong},
    {"float", TypeKind::kFloat},
    {"double", TypeKind::kDouble},
    {"string", TypeKind::kString},
    {"binary", TypeKind::kBinary},
    {"date", TypeKind::kDate},
    {"timestamp", TypeKind::kTimestamp},
    {"timestamp_ntz", TypeKind::kTimestampNtz},
    {"void", TypeKind::kVoid},
    {"variant", TypeKind::kVariant},
}};

std::optional<DataType> parse_decimal(std::string_view name) {
  if (name == "decimal") name = "decimal(10,0)";
  if (!name.starts_with("decimal(") || !name.ends_with(")")) return std::nullopt;
  std::string_view inside = name.substr(8, name.size() - 9);
  size_t comma = inside.find(',');
  int precision = 0;
  int scale = 0;
  auto number = [](std::string_view text, int& value) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (text.ends_with(' ')) text.remove_suffix(1);
    if (text.empty() || text.size() > 2) return false;
    value = 0;
    for (char c : text) {
      if (c < '0' || c > '9') return false;
      value = value * 10 + (c - '0');
    }
    return true;
  };
  if (!number(inside.substr(0, comma), precision)) return std::nullopt;
  if (comma != std::string_view::npos && !number(inside.substr(comma + 1), scale)) {
    return std::nullopt;
  }
  if (precision < 1 || precision > 38 || scale > precision) return std::nullopt;
  DataType type(TypeKind::kDecimal);
  type.precision = static_cast<uint8_t>(precision);
  type.scale = static_cast<uint8_t>(scale);
  return type;
}

Result<DataType> type_of(const Json& value, int depth);

Result<SchemaField> field_of(const Json& value, int depth) {
  std::optional<std::string> name = json::text(value, "name");
  const Json* type = json::member(value, "type");
  if (!name || type == nullptr) {
    return Status(Code::kCorrupt, "schema field without name or type");
  }
  SchemaField field;
  field.name = std::move(*name);
  field.type = TIDE_TRY(type_of(*type, depth));
  field.nullable = json::boolean(value, "nullable").value_or(true);
  if (const Json* metadata = json::object(value, "metadata")) {
    Json rest = *metadata;
    if (std::optional<int64_t> id = json::integer(rest, kColumnId.data())) {
      field.column_id = static_cast<int32_t>(*id);
      rest.erase(std::string(kColumnId));
    }
    if (std::optional<std::string> physical = json::text(rest, kPhysicalName.data())) {
      field.physical_name = std::move(*physical);
      rest.erase(std::string(kPhysicalName));
    }
    field.metadata = json::dump(rest);
  }
  return field;
}

Result<DataType> struct_of(const Json& value, int depth) {
  const Json* fields = json::member(value, "fields");
  if (fields == nullptr || !fields->is_array()) {
    return Status(Code::kCorrupt, "schema struct without fields");
  }
  DataType type(TypeKind::kStruct);
  for (const Json& field : *fields) type.children.push_back(TIDE_TRY(field_of(field, depth)));
  return type;
}

Result<DataType> type_of(const Json& value, int depth) {
  if (depth > kDepthMax) return Status(Code::kCorrupt, "schema nests too deeply");
  if (value.is_string()) {
    const std::string& name = value.get_ref<const std::string&>();
    for (const PrimitiveName& primitive : kPrimitives) {
      if (primitive.name == name) return DataType(primitive.kind);
    }
    if (std::optional<DataType> decimal = parse_decimal(name)) return *std::move(decimal);
    DataType other(TypeKind::kOther);
    other.spelling = name;
    return other;
  }
  std::optional<std::string> kind = json::text(value, "type");
  if (kind == "struct") return struct_of(value, depth + 1);
  if (kind == "array") {
    const Json* element = json::member(value, "elementType");
    if (element == nullptr) return Status(Code::kCorrupt, "schema array without elementType");
    DataType type(TypeKind::kArray);
    SchemaField child{"element", TIDE_TRY(type_of(*element, depth + 1)),
                      json::boolean(value, "containsNull").value_or(true)};
    type.children.push_back(std::move(child));
    return type;
  }
  if (kind == "map") {
    const Json* key = json::member(value, "keyType");
    const Json* mapped = json::member(value, "valueType");
    if (key == nullptr || mapped == nullptr) {
      return Status(Code::kCorrupt, "schema map without keyType or valueType");
    }
    DataType type(TypeKind::kMap);
    type.children.push_back({"key", TIDE_TRY(type_of(*key, depth + 1)), false});
    type.children.push_back({"value", TIDE_TRY(type_of(*mapped, depth + 1)),
                             json::boolean(value, "valueContainsNull").value_or(true)});
    return type;
  }
  // User-defined types and what the protocol may still bring: carried, refused when read.
  if (!value.is_object()) return Status(Code::kCorrupt, "schema type is neither name nor object");
  DataType other(TypeKind::kOther);
  other.spelling = json::dump(value);
  return other;
}

Json json_of(const DataType& type);

Json json_of(const SchemaField& field) {
  Json metadata = json::parse(field.metadata);
  if (!metadata.is_object()) metadata = Json::object();
  if (field.column_id) metadata[std::string(kColumnId)] = *field.column_id;
  if (!field.physical_name.empty()) metadata[std::string(kPhysicalName)] = field.physical_name;
  return Json{{"name", field.name},
              {"type", json_of(field.type)},
              {"nullable", field.nullable},
              {"metadata", std::move(metadata)}};
}

Json json_of(const DataType& type) {
  switch (type.kind) {
    case TypeKind::kStruct: {
      Json fields = Json::array();
      for (const SchemaField& field : type.children) fields.push_back(json_of(field));
      return Json{{"type", "struct"}, {"fields", std::move(fields)}};
    }
    case TypeKind::kArray:
      return Json{{"type", "array"},
                  {"elementType", json_of(type.children.at(0).type)},
                  {"containsNull", type.children.at(0).nullable}};
    case TypeKind::kMap:
      return Json{{"type", "map"},
                  {"keyType", json_of(type.children.at(0).type)},
                  {"valueType", json_of(type.children.at(1).type)},
                  {"valueContainsNull", type.children.at(1).nullable}};
    case TypeKind::kOther:
      if (type.spelling.starts_with('{')) return json::parse(type.spelling);
      return type.spelling;
    default:
      return to_string(type);
  }
}

bool equal_names(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

void assign_field_mapping(SchemaField& field, int32_t& max_column_id);

void assign_inside(DataType& type, int32_t& max_column_id) {
  bool named = type.kind == TypeKind::kStruct;
  for (SchemaField& child : type.children) {
    if (named) {
      assign_field_mapping(child, max_column_id);
    } else {
      assign_inside(child.type, max_column_id);
    }
  }
}

void assign_field_mapping(SchemaField& field, int32_t& max_column_id) {
  if (field.column_id) {
    max_column_id = std::max(max_column_id, *field.column_id);
  } else {
    field.column_id = ++max_column_id;
  }
  if (field.physical_name.empty()) field.physical_name = field.name;
  assign_inside(field.type, max_column_id);
}

void raise_to_largest_id(const DataType& type, int32_t& max_column_id) {
  for (const SchemaField& child : type.children) {
    if (child.column_id) max_column_id = std::max(max_column_id, *child.column_id);
    raise_to_largest_id(child.type, max_column_id);
  }
}

std::string quoted(const std::string& name) {
  std::string result = "\"";
  for (char c : name) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

}  // namespace

bool DataType::operator==(const DataType&) const = default;

const SchemaField* Schema::find(std::string_view name) const {
  for (const SchemaField& field : fields) {
    if (equal_names(field.name, name)) return &field;
  }
  return nullptr;
}

Result<Schema> parse_schema(std::string_view text) {
  Json value = json::parse(text);
  if (value.is_discarded()) return Status(Code::kCorrupt, "schema is not JSON");
  if (json::text(value, "type") != "struct") {
    return Status(Code::kCorrupt, "schema is not a struct");
  }
  DataType type = TIDE_TRY(struct_of(value, 0));
  return Schema{std::move(type.children)};
}

std::string write_schema(const Schema& schema) {
  DataType type(TypeKind::kStruct);
  type.children = schema.fields;
  return write_type(type);
}

Result<DataType> parse_type(std::string_view text) {
  Json value = json::parse(text);
  if (value.is_discarded()) return Status(Code::kCorrupt, "type is not JSON");
  return type_of(value, 0);
}

std::string write_type(const DataType& type) { return json::dump(json_of(type)); }

std::string to_string(const DataType& type) {
  switch (type.kind) {
    case TypeKind::kDecimal:
      return fmt::format("decimal({},{})", type.precision, type.scale);
    case TypeKind::kOther:
      return type.spelling;
    case TypeKind::kArray:
      return fmt::format("array<{}>", to_string(type.children.at(0).type));
    case TypeKind::kMap:
      return fmt::format("map<{},{}>", to_string(type.children.at(0).type),
                         to_string(type.children.at(1).type));
    case TypeKind::kStruct: {
      std::string fields;
      for (const SchemaField& field : type.children) {
        if (!fields.empty()) fields += ',';
        fields += fmt::format("{}:{}", field.name, to_string(field.type));
      }
      return fmt::format("struct<{}>", fields);
    }
    default:
      for (const PrimitiveName& primitive : kPrimitives) {
        if (primitive.kind == type.kind) return std::string(primitive.name);
      }
      return "unknown";
  }
}

std::optional<std::string> unreadable_part(const DataType& type) {
  if (type.kind == TypeKind::kVariant || type.kind == TypeKind::kOther) return to_string(type);
  for (const SchemaField& child : type.children) {
    if (std::optional<std::string> part = unreadable_part(child.type)) return part;
  }
  return std::nullopt;
}

Result<columns::Type> to_columns(const DataType& type) {
  using columns::Kind;
  switch (type.kind) {
    case TypeKind::kBool:
      return columns::Type(Kind::kBool);
    case TypeKind::kByte:
    case TypeKind::kShort:
      return columns::Type(Kind::kInt16);
    case TypeKind::kInteger:
      return columns::Type(Kind::kInt32);
    case TypeKind::kLong:
      return columns::Type(Kind::kInt64);
    case TypeKind::kFloat:
      return columns::Type(Kind::kFloat);
    case TypeKind::kDouble:
      return columns::Type(Kind::kDouble);
    case TypeKind::kDecimal:
      return columns::Type::decimal(type.precision, type.scale);
    case TypeKind::kString:
      return columns::Type(Kind::kString);
    case TypeKind::kBinary:
      return columns::Type(Kind::kBinary);
    case TypeKind::kDate:
      return columns::Type(Kind::kDate);
    case TypeKind::kTimestamp:
      return columns::Type(Kind::kTimestamp);
    case TypeKind::kTimestampNtz:
      return columns::Type(Kind::kTimestampNtz);
    case TypeKind::kArray: {
      columns::Type list = columns::Type::list(TIDE_TRY(to_columns(type.children.at(0).type)));
      list.children[0].nullable = type.children.at(0).nullable;
      return list;
    }
    case TypeKind::kStruct: {
      std::vector<columns::Field> fields;
      for (const SchemaField& field : type.children) {
        fields.push_back({field.name, TIDE_TRY(to_columns(field.type)), field.nullable});
      }
      return columns::Type::structure(std::move(fields));
    }
    default:
      return Status(Code::kInvalid,
                    fmt::format("type {} has no form among the lake's rows", to_string(type)));
  }
}

Result<std::vector<columns::Field>> to_columns(const Schema& schema) {
  std::vector<columns::Field> fields;
  for (const SchemaField& field : schema.fields) {
    Result<columns::Type> type = to_columns(field.type);
    if (!type.ok()) {
      return std::move(type).status().with_context(fmt::format("column \"{}\"", field.name));
    }
    fields.push_back({field.name, std::move(type).value(), field.nullable});
  }
  return fields;
}

DataType from_columns(const columns::Type& type) {
  using columns::Kind;
  switch (type.kind) {
    case Kind::kBool:
      return TypeKind::kBool;
    case Kind::kInt16:
      return TypeKind::kShort;
    case Kind::kInt32:
      return TypeKind::kInteger;
    case Kind::kInt64:
      return TypeKind::kLong;
    case Kind::kFloat:
      return TypeKind::kFloat;
    case Kind::kDouble:
      return TypeKind::kDouble;
    case Kind::kString:
      return TypeKind::kString;
    case Kind::kBinary:
      return TypeKind::kBinary;
    case Kind::kDate:
      return TypeKind::kDate;
    case Kind::kTimestamp:
      return TypeKind::kTimestamp;
    case Kind::kTimestampNtz:
      return TypeKind::kTimestampNtz;
    case Kind::kDecimal: {
      DataType decimal(TypeKind::kDecimal);
      decimal.precision = type.precision;
      decimal.scale = type.scale;
      return decimal;
    }
    case Kind::kList:
    case Kind::kStruct:
      break;
  }
  DataType nested(type.kind == Kind::kList ? TypeKind::kArray : TypeKind::kStruct);
  for (const columns::Field& child : type.children) {
    nested.children.push_back({child.name, from_columns(child.type), child.nullable});
  }
  return nested;
}

Schema from_columns(const std::vector<columns::Field>& fields) {
  Schema schema;
  for (const columns::Field& field : fields) {
    schema.fields.push_back({field.name, from_columns(field.type), field.nullable});
  }
  return schema;
}

void assign_column_mapping(Schema& schema, int32_t& max_column_id) {
  // First what is taken: an id must never be given twice.
  for (const SchemaField& field : schema.fields) {
    if (field.column_id) max_column_id = std::max(max_column_id, *field.column_id);
    raise_to_largest_id(field.type, max_column_id);
  }
  for (SchemaField& field : schema.fields) assign_field_mapping(field, max_column_id);
}

void forget_column_mapping(SchemaField& field) {
  field.column_id.reset();
  field.physical_name.clear();
  for (SchemaField& child : field.type.children) forget_column_mapping(child);
}

Result<std::string> duckdb_type(const DataType& type, Names names) {
  switch (type.kind) {
    case TypeKind::kBool:
      return std::string("BOOLEAN");
    case TypeKind::kByte:
      return std::string("TINYINT");
    case TypeKind::kShort:
      return std::string("SMALLINT");
    case TypeKind::kInteger:
      return std::string("INTEGER");
    case TypeKind::kLong:
      return std::string("BIGINT");
    case TypeKind::kFloat:
      return std::string("FLOAT");
    case TypeKind::kDouble:
      return std::string("DOUBLE");
    case TypeKind::kDecimal:
      return fmt::format("DECIMAL({},{})", type.precision, type.scale);
    case TypeKind::kString:
      return std::string("VARCHAR");
    case TypeKind::kBinary:
      return std::string("BLOB");
    case TypeKind::kDate:
      return std::string("DATE");
    case TypeKind::kTimestamp:
      return std::string("TIMESTAMP WITH TIME ZONE");
    case TypeKind::kTimestampNtz:
      return std::string("TIMESTAMP");
    case TypeKind::kVoid:
      return std::string("INTEGER");
    case TypeKind::kArray:
      return TIDE_TRY(duckdb_type(type.children.at(0).type, names)) + "[]";
    case TypeKind::kMap: {
      std::string key = TIDE_TRY(duckdb_type(type.children.at(0).type, names));
      std::string value = TIDE_TRY(duckdb_type(type.children.at(1).type, names));
      return fmt::format("MAP({}, {})", key, value);
    }
    case TypeKind::kStruct: {
      std::string fields;
      for (const SchemaField& field : type.children) {
        std::string inner = TIDE_TRY(duckdb_type(field.type, names));
        if (!fields.empty()) fields += ", ";
        fields += fmt::format(
            "{} {}", quoted(names == Names::kPhysical ? physical_name(field) : field.name), inner);
      }
      if (fields.empty()) return Status(Code::kInvalid, "a struct without fields cannot be read");
      return fmt::format("STRUCT({})", fields);
    }
    case TypeKind::kVariant:
    case TypeKind::kOther:
      break;
  }
  return Status(Code::kInvalid, fmt::format("type {} cannot be read", to_string(type)));
}

bool renames_inside(const DataType& type) {
  return std::any_of(type.children.begin(), type.children.end(), [&](const SchemaField& child) {
    return (type.kind == TypeKind::kStruct && physical_name(child) != child.name) ||
           renames_inside(child.type);
  });
}

}  // namespace tide::deltalog
