#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/result.h"
#include "columns/type.h"

namespace tide::columns {

/// Values of one column, appended row by row. The layout is Arrow's in essence, and DuckDB's
/// vectors can be filled from it with memcpy: a validity bitmap (64-bit words, lowest bit first, 1:
/// not null), fixed-width values behind each other (nulls are zeros), strings as offsets into one
/// heap, lists as offsets into a child column, structs as child columns of the same length.
class Column {
 public:
  explicit Column(Type type);

  const Type& type() const { return type_; }
  size_t size() const { return size_; }
  /// Bytes in memory, approximately.
  size_t bytes() const;

  void append_null();
  /// A fixed-width value; T must have the type's width exactly.
  template <typename T>
  void append(T value) {
    TIDE_CHECK(sizeof(T) == width_);
    values_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    append_valid(true);
  }
  /// Values [begin, begin + count) of an array of fixed-width values whose validity bitmap is laid
  /// out like ours; none: no value is null.
  void append_fixed(const char* values, const uint64_t* validity, size_t begin, size_t count);
  /// A string or binary.
  void append_bytes(std::string_view value);
  /// Ends a list: its elements are what was appended to child(0) since the last list ended.
  void end_list();
  /// Ends a struct: each child has had one value appended.
  void end_struct();
  /// Row `row` of a column of the same type.
  void append_from(const Column& other, size_t row);
  /// Takes back the last rows, until `size` are left.
  void truncate(size_t size);

  bool is_null(size_t row) const { return (validity_[row / 64] >> row % 64 & 1) == 0; }
  size_t null_count() const { return null_count_; }
  /// Ceil(size / 64) words.
  const std::vector<uint64_t>& validity() const { return validity_; }
  /// Fixed-width values.
  const std::string& values() const { return values_; }
  template <typename T>
  T value(size_t row) const {
    return load<T>(values_.data() + row * sizeof(T));
  }
  /// Strings, binaries, lists: size + 1 offsets, the first 0.
  const std::vector<uint32_t>& offsets() const { return offsets_; }
  /// Strings and binaries, behind each other.
  const std::string& heap() const { return heap_; }
  std::string_view bytes_at(size_t row) const {
    return std::string_view(heap_).substr(offsets_[row], offsets_[row + 1] - offsets_[row]);
  }
  Column& child(size_t i) { return children_[i]; }
  const Column& child(size_t i) const { return children_[i]; }
  size_t child_count() const { return children_.size(); }

 private:
  friend class BatchCodec;
  void append_valid(bool valid);
  bool has_offsets() const;

  Type type_;
  size_t width_;
  size_t size_ = 0;
  size_t null_count_ = 0;
  std::vector<uint64_t> validity_;
  std::string values_;
  std::vector<uint32_t> offsets_;
  std::string heap_;
  std::vector<Column> children_;
};

/// Rows of a table: columns of equal length.
struct Batch {
  std::vector<Column> columns;

  Batch() = default;
  explicit Batch(const std::vector<Field>& fields);
  size_t rows() const { return columns.empty() ? 0 : columns[0].size(); }
  size_t bytes() const;
  /// A whole row of a batch with the same types.
  void append_from(const Batch& other, size_t row);
};

/// Bytes for another process. The types travel apart: both sides must agree on them.
std::string encode(const Batch& batch);
/// kCorrupt unless `bytes` are what encode() makes of columns of these types.
Result<Batch> decode(BytesView bytes, const std::vector<Field>& fields);

}  // namespace tide::columns
