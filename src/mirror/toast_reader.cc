#include "mirror/toast_reader.h"

#include <map>
#include <optional>
#include <vector>

#include "pgformat/heap_record.h"
#include "pgtypes/tuple.h"

namespace tide::mirror {
namespace {

using pgformat::TupleId;

constexpr uint32_t kNone = 0;
constexpr uint16_t kLeafFlag = 0x0001;
constexpr uint16_t kDeletedFlag = 0x0004;
constexpr uint16_t kHalfDeadFlag = 0x0010;
constexpr uint16_t kAlternativeTid = 0x2000;  // t_info: the tid field says something else
constexpr uint16_t kSizeMask = 0x1FFF;
constexpr uint16_t kPostingFlag = 0x2000;  // of the offset number
constexpr uint16_t kOffsetMask = 0x0FFF;
constexpr size_t kTupleHeader = 8;
constexpr int kMaxDepth = 32;

TupleId read_tid(const std::byte* at) {
  uint32_t block = uint32_t{load<uint16_t>(at)} << 16 | load<uint16_t>(at + 2);
  return {block, load<uint16_t>(at + 4)};
}

/// A page of the index on (chunk_id, chunk_seq).
class IndexPage {
 public:
  static Result<IndexPage> read(learner::PageSource& source, const RelFork& index, uint32_t block,
                                Lsn at) {
    IndexPage page;
    page.bytes_ = TIDE_TRY(source.pages(index, block, 1, at));
    uint16_t special = pgformat::page_special(page.data());
    if (!pgformat::page_is_valid(page.data()) || special + 16U != kPageSize) {
      return Status(Code::kCorrupt, fmt::format("{} block {} is no B-tree page", index, block));
    }
    const std::byte* opaque = page.data() + special;
    page.next_ = load<uint32_t>(opaque + 4);
    page.flags_ = load<uint16_t>(opaque + 12);
    return page;
  }

  const std::byte* data() const { return as_bytes(bytes_).data(); }
  uint32_t next() const { return next_; }
  bool is_leaf() const { return (flags_ & kLeafFlag) != 0; }
  bool is_dead() const { return (flags_ & (kDeletedFlag | kHalfDeadFlag)) != 0; }
  /// The first item is the high key unless the page is the rightmost.
  uint16_t first_item() const { return next_ == kNone ? 1 : 2; }
  uint16_t item_count() const {
    return static_cast<uint16_t>((pgformat::page_lower(data()) - pgformat::kPageHeaderSize) / 4);
  }

  struct Item {
    const std::byte* tuple;
    uint16_t size;
    bool dead;
  };
  Result<Item> item(uint16_t number) const {
    auto pointer = load<uint32_t>(data() + pgformat::kPageHeaderSize + (number - 1) * 4);
    size_t at = pointer & 0x7FFF;
    size_t length = pointer >> 17;
    if (length < kTupleHeader || at + length > kPageSize) {
      return Status(Code::kCorrupt, "an index tuple lies outside its page");
    }
    constexpr uint32_t kDead = 3;
    return Item{data() + at, static_cast<uint16_t>(length), (pointer >> 15 & 3) == kDead};
  }

  /// Value id and chunk number of a tuple; what was cut off a pivot counts as less than all.
  static std::pair<int64_t, int64_t> key(const Item& item) {
    auto info = load<uint16_t>(item.tuple + 6);
    auto offset = load<uint16_t>(item.tuple + 4);
    int attributes = 2;
    if ((info & kAlternativeTid) != 0 && (offset & kPostingFlag) == 0)
      attributes = offset & kOffsetMask;
    size_t size = std::min<size_t>(item.size, info & kSizeMask);
    int64_t id = attributes >= 1 && size >= kTupleHeader + 4 ? load<uint32_t>(item.tuple + 8) : -1;
    int64_t number =
        attributes >= 2 && size >= kTupleHeader + 8 ? load<int32_t>(item.tuple + 12) : -1;
    return {id, number};
  }

  /// The heap rows a leaf tuple names: one, or a posting list.
  static std::vector<TupleId> rows(const Item& item) {
    auto info = load<uint16_t>(item.tuple + 6);
    auto offset = load<uint16_t>(item.tuple + 4);
    if ((info & kAlternativeTid) == 0 || (offset & kPostingFlag) == 0)
      return {read_tid(item.tuple)};
    size_t count = offset & kOffsetMask;
    size_t at = read_tid(item.tuple).block();
    std::vector<TupleId> rows;
    for (size_t i = 0; i < count && at + (i + 1) * 6 <= item.size; ++i) {
      rows.push_back(read_tid(item.tuple + at + i * 6));
    }
    return rows;
  }

