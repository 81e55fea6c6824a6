#include "pgformat/page.h"

#include <gtest/gtest.h>

#include <vector>

namespace tide::pgformat {
namespace {

using Page = std::vector<std::byte>;

TEST(PageTest, LsnHasItsHighHalfFirst) {
  Page page(kPageSize);
  EXPECT_TRUE(page_is_new(page.data()));
  EXPECT_TRUE(page_is_valid(page.data()));
  set_page_lsn(page.data(), Lsn(0x1234567890));
  EXPECT_EQ(static_cast<int>(page[0]), 0x12);
  EXPECT_EQ(page_lsn(page.data()), Lsn(0x1234567890));
  EXPECT_FALSE(page_is_valid(page.data()));  // not all zero, not initialized
}

TEST(PageTest, VisibilityMapBits) {
  Page page(kPageSize, std::byte{0xFF});
  uint32_t last = kHeapBlocksPerVmPage - 1;
  EXPECT_EQ(kHeapBlocksPerVmPage, 32672U);
  EXPECT_TRUE(vm_clear_bits(page.data(), 5, kVmAllFrozen));
  EXPECT_FALSE(vm_clear_bits(page.data(), 5, kVmAllFrozen));
  EXPECT_EQ(vm_bits(page.data(), 5), kVmAllVisible);
  EXPECT_EQ(vm_bits(page.data(), 4), kVmValidBits);
  EXPECT_TRUE(vm_clear_bits(page.data(), last, kVmValidBits));
  EXPECT_EQ(static_cast<int>(page[kPageSize - 1]), 0x3F);
  // Block numbers count through all map pages.
  EXPECT_EQ(vm_bits(page.data(), kHeapBlocksPerVmPage + 5), kVmAllVisible);
  EXPECT_EQ(vm_block(kHeapBlocksPerVmPage), 1U);
}

TEST(PageTest, VisibilityMapTruncation) {
  EXPECT_EQ(vm_truncation(0).blocks, 0U);
  EXPECT_FALSE(vm_truncation(0).has_tail);
  EXPECT_EQ(vm_truncation(1).blocks, 1U);
  EXPECT_FALSE(vm_truncation(kHeapBlocksPerVmPage).has_tail);
  EXPECT_EQ(vm_truncation(kHeapBlocksPerVmPage).blocks, 1U);
  MapTruncation cut = vm_truncation(kHeapBlocksPerVmPage + 6);
  EXPECT_EQ(cut.blocks, 2U);
  EXPECT_TRUE(cut.has_tail);
  EXPECT_EQ(cut.tail_block, 1U);
  Page page(kPageSize, std::byte{0xFF});
  vm_clear_tail(page.data(), kHeapBlocksPerVmPage + 6);
  EXPECT_EQ(vm_bits(page.data(), 5), kVmValidBits);
  for (uint32_t block = 6; block < kHeapBlocksPerVmPage; ++block) {
    ASSERT_EQ(vm_bits(page.data(), block), 0) << block;
  }
  EXPECT_EQ(static_cast<int>(page[23]), 0xFF);
}

TEST(PageTest, FreeSpaceMapPlaces) {
  // Blocks 0 and 1 of the map are its root and first inner page, 2 the first leaf.
  EXPECT_EQ(fsm_block(0), 2U);
  EXPECT_EQ(fsm_block(kFsmSlotsPerPage - 1), 2U);
  EXPECT_EQ(fsm_block(kFsmSlotsPerPage), 3U);
  EXPECT_EQ(fsm_block(kFsmSlotsPerPage * kFsmSlotsPerPage - 1), kFsmSlotsPerPage + 1);
  EXPECT_EQ(fsm_block(kFsmSlotsPerPage * kFsmSlotsPerPage), kFsmSlotsPerPage + 3);
  EXPECT_EQ(fsm_truncation(0).blocks, 2U);
  EXPECT_FALSE(fsm_truncation(0).has_tail);
  EXPECT_EQ(fsm_truncation(10).blocks, 3U);

  Page page(kPageSize);
  std::byte* nodes = page.data() + 28;
  nodes[kFsmInnerNodesPerPage + 3] = std::byte{200};
  nodes[kFsmInnerNodesPerPage + 900] = std::byte{250};
  fsm_clear_tail(page.data(), 1000);
  EXPECT_EQ(static_cast<int>(nodes[0]), 250);
  fsm_clear_tail(page.data(), 900);
  EXPECT_EQ(static_cast<int>(nodes[0]), 200);
  fsm_clear_tail(page.data(), 3);
  EXPECT_EQ(page, Page(kPageSize));
}

TEST(PageTest, TransactionStatus) {
  Page page(kPageSize);
  set_clog_status(page.data(), 7, XidStatus::kAborted);
  set_clog_status(page.data(), 6, XidStatus::kCommitted);
  set_clog_status(page.data(), 7 + 3 * kClogXidsPerPage, XidStatus::kCommitted);
  EXPECT_EQ(clog_status(page.data(), 7), XidStatus::kCommitted);
  EXPECT_EQ(clog_status(page.data(), 6), XidStatus::kCommitted);
  EXPECT_EQ(static_cast<int>(page[1]), 0x50);
  EXPECT_EQ(slru_segment_name(0), "0000");
  EXPECT_EQ(slru_segment_name(clog_page(0xFFFFFFFF)), "0FFF");
  EXPECT_EQ(slru_segment_name(multixact_members_page(0xFFFFFFFF)), "14078");
  EXPECT_EQ(kLastMembersSegment, 0x14078U);
}

TEST(PageTest, SegmentsAreRemovedOnlyBehindTheCutoff) {
  using enum Slru;
  EXPECT_FALSE(slru_segment_is_removable(kClog, 0, 31));
  EXPECT_TRUE(slru_segment_is_removable(kClog, 0, 32));
  EXPECT_TRUE(slru_segment_is_removable(kClog, 31, 32));
  EXPECT_FALSE(slru_segment_is_removable(kClog, 32, 32));
  // Around the circle: the newest pages before the wrap are older than page 5.
  uint32_t last = clog_page(0xFFFFFFFF);
  EXPECT_TRUE(slru_segment_is_removable(kClog, last, 5));
  EXPECT_FALSE(slru_segment_is_removable(kClog, 5, last - 100));
}

TEST(PageTest, MultixactMembers) {
  Page page(kPageSize);
  set_multixact_member(page.data(), 5, {1234, 4});
  EXPECT_EQ(static_cast<int>(page[20 + 1]), 4);
  EXPECT_EQ(load<uint32_t>(page.data() + 20 + 8), 1234U);
  EXPECT_EQ(multixact_member(page.data(), 5).xid, 1234U);
  EXPECT_EQ(multixact_member(page.data(), 5 + kMembersPerPage).status, 4U);
  set_multixact_offset(page.data(), kOffsetsPerPage * 3 + 2, 99);
  EXPECT_EQ(load<uint32_t>(page.data() + 8), 99U);
}

TEST(XidTest, CountersRunInCircles) {
  EXPECT_TRUE(xid_precedes(0xFFFFFFF0, 5));
  EXPECT_FALSE(xid_precedes(5, 0xFFFFFFF0));
  EXPECT_TRUE(xid_precedes(2, 0xFFFFFFF0));
  EXPECT_EQ(advance_full_xid(10, 9), 10U);
  EXPECT_EQ(advance_full_xid(10, 10), 11U);
  EXPECT_EQ(advance_full_xid(0x80000005, 0), 0x80000005U);  // no id at all
  EXPECT_EQ(advance_full_xid(0xFFFFFFFF, 0xFFFFFFFF), 0x100000003U);
  EXPECT_EQ(advance_full_xid(0x1FFFFFFFE, 4), 0x200000005U);
  EXPECT_EQ(advance_full_xid(0x200000005, 0xFFFFFFFE), 0x200000005U);
  EXPECT_EQ(newer_xid(0, 5), 5U);
  EXPECT_EQ(newer_xid(0xFFFFFFFF, 4), 4U);
  EXPECT_EQ(multixact_after(0xFFFFFFFF), 1U);
}

}  // namespace
}  // namespace tide::pgformat
