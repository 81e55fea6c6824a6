#include "columns/column.h"

#include <algorithm>
#include <cstring>

namespace tide::columns {

Column::Column(Type type) : type_(std::move(type)), width_(fixed_width(type_)) {
  for (const Field& field : type_.children) children_.emplace_back(field.type);
  if (has_offsets()) offsets_.push_back(0);
}

bool Column::has_offsets() const {
  return type_.kind == Kind::kString || type_.kind == Kind::kBinary || type_.kind == Kind::kList;
}

size_t Column::bytes() const {
  size_t sum = validity_.size() * 8 + values_.size() + offsets_.size() * 4 + heap_.size();
  for (const Column& child : children_) sum += child.bytes();
  return sum;
}

void Column::append_valid(bool valid) {
  if (size_ % 64 == 0) validity_.push_back(0);
  if (valid) {
    validity_.back() |= uint64_t{1} << size_ % 64;
  } else {
    ++null_count_;
  }
  ++size_;
}

void Column::append_null() {
  if (width_ > 0) values_.append(width_, '\0');
  if (has_offsets()) offsets_.push_back(offsets_.back());
  if (type_.kind == Kind::kStruct) {
    for (Column& child : children_) child.append_null();
  }
  append_valid(false);
}

void Column::append_fixed(const char* values, const uint64_t* validity, size_t begin,
                          size_t count) {
  TIDE_CHECK(width_ > 0);
  const size_t first = size_;
  values_.append(values + begin * width_, count * width_);
  size_ += count;
  validity_.resize((size_ + 63) / 64, 0);
  for (size_t i = 0; i < count;) {
    const size_t row = first + i;
    if (validity == nullptr) {  // a word at a time
      const size_t bits = std::min<size_t>(64 - row % 64, count - i);
      const uint64_t ones = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
      validity_[row / 64] |= ones << row % 64;
      i += bits;
      continue;
    }
    if ((validity[(begin + i) / 64] >> (begin + i) % 64 & 1) != 0) {
      validity_[row / 64] |= uint64_t{1} << row % 64;
    } else {
      std::memset(values_.data() + row * width_, 0, width_);
      ++null_count_;
    }
    ++i;
  }
}

void Column::append_bytes(std::string_view value) {
  TIDE_CHECK(type_.kind == Kind::kString || type_.kind == Kind::kBinary);
  heap_.append(value);
  TIDE_CHECK(heap_.size() <= UINT32_MAX);
  offsets_.push_back(static_cast<uint32_t>(heap_.size()));
  append_valid(true);
}

void Column::end_list() {
  TIDE_CHECK(type_.kind == Kind::kList);
  offsets_.push_back(static_cast<uint32_t>(children_[0].size()));
  append_valid(true);
}

void Column::end_struct() {
  TIDE_CHECK(type_.kind == Kind::kStruct);
  append_valid(true);
  for (const Column& child : children_) TIDE_CHECK(child.size() == size_);
}

void Column::append_from(const Column& other, size_t row) {
  if (other.is_null(row)) return append_null();
  switch (type_.kind) {
    case Kind::kString:
    case Kind::kBinary:
      return append_bytes(other.bytes_at(row));
    case Kind::kList:
      for (uint32_t i = other.offsets_[row]; i < other.offsets_[row + 1]; ++i) {
        children_[0].append_from(other.children_[0], i);
      }
      return end_list();
    case Kind::kStruct:
      for (size_t i = 0; i < children_.size(); ++i) {
        children_[i].append_from(other.children_[i], row);
      }
      return end_struct();
    default:
      values_.append(other.values_, row * width_, width_);
      return append_valid(true);
  }
}

void Column::truncate(size_t size) {
  if (size >= size_) return;
  for (size_t row = size; row < size_; ++row) null_count_ -= is_null(row) ? 1 : 0;
  size_ = size;
  validity_.resize((size + 63) / 64);
  if (size % 64 != 0) validity_.back() &= (uint64_t{1} << size % 64) - 1;
  if (width_ > 0) values_.resize(size * width_);
  if (type_.kind == Kind::kStruct) {
    for (Column& child : children_) child.truncate(size);
  }
  if (has_offsets()) {
    offsets_.resize(size + 1);
    if (type_.kind == Kind::kList) {
      children_[0].truncate(offsets_.back());
    } else {
      heap_.resize(offsets_.back());
    }
  }
}

Batch::Batch(const std::vector<Field>& fields) {
  for (const Field& field : fields) columns.emplace_back(field.type);
}

size_t Batch::bytes() const {
  size_t sum = 0;
  for (const Column& column : columns) sum += column.bytes();
  return sum;
}

void Batch::append_from(const Batch& other, size_t row) {
  for (size_t i = 0; i < columns.size(); ++i) columns[i].append_from(other.columns[i], row);
}

/// Knows the parts of a column, for encode() and decode().
class BatchCodec {
 public:
  static void write(const Column& column, std::string& out) {
    append<uint64_t>(out, column.size_);
    write_array(out, column.validity_.data(), column.validity_.size() * 8);
    write_array(out, column.values_.data(), column.values_.size());
    write_array(out, column.offsets_.data(), column.offsets_.size() * 4);
    write_array(out, column.heap_.data(), column.heap_.size());
    for (const Column& child : column.children_) write(child, out);
  }

