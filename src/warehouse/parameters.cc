#include "warehouse/parameters.h"

#include <fmt/format.h>

#include <algorithm>

#include "pgwire/type_oids.h"
#include "pgwire/value_binary.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

namespace oid = pgwire::oid;

namespace {

std::string_view engine_type(uint32_t type) {
  switch (type) {
    case oid::kBool:
      return "BOOLEAN";
    case oid::kInt2:
      return "SMALLINT";
    case oid::kInt4:
      return "INTEGER";
    case oid::kInt8:
    case oid::kOid:
      return "BIGINT";
    case oid::kFloat4:
      return "FLOAT";
    case oid::kFloat8:
      return "DOUBLE";
    case oid::kDate:
      return "DATE";
    case oid::kTime:
      return "TIME";
    case oid::kTimetz:
      return "TIMETZ";
    case oid::kTimestamp:
      return "TIMESTAMP";
    case oid::kTimestamptz:
      return "TIMESTAMPTZ";
    case oid::kInterval:
      return "INTERVAL";
    case oid::kUuid:
      return "UUID";
    case oid::kNumeric:
      return "DECIMAL(38, 10)";
    case oid::kBytea:
      return "BLOB";
    case oid::kText:
    case oid::kVarchar:
    case oid::kBpchar:
    case oid::kName:
    case oid::kChar:
    case oid::kJson:
    case oid::kJsonb:
      return "VARCHAR";
    default:
      return "";
  }
}

bool is_plain_number(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  size_t digits = 0;
  size_t points = 0;
  for (char c : text) {
    if (c == '.') {
      ++points;
    } else if (c >= '0' && c <= '9') {
      ++digits;
    } else {
      return false;
    }
  }
  return digits > 0 && digits <= 38 && points <= 1;
}

Outcome<std::string> bytea_sql(std::string_view text) {
  if (text.starts_with("\\x")) {
    std::string_view hex = text.substr(2);
    bool proper =
        hex.size() % 2 == 0 && std::all_of(hex.begin(), hex.end(), [](char c) {
          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        });
    if (!proper) return sql_error("22023", "invalid hexadecimal data");
    return fmt::format("from_hex('{}')", hex);
  }
  // The escape format: \\ and \ooo.
  std::string hex;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(text[i]);
    if (text[i] == '\\') {
      if (i + 1 < text.size() && text[i + 1] == '\\') {
        ++i;
      } else if (i + 3 < text.size()) {
        byte = static_cast<unsigned char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                          (text[i + 3] - '0'));
        i += 3;
      } else {
        return sql_error("22P02", "invalid input syntax for type bytea");
      }
    }
    hex += fmt::format("{:02x}", byte);
  }
  return fmt::format("from_hex('{}')", hex);
}

Outcome<std::string> scalar_sql(const std::string& text, uint32_t type) {
  if (text.find('\0') != text.npos) return sql_error("22021", "invalid byte sequence: 0x00");
  if (type == oid::kBytea) return bytea_sql(text);
  if (type == oid::kNumeric) {
    if (is_plain_number(text)) return fmt::format("({})", text);
    return fmt::format("CAST({} AS DOUBLE)", quoted_literal(text));
  }
  std::string_view name = engine_type(type);
  // A bare string takes the type that its place wants, as PostgreSQL's unknown literals do.
  if (name.empty() || name == "VARCHAR") return quoted_literal(text);
  return fmt::format("CAST({} AS {})", quoted_literal(text), name);
}

}  // namespace

Outcome<ParameterValue> decode_parameter(const std::optional<std::string>& bytes, int16_t format,
                                         uint32_t type) {
  ParameterValue value;
  value.type = type;
  if (!bytes) return value;
  if (format == 0) {
    value.text = *bytes;
    return value;
  }
  if (uint32_t element = oid::element_of(type); element != 0) {
    pgwire::ArrayText array = TIDE_TRY(pgwire::binary_to_array(element, *bytes));
    std::string text = "{";
    for (size_t i = 0; i < array.elements.size(); ++i) {
      if (i > 0) text += ',';
      if (array.elements[i]) {
        pgwire::append_array_element(text, *array.elements[i]);
      } else {
        text += "NULL";
      }
    }
    value.text = text + "}";
    return value;
  }
  Result<std::string> text = pgwire::binary_to_text(type, *bytes);
  if (!text.ok()) {
    SqlError error = to_sql_error(text.status());
    error.code = "22P03";
    return error;
  }
  value.text = std::move(*text);
  return value;
}

Outcome<std::string> parameter_sql(const ParameterValue& value) {
  uint32_t element = oid::element_of(value.type);
  std::string type(engine_type(element == 0 ? value.type : element));
  if (element != 0) type += "[]";
  if (!value.text) {
    return type.empty() || type == "VARCHAR" ? std::string("NULL")
                                             : fmt::format("CAST(NULL AS {})", type);
  }
  if (element == 0) return scalar_sql(*value.text, value.type);
  Result<pgwire::ArrayText> array = pgwire::parse_array(*value.text);
  if (!array.ok()) {
    SqlError error = to_sql_error(array.status());
    error.code = "22P02";
    return error;
  }
  std::string list;
  for (const std::optional<std::string>& item : array->elements) {
    if (!list.empty()) list += ", ";
    list += item ? TIDE_TRY(scalar_sql(*item, element)) : "NULL";
  }
  return fmt::format("CAST([{}] AS {})", list, type);
}

}  // namespace tide::warehouse
