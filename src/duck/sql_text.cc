#include "duck/sql_text.h"

#include <fmt/format.h>

namespace tide::duck {
namespace {

std::string quoted(std::string_view text, char quote) {
  std::string out(1, quote);
  for (char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  out += quote;
  return out;
}

}  // namespace

std::string quote_identifier(std::string_view name) { return quoted(name, '"'); }

std::string quote_literal(std::string_view text) { return quoted(text, '\''); }

std::string quote_files(const std::vector<std::string>& files) {
  std::string out;
  for (const std::string& file : files) {
    std::string escaped;
    for (const char c : file) {
      if (c == '*' || c == '?' || c == '[') {
        escaped += fmt::format("[{}]", c);
      } else {
        escaped += c;
      }
    }
    out += (out.empty() ? "" : ", ") + quote_literal(escaped);
  }
  return "[" + out + "]";
}

std::string to_sql(const columns::Type& type) {
  using columns::Kind;
  switch (type.kind) {
    case Kind::kBool:
      return "BOOLEAN";
    case Kind::kInt16:
      return "SMALLINT";
    case Kind::kInt32:
      return "INTEGER";
    case Kind::kInt64:
      return "BIGINT";
    case Kind::kFloat:
      return "FLOAT";
    case Kind::kDouble:
      return "DOUBLE";
    case Kind::kDecimal:
      return fmt::format("DECIMAL({},{})", type.precision, type.scale);
    case Kind::kString:
      return "VARCHAR";
    case Kind::kBinary:
      return "BLOB";
    case Kind::kDate:
      return "DATE";
    case Kind::kTimestamp:
      return "TIMESTAMP WITH TIME ZONE";
    case Kind::kTimestampNtz:
      return "TIMESTAMP";
    case Kind::kList:
      return to_sql(type.children.at(0).type) + "[]";
    case Kind::kStruct: {
      std::string fields;
      for (const columns::Field& field : type.children) {
        if (!fields.empty()) fields += ", ";
        fields += quote_identifier(field.name) + " " + to_sql(field.type);
      }
      return fmt::format("STRUCT({})", fields);
    }
  }
  return "VARCHAR";
}

}  // namespace tide::duck
