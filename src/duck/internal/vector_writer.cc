#include "duck/internal/vector_writer.h"

#include <cstring>
#include <string_view>

namespace tide::duck {
namespace {

using capi::idx_t;
using capi::TypeId;
using columns::Column;
using columns::Kind;

TypeId simple_id(Kind kind) {
  switch (kind) {
    case Kind::kBool:
      return TypeId::kBoolean;
    case Kind::kInt16:
      return TypeId::kSmallint;
    case Kind::kInt32:
      return TypeId::kInteger;
    case Kind::kInt64:
      return TypeId::kBigint;
    case Kind::kFloat:
      return TypeId::kFloat;
    case Kind::kDouble:
      return TypeId::kDouble;
    case Kind::kString:
      return TypeId::kVarchar;
    case Kind::kBinary:
      return TypeId::kBlob;
    case Kind::kDate:
      return TypeId::kDate;
    case Kind::kTimestamp:
      return TypeId::kTimestampTz;
    case Kind::kTimestampNtz:
      return TypeId::kTimestamp;
    case Kind::kDecimal:
    case Kind::kList:
    case Kind::kStruct:
      break;
  }
  return TypeId::kInvalid;
}

/// Clears the bits of null rows; a fresh vector has none.
void write_nulls(const Column& column, size_t begin, size_t count, capi::Vector vector, idx_t at) {
  if (column.null_count() == 0) return;
  uint64_t* validity = nullptr;
  for (size_t i = 0; i < count; ++i) {
    const size_t row = begin + i;
    if (row % 64 == 0 && count - i >= 64 && column.validity()[row / 64] == ~uint64_t{0}) {
      i += 63;  // a whole word without nulls
      continue;
    }
    if (!column.is_null(row)) continue;
    if (validity == nullptr) {
      api().vector_ensure_validity_writable(vector);
      validity = api().vector_get_validity(vector);
    }
    validity[(at + i) / 64] &= ~(uint64_t{1} << (at + i) % 64);
  }
}

void write_texts(const Column& column, size_t begin, size_t count, capi::String* out) {
  for (size_t i = 0; i < count; ++i) {
    const std::string_view text = column.bytes_at(begin + i);
    capi::String& string = out[i];
    string.length = static_cast<uint32_t>(text.size());
    if (text.size() <= capi::String::kInlined) {
      std::memset(string.prefix, 0, capi::String::kInlined);
      std::memcpy(string.prefix, text.data(), text.size());
    } else {
      std::memcpy(string.prefix, text.data(), sizeof(string.prefix));
      string.pointer = text.data();
    }
  }
}

bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const unsigned char* const end = at + text.size();
  auto follows = [&](int count) {
    if (end - at <= count) return false;
    for (int i = 1; i <= count; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    return true;
  };
  while (at < end) {
    if (end - at >= 8 && (load<uint64_t>(at) & 0x8080'8080'8080'8080) == 0) {
      at += 8;
    } else if (*at < 0x80) {
      ++at;
    } else if (*at >= 0xc2 && *at <= 0xdf && follows(1)) {
      at += 2;
    } else if (*at >= 0xe0 && *at <= 0xef && follows(2) && (*at != 0xe0 || at[1] >= 0xa0) &&
               (*at != 0xed || at[1] <= 0x9f)) {
      at += 3;
    } else if (*at >= 0xf0 && *at <= 0xf4 && follows(3) && (*at != 0xf0 || at[1] >= 0x90) &&
               (*at != 0xf4 || at[1] <= 0x8f)) {
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

OwnedType logical_type(const columns::Type& type) {
  const capi::Functions& duckdb = api();
  switch (type.kind) {
    case Kind::kDecimal:
      return OwnedType(duckdb.create_decimal_type(type.precision, type.scale));
    case Kind::kList: {
      const OwnedType element = logical_type(type.children.at(0).type);
      return OwnedType(duckdb.create_list_type(element.get()));
    }
    case Kind::kStruct: {
      std::vector<OwnedType> members;
      std::vector<capi::LogicalType> types;
      std::vector<const char*> names;
      for (const columns::Field& field : type.children) {
        members.push_back(logical_type(field.type));
        types.push_back(members.back().get());
        names.push_back(field.name.c_str());
      }
      return OwnedType(duckdb.create_struct_type(types.data(), names.data(), types.size()));
    }
    default:
      return OwnedType(duckdb.create_logical_type(simple_id(type.kind)));
  }
}

void write_rows(const Column& column, size_t begin, size_t count, capi::Vector vector, idx_t at) {
  const capi::Functions& duckdb = api();
  switch (column.type().kind) {
    case Kind::kString:
    case Kind::kBinary:
      write_texts(column, begin, count,
                  static_cast<capi::String*>(duckdb.vector_get_data(vector)) + at);
      break;
    case Kind::kList: {
      const auto& offsets = column.offsets();
      const size_t first = offsets[begin];
      const size_t elements = offsets[begin + count] - first;
      const idx_t base = duckdb.list_vector_get_size(vector);
      duckdb.list_vector_reserve(vector, base + elements);
      duckdb.list_vector_set_size(vector, base + elements);
      auto* entries = static_cast<capi::ListEntry*>(duckdb.vector_get_data(vector)) + at;
      for (size_t i = 0; i < count; ++i) {
        entries[i] = {base + offsets[begin + i] - first,
                      offsets[begin + i + 1] - offsets[begin + i]};
      }
      if (elements > 0) {
        write_rows(column.child(0), first, elements, duckdb.list_vector_get_child(vector), base);
      }
      break;
    }
    case Kind::kStruct:
      for (size_t i = 0; i < column.child_count(); ++i) {
        write_rows(column.child(i), begin, count, duckdb.struct_vector_get_child(vector, i), at);
      }
      break;
    default: {
      const size_t width = columns::fixed_width(column.type());
      std::memcpy(static_cast<char*>(duckdb.vector_get_data(vector)) + at * width,
                  column.values().data() + begin * width, count * width);
    }
  }
  write_nulls(column, begin, count, vector, at);
}

Status check_utf8(const Column& column) {
  if (column.type().kind == Kind::kString && !is_utf8(column.heap())) {
    return {Code::kInvalid, "text is not UTF-8"};
  }
  // Valid as a whole may still be cut within a character.
  if (column.type().kind == Kind::kString) {
    for (const uint32_t offset : column.offsets()) {
      if (offset < column.heap().size() && (column.heap()[offset] & 0xc0) == 0x80) {
        return {Code::kInvalid, "text is not UTF-8"};
      }
    }
  }
  for (size_t i = 0; i < column.child_count(); ++i) TIDE_TRY(check_utf8(column.child(i)));
  return {};
}

}  // namespace tide::duck