 private:
  std::string bytes_;
  uint32_t next_ = 0;
  uint16_t flags_ = 0;
};

/// The leaf on which entries of the value begin, or one left of it.
Result<uint32_t> find_leaf(learner::PageSource& source, const RelFork& index, int64_t value_id,
                           Lsn at) {
  IndexPage meta = TIDE_TRY(IndexPage::read(source, index, 0, at));
  auto block = load<uint32_t>(meta.data() + pgformat::kPageHeaderSize + 8);  // btm_root
  std::pair<int64_t, int64_t> wanted(value_id, 0);
  for (int depth = 0; depth < kMaxDepth && block != kNone; ++depth) {
    IndexPage page = TIDE_TRY(IndexPage::read(source, index, block, at));
    // A split whose parent does not know it yet: go right while all keys here are smaller.
    if (page.next() != kNone && page.item_count() >= 1) {
      auto high = TIDE_TRY(page.item(1));
      if (page.is_dead() || IndexPage::key(high) < wanted) {
        block = page.next();
        continue;
      }
    }
    if (page.is_leaf()) return block;
    uint32_t child = kNone;
    for (uint16_t i = page.first_item(); i <= page.item_count(); ++i) {
      auto item = TIDE_TRY(page.item(i));
      bool is_first = i == page.first_item();  // its key counts as minus infinity
      if (!is_first && !(IndexPage::key(item) < wanted)) break;
      child = read_tid(item.tuple).block();
    }
    block = child;
  }
  return Status(Code::kCorrupt, fmt::format("{} leads to no leaf for value {}", index, value_id));
}

}  // namespace

Result<ToastChunk> read_toast_chunk(const pgformat::HeapTuple& tuple, std::string& scratch) {
  static const pgtypes::TupleReader reader = [] {
    std::vector<pgtypes::Attribute> attributes(3);
    for (size_t i = 0; i < attributes.size(); ++i) {
      attributes[i].number = static_cast<int16_t>(i + 1);
      attributes[i].type = 1;
      attributes[i].length = i < 2 ? int16_t{4} : int16_t{-1};
    }
    return pgtypes::TupleReader(attributes);
  }();
  std::vector<pgtypes::AttributeValue> values;
  TIDE_TRY(
      reader.read({tuple.infomask2, tuple.infomask, tuple.hoff, as_chars(tuple.body)}, values));
  if (values[0].null || values[1].null || values[2].null) {
    return Status(Code::kCorrupt, "a TOAST chunk has a null column");
  }
  ToastChunk chunk;
  chunk.value_id = load<uint32_t>(values[0].datum.data());
  chunk.number = load<int32_t>(values[1].datum.data());
  chunk.data = TIDE_TRY(pgtypes::inline_payload(values[2].datum, scratch));
  return chunk;
}

Result<std::string> read_toasted(learner::PageSource& source, const RelFork& heap,
                                 const RelFork& index, const pgtypes::ToastPointer& pointer,
                                 Lsn at) {
  uint32_t block = TIDE_TRY(find_leaf(source, index, pointer.value_id, at));
  std::map<int32_t, std::string> chunks;
  bool past_end = false;
  std::string heap_page;
  uint32_t heap_block = UINT32_MAX;
  std::string scratch;
  std::optional<uint32_t> pages_left;  // no page comes twice, unless the tree is damaged
  while (block != kNone && !past_end) {
    IndexPage page = TIDE_TRY(IndexPage::read(source, index, block, at));
    for (uint16_t i = page.first_item(); i <= page.item_count() && !page.is_dead(); ++i) {
      auto item = TIDE_TRY(page.item(i));
      auto [id, number] = IndexPage::key(item);
      past_end = id > pointer.value_id;
      if (past_end) break;
      if (id != pointer.value_id || item.dead) continue;
      for (TupleId row : IndexPage::rows(item)) {
        if (row.block() != heap_block) {
          heap_block = row.block();
          heap_page = TIDE_TRY(source.pages(heap, heap_block, 1, at));
        }
        Result<pgformat::HeapTuple> tuple =
            pgformat::tuple_on_page(as_bytes(heap_page).data(), row.offset());
        if (!tuple.ok()) continue;  // a dead entry whose row was removed
        ToastChunk chunk = TIDE_TRY(read_toast_chunk(*tuple, scratch));
        if (chunk.value_id == pointer.value_id) chunks.try_emplace(chunk.number, chunk.data);
      }
    }
    block = page.next();
    if (block == kNone || past_end) break;
    if (!pages_left) pages_left = TIDE_TRY(source.rel_size(index, at)).value_or(0);
    if ((*pages_left)-- == 0) {
      return Status(Code::kCorrupt, fmt::format("the leaves of {} are a circle", index));
    }
  }
  std::vector<std::string_view> parts;
  for (const auto& [number, data] : chunks) parts.push_back(data);
  Result<std::string> value = pgtypes::assemble_external(pointer, parts);
  if (!value.ok()) {
    return std::move(value).status().with_context(
        fmt::format("read TOAST value {} of {} at {}", pointer.value_id, heap, at));
  }
  return value;
}

}  // namespace tide::mirror
