#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "pgformat/xid.h"

/// Pages by their bytes: `page` is always kPageSize bytes long.
namespace tide::pgformat {

// -- Every relation page ------------------------------------------------------------------------

inline constexpr size_t kPageHeaderSize = 24;

/// pd_lsn is stored as two 32-bit halves, the high one first.
inline Lsn page_lsn(const std::byte* page) {
  return Lsn(uint64_t{load<uint32_t>(page)} << 32 | load<uint32_t>(page + 4));
}
inline void set_page_lsn(std::byte* page, Lsn lsn) {
  store(page, static_cast<uint32_t>(lsn.value() >> 32));
  store(page + 4, static_cast<uint32_t>(lsn.value()));
}
inline uint16_t page_lower(const std::byte* page) { return load<uint16_t>(page + 12); }
inline uint16_t page_upper(const std::byte* page) { return load<uint16_t>(page + 14); }
inline uint16_t page_special(const std::byte* page) { return load<uint16_t>(page + 16); }
/// A page nobody initialized; PostgreSQL leaves it all zero and keeps no LSN in it.
inline bool page_is_new(const std::byte* page) { return page_upper(page) == 0; }
/// False for a header that PostgreSQL would refuse to read; a new page must be all zeros.
bool page_is_valid(const std::byte* page);

// -- Visibility map ------------------------------------------------------------------------------

inline constexpr uint8_t kVmAllVisible = 0x01;
inline constexpr uint8_t kVmAllFrozen = 0x02;
inline constexpr uint8_t kVmValidBits = 0x03;
inline constexpr uint32_t kHeapBlocksPerVmPage = (kPageSize - kPageHeaderSize) * 4;

constexpr uint32_t vm_block(uint32_t heap_block) { return heap_block / kHeapBlocksPerVmPage; }
/// The heap block's bits (kVmAllVisible, kVmAllFrozen).
uint8_t vm_bits(const std::byte* vm_page, uint32_t heap_block);
/// Clears `flags` of one heap block on its VM page; true if anything changed. Sets no LSN.
bool vm_clear_bits(std::byte* vm_page, uint32_t heap_block, uint8_t flags);

/// What truncating a heap to `heap_blocks` does to its visibility map or free-space map.
struct MapTruncation {
  uint32_t blocks;      ///< the map's new length; a map that is shorter already stays as it is
  bool has_tail;        ///< the last kept page also describes removed heap blocks: clear those
  uint32_t tail_block;  ///< that page
};
MapTruncation vm_truncation(uint32_t heap_blocks);
/// Clears the bits of heap blocks from `heap_blocks` on, on the page vm_truncation() names.
void vm_clear_tail(std::byte* vm_page, uint32_t heap_blocks);

// -- Free-space map ------------------------------------------------------------------------------

inline constexpr uint32_t kFsmNodesPerPage = kPageSize - kPageHeaderSize - 4;
inline constexpr uint32_t kFsmInnerNodesPerPage = kPageSize / 2 - 1;
inline constexpr uint32_t kFsmSlotsPerPage = kFsmNodesPerPage - kFsmInnerNodesPerPage;
static_assert(kFsmSlotsPerPage == 4069);

/// The FSM block whose leaves describe `heap_block` (the map is a tree stored depth first).
uint32_t fsm_block(uint32_t heap_block);
MapTruncation fsm_truncation(uint32_t heap_blocks);
/// Sets the leaves of heap blocks from `heap_blocks` on to "full" and recomputes the page's inner
/// nodes, on the page fsm_truncation() names. (PostgreSQL then updates the upper pages too; the map
/// is a hint and corrects itself.)
void fsm_clear_tail(std::byte* fsm_page, uint32_t heap_blocks);

// -- SLRUs: pages of 8 KiB in segment files of 32 -------------------------------------------------

inline constexpr uint32_t kSlruPagesPerSegment = 32;
/// Name of the file that holds the page: "0000", "001F", "14078".
std::string slru_segment_name(uint32_t page);

enum class Slru : uint8_t { kClog, kMultixactOffsets, kMultixactMembers, kCommitTs };
/// Directory below the data directory: "pg_xact", "pg_multixact/offsets", ...
std::string_view slru_directory(Slru slru);
/// True if every entry on page `a` is older than every entry on page `b` (PagePrecedes). Not for
/// members, which are truncated by range.
bool slru_page_precedes(Slru slru, uint32_t a, uint32_t b);
/// True if truncation at `cutoff_page` removes the whole segment that `page` lies in. PostgreSQL
/// truncates nothing if the newest page itself precedes the cutoff: check that first.
bool slru_segment_is_removable(Slru slru, uint32_t page, uint32_t cutoff_page);

// -- Transaction status (pg_xact) ----------------------------------------------------------------

enum class XidStatus : uint8_t { kInProgress = 0, kCommitted = 1, kAborted = 2, kSubCommitted = 3 };

inline constexpr uint32_t kClogXidsPerPage = kPageSize * 4;
constexpr uint32_t clog_page(uint32_t xid) { return xid / kClogXidsPerPage; }
XidStatus clog_status(const std::byte* page, uint32_t xid);
void set_clog_status(std::byte* page, uint32_t xid, XidStatus status);

// -- Multixacts ----------------------------------------------------------------------------------

inline constexpr uint32_t kOffsetsPerPage = kPageSize / 4;
constexpr uint32_t multixact_offsets_page(uint32_t multi) { return multi / kOffsetsPerPage; }
inline uint32_t multixact_offset(const std::byte* page, uint32_t multi) {
  return load<uint32_t>(page + multi % kOffsetsPerPage * 4);
}
inline void set_multixact_offset(std::byte* page, uint32_t multi, uint32_t offset) {
  store(page + multi % kOffsetsPerPage * 4, offset);
}

struct MultixactMember {
  uint32_t xid;
  uint32_t status;  ///< PostgreSQL's MultiXactStatus, 0 to 5
};

/// Members lie in groups of four: four status bytes, then four transaction ids.
inline constexpr uint32_t kMemberGroupSize = 20;
inline constexpr uint32_t kMembersPerPage = kPageSize / kMemberGroupSize * 4;
static_assert(kMembersPerPage == 1636);
constexpr uint32_t multixact_members_page(uint32_t offset) { return offset / kMembersPerPage; }
constexpr uint32_t multixact_members_segment(uint32_t offset) {
  return multixact_members_page(offset) / kSlruPagesPerSegment;
}
inline constexpr uint32_t kLastMembersSegment = multixact_members_segment(0xFFFFFFFFU);
MultixactMember multixact_member(const std::byte* page, uint32_t offset);
void set_multixact_member(std::byte* page, uint32_t offset, MultixactMember member);

// -- Commit timestamps (pg_commit_ts) ------------------------------------------------------------

struct CommitTimestamp {
  int64_t time = 0;  ///< as stored: microseconds since 2000-01-01 UTC
  uint16_t origin = 0;
};
inline constexpr uint32_t kCommitTsEntrySize = 10;
inline constexpr uint32_t kCommitTsPerPage = kPageSize / kCommitTsEntrySize;
constexpr uint32_t commit_ts_page(uint32_t xid) { return xid / kCommitTsPerPage; }
CommitTimestamp commit_timestamp(const std::byte* page, uint32_t xid);
void set_commit_timestamp(std::byte* page, uint32_t xid, CommitTimestamp timestamp);

}  // namespace tide::pgformat
