#include "pagestore/page_version.h"

#include <gtest/gtest.h>

#include <cstring>

#include "pagestore/image_queue.h"
#include "pagestore/keys.h"
#include "pgformat/page.h"
#include "walstore/internal/test_wal.h"

namespace tide::pagestore {
namespace {

using namespace pgformat;

std::byte* data_of(std::string& page) { return reinterpret_cast<std::byte*>(page.data()); }

std::string tagged(VersionTag tag) { return std::string(1, static_cast<char>(tag)); }

TEST(KeysTest, BodiesComeBackAndSortByNumber) {
  PageTag tag{{1663, 5, 0x80000001, Fork::kVisibilityMap}, 0xFFFFFFFE};
  EXPECT_EQ(page_of_body(page_body(tag)), tag);
  EXPECT_EQ(rel_of_body(rel_body(tag.rel)), tag.rel);
  SlruPage page = slru_of_body(slru_body(Slru::kMultixactMembers, 0x12345));
  EXPECT_EQ(page.slru, Slru::kMultixactMembers);
  EXPECT_EQ(page.page, 0x12345U);
  EXPECT_LT(page_body({{1, 2, 3, Fork::kMain}, 255}), page_body({{1, 2, 3, Fork::kMain}, 256}));
  EXPECT_LT(page_body({{1, 2, 3, Fork::kMain}, UINT32_MAX}),
            page_body({{1, 2, 3, Fork::kFreeSpaceMap}, 0}));
  EXPECT_LT(page_body({{1, 2, 0x7FFFFFFF, Fork::kInit}, 9}),
            page_body({{1, 2, 0x80000000, Fork::kMain}, 0}));
  EXPECT_TRUE(page_body(tag).starts_with(rel_body(tag.rel)));
  EXPECT_TRUE(rel_body(tag.rel).starts_with(database_body(1663, 5)));
}

TEST(KeysTest, VersionsOfAThingLieTogetherNewestFirst) {
  std::string a = page_body({{1, 2, 3, Fork::kMain}, 7});
  std::string b = page_body({{1, 2, 3, Fork::kMain}, 8});
  TimelineId t{4};
  EXPECT_LT(version_key(Kind::kPage, t, a, Lsn(200)), version_key(Kind::kPage, t, a, Lsn(100)));
  EXPECT_LT(version_key(Kind::kPage, t, a, Lsn(0)), version_key(Kind::kPage, t, b, Lsn::max()));
  EXPECT_LT(version_key(Kind::kPage, t, b, Lsn(0)),
            version_key(Kind::kPage, TimelineId{5}, a, Lsn::max()));
  std::string key = version_key(Kind::kPage, t, a, Lsn(200));
  auto parts = split_key(key);
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->kind, Kind::kPage);
  EXPECT_EQ(parts->timeline, t);
  EXPECT_EQ(parts->body, a);
  EXPECT_EQ(parts->lsn, Lsn(200));
  auto empty = split_key(version_key(Kind::kCheckpoint, t, "", Lsn::max()));
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->body, "");
  EXPECT_EQ(empty->lsn, Lsn::max());
  EXPECT_FALSE(split_key(version_prefix(Kind::kIngested, t, "")));
  EXPECT_FALSE(split_key(""));
}

TEST(PageVersionTest, ImagesComeBack) {
  std::string page(kPageSize, '\0');
  std::string out(kPageSize, 'x');
  auto round_trip = [&](VersionTag expected) {
    std::string version = encode_image(data_of(page));
    EXPECT_EQ(version.front(), static_cast<char>(expected));
    EXPECT_TRUE(is_base(version));
    EXPECT_FALSE(is_record(version));
    out.assign(kPageSize, 'x');
    EXPECT_OK(decode_image(version, data_of(out)));
    EXPECT_EQ(out, page);
    return version.size();
  };
  EXPECT_EQ(round_trip(VersionTag::kZeros), 1U);
  page.assign(kPageSize, 'p');
  EXPECT_EQ(round_trip(VersionTag::kImage), 1 + kPageSize);
  auto with_hole = [&](uint16_t lower, uint16_t upper) {
    page.assign(kPageSize, 'p');
    store(page.data() + 12, lower);
    store(page.data() + 14, upper);
    if (lower < upper && upper <= kPageSize) std::memset(page.data() + lower, 0, upper - lower);
  };
  with_hole(40, 8000);
  EXPECT_EQ(round_trip(VersionTag::kImageWithHole), 5 + kPageSize - 7960);
  with_hole(24, 8192);
  EXPECT_EQ(round_trip(VersionTag::kImageWithHole), 29U);
  with_hole(8000, 40);
  round_trip(VersionTag::kImage);
  with_hole(0, 65535);
  round_trip(VersionTag::kImage);
  with_hole(40, 8000);
  page[4000] = 'x';  // something lies in the hole: keep it
  round_trip(VersionTag::kImage);
}

