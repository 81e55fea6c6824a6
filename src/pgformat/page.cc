#include "pgformat/page.h"

#include <algorithm>
#include <cstring>

namespace tide::pgformat {
namespace {

uint8_t byte_at(const std::byte* page, size_t offset) { return static_cast<uint8_t>(page[offset]); }

struct MapPlace {
  size_t byte;
  uint32_t shift;
};

MapPlace vm_place(uint32_t heap_block) {
  return {kPageHeaderSize + heap_block % kHeapBlocksPerVmPage / 4, heap_block % 4 * 2};
}

size_t member_group(uint32_t offset) {
  return size_t{offset / 4 % (kMembersPerPage / 4)} * kMemberGroupSize;
}

/// PagePrecedes of an SLRU whose entries are ids on a circle; `first` is the first ordinary id.
template <typename Precedes>
bool page_precedes(uint32_t a, uint32_t b, uint32_t per_page, uint32_t first, Precedes precedes) {
  uint32_t id_a = a * per_page + first + 1;
  uint32_t id_b = b * per_page + first + 1;
  return precedes(id_a, id_b) && precedes(id_a, id_b + per_page - 1);
}

}  // namespace

bool page_is_valid(const std::byte* page) {
  if (page_is_new(page)) {
    return std::all_of(page, page + kPageSize, [](std::byte byte) { return byte == std::byte{0}; });
  }
  uint16_t lower = page_lower(page);
  uint16_t upper = page_upper(page);
  uint16_t special = page_special(page);
  return (load<uint16_t>(page + 10) & ~0x0007) == 0 && lower <= upper && upper <= special &&
         special <= kPageSize && special % 8 == 0;
}

uint8_t vm_bits(const std::byte* vm_page, uint32_t heap_block) {
  MapPlace place = vm_place(heap_block);
  return byte_at(vm_page, place.byte) >> place.shift & kVmValidBits;
}

bool vm_clear_bits(std::byte* vm_page, uint32_t heap_block, uint8_t flags) {
  MapPlace place = vm_place(heap_block);
  auto mask = static_cast<std::byte>((flags & kVmValidBits) << place.shift);
  if ((vm_page[place.byte] & mask) == std::byte{0}) return false;
  vm_page[place.byte] &= ~mask;
  return true;
}

MapTruncation vm_truncation(uint32_t heap_blocks) {
  uint32_t block = vm_block(heap_blocks);
  bool has_tail = heap_blocks % kHeapBlocksPerVmPage != 0;
  return {has_tail ? block + 1 : block, has_tail, block};
}

void vm_clear_tail(std::byte* vm_page, uint32_t heap_blocks) {
  MapPlace place = vm_place(heap_blocks);
  vm_page[place.byte] &= static_cast<std::byte>((1U << place.shift) - 1);
  std::memset(vm_page + place.byte + 1, 0, kPageSize - place.byte - 1);
}

uint32_t fsm_block(uint32_t heap_block) {
  uint32_t leaf = heap_block / kFsmSlotsPerPage;
  // A tree of three levels: before a leaf page come all leaf pages before it, and every inner page
  // on the way, its own ancestors included.
  uint32_t pages = 0;
  for (int level = 0; level < 3; ++level) {
    pages += leaf + 1;
    leaf /= kFsmSlotsPerPage;
  }
  return pages - 1;
}

MapTruncation fsm_truncation(uint32_t heap_blocks) {
  uint32_t block = fsm_block(heap_blocks);
  bool has_tail = heap_blocks % kFsmSlotsPerPage != 0;
  return {has_tail ? block + 1 : block, has_tail, block};
}

void fsm_clear_tail(std::byte* fsm_page, uint32_t heap_blocks) {
  std::byte* nodes = fsm_page + kPageHeaderSize + 4;
  uint32_t slot = heap_blocks % kFsmSlotsPerPage;
  std::memset(nodes + kFsmInnerNodesPerPage + slot, 0, kFsmSlotsPerPage - slot);
  for (uint32_t node = kFsmInnerNodesPerPage; node-- > 0;) {
    uint32_t left = 2 * node + 1;
    std::byte most = left < kFsmNodesPerPage ? nodes[left] : std::byte{0};
    if (left + 1 < kFsmNodesPerPage) most = std::max(most, nodes[left + 1]);
    nodes[node] = most;
  }
}

std::string slru_segment_name(uint32_t page) {
  return fmt::format("{:04X}", page / kSlruPagesPerSegment);
}

std::string_view slru_directory(Slru slru) {
  switch (slru) {
    case Slru::kClog:
      return "pg_xact";
    case Slru::kMultixactOffsets:
      return "pg_multixact/offsets";
    case Slru::kMultixactMembers:
      return "pg_multixact/members";
    case Slru::kCommitTs:
      return "pg_commit_ts";
  }
  return {};
}

bool slru_page_precedes(Slru slru, uint32_t a, uint32_t b) {
  switch (slru) {
    case Slru::kClog:
      return page_precedes(a, b, kClogXidsPerPage, kFirstNormalXid, xid_precedes);
    case Slru::kCommitTs:
      return page_precedes(a, b, kCommitTsPerPage, kFirstNormalXid, xid_precedes);
    case Slru::kMultixactOffsets:
      return page_precedes(a, b, kOffsetsPerPage, kFirstMultiXact, multixact_precedes);
    case Slru::kMultixactMembers: {
      uint32_t first_a = a * kMembersPerPage;
      uint32_t first_b = b * kMembersPerPage;
      return multixact_precedes(first_a, first_b) &&
             multixact_precedes(first_a, first_b + kMembersPerPage - 1);
    }
  }
  return false;
}

bool slru_segment_is_removable(Slru slru, uint32_t page, uint32_t cutoff_page) {
  uint32_t first = page - page % kSlruPagesPerSegment;
  return slru_page_precedes(slru, first, cutoff_page) &&
         slru_page_precedes(slru, first + kSlruPagesPerSegment - 1, cutoff_page);
}

XidStatus clog_status(const std::byte* page, uint32_t xid) {
  return static_cast<XidStatus>(byte_at(page, xid % kClogXidsPerPage / 4) >> (xid % 4 * 2) & 3);
}

void set_clog_status(std::byte* page, uint32_t xid, XidStatus status) {
  std::byte& byte = page[xid % kClogXidsPerPage / 4];
  uint32_t shift = xid % 4 * 2;
  byte = (byte & static_cast<std::byte>(~(3U << shift))) |
         static_cast<std::byte>(static_cast<uint32_t>(status) << shift);
}

MultixactMember multixact_member(const std::byte* page, uint32_t offset) {
  size_t group = member_group(offset);
  return {load<uint32_t>(page + group + 4 + offset % 4 * 4), byte_at(page, group + offset % 4)};
}

void set_multixact_member(std::byte* page, uint32_t offset, MultixactMember member) {
  size_t group = member_group(offset);
  page[group + offset % 4] = static_cast<std::byte>(member.status);
  store(page + group + 4 + offset % 4 * 4, member.xid);
}

CommitTimestamp commit_timestamp(const std::byte* page, uint32_t xid) {
  const std::byte* entry = page + size_t{xid % kCommitTsPerPage} * kCommitTsEntrySize;
  return {load<int64_t>(entry), load<uint16_t>(entry + 8)};
}

void set_commit_timestamp(std::byte* page, uint32_t xid, CommitTimestamp timestamp) {
  std::byte* entry = page + size_t{xid % kCommitTsPerPage} * kCommitTsEntrySize;
  store(entry, timestamp.time);
  store(entry + 8, timestamp.origin);
}

}  // namespace tide::pgformat
