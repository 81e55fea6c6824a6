#include "warehouse/result_encoder.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "pgwire/frontend.h"
#include "pgwire/type_oids.h"
#include "pgwire/value_binary.h"
#include "pgwire/value_text.h"

namespace tide::warehouse {

using columns::Column;
using columns::Kind;
using pgwire::int128;
namespace oid = pgwire::oid;

namespace {

int128 decimal_at(const Column& column, size_t row) {
  switch (columns::decimal_width(column.type().precision)) {
    case 2:
      return column.value<int16_t>(row);
    case 4:
      return column.value<int32_t>(row);
    case 8:
      return column.value<int64_t>(row);
    default:
      return column.value<int128>(row);
  }
}

/// "1 year 2 months 3 days 04:05:06.7", as the engine writes it.
pgwire::Interval parse_interval(std::string_view text) {
  pgwire::Interval interval;
  while (!text.empty()) {
    size_t space = text.find(' ');
    std::string_view word = text.substr(0, space);
    if (word.find(':') != word.npos) {
      bool minus = word.starts_with('-');
      if (minus) word.remove_prefix(1);
      int64_t parts[3] = {0, 0, 0};
      int64_t fraction = 0;
      int64_t scale = 100'000;
      int part = 0;
      bool behind_point = false;
      for (char c : word) {
        if (c == ':' && part < 2) {
          ++part;
        } else if (c == '.') {
          behind_point = true;
        } else if (c >= '0' && c <= '9' && behind_point) {
          fraction += (c - '0') * scale;
          scale /= 10;
        } else if (c >= '0' && c <= '9') {
          parts[part] = parts[part] * 10 + (c - '0');
        }
      }
      int64_t micros = ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1'000'000 + fraction;
      interval.microseconds = minus ? -micros : micros;
      break;
    }
    int64_t number = 0;
    std::from_chars(word.data(), word.data() + word.size(), number);
    if (space == text.npos) break;
    text.remove_prefix(space + 1);
    std::string_view unit = text.substr(0, text.find(' '));
    if (unit.starts_with("year")) interval.months += static_cast<int32_t>(number * 12);
    if (unit.starts_with("mon")) interval.months += static_cast<int32_t>(number);
    if (unit.starts_with("day")) interval.days += static_cast<int32_t>(number);
    size_t next = text.find(' ');
    if (next == text.npos) break;
    text.remove_prefix(next + 1);
  }
  return interval;
}

int128 parse_int128(std::string_view text) {
  bool minus = text.starts_with('-');
  unsigned __int128 value = 0;
  for (char c : text) {
    if (c >= '0' && c <= '9') value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return minus ? -static_cast<int128>(value) : static_cast<int128>(value);
}

/// "13:45:06.5" with an optional zone "+02:30"; `offset` in seconds east.
int64_t parse_time(std::string_view text, int32_t& offset) {
  int64_t parts[3] = {0, 0, 0};
  int64_t fraction = 0;
  int64_t scale = 100'000;
  int part = 0;
  bool behind_point = false;
  size_t at = 0;
  for (; at < text.size() && text[at] != '+' && text[at] != '-'; ++at) {
    char c = text[at];
    if (c == ':' && part < 2) {
      ++part;
    } else if (c == '.') {
      behind_point = true;
    } else if (behind_point) {
      fraction += (c - '0') * scale;
      scale /= 10;
    } else {
      parts[part] = parts[part] * 10 + (c - '0');
    }
  }
  offset = 0;
  if (at < text.size()) {
    int32_t zone[3] = {0, 0, 0};
    part = 0;
    for (size_t i = at + 1; i < text.size(); ++i) {
      if (text[i] == ':' && part < 2) {
        ++part;
      } else {
        zone[part] = zone[part] * 10 + (text[i] - '0');
      }
    }
    offset = (zone[0] * 3600 + zone[1] * 60 + zone[2]) * (text[at] == '-' ? -1 : 1);
  }
  return ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1'000'000 + fraction;
}

std::string uuid_bytes(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (char c : text) {
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      bytes += static_cast<char>(high << 4 | digit);
      high = -1;
    }
  }
  return bytes;
}

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  for (char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<int>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

int32_t offset_of(const pgwire::TimeZone& zone, int64_t microseconds) {
  int64_t seconds = microseconds / 1'000'000 - (microseconds % 1'000'000 < 0 ? 1 : 0);
  return zone.offset_at(seconds);
}

/// The type of a list's elements in the engine's spelling: "INTEGER[]", "INTEGER[3]".
std::string_view element_type(std::string_view sql_type) {
  size_t bracket = sql_type.rfind('[');
  return bracket == sql_type.npos ? sql_type : sql_type.substr(0, bracket);
}

uint32_t text_oid(std::string_view sql_type) {
  if (sql_type == "HUGEINT" || sql_type == "UHUGEINT" || sql_type == "UBIGINT")
    return oid::kNumeric;
  if (sql_type == "TIME" || sql_type == "TIME_NS") return oid::kTime;
  if (sql_type == "TIME WITH TIME ZONE") return oid::kTimetz;
  if (sql_type == "INTERVAL") return oid::kInterval;
  if (sql_type == "UUID") return oid::kUuid;
  if (sql_type == "JSON") return oid::kJson;
  return oid::kText;
}

}  // namespace

ValueEncoder::ValueEncoder(const columns::Type& type, std::string_view sql_type) : type_(type) {
  switch (type.kind) {
    case Kind::kBool:
      oid_ = oid::kBool;
      break;
    case Kind::kInt16:
      oid_ = oid::kInt2;
      break;
    case Kind::kInt32:
      // The type of a bare NULL.
      oid_ = sql_type.find("NULL") != sql_type.npos ? oid::kText : oid::kInt4;
      break;
    case Kind::kInt64:
      oid_ = oid::kInt8;
      break;
    case Kind::kFloat:
      oid_ = oid::kFloat4;
      break;
    case Kind::kDouble:
      oid_ = oid::kFloat8;
      break;
    case Kind::kDecimal:
      oid_ = oid::kNumeric;
      type_modifier_ = ((type.precision << 16) | type.scale) + 4;
      break;
    case Kind::kString:
      oid_ = text_oid(sql_type);
      break;
    case Kind::kBinary:
      oid_ = oid::kBytea;
      break;
    case Kind::kDate:
      oid_ = oid::kDate;
      break;
    case Kind::kTimestamp:
      oid_ = oid::kTimestamptz;
      break;
    case Kind::kTimestampNtz:
      oid_ = oid::kTimestamp;
      break;
    case Kind::kList: {
      is_map_ = sql_type.starts_with("MAP(") && !sql_type.ends_with("]");
      children_.emplace_back(type.children[0].type, element_type(sql_type));
      bool flat =
          type.children[0].type.kind != Kind::kList && type.children[0].type.kind != Kind::kStruct;
      uint32_t array = flat ? oid::array_of(children_[0].oid()) : 0;
      oid_ = array == 0 ? oid::kJson : array;
      break;
    }
    case Kind::kStruct:
      for (const columns::Field& field : type.children) children_.emplace_back(field.type, "");
      oid_ = oid::kJson;
      break;
  }
}

void ValueEncoder::append_text(const Column& column, size_t row, const pgwire::TimeZone& zone,
                               std::string& out) const {
  switch (type_.kind) {
    case Kind::kBool:
      out += column.value<uint8_t>(row) != 0 ? 't' : 'f';
      break;
    case Kind::kInt16:
      fmt::format_to(std::back_inserter(out), "{}", column.value<int16_t>(row));
      break;
    case Kind::kInt32:
      fmt::format_to(std::back_inserter(out), "{}", column.value<int32_t>(row));
      break;
    case Kind::kInt64:
      fmt::format_to(std::back_inserter(out), "{}", column.value<int64_t>(row));
      break;
    case Kind::kFloat:
      pgwire::append_text_float4(out, column.value<float>(row));
      break;
    case Kind::kDouble:
      pgwire::append_text_float8(out, column.value<double>(row));
      break;
    case Kind::kDecimal:
      pgwire::append_text_numeric(out, decimal_at(column, row), type_.scale);
      break;
    case Kind::kString: {
      std::string_view text = column.bytes_at(row);
      if (oid_ == oid::kInterval) {
        pgwire::append_text_interval(out, parse_interval(text));
      } else if (oid_ == oid::kTime) {
        out += text.substr(0, 15);  // nanoseconds are cut to microseconds
      } else {
        out += text;
      }
      break;
    }
    case Kind::kBinary:
      pgwire::append_text_bytea(out, column.bytes_at(row));
      break;
    case Kind::kDate:
      pgwire::append_text_date(out, column.value<int32_t>(row));
      break;
    case Kind::kTimestamp: {
      int64_t micros = column.value<int64_t>(row);
      pgwire::append_text_timestamptz(out, micros, offset_of(zone, micros));
      break;
    }
    case Kind::kTimestampNtz:
      pgwire::append_text_timestamp(out, column.value<int64_t>(row));
      break;
    case Kind::kList: {
      if (oid_ == oid::kJson) return append_json(column, row, zone, out);
      out += '{';
      const Column& elements = column.child(0);
      std::string element;
      for (uint32_t i = column.offsets()[row]; i < column.offsets()[row + 1]; ++i) {
        if (i > column.offsets()[row]) out += ',';
        if (elements.is_null(i)) {
          out += "NULL";
          continue;
        }
        element.clear();
        children_[0].append_text(elements, i, zone, element);
        pgwire::append_array_element(out, element);
      }
      out += '}';
      break;
    }
    case Kind::kStruct:
      append_json(column, row, zone, out);
      break;
  }
}

void ValueEncoder::append_json(const Column& column, size_t row, const pgwire::TimeZone& zone,
                               std::string& out) const {
  if (column.is_null(row)) {
    out += "null";
    return;
  }
  switch (type_.kind) {
    case Kind::kBool:
      out += column.value<uint8_t>(row) != 0 ? "true" : "false";
      break;
    case Kind::kFloat:
    case Kind::kDouble: {
      double value =
          type_.kind == Kind::kFloat ? column.value<float>(row) : column.value<double>(row);
      if (std::isfinite(value)) {
        append_text(column, row, zone, out);
      } else {
        std::string text;
        append_text(column, row, zone, text);
        append_json_string(text, out);
      }
      break;
    }
    case Kind::kInt16:
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kDecimal:
      append_text(column, row, zone, out);
      break;
    case Kind::kList: {
      const Column& elements = column.child(0);
      out += is_map_ ? '{' : '[';
      for (uint32_t i = column.offsets()[row]; i < column.offsets()[row + 1]; ++i) {
        if (i > column.offsets()[row]) out += ", ";
        if (is_map_ && elements.child_count() == 2) {
          std::string key;
          if (!elements.child(0).is_null(i))
            children_[0].children_[0].append_text(elements.child(0), i, zone, key);
          append_json_string(key, out);
          out += ": ";
          children_[0].children_[1].append_json(elements.child(1), i, zone, out);
        } else {
          children_[0].append_json(elements, i, zone, out);
        }
      }
      out += is_map_ ? '}' : ']';
      break;
    }
    case Kind::kStruct:
      out += '{';
      for (size_t i = 0; i < children_.size(); ++i) {
        if (i > 0) out += ", ";
        append_json_string(type_.children[i].name, out);
        out += ": ";
        children_[i].append_json(column.child(i), row, zone, out);
      }
      out += '}';
      break;
    default: {
      std::string text;
      append_text(column, row, zone, text);
      append_json_string(text, out);
    }
  }
}

void ValueEncoder::append_binary(const Column& column, size_t row, const pgwire::TimeZone& zone,
                                 std::string& out) const {
  switch (type_.kind) {
    case Kind::kBool:
      out += static_cast<char>(column.value<uint8_t>(row) != 0 ? 1 : 0);
      break;
    case Kind::kInt16:
      pgwire::append_int16(out, column.value<int16_t>(row));
      break;
    case Kind::kInt32:
      pgwire::append_int32(out, column.value<int32_t>(row));
      break;
    case Kind::kInt64:
      pgwire::append_int64(out, column.value<int64_t>(row));
      break;
    case Kind::kFloat:
      pgwire::append_binary_float4(out, column.value<float>(row));
      break;
    case Kind::kDouble:
      pgwire::append_binary_float8(out, column.value<double>(row));
      break;
    case Kind::kDecimal:
      pgwire::append_binary_numeric(out, decimal_at(column, row), type_.scale);
      break;
    case Kind::kString: {
      std::string_view text = column.bytes_at(row);
      int32_t offset = 0;
      switch (oid_) {
        case oid::kNumeric:
          pgwire::append_binary_numeric(out, parse_int128(text), 0);
          break;
        case oid::kTime:
          pgwire::append_int64(out, parse_time(text, offset));
          break;
        case oid::kTimetz:
          pgwire::append_int64(out, parse_time(text, offset));
          pgwire::append_int32(out, -offset);  // PostgreSQL stores seconds west
          break;
        case oid::kInterval:
          pgwire::append_binary_interval(out, parse_interval(text));
          break;
        case oid::kUuid:
          out += uuid_bytes(text);
          break;
        default:
          out += text;
      }
      break;
    }
    case Kind::kBinary:
      out += column.bytes_at(row);
      break;
    case Kind::kDate:
      pgwire::append_binary_date(out, column.value<int32_t>(row));
      break;
    case Kind::kTimestamp:
    case Kind::kTimestampNtz:
      pgwire::append_binary_timestamp(out, column.value<int64_t>(row));
      break;
    case Kind::kList: {
      if (oid_ == oid::kJson) return append_json(column, row, zone, out);
      const Column& elements = column.child(0);
      uint32_t begin = column.offsets()[row];
      uint32_t end = column.offsets()[row + 1];
      bool has_null = false;
      for (uint32_t i = begin; i < end; ++i) has_null = has_null || elements.is_null(i);
      pgwire::append_binary_array_head(out, end - begin, has_null, children_[0].oid());
      for (uint32_t i = begin; i < end; ++i) {
        if (elements.is_null(i)) {
          pgwire::append_int32(out, -1);
          continue;
        }
        size_t length_at = out.size();
        out.append(4, '\0');
        children_[0].append_binary(elements, i, zone, out);
        store(out.data() + length_at,
              __builtin_bswap32(static_cast<uint32_t>(out.size() - length_at - 4)));
      }
      break;
    }
    case Kind::kStruct:
      append_json(column, row, zone, out);
      break;
  }
}

ResultEncoder::ResultEncoder(const std::vector<duck::ResultColumn>& columns,
                             std::vector<std::string> names, std::vector<int16_t> formats,
                             pgwire::TimeZone zone)
    : names_(std::move(names)), formats_(std::move(formats)), zone_(std::move(zone)) {
  for (const duck::ResultColumn& column : columns)
    encoders_.emplace_back(column.type, column.sql_type);
}

std::vector<pgwire::FieldDescription> ResultEncoder::fields() const {
  std::vector<pgwire::FieldDescription> fields;
  for (size_t i = 0; i < encoders_.size(); ++i) {
    pgwire::FieldDescription field;
    field.name = names_[i];
    field.type = encoders_[i].oid();
    field.type_size = oid::size_of(field.type);
    field.type_modifier = encoders_[i].type_modifier();
    field.format = pgwire::BindMessage::format_of(formats_, i);
    fields.push_back(std::move(field));
  }
  return fields;
}

void ResultEncoder::append_data_row(const columns::Batch& batch, size_t row,
                                    std::string& out) const {
  pgwire::MessageWriter message(out, 'D');
  message.int16(static_cast<int>(encoders_.size()));
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const Column& column = batch.columns[i];
    if (column.is_null(row)) {
      message.int32(-1);
      continue;
    }
    size_t length_at = out.size();
    out.append(4, '\0');
    if (pgwire::BindMessage::format_of(formats_, i) == 1) {
      encoders_[i].append_binary(column, row, zone_, out);
    } else {
      encoders_[i].append_text(column, row, zone_, out);
    }
    store(out.data() + length_at,
          __builtin_bswap32(static_cast<uint32_t>(out.size() - length_at - 4)));
  }
}

namespace {

void append_csv_value(std::string_view text, bool force, const PgStatement::Copy& copy,
                      char delimiter, bool single_column, std::string& out) {
  bool quote = force || text == copy.null_text || (single_column && text == "\\.");
  for (size_t i = 0; i < text.size() && !quote; ++i) {
    char c = text[i];
    quote = c == delimiter || c == copy.quote || c == '\n' || c == '\r';
  }
  if (!quote) {
    out += text;
    return;
  }
  out += copy.quote;
  for (char c : text) {
    if (c == copy.quote || c == copy.escape) out += copy.escape;
    out += c;
  }
  out += copy.quote;
}

void append_copy_text(std::string_view text, char delimiter, std::string& out) {
  for (char c : text) {
    switch (c) {
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\v':
        out += "\\v";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        if (c == delimiter) out += '\\';
        out += c;
    }
  }
}

char delimiter_of(const PgStatement::Copy& copy) {
  return copy.delimiter.empty() ? (copy.csv ? ',' : '\t') : copy.delimiter[0];
}

}  // namespace

void ResultEncoder::append_copy_header(const PgStatement::Copy& copy, std::string& out) const {
  char delimiter = delimiter_of(copy);
  for (size_t i = 0; i < names_.size(); ++i) {
    if (i > 0) out += delimiter;
    if (copy.csv) {
      append_csv_value(names_[i], false, copy, delimiter, names_.size() == 1, out);
    } else {
      append_copy_text(names_[i], delimiter, out);
    }
  }
  out += '\n';
}

void ResultEncoder::append_copy_line(const columns::Batch& batch, size_t row,
                                     const PgStatement::Copy& copy, std::string& out) const {
  char delimiter = delimiter_of(copy);
  std::string value;
  for (size_t i = 0; i < encoders_.size(); ++i) {
    if (i > 0) out += delimiter;
    const Column& column = batch.columns[i];
    if (column.is_null(row)) {
      out += copy.null_given ? copy.null_text : copy.csv ? "" : "\\N";
      continue;
    }
    value.clear();
    encoders_[i].append_text(column, row, zone_, value);
    if (copy.csv) {
      append_csv_value(value, copy.force_quote_all, copy, delimiter, encoders_.size() == 1, out);
    } else {
      append_copy_text(value, delimiter, out);
    }
  }
  out += '\n';
}

void ResultEncoder::append_copy_binary(const columns::Batch& batch, size_t row,
                                       std::string& out) const {
  pgwire::append_int16(out, static_cast<int16_t>(encoders_.size()));
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const Column& column = batch.columns[i];
    if (column.is_null(row)) {
      pgwire::append_int32(out, -1);
      continue;
    }
    std::string value;
    encoders_[i].append_binary(column, row, zone_, value);
    pgwire::append_int32(out, static_cast<int32_t>(value.size()));
    out += value;
  }
}

std::string ResultEncoder::text(const columns::Batch& batch, size_t row, size_t column) const {
  std::string out;
  encoders_[column].append_text(batch.columns[column], row, zone_, out);
  return out;
}

}  // namespace tide::warehouse
