#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tide::columns {

/// What a column of the lake holds: the types that PostgreSQL's values become, which Delta Lake,
/// Parquet and DuckDB all have.
enum class Kind : uint8_t {
  kBool,          ///< 1 byte, 0 or 1
  kInt16,         ///< Delta `short`
  kInt32,         ///< `integer`
  kInt64,         ///< `long`
  kFloat,         ///< `float`
  kDouble,        ///< `double`
  kDecimal,       ///< `decimal(precision,scale)`; unscaled value, see decimal_width()
  kString,        ///< `string`, UTF-8
  kBinary,        ///< `binary`
  kDate,          ///< `date`; int32 days since 1970-01-01
  kTimestamp,     ///< `timestamp`; int64 microseconds since 1970-01-01 UTC
  kTimestampNtz,  ///< `timestamp_ntz`; int64 microseconds since 1970-01-01, no zone
  kList,          ///< `array`; one child
  kStruct,        ///< `struct`; a child per field
};

struct Field;

struct Type {
  Kind kind = Kind::kString;
  uint8_t precision = 0;  ///< of kDecimal, 1 to 38
  uint8_t scale = 0;      ///< of kDecimal, 0 to precision
  std::vector<Field> children;

  Type() = default;
  Type(Kind k) : kind(k) {}  // NOLINT: implicit on purpose
  static Type decimal(int precision, int scale);
  static Type list(Type element);
  static Type structure(std::vector<Field> fields);
  bool operator==(const Type&) const;
};

struct Field {
  std::string name;
  Type type;
  bool nullable = true;
  bool operator==(const Field&) const = default;
};

/// Bytes of one unscaled decimal: 2, 4, 8 or 16 (as DuckDB stores them).
constexpr size_t decimal_width(int precision) {
  return precision <= 4 ? 2 : precision <= 9 ? 4 : precision <= 18 ? 8 : 16;
}

/// Bytes of one value of a fixed-width type; 0 for strings, binaries, lists and structs.
size_t fixed_width(const Type& type);

/// "decimal(10,2)", "array<string>", "struct<a:long,b:string>": Spark's spelling.
std::string to_string(const Type& type);

}  // namespace tide::columns