TEST(PageVersionTest, MalformedImagesAreCorrupt) {
  std::string out(kPageSize, '\0');
  std::string hole = tagged(VersionTag::kImageWithHole);
  append(hole, uint16_t{8000});
  append(hole, uint16_t{8000});
  for (const std::string& bad :
       {std::string("I"), "I" + std::string(kPageSize - 1, 'x'),
        "I" + std::string(kPageSize + 1, 'x'), std::string("H"), std::string("H\0\0\0", 4), hole,
        hole + std::string(192, 'x'), std::string("R"), std::string("?")}) {
    EXPECT_EQ(decode_image(bad, data_of(out)).code(), Code::kCorrupt) << bad.size() << bad.front();
  }
  EXPECT_OK(decode_image(tagged(VersionTag::kGone), data_of(out)));
}

TEST(PageVersionTest, RecordsKeepTheirBytesAndBase) {
  std::string record = encode_record(as_bytes("record"), false);
  EXPECT_FALSE(is_base(record));
  EXPECT_TRUE(is_record(record));
  EXPECT_EQ(record.substr(1), "record");
  std::string init = encode_record(as_bytes("record"), true);
  EXPECT_TRUE(is_base(init));
  EXPECT_TRUE(is_record(init));
  EXPECT_TRUE(is_base(tagged(VersionTag::kGone)));
}

TEST(PageVersionTest, MapChangesSetTheLsnOfPagesThatHaveOne) {
  std::string page(kPageSize, '\0');
  auto clear = [](uint8_t flags, std::vector<uint32_t> blocks) {
    std::string version = tagged(VersionTag::kVmClear);
    append(version, flags);
    for (uint32_t block : blocks) append(version, block);
    return version;
  };
  EXPECT_OK(apply_change(clear(3, {1}), Lsn(500), data_of(page)));
  EXPECT_EQ(page, std::string(kPageSize, '\0')) << "a new page keeps no LSN";

  page.assign(kPageSize, '\xFF');
  store<uint16_t>(page.data() + 14, 8192);
  EXPECT_OK(apply_change(clear(kVmAllFrozen, {5}), Lsn(500), data_of(page)));
  EXPECT_EQ(page_lsn(data_of(page)), Lsn(500));
  EXPECT_EQ(vm_bits(data_of(page), 5), kVmAllVisible);
  EXPECT_EQ(vm_bits(data_of(page), 4), kVmValidBits);
  EXPECT_OK(apply_change(clear(kVmValidBits, {5, 6}), Lsn(600), data_of(page)));
  EXPECT_EQ(vm_bits(data_of(page), 5), 0);
  EXPECT_EQ(vm_bits(data_of(page), 6), 0);
  EXPECT_EQ(vm_bits(data_of(page), 7), kVmValidBits);

  std::string tail = tagged(VersionTag::kVmTail);
  append(tail, uint32_t{9});
  EXPECT_OK(apply_change(tail, Lsn(700), data_of(page)));
  EXPECT_EQ(vm_bits(data_of(page), 8), kVmValidBits);
  EXPECT_EQ(vm_bits(data_of(page), 9), 0);
  EXPECT_EQ(vm_bits(data_of(page), kHeapBlocksPerVmPage - 1), 0);
  EXPECT_EQ(page_lsn(data_of(page)), Lsn(700));

  std::string fsm(kPageSize, '\x40');
  store<uint16_t>(fsm.data() + 14, 8192);
  std::string fsm_tail = tagged(VersionTag::kFsmTail);
  append(fsm_tail, uint32_t{0});
  EXPECT_OK(apply_change(fsm_tail, Lsn(800), data_of(fsm)));
  EXPECT_EQ(page_lsn(data_of(fsm)), Lsn(800));
  EXPECT_EQ(fsm.substr(kPageSize - 4000), std::string(4000, '\0'));
}

