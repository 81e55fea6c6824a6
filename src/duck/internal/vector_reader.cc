#include "duck/internal/vector_reader.h"

#include <fmt/format.h>

#include <string_view>

#include "duck/internal/value_text.h"
#include "duck/sql_text.h"

namespace tide::duck {
namespace {

using capi::idx_t;
using capi::TypeId;
using columns::Column;
using columns::Kind;
using columns::Type;

/// True where the column's bytes are the vector's.
bool same_bytes(TypeId id) {
  switch (id) {
    case TypeId::kBoolean:
    case TypeId::kSmallint:
    case TypeId::kInteger:
    case TypeId::kBigint:
    case TypeId::kFloat:
    case TypeId::kDouble:
    case TypeId::kDecimal:
    case TypeId::kDate:
    case TypeId::kTimestamp:
    case TypeId::kTimestampTz:
      return true;
    default:
      return false;
  }
}

struct Simple {
  TypeId id;
  Kind kind;
  const char* sql;
};
constexpr Simple kSimple[] = {
    {TypeId::kBoolean, Kind::kBool, "BOOLEAN"},
    {TypeId::kTinyint, Kind::kInt16, "TINYINT"},
    {TypeId::kSmallint, Kind::kInt16, "SMALLINT"},
    {TypeId::kInteger, Kind::kInt32, "INTEGER"},
    {TypeId::kBigint, Kind::kInt64, "BIGINT"},
    {TypeId::kUtinyint, Kind::kInt16, "UTINYINT"},
    {TypeId::kUsmallint, Kind::kInt32, "USMALLINT"},
    {TypeId::kUinteger, Kind::kInt64, "UINTEGER"},
    {TypeId::kFloat, Kind::kFloat, "FLOAT"},
    {TypeId::kDouble, Kind::kDouble, "DOUBLE"},
    {TypeId::kTimestamp, Kind::kTimestampNtz, "TIMESTAMP"},
    {TypeId::kTimestampS, Kind::kTimestampNtz, "TIMESTAMP_S"},
    {TypeId::kTimestampMs, Kind::kTimestampNtz, "TIMESTAMP_MS"},
    {TypeId::kTimestampNs, Kind::kString, "TIMESTAMP_NS"},
    {TypeId::kTimestampTz, Kind::kTimestamp, "TIMESTAMP WITH TIME ZONE"},
    {TypeId::kDate, Kind::kDate, "DATE"},
    {TypeId::kTime, Kind::kString, "TIME"},
    {TypeId::kTimeNs, Kind::kString, "TIME_NS"},
    {TypeId::kTimeTz, Kind::kString, "TIME WITH TIME ZONE"},
    {TypeId::kInterval, Kind::kString, "INTERVAL"},
    {TypeId::kHugeint, Kind::kString, "HUGEINT"},
    {TypeId::kUhugeint, Kind::kString, "UHUGEINT"},
    {TypeId::kVarchar, Kind::kString, "VARCHAR"},
    {TypeId::kBlob, Kind::kBinary, "BLOB"},
    {TypeId::kUuid, Kind::kString, "UUID"},
    {TypeId::kBit, Kind::kString, "BIT"},
    {TypeId::kSqlNull, Kind::kInt32, "\"NULL\""},
};

bool valid(const uint64_t* validity, idx_t row) {
  return validity == nullptr || (validity[row / 64] >> row % 64 & 1) != 0;
}

template <typename From, typename To>
void append_widened(const void* data, const uint64_t* validity, idx_t begin, idx_t end,
                    Column& to) {
  const From* values = static_cast<const From*>(data);
  for (idx_t row = begin; row < end; ++row) {
    if (valid(validity, row)) {
      to.append<To>(static_cast<To>(values[row]));
    } else {
      to.append_null();
    }
  }
}

/// Seconds or milliseconds to microseconds; the infinities stay what they are.
void append_scaled(const void* data, const uint64_t* validity, idx_t begin, idx_t end,
                   int64_t factor, Column& to) {
  const int64_t* values = static_cast<const int64_t*>(data);
  for (idx_t row = begin; row < end; ++row) {
    int64_t micros = 0;
    if (!valid(validity, row)) {
      to.append_null();
    } else if (__builtin_mul_overflow(values[row], factor, &micros)) {
      to.append<int64_t>(values[row] < 0 ? -INT64_MAX : INT64_MAX);
    } else {
      to.append<int64_t>(micros);
    }
  }
}

}  // namespace

Result<VectorReader> VectorReader::of(capi::LogicalType type) {
  const capi::Functions& duckdb = api();
  VectorReader reader;
  reader.id_ = duckdb.get_type_id(type);
  for (const Simple& simple : kSimple) {
    if (simple.id != reader.id_) continue;
    reader.type_ = simple.kind;
    reader.sql_type_ = simple.sql;
  }
  switch (reader.id_) {
    case TypeId::kUbigint:
      reader.type_ = Type::decimal(20, 0);
      reader.sql_type_ = "UBIGINT";
      break;
    case TypeId::kDecimal:
      reader.type_ = Type::decimal(duckdb.decimal_width(type), duckdb.decimal_scale(type));
      reader.sql_type_ = to_sql(reader.type_);
      break;
    case TypeId::kEnum: {
      reader.type_ = Kind::kString;
      reader.label_width_ = duckdb.enum_internal_type(type);
      std::string labels;
      for (uint32_t i = 0; i < duckdb.enum_dictionary_size(type); ++i) {
        reader.labels_.push_back(take_text(duckdb.enum_dictionary_value(type, i)));
        labels += (i == 0 ? "" : ", ") + quote_literal(reader.labels_.back());
      }
      reader.sql_type_ = fmt::format("ENUM({})", labels);
      break;
    }
    case TypeId::kList:
    case TypeId::kArray: {
      const bool array = reader.id_ == TypeId::kArray;
      const OwnedType element(array ? duckdb.array_type_child_type(type)
                                    : duckdb.list_type_child_type(type));
      reader.children_.push_back(TIDE_TRY(of(element.get())));
      if (array) reader.array_size_ = duckdb.array_type_array_size(type);
      reader.type_ = Type::list(reader.children_[0].type_);
      reader.sql_type_ = reader.children_[0].sql_type_ +
                         (array ? fmt::format("[{}]", reader.array_size_) : std::string("[]"));
      break;
    }
    case TypeId::kMap: {
      const OwnedType key(duckdb.map_type_key_type(type));
      const OwnedType value(duckdb.map_type_value_type(type));
      VectorReader entry;
      entry.id_ = TypeId::kStruct;
      entry.children_.push_back(TIDE_TRY(of(key.get())));
      entry.children_.push_back(TIDE_TRY(of(value.get())));
      entry.type_ = Type::structure(
          {{"key", entry.children_[0].type_, false}, {"value", entry.children_[1].type_, true}});
      reader.sql_type_ =
          fmt::format("MAP({}, {})", entry.children_[0].sql_type_, entry.children_[1].sql_type_);
      reader.type_ = Type::list(entry.type_);
      reader.children_.push_back(std::move(entry));
      break;
    }
    case TypeId::kStruct: {
      std::vector<columns::Field> fields;
      std::string members;
      for (idx_t i = 0; i < duckdb.struct_type_child_count(type); ++i) {
        const OwnedType member(duckdb.struct_type_child_type(type, i));
        reader.children_.push_back(TIDE_TRY(of(member.get())));
        fields.push_back({take_text(duckdb.struct_type_child_name(type, i)),
                          reader.children_.back().type_, true});
        members += (i == 0 ? "" : ", ") + quote_identifier(fields.back().name) + " " +
                   reader.children_.back().sql_type_;
      }
      reader.type_ = Type::structure(std::move(fields));
      reader.sql_type_ = fmt::format("STRUCT({})", members);
      break;
    }
    default:
      break;
  }
  if (std::string alias = take_text(duckdb.logical_type_get_alias(type)); !alias.empty()) {
    reader.sql_type_ = std::move(alias);
  }
  if (reader.sql_type_.empty()) {
    return Status(Code::kInvalid, fmt::format("values of this type cannot be returned (type {})",
                                              static_cast<int>(reader.id_)))
        .with_hint("Cast them to VARCHAR.");
  }
  return reader;
}

void VectorReader::append(capi::Vector vector, idx_t begin, idx_t count, Column& to) const {
  const idx_t end = begin + count;
  const uint64_t* validity = api().vector_get_validity(vector);
  const void* data = api().vector_get_data(vector);
  if (same_bytes(id_)) {
    to.append_fixed(static_cast<const char*>(data), validity, begin, count);
    return;
  }
  switch (id_) {
    case TypeId::kTinyint:
      return append_widened<int8_t, int16_t>(data, validity, begin, end, to);
    case TypeId::kUtinyint:
      return append_widened<uint8_t, int16_t>(data, validity, begin, end, to);
    case TypeId::kUsmallint:
      return append_widened<uint16_t, int32_t>(data, validity, begin, end, to);
    case TypeId::kUinteger:
      return append_widened<uint32_t, int64_t>(data, validity, begin, end, to);
    case TypeId::kUbigint:
      return append_widened<uint64_t, __int128>(data, validity, begin, end, to);
    case TypeId::kTimestampS:
      return append_scaled(data, validity, begin, end, 1'000'000, to);
    case TypeId::kTimestampMs:
      return append_scaled(data, validity, begin, end, 1'000, to);
    case TypeId::kList:
    case TypeId::kMap: {
      const capi::ListEntry* entries = static_cast<const capi::ListEntry*>(data);
      const capi::Vector elements = api().list_vector_get_child(vector);
      for (idx_t row = begin; row < end; ++row) {
        if (!valid(validity, row)) {
          to.append_null();
          continue;
        }
        children_[0].append(elements, entries[row].offset, entries[row].length, to.child(0));
        to.end_list();
      }
      return;
    }
    case TypeId::kArray: {
      const capi::Vector elements = api().array_vector_get_child(vector);
      for (idx_t row = begin; row < end; ++row) {
        if (!valid(validity, row)) {
          to.append_null();
          continue;
        }
        children_[0].append(elements, row * array_size_, array_size_, to.child(0));
        to.end_list();
      }
      return;
    }
    case TypeId::kStruct:
      for (idx_t row = begin; row < end; ++row) {
        if (!valid(validity, row)) {
          to.append_null();
          continue;
        }
        for (size_t i = 0; i < children_.size(); ++i) {
          children_[i].append(api().struct_vector_get_child(vector, i), row, 1, to.child(i));
        }
        to.end_struct();
      }
      return;
    case TypeId::kSqlNull:
      for (idx_t row = begin; row < end; ++row) to.append_null();
      return;
    default:
      return append_texts(vector, begin, count, to);
  }
}

uint64_t VectorReader::text_bytes(capi::Vector vector, idx_t begin, idx_t count) const {
  const uint64_t* validity = api().vector_get_validity(vector);
  const void* data = api().vector_get_data(vector);
  uint64_t sum = 0;
  auto each_valid = [&](auto&& visit) {
    for (idx_t row = begin; row < begin + count; ++row) {
      if (valid(validity, row)) visit(row);
    }
  };
  switch (id_) {
    case TypeId::kVarchar:
    case TypeId::kBlob:
    case TypeId::kBit:
      each_valid([&](idx_t row) { sum += static_cast<const capi::String*>(data)[row].length; });
      if (id_ == TypeId::kBit) sum *= 8;
      break;
    case TypeId::kEnum:
      each_valid([&](idx_t row) { sum += text_of(data, row).size(); });
      break;
    case TypeId::kList:
    case TypeId::kMap:
      each_valid([&](idx_t row) {
        const auto& entry = static_cast<const capi::ListEntry*>(data)[row];
        sum += children_[0].text_bytes(api().list_vector_get_child(vector), entry.offset,
                                       entry.length);
      });
      break;
    case TypeId::kArray:
      sum += children_[0].text_bytes(api().array_vector_get_child(vector), begin * array_size_,
                                     count * array_size_);
      break;
    case TypeId::kStruct:
      for (size_t i = 0; i < children_.size(); ++i) {
        sum += children_[i].text_bytes(api().struct_vector_get_child(vector, i), begin, count);
      }
      break;
    default:
      if (type_.kind == Kind::kString) sum += count * 64;
      break;
  }
  return sum;
}

void VectorReader::append_texts(capi::Vector vector, idx_t begin, idx_t count, Column& to) const {
  const uint64_t* validity = api().vector_get_validity(vector);
  const void* data = api().vector_get_data(vector);
  const bool plain = id_ == TypeId::kVarchar || id_ == TypeId::kBlob;
  for (idx_t row = begin; row < begin + count; ++row) {
    if (!valid(validity, row)) {
      to.append_null();
    } else if (plain) {
      const capi::String& text = static_cast<const capi::String*>(data)[row];
      to.append_bytes({text.data(), text.length});
    } else {
      to.append_bytes(text_of(data, row));
    }
  }
}

std::string VectorReader::text_of(const void* data, idx_t row) const {
  auto at = [&]<typename T>(T) { return static_cast<const T*>(data)[row]; };
  switch (id_) {
    case TypeId::kHugeint:
      return hugeint_text(at(capi::Hugeint{}));
    case TypeId::kUhugeint: {
      const auto value = at(capi::Hugeint{});
      return uhugeint_text(value.lower, static_cast<uint64_t>(value.upper));
    }
    case TypeId::kUuid:
      return uuid_text(at(capi::Hugeint{}));
    case TypeId::kTime:
      return time_text(at(int64_t{}));
    case TypeId::kTimeNs:
      return time_ns_text(at(int64_t{}));
    case TypeId::kTimeTz:
      return time_tz_text(at(uint64_t{}));
    case TypeId::kInterval:
      return interval_text(at(capi::Interval{}));
    case TypeId::kTimestampNs:
      return timestamp_ns_text(at(int64_t{}));
    case TypeId::kBit: {
      const auto& text = static_cast<const capi::String*>(data)[row];
      return bit_text({text.data(), text.length});
    }
    case TypeId::kEnum: {
      const size_t label = label_width_ == TypeId::kUtinyint    ? at(uint8_t{})
                           : label_width_ == TypeId::kUsmallint ? at(uint16_t{})
                                                                : at(uint32_t{});
      return labels_.at(label);
    }
    default:
      return "";
  }
}

}  // namespace tide::duck
