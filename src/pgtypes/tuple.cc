#include "pgtypes/tuple.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/page_tag.h"
#include "pgformat/page.h"
#include "pgtypes/internal/datum_walk.h"

namespace tide::pgtypes {
namespace {

constexpr size_t kWalHeaderSize = 5;

Status corrupt_tuple(std::string_view reason, const TupleView& tuple) {
  return Status(Code::kCorrupt, fmt::format("tuple: {}", reason))
      .with_detail(fmt::format("t_infomask2 0x{:04X}, t_infomask 0x{:04X}, t_hoff {}, {} bytes.",
                               tuple.infomask2, tuple.infomask, tuple.header_size,
                               tuple.body.size()));
}

}  // namespace

Result<TupleView> TupleView::from_page_item(std::string_view item) {
  if (item.size() < kTupleHeaderSize) {
    return Status(Code::kCorrupt, fmt::format("a tuple has only {} bytes", item.size()));
  }
  TupleView tuple;
  tuple.infomask2 = load<uint16_t>(item.data() + 18);
  tuple.infomask = load<uint16_t>(item.data() + 20);
  tuple.header_size = static_cast<uint8_t>(item[22]);
  tuple.body = item.substr(kTupleHeaderSize);
  return tuple;
}

Result<TupleView> TupleView::from_wal(std::string_view bytes) {
  if (bytes.size() < kWalHeaderSize) {
    return Status(Code::kCorrupt, fmt::format("a tuple in WAL has only {} bytes", bytes.size()));
  }
  TupleView tuple;
  tuple.infomask2 = load<uint16_t>(bytes.data());
  tuple.infomask = load<uint16_t>(bytes.data() + 2);
  tuple.header_size = static_cast<uint8_t>(bytes[4]);
  tuple.body = bytes.substr(kWalHeaderSize);
  return tuple;
}

uint16_t line_pointer_count(std::string_view page) {
  if (page.size() != kPageSize) return 0;
  const auto* bytes = as_bytes(page).data();
  if (pgformat::page_is_new(bytes) || !pgformat::page_is_valid(bytes)) return 0;
  uint16_t lower = pgformat::page_lower(bytes);
  return lower <= pgformat::kPageHeaderSize
             ? 0
             : static_cast<uint16_t>((lower - pgformat::kPageHeaderSize) / 4);
}

LinePointer line_pointer(std::string_view page, uint16_t number) {
  LinePointer pointer;
  size_t at = pgformat::kPageHeaderSize + (size_t{number} - 1) * 4;
  if (number == 0 || at + 4 > page.size()) return pointer;
  auto bits = load<uint32_t>(page.data() + at);
  pointer.offset = static_cast<uint16_t>(bits & 0x7FFF);
  pointer.flags = static_cast<LinePointer::Flags>(bits >> 15 & 0x03);
  pointer.length = static_cast<uint16_t>(bits >> 17);
  return pointer;
}

Result<std::string_view> page_item(std::string_view page, uint16_t number) {
  LinePointer pointer = line_pointer(page, number);
  if (pointer.flags != LinePointer::kNormal) {
    return Status(Code::kNotFound, fmt::format("line pointer {} holds no tuple", number));
  }
  if (size_t{pointer.offset} + pointer.length > page.size() ||
      pointer.offset < pgformat::kPageHeaderSize) {
    return Status(Code::kCorrupt, fmt::format("line pointer {} names {} bytes at {}", number,
                                              pointer.length, pointer.offset));
  }
  return page.substr(pointer.offset, pointer.length);
}

TupleReader::TupleReader(const std::vector<Attribute>& attributes) {
  attributes_.reserve(attributes.size());
  for (const Attribute& attribute : attributes) {
    Slot slot;
    slot.length = attribute.length;
    slot.align_mask = align_mask(attribute.align);
    slot.dropped = attribute.dropped;
    slot.has_missing = attribute.missing.has_value() && !attribute.dropped;
    if (slot.has_missing) slot.missing = *attribute.missing;
    attributes_.push_back(std::move(slot));
  }
}

Status TupleReader::read(const TupleView& tuple, std::vector<AttributeValue>& values) const {
  size_t stored = tuple.attribute_count();
  size_t bitmap_size = tuple.has_nulls() ? (stored + 7) / 8 : 0;
  if (tuple.header_size % 8 != 0 || tuple.header_size < kTupleHeaderSize + bitmap_size ||
      tuple.body.size() < tuple.header_size - kTupleHeaderSize) [[unlikely]] {
    return corrupt_tuple("its header does not fit its size", tuple);
  }
  const char* bitmap = tuple.body.data();
  std::string_view data = tuple.body.substr(tuple.header_size - kTupleHeaderSize);
  values.resize(attributes_.size());
  size_t count = std::min(stored, attributes_.size());
  size_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    const Slot& slot = attributes_[i];
    AttributeValue& value = values[i];
    if (bitmap_size > 0 && (bitmap[i / 8] >> (i % 8) & 1) == 0) {
      value = {};
      continue;
    }
    if (!take_datum(data, offset, slot.length, slot.align_mask, value.datum)) [[unlikely]] {
      return corrupt_tuple(fmt::format("attribute {} does not fit", i + 1), tuple);
    }
    value.null = slot.dropped;
  }
  for (size_t i = count; i < attributes_.size(); ++i) {
    values[i].null = !attributes_[i].has_missing;
    values[i].datum = attributes_[i].missing;
  }
  return {};
}

}  // namespace tide::pgtypes
