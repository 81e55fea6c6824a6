#include "pgformat/heap_record.h"

#include "pgformat/page.h"

namespace tide::pgformat {
namespace {

constexpr uint8_t kUpdatePrefix = 0x20;
constexpr uint8_t kUpdateSuffix = 0x40;
constexpr size_t kHeapHeaderSize = 5;        // xl_heap_header
constexpr size_t kMultiInsertTupleSize = 7;  // xl_multi_insert_tuple

struct UpdateData {
  uint16_t old_offset;
  uint8_t flags;
  uint16_t new_offset;
};

class HeapDecoder {
 public:
  HeapDecoder(const WalRecord& record, const OldTuple& old_tuple, std::string& scratch,
              const HeapChangeSink& sink)
      : record_(record),
        old_tuple_(old_tuple),
        scratch_(scratch),
        sink_(sink),
        main_(record.main_data()) {}

  Status decode() {
    if (record_.is(Rmgr::kHeap2)) return multi_insert();
    switch (record_.info() & heap::kOpMask) {
      case heap::kInsert:
        return insert();
      case heap::kDelete:
        return remove();
      case heap::kUpdate:
      case heap::kHotUpdate:
        return update();
      case heap::kInplace:
        return inplace();
      default:
        return {};
    }
  }

 private:
  Status corrupt(std::string_view reason) const {
    return {Code::kCorrupt, fmt::format("{}: {}", record_.describe(), reason)};
  }

  Result<const BlockRef*> block(uint8_t id) const {
    const BlockRef* block = record_.block(id);
    if (block == nullptr) return corrupt(fmt::format("block reference {} is missing", id));
    return block;
  }

  /// xl_heap_header and what follows it.
  Result<HeapTuple> read_tuple(ByteReader data) const {
    HeapTuple tuple;
    tuple.infomask2 = data.read<uint16_t>();
    tuple.infomask = data.read<uint16_t>();
    tuple.hoff = data.read<uint8_t>();
    tuple.body = data.rest();
    if (data.failed() || tuple.hoff < kHeapTupleHeaderSize) return corrupt("its tuple is cut off");
    return tuple;
  }

  /// The page as the record's full image leaves it. Views into it hold until the next image.
  Result<HeapTuple> tuple_from_image(const BlockRef& block, uint16_t offset) {
    image_.resize(kPageSize);
    TIDE_TRY(restore_image(block, image_.data()));
    return tuple_on_page(image_.data(), offset);
  }

  Status insert() {
    const BlockRef* at = TIDE_TRY(block(0));
    auto offset = main_.read<uint16_t>();
    if (main_.failed()) return corrupt("its data is too short");
    HeapChange change{HeapChange::Kind::kInsert, at->tag.rel, {}, {at->tag.block, offset}, {}};
    change.tuple = at->data.empty() && at->has_image ? TIDE_TRY(tuple_from_image(*at, offset))
                                                     : TIDE_TRY(read_tuple(ByteReader(at->data)));
    return sink_(change);
  }

  Status multi_insert() {
    const BlockRef* at = TIDE_TRY(block(0));
    main_.read<uint8_t>();  // flags
    main_.read<uint8_t>();  // padding
    auto count = main_.read<uint16_t>();
    bool init_page = (record_.info() & heap::kInitPage) != 0;
    ByteReader data(at->data);
    bool from_image = at->data.empty() && at->has_image;
    HeapChange change{HeapChange::Kind::kInsert, at->tag.rel, {}, {}, {}};
    for (uint16_t i = 0; i < count; ++i) {
      auto offset = init_page ? static_cast<uint16_t>(i + 1) : main_.read<uint16_t>();
      if (main_.failed()) return corrupt("its data is too short");
      change.fresh = TupleId(at->tag.block, offset);
      if (from_image) {
        change.tuple = TIDE_TRY(tuple_from_image(*at, offset));
      } else {
        if (data.position() % 2 != 0) data.take(1);
        auto length = data.read<uint16_t>();
        change.tuple.infomask2 = data.read<uint16_t>();
        change.tuple.infomask = data.read<uint16_t>();
        change.tuple.hoff = data.read<uint8_t>();
        change.tuple.body = data.take(length);
        if (data.failed() || change.tuple.hoff < kHeapTupleHeaderSize) {
          return corrupt("a tuple is cut off");
        }
      }
      TIDE_TRY(sink_(change));
    }
    return {};
  }

  Status remove() {
    const BlockRef* at = TIDE_TRY(block(0));
    main_.read<uint32_t>();  // xmax
    auto offset = main_.read<uint16_t>();
    if (main_.failed()) return corrupt("its data is too short");
    return sink_({HeapChange::Kind::kDelete, at->tag.rel, {at->tag.block, offset}, {}, {}});
  }

  Status update() {
    const BlockRef* fresh = TIDE_TRY(block(0));
    const BlockRef* old = record_.block(1) != nullptr ? record_.block(1) : fresh;
    UpdateData update;
    main_.read<uint32_t>();  // old xmax
    update.old_offset = main_.read<uint16_t>();
    main_.read<uint8_t>();  // infobits
    update.flags = main_.read<uint8_t>();
    main_.read<uint32_t>();  // new xmax
    update.new_offset = main_.read<uint16_t>();
    if (main_.failed()) return corrupt("its data is too short");
    HeapChange change{HeapChange::Kind::kUpdate,
                      fresh->tag.rel,
                      {old->tag.block, update.old_offset},
                      {fresh->tag.block, update.new_offset},
                      {}};
    change.tuple = fresh->data.empty() && fresh->has_image
                       ? TIDE_TRY(tuple_from_image(*fresh, update.new_offset))
                       : TIDE_TRY(updated_tuple(*fresh, change, update.flags));
    return sink_(change);
  }

