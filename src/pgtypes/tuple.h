#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "pgtypes/type_catalog.h"

/// Heap tuples (htup_details.h) taken apart.
namespace tide::pgtypes {

/// Bytes of a tuple's fixed header (SizeofHeapTupleHeader); WAL leaves them out.
inline constexpr size_t kTupleHeaderSize = 23;

/// A tuple without the part of its header that says who wrote it.
struct TupleView {
  uint16_t infomask2 = 0;
  uint16_t infomask = 0;
  uint8_t header_size = 0;  ///< t_hoff
  std::string_view body;    ///< what follows the fixed header: null bitmap, padding, data

  uint16_t attribute_count() const { return infomask2 & 0x07FF; }
  bool has_nulls() const { return (infomask & 0x0001) != 0; }

  /// A tuple as a page holds it. kCorrupt if it is shorter than its header.
  static Result<TupleView> from_page_item(std::string_view item);
  /// As xl_heap_insert and xl_heap_update carry it in their block data: xl_heap_header, then the
  /// bytes behind the fixed header. (xl_multi_insert_tuple has a length in front and is the same
  /// from its third byte on.)
  static Result<TupleView> from_wal(std::string_view bytes);
};

/// A line pointer of a page.
struct LinePointer {
  enum Flags : uint8_t { kUnused = 0, kNormal = 1, kRedirect = 2, kDead = 3 };
  uint16_t offset = 0;
  Flags flags = kUnused;
  uint16_t length = 0;
};
/// How many line pointers the page (kPageSize bytes) has; 0 if its header is not valid.
uint16_t line_pointer_count(std::string_view page);
/// Line pointer `number`, from 1 to line_pointer_count().
LinePointer line_pointer(std::string_view page, uint16_t number);
/// The bytes a normal line pointer names; kCorrupt if they do not lie in the page, kNotFound if the
/// pointer is not normal.
Result<std::string_view> page_item(std::string_view page, uint16_t number);

/// One attribute of a tuple.
struct AttributeValue {
  /// The datum as stored: fixed-length bytes, or a varlena with its header in any form, external
  /// included. Points into the tuple, or for rows older than the column into the TupleReader.
  std::string_view datum;
  bool null = true;
};

/// Takes tuples of one relation apart. Immutable; any number of threads.
class TupleReader {
 public:
  TupleReader() = default;
  /// All attributes of the relation, dropped ones included, in the order of attnum.
  explicit TupleReader(const std::vector<Attribute>& attributes);

  size_t attribute_count() const { return attributes_.size(); }

  /// One value per attribute; a dropped one is null. Columns the tuple does not have yet get their
  /// missing value or null; a tuple with more columns than we know is read as far as we know, as
  /// PostgreSQL does. `values` is resized; nothing is allocated per tuple once it has its size.
  /// kCorrupt for bytes that contradict themselves.
  Status read(const TupleView& tuple, std::vector<AttributeValue>& values) const;

 private:
  struct Slot {
    int16_t length = 0;
    uint8_t align_mask = 0;
    bool dropped = false;
    bool has_missing = false;
    std::string missing;
  };
  std::vector<Slot> attributes_;
};

}  // namespace tide::pgtypes
