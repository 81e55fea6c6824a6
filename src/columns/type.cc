#include "columns/type.h"

#include <fmt/format.h>

namespace tide::columns {

Type Type::decimal(int precision, int scale) {
  Type type(Kind::kDecimal);
  type.precision = static_cast<uint8_t>(precision);
  type.scale = static_cast<uint8_t>(scale);
  return type;
}

Type Type::list(Type element) {
  Type type(Kind::kList);
  type.children.push_back({"element", std::move(element), true});
  return type;
}

Type Type::structure(std::vector<Field> fields) {
  Type type(Kind::kStruct);
  type.children = std::move(fields);
  return type;
}

bool Type::operator==(const Type&) const = default;

size_t fixed_width(const Type& type) {
  switch (type.kind) {
    case Kind::kBool:
      return 1;
    case Kind::kInt16:
      return 2;
    case Kind::kInt32:
    case Kind::kFloat:
    case Kind::kDate:
      return 4;
    case Kind::kInt64:
    case Kind::kDouble:
    case Kind::kTimestamp:
    case Kind::kTimestampNtz:
      return 8;
    case Kind::kDecimal:
      return decimal_width(type.precision);
    case Kind::kString:
    case Kind::kBinary:
    case Kind::kList:
    case Kind::kStruct:
      return 0;
  }
  return 0;
}

std::string to_string(const Type& type) {
  switch (type.kind) {
    case Kind::kBool:
      return "boolean";
    case Kind::kInt16:
      return "short";
    case Kind::kInt32:
      return "integer";
    case Kind::kInt64:
      return "long";
    case Kind::kFloat:
      return "float";
    case Kind::kDouble:
      return "double";
    case Kind::kDecimal:
      return fmt::format("decimal({},{})", type.precision, type.scale);
    case Kind::kString:
      return "string";
    case Kind::kBinary:
      return "binary";
    case Kind::kDate:
      return "date";
    case Kind::kTimestamp:
      return "timestamp";
    case Kind::kTimestampNtz:
      return "timestamp_ntz";
    case Kind::kList:
      return fmt::format("array<{}>", to_string(type.children.at(0).type));
    case Kind::kStruct: {
      std::string fields;
      for (const Field& field : type.children) {
        if (!fields.empty()) fields += ',';
        fields += fmt::format("{}:{}", field.name, to_string(field.type));
      }
      return fmt::format("struct<{}>", fields);
    }
  }
  return "unknown";
}

}  // namespace tide::columns