  Result<HeapTuple> updated_tuple(const BlockRef& block, const HeapChange& change, uint8_t flags) {
    ByteReader data(block.data);
    uint16_t prefix = (flags & kUpdatePrefix) != 0 ? data.read<uint16_t>() : uint16_t{0};
    uint16_t suffix = (flags & kUpdateSuffix) != 0 ? data.read<uint16_t>() : uint16_t{0};
    if (data.failed()) return corrupt("its data is too short");
    HeapTuple tuple = TIDE_TRY(read_tuple(ByteReader(data.rest())));
    if (prefix == 0 && suffix == 0) return tuple;
    if (!old_tuple_) return corrupt("its old tuple is not at hand");
    HeapTuple old = TIDE_TRY(old_tuple_(change.rel, change.old));
    size_t bitmap = tuple.hoff - kHeapTupleHeaderSize;
    size_t old_bitmap = old.hoff - kHeapTupleHeaderSize;
    if (tuple.body.size() < bitmap || old.body.size() < old_bitmap + prefix ||
        old.body.size() < suffix) {
      return corrupt("it copies more of the old tuple than there is");
    }
    std::string whole(as_chars(tuple.body.first(bitmap)));
    whole.append(as_chars(old.body.subspan(old_bitmap, prefix)));
    whole.append(as_chars(tuple.body.subspan(bitmap)));
    whole.append(as_chars(old.body.last(suffix)));
    scratch_ = std::move(whole);  // `old` may lie in it until here
    tuple.body = as_bytes(scratch_);
    return tuple;
  }

  Status inplace() {
    const BlockRef* at = TIDE_TRY(block(0));
    auto offset = main_.read<uint16_t>();
    if (main_.failed()) return corrupt("its data is too short");
    HeapChange change{HeapChange::Kind::kInplace, at->tag.rel, {}, {at->tag.block, offset}, {}};
    if (at->data.empty() && at->has_image) {
      HeapTuple tuple = TIDE_TRY(tuple_from_image(*at, offset));
      size_t bitmap = tuple.hoff - kHeapTupleHeaderSize;
      if (tuple.body.size() < bitmap) return corrupt("its tuple is cut off");
      change.tuple.body = tuple.body.subspan(bitmap);
    } else {
      change.tuple.body = at->data;
    }
    return sink_(change);
  }

  const WalRecord& record_;
  const OldTuple& old_tuple_;
  std::string& scratch_;
  const HeapChangeSink& sink_;
  ByteReader main_;
  Bytes image_;
};

}  // namespace

bool changes_heap_rows(const WalRecord& record) {
  uint8_t operation = record.info() & heap::kOpMask;
  if (record.is(Rmgr::kHeap2)) return operation == heap2::kMultiInsert;
  return record.is(Rmgr::kHeap) &&
         (operation == heap::kInsert || operation == heap::kDelete || operation == heap::kUpdate ||
          operation == heap::kHotUpdate || operation == heap::kInplace);
}

Status heap_changes(const WalRecord& record, const OldTuple& old_tuple, std::string& scratch,
                    const HeapChangeSink& sink) {
  if (!changes_heap_rows(record)) return {};
  return HeapDecoder(record, old_tuple, scratch, sink).decode();
}

Result<HeapTuple> tuple_on_page(const std::byte* page, uint16_t offset) {
  if (page_is_new(page)) return Status(Code::kNotFound, "the page is new");
  uint16_t lower = page_lower(page);
  if (lower < kPageHeaderSize || lower > kPageSize) {
    return Status(Code::kCorrupt, fmt::format("pd_lower is {}", lower));
  }
  if (offset == 0 || offset > (lower - kPageHeaderSize) / 4) {
    return Status(Code::kNotFound, fmt::format("the page has no line pointer {}", offset));
  }
  auto pointer = load<uint32_t>(page + kPageHeaderSize + (offset - 1) * 4);
  size_t at = pointer & 0x7FFF;
  uint32_t flags = pointer >> 15 & 0x3;
  size_t length = pointer >> 17;
  constexpr uint32_t kNormal = 1;
  if (flags != kNormal) return Status(Code::kNotFound, "the line pointer has no tuple");
  if (length < kHeapTupleHeaderSize || at + length > kPageSize) {
    return Status(Code::kCorrupt, fmt::format("line pointer {} leads outside the page", offset));
  }
  HeapTuple tuple;
  tuple.infomask2 = load<uint16_t>(page + at + 18);
  tuple.infomask = load<uint16_t>(page + at + 20);
  tuple.hoff = load<uint8_t>(page + at + 22);
  tuple.body = {page + at + kHeapTupleHeaderSize, length - kHeapTupleHeaderSize};
  if (tuple.hoff < kHeapTupleHeaderSize || tuple.hoff > length) {
    return Status(Code::kCorrupt,
                  fmt::format("tuple {} has a header of {} bytes", offset, tuple.hoff));
  }
  return tuple;
}

}  // namespace tide::pgformat