TEST(PageVersionTest, SlruChanges) {
  std::string page(kPageSize, '\0');
  std::string clog = tagged(VersionTag::kXactStatus);
  append(clog, static_cast<uint8_t>(XidStatus::kCommitted));
  append(clog, uint32_t{kClogXidsPerPage + 17});
  append(clog, uint32_t{2 * kClogXidsPerPage - 1});
  EXPECT_OK(apply_change(clog, Lsn(1), data_of(page)));
  EXPECT_EQ(clog_status(data_of(page), 17), XidStatus::kCommitted);
  EXPECT_EQ(clog_status(data_of(page), 16), XidStatus::kInProgress);
  EXPECT_EQ(clog_status(data_of(page), kClogXidsPerPage - 1), XidStatus::kCommitted);

  page.assign(kPageSize, '\0');
  std::string offsets = tagged(VersionTag::kMultixactOffsets);
  append(offsets, OffsetChange{3, 77});
  append(offsets, OffsetChange{4, 80});
  EXPECT_OK(apply_change(offsets, Lsn(1), data_of(page)));
  EXPECT_EQ(multixact_offset(data_of(page), 3), 77U);
  EXPECT_EQ(multixact_offset(data_of(page), 4), 80U);

  page.assign(kPageSize, '\0');
  std::string members = tagged(VersionTag::kMultixactMembers);
  append(members, MemberChange{5, 1000, 2});
  EXPECT_OK(apply_change(members, Lsn(1), data_of(page)));
  EXPECT_EQ(multixact_member(data_of(page), 5).xid, 1000U);
  EXPECT_EQ(multixact_member(data_of(page), 5).status, 2U);

  page.assign(kPageSize, '\0');
  std::string times = tagged(VersionTag::kCommitTimestamps);
  append(times, int64_t{123456789});
  append(times, uint16_t{7});
  append(times, uint32_t{kCommitTsPerPage + 1});
  EXPECT_OK(apply_change(times, Lsn(1), data_of(page)));
  EXPECT_EQ(commit_timestamp(data_of(page), 1).time, 123456789);
  EXPECT_EQ(commit_timestamp(data_of(page), 1).origin, 7);
}

TEST(PageVersionTest, MalformedChangesAreCorrupt) {
  std::string page(kPageSize, '\x01');
  for (const std::string& bad :
       {std::string("V\x03"
                    "12"),
        std::string("T12"), std::string("F"), std::string("C\x01xyz"), std::string("O1234"),
        std::string("M12345678901"), std::string("S1234567890x"), std::string("I"),
        std::string("R..."), std::string("?")}) {
    EXPECT_EQ(apply_change(bad, Lsn(9), data_of(page)).code(), Code::kCorrupt) << bad;
  }
}

TEST(ImageQueueTest, ALongChainWantsOneImage) {
  ImageQueue queue;
  TimelineId t{1};
  for (uint32_t i = 1; i < ImageQueue::kVersionsMax; ++i) queue.grew(t, Kind::kPage, "a", 10);
  EXPECT_EQ(queue.size(), 0U);
  queue.grew(t, Kind::kPage, "a", 10);
  EXPECT_EQ(queue.size(), 1U);
  for (uint32_t i = 0; i < ImageQueue::kVersionsMax; ++i) queue.grew(t, Kind::kPage, "a", 10);
  queue.grew(t, Kind::kPage, "b", ImageQueue::kBytesMax);
  queue.grew(TimelineId{2}, Kind::kPage, "a", ImageQueue::kBytesMax);
  queue.grew(t, Kind::kSlru, "a", ImageQueue::kBytesMax);
  auto wanted = queue.take(100);
  EXPECT_EQ(wanted.size(), 4U) << "the hot one once";
  EXPECT_TRUE(queue.take(100).empty());
}

TEST(ImageQueueTest, ABaseBeginsAnew) {
  ImageQueue queue;
  TimelineId t{1};
  for (uint32_t round = 0; round < 5; ++round) {
    for (uint32_t i = 1; i < ImageQueue::kVersionsMax; ++i) queue.grew(t, Kind::kPage, "a", 10);
    queue.got_base(t, Kind::kPage, "a");
  }
  EXPECT_EQ(queue.size(), 0U);
  queue.grew(t, Kind::kPage, "a", ImageQueue::kBytesMax);
  queue.grew(t, Kind::kPage, "b", ImageQueue::kBytesMax);
  EXPECT_EQ(queue.take(1).size(), 1U);
  EXPECT_EQ(queue.size(), 1U);
}

}  // namespace
}  // namespace tide::pagestore