  static Status read(ByteReader& in, Column& column) {
    column.size_ = in.read<uint64_t>();
    read_array(in, column.validity_);
    read_array(in, column.values_);
    read_array(in, column.offsets_);
    read_array(in, column.heap_);
    if (in.failed()) return {Code::kCorrupt, "a column's bytes end early"};
    TIDE_TRY(check(column));
    for (Column& child : column.children_) TIDE_TRY(read(in, child));
    if (column.type_.kind == Kind::kList && column.offsets_.back() != column.children_[0].size()) {
      return {Code::kCorrupt, "a list column does not end where its elements end"};
    }
    if (column.type_.kind == Kind::kStruct) {
      for (const Column& child : column.children_) {
        if (child.size() != column.size_)
          return {Code::kCorrupt, "a struct column's field is short"};
      }
    }
    return {};
  }

 private:
  static void write_array(std::string& out, const void* data, size_t size) {
    append<uint64_t>(out, size);
    out.append(static_cast<const char*>(data), size);
  }

  template <typename Array>
  static void read_array(ByteReader& in, Array& array) {
    BytesView bytes = in.take(in.read<uint64_t>());
    array.resize(bytes.size() / sizeof(array[0]));
    if (!array.empty()) std::memcpy(array.data(), bytes.data(), array.size() * sizeof(array[0]));
  }

  static Status check(Column& column) {
    size_t size = column.size_;
    bool right = column.validity_.size() == (size + 63) / 64 &&
                 column.values_.size() == size * column.width_;
    if (column.has_offsets()) {
      right = right && column.offsets_.size() == size + 1 && column.offsets_[0] == 0;
      for (size_t i = 0; right && i < size; ++i)
        right = column.offsets_[i] <= column.offsets_[i + 1];
      if (right && column.type_.kind != Kind::kList) {
        right = column.offsets_.back() == column.heap_.size();
      }
    }
    if (!right) return {Code::kCorrupt, "a column's parts do not fit together"};
    column.null_count_ = 0;
    for (size_t row = 0; row < size; ++row) column.null_count_ += column.is_null(row) ? 1 : 0;
    return {};
  }
};

std::string encode(const Batch& batch) {
  std::string out;
  out.reserve(batch.bytes() + batch.columns.size() * 64);
  for (const Column& column : batch.columns) BatchCodec::write(column, out);
  return out;
}

Result<Batch> decode(BytesView bytes, const std::vector<Field>& fields) {
  Batch batch(fields);
  ByteReader in(bytes);
  for (Column& column : batch.columns) {
    TIDE_TRY(BatchCodec::read(in, column));
    if (column.size() != batch.rows()) return Status(Code::kCorrupt, "columns of unequal length");
  }
  if (in.remaining() != 0) return Status(Code::kCorrupt, "bytes behind the last column");
  return batch;
}

}  // namespace tide::columns
