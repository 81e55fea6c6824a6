#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "duck/internal/handles.h"

namespace tide::duck {

/// How values of one DuckDB type become a columns::Column.
///
/// What columns::Kind has becomes just that; smaller and unsigned integers the next type that holds
/// them; TIMESTAMP_S and _MS microseconds; MAP a list of struct<key,value>, ARRAY a list.
/// Everything else becomes a string as DuckDB's cast to VARCHAR writes it.
class VectorReader {
 public:
  /// kInvalid for types that we cannot read (UNION, VARIANT, ...): the query must cast them.
  static Result<VectorReader> of(capi::LogicalType type);

  const columns::Type& type() const { return type_; }
  /// DuckDB's spelling: "HUGEINT", "DECIMAL(10,2)", "JSON".
  const std::string& sql_type() const { return sql_type_; }

  /// Rows [begin, begin + count) of a flat vector of this type.
  void append(capi::Vector vector, capi::idx_t begin, capi::idx_t count, columns::Column& to) const;

  /// Bytes of text in rows [begin, begin + count), at any depth.
  uint64_t text_bytes(capi::Vector vector, capi::idx_t begin, capi::idx_t count) const;

 private:
  void append_texts(capi::Vector vector, capi::idx_t begin, capi::idx_t count,
                    columns::Column& to) const;
  std::string text_of(const void* data, capi::idx_t row) const;

  capi::TypeId id_ = capi::TypeId::kInvalid;
  columns::Type type_;
  std::string sql_type_;
  std::vector<VectorReader> children_;
  std::vector<std::string> labels_;  ///< Of an ENUM.
  capi::TypeId label_width_ = capi::TypeId::kInvalid;
  capi::idx_t array_size_ = 0;
};

}  // namespace tide::duck
