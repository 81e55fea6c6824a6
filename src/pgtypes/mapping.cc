#include "pgtypes/mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace tide::pgtypes {
namespace {

using columns::Field;
using columns::Kind;
using columns::Type;

constexpr int kMaxPrecision = 38;

/// numeric(p,s) whose values all have a place in a decimal; everything else keeps its exact text.
Type map_numeric(int32_t typmod) {
  constexpr int32_t kHeader = 4;
  if (typmod < kHeader) return Kind::kString;
  auto packed = static_cast<uint32_t>(typmod - kHeader);
  auto precision = static_cast<int>(packed >> 16);
  // The scale is a number of 11 bits with sign.
  int scale = static_cast<int>(packed & 0x7FF) ^ 0x400;
  scale -= 0x400;
  if (precision < 1 || precision > kMaxPrecision || scale < 0 || scale > precision) {
    return Kind::kString;
  }
  return Type::decimal(precision, scale);
}

/// Delta compares names of fields without regard to case: a struct needs distinct ones, and one
/// field at least.
bool can_be_struct(const std::vector<Attribute>& attributes) {
  std::set<std::string> names;
  for (const Attribute& attribute : attributes) {
    if (attribute.dropped) continue;
    std::string name = attribute.name;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (!names.insert(name).second) return false;
  }
  return !names.empty();
}

}  // namespace

Result<Type> map_type(const TypeTree& type) {
  switch (type.format) {
    case Format::kUnknown:
      return Status(Code::kInvalid,
                    fmt::format("type {} of an extension has no mapping", type.name));
    case Format::kBool:
      return Type(Kind::kBool);
    case Format::kInt2:
      return Type(Kind::kInt16);
    case Format::kInt4:
      return Type(Kind::kInt32);
    case Format::kInt8:
    case Format::kUnsigned4:
      return Type(Kind::kInt64);
    case Format::kFloat4:
      return Type(Kind::kFloat);
    case Format::kFloat8:
      return Type(Kind::kDouble);
    case Format::kNumeric:
      return map_numeric(type.typmod);
    case Format::kMoney:
      return Type::decimal(19, 2);
    case Format::kBytea:
      return Type(Kind::kBinary);
    case Format::kDate:
      return Type(Kind::kDate);
    case Format::kTimestamp:
      return Type(Kind::kTimestampNtz);
    case Format::kTimestamptz:
      return Type(Kind::kTimestamp);
    case Format::kVector:
      return Type::list(Kind::kFloat);
    case Format::kArray:
      return Type::list(TIDE_TRY(map_type(type.children[0])));
    case Format::kRange:
    case Format::kMultirange:
      // Text; but every part must be printable.
      TIDE_TRY(map_type(type.children[0]));
      return Type(Kind::kString);
    case Format::kComposite: {
      std::vector<Field> fields;
      for (size_t i = 0; i < type.children.size(); ++i) {
        if (type.attributes[i].dropped) continue;
        Field field;
        field.name = type.attributes[i].name;
        field.type = TIDE_TRY(map_type(type.children[i]));
        fields.push_back(std::move(field));
      }
      if (!can_be_struct(type.attributes)) return Type(Kind::kString);
      return Type::structure(std::move(fields));
    }
    default:
      return Type(Kind::kString);
  }
}

Result<Type> map_type(const TypeCatalog& catalog, uint32_t type, int32_t typmod) {
  return map_type(TIDE_TRY(TypeTree::resolve(catalog, type, typmod)));
}

}  // namespace tide::pgtypes
