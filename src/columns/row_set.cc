#include "columns/row_set.h"

#include <roaring/roaring.h>

#include <utility>

#include "columns/internal/roaring_format.h"

namespace tide::columns {

RowSet::RowSet() : bitmap_(roaring_bitmap_create()) { TIDE_CHECK(bitmap_ != nullptr); }
RowSet::RowSet(const RowSet& other) : bitmap_(roaring_bitmap_copy(other.bitmap_)) {
  TIDE_CHECK(bitmap_ != nullptr);
}
RowSet::RowSet(RowSet&& other) noexcept : RowSet() { std::swap(bitmap_, other.bitmap_); }
RowSet& RowSet::operator=(RowSet other) noexcept {
  std::swap(bitmap_, other.bitmap_);
  return *this;
}
RowSet::~RowSet() { roaring_bitmap_free(bitmap_); }

bool RowSet::add(uint32_t row) { return roaring_bitmap_add_checked(bitmap_, row); }
void RowSet::add_all(const RowSet& other) { roaring_bitmap_or_inplace(bitmap_, other.bitmap_); }
bool RowSet::contains(uint32_t row) const { return roaring_bitmap_contains(bitmap_, row); }
uint64_t RowSet::size() const { return roaring_bitmap_get_cardinality(bitmap_); }

std::vector<uint32_t> RowSet::rows() const {
  std::vector<uint32_t> rows(size());
  if (!rows.empty()) roaring_bitmap_to_uint32_array(bitmap_, rows.data());
  return rows;
}

std::string RowSet::encode() const {
  RowSet packed = *this;
  roaring_bitmap_run_optimize(packed.bitmap_);
  std::string bytes(roaring_bitmap_portable_size_in_bytes(packed.bitmap_), '\0');
  roaring_bitmap_portable_serialize(packed.bitmap_, bytes.data());
  return bytes;
}

Result<size_t> RowSet::encoded_size(BytesView bytes) { return check_roaring(bytes); }

Result<RowSet> RowSet::decode(BytesView bytes) {
  if (TIDE_TRY(check_roaring(bytes)) != bytes.size()) {
    return Status(Code::kCorrupt, "there are bytes behind a Roaring bitmap");
  }
  roaring_bitmap_s* bitmap = roaring_bitmap_portable_deserialize_safe(
      reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bitmap == nullptr) return Status(Code::kCorrupt, "these bytes are no Roaring bitmap");
  return RowSet(bitmap);
}

bool operator==(const RowSet& a, const RowSet& b) {
  return roaring_bitmap_equals(a.bitmap_, b.bitmap_);
}

}  // namespace tide::columns
