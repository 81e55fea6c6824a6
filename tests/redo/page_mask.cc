#include "page_mask.h"

#include <cstring>

#include "base/bytes.h"
#include "base/page_tag.h"

namespace tide::redo_oracle {
namespace {

constexpr size_t kHeaderSize = 24;

uint16_t lower(const std::byte* page) { return load<uint16_t>(page + 12); }
uint16_t upper(const std::byte* page) { return load<uint16_t>(page + 14); }
uint16_t special(const std::byte* page) { return load<uint16_t>(page + 16); }

void mask_lsn_and_checksum(std::byte* page) { std::memset(page, 0, 10); }

void mask_hints(std::byte* page) {
  store<uint32_t>(page + 20, 0);                                            // pd_prune_xid
  store<uint16_t>(page + 10, load<uint16_t>(page + 10) & ~uint16_t{0x07});  // all of pd_flags
}

void mask_unused_space(std::byte* page) {
  if (lower(page) >= kHeaderSize && lower(page) <= upper(page) && upper(page) <= special(page) &&
      special(page) <= kPageSize) {
    std::memset(page + lower(page), 0, upper(page) - lower(page));
  }
}

size_t item_count(const std::byte* page) {
  return lower(page) <= kHeaderSize || lower(page) > kPageSize ? 0
                                                               : (lower(page) - kHeaderSize) / 4;
}

struct Item {
  uint32_t word;
  uint32_t offset() const { return word & 0x7FFF; }
  uint32_t flags() const { return word >> 15 & 3; }
  uint32_t length() const { return word >> 17; }
};

Item item(const std::byte* page, size_t index) {
  return {load<uint32_t>(page + kHeaderSize + 4 * index)};
}

/// Dead or normal: index methods mark items dead without WAL.
void mask_item_flags(std::byte* page) {
  for (size_t i = 0; i < item_count(page); ++i) {
    uint32_t word = item(page, i).word;
    store<uint32_t>(page + kHeaderSize + 4 * i, word & ~(uint32_t{3} << 15));
  }
}

void mask_content(std::byte* page) {
  std::memset(page + kHeaderSize, 0, kPageSize - kHeaderSize);
  std::memset(page + 12, 0, 4);
}

void mask_heap(std::byte* page, uint32_t block) {
  for (size_t i = 0; i < item_count(page); ++i) {
    Item it = item(page, i);
    if (it.length() == 0 || it.offset() + it.length() > kPageSize) continue;
    std::byte* tuple = page + it.offset();
    if (it.flags() == 1) {
      uint16_t infomask = load<uint16_t>(tuple + 20);
      constexpr uint16_t kXminFrozen = 0x0300;
      infomask &= (infomask & kXminFrozen) == kXminFrozen ? ~uint16_t{0x0C00} : ~uint16_t{0xFFF0};
      store(tuple + 20, infomask);
      store<uint32_t>(tuple + 8, 0);  // t_cid
      if (load<uint16_t>(tuple + 16) == 0xFFFE) {
        // Speculative token.
        store<uint16_t>(tuple + 12, static_cast<uint16_t>(block >> 16));
        store<uint16_t>(tuple + 14, static_cast<uint16_t>(block));
        store<uint16_t>(tuple + 16, static_cast<uint16_t>(i + 1));
      }
    }
    size_t padded = (it.length() + 7) / 8 * 8;
    if (it.offset() + padded <= kPageSize)
      std::memset(tuple + it.length(), 0, padded - it.length());
  }
}

void clear_flags(std::byte* field, uint16_t flags) {
  store<uint16_t>(field, load<uint16_t>(field) & ~flags);
}

}  // namespace

bool parse_page_kind(std::string_view name, PageKind* kind) {
  constexpr std::pair<std::string_view, PageKind> kNames[] = {
      {"heap", PageKind::kHeap}, {"btree", PageKind::kBtree}, {"hash", PageKind::kHash},
      {"gin", PageKind::kGin},   {"gist", PageKind::kGist},   {"spgist", PageKind::kSpgist},
      {"brin", PageKind::kBrin}, {"bloom", PageKind::kBloom}, {"sequence", PageKind::kSequence}};
  for (const auto& [known, value] : kNames) {
    if (known == name) {
      *kind = value;
      return true;
    }
  }
  return false;
}

void mask_page(PageKind kind, uint32_t block, std::byte* page) {
  mask_lsn_and_checksum(page);
  if (upper(page) == 0) return;  // never initialised
  std::byte* opaque = special(page) <= kPageSize ? page + special(page) : page + kPageSize;
  size_t opaque_size = page + kPageSize - opaque;
  switch (kind) {
    case PageKind::kHeap:
      mask_hints(page);
      mask_unused_space(page);
      mask_heap(page, block);
      break;
    case PageKind::kBtree:
      mask_hints(page);
      mask_unused_space(page);
      if (opaque_size < 16) break;
      if (load<uint16_t>(opaque + 12) & 0x01) mask_item_flags(page);
      clear_flags(opaque + 12, 0x40 | 0x20);  // BTP_HAS_GARBAGE, BTP_SPLIT_END
      store<uint16_t>(opaque + 14, 0);        // vacuum cycle id
      break;
    case PageKind::kHash: {
      mask_hints(page);
      mask_unused_space(page);
      if (opaque_size < 16) break;
      uint16_t type = load<uint16_t>(opaque + 12) & 0x0F;
      if (type == 0) {
        mask_content(page);
        break;
      }
      if (type == 1 || type == 2) mask_item_flags(page);
      clear_flags(opaque + 12, 0x80);  // LH_PAGE_HAS_DEAD_TUPLES
      break;
    }
    case PageKind::kGin:
      mask_hints(page);
      if (opaque_size >= 8 && load<uint16_t>(opaque + 6) & 0x04) {
        mask_content(page);
      } else if (lower(page) > kHeaderSize) {
        mask_unused_space(page);
      }
      break;
    case PageKind::kGist:
      mask_hints(page);
      mask_unused_space(page);
      if (opaque_size < 16) break;
      store<uint64_t>(opaque, 0);  // NSN
      if (load<uint16_t>(opaque + 12) & 0x01) mask_item_flags(page);
      clear_flags(opaque + 12, 0x08 | 0x10);  // F_FOLLOW_RIGHT, F_HAS_GARBAGE
      break;
    case PageKind::kSpgist:
      mask_hints(page);
      // The metapage caches pages with room, without WAL.
      if (block == 0)
        std::memset(page + kHeaderSize + 4, 0, kPageSize - kHeaderSize - 4 - opaque_size);
      if (lower(page) >= kHeaderSize) mask_unused_space(page);
      break;
    case PageKind::kBrin: {
      mask_hints(page);
      uint16_t type = load<uint16_t>(page + kPageSize - 2);
      if (type == 0xF093 || (type == 0xF091 && lower(page) > kHeaderSize)) mask_unused_space(page);
      clear_flags(page + kPageSize - 4, 0x01);  // BRIN_EVACUATE_PAGE
      break;
    }
    case PageKind::kBloom:
      mask_unused_space(page);
      break;
    case PageKind::kSequence: {
      mask_unused_space(page);
      Item it = item(page, 0);
      if (item_count(page) != 1 || it.length() < 24 + 17 || it.offset() + it.length() > kPageSize)
        break;
      // WAL runs ahead: it holds the last value that may be given out without another record.
      std::byte* values = page + it.offset() + 24;
      int64_t ahead = load<int64_t>(values + 8);
      store<int64_t>(values, load<int64_t>(values) + ahead);
      store<int64_t>(values + 8, 0);
      break;
    }
    case PageKind::kVisibilityMap:
      break;
  }
}

}  // namespace tide::redo_oracle
