#include <gtest/gtest.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"

namespace tide {
namespace {

TEST(LsnTest, TextComesBack) {
  for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{0x1234567890ABCDEF}, UINT64_MAX}) {
    auto parsed = Lsn::parse(Lsn(value).to_string());
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->value(), value);
  }
  EXPECT_EQ(Lsn(0x16B374D848).to_string(), "16/B374D848");
  EXPECT_EQ(Lsn::parse("16/b374d848")->value(), 0x16B374D848U);
  for (const char* bad : {"", "/", "1/", "/1", "1", "1/2/3", "123456789/0", "0/123456789", "x/1",
                          "-1/1", "1/-1", " 1/1", "1/1 ", "0x1/1"}) {
    EXPECT_EQ(Lsn::parse(bad).status().code(), Code::kInvalid) << bad;
  }
}

TEST(LsnTest, OnePositionHasOneSpelling) {
  constexpr uint64_t kSegment = 5 * kWalSegmentSize;
  EXPECT_EQ(normalize(Lsn(kSegment + 40)), Lsn(kSegment));
  EXPECT_EQ(normalize(Lsn(kSegment + 24)), Lsn(kSegment + 24))
      << "inside the long header: left alone";
  EXPECT_EQ(normalize(Lsn(kSegment + 8192 + 24)), Lsn(kSegment + 8192));
  EXPECT_EQ(normalize(Lsn(kSegment + 8192 + 32)), Lsn(kSegment + 8192 + 32));
  EXPECT_EQ(normalize(Lsn(kSegment)), Lsn(kSegment));
  for (uint64_t at : {kSegment, kSegment + 8192, kSegment + 8192 * 77}) {
    EXPECT_EQ(normalize(record_start(Lsn(at))), Lsn(at));
    EXPECT_GT(record_start(Lsn(at)), Lsn(at));
  }
  EXPECT_EQ(record_start(Lsn(kSegment + 48)), Lsn(kSegment + 48));
}

TEST(PageTagTest, TextComesBack) {
  for (Fork fork : {Fork::kMain, Fork::kFreeSpaceMap, Fork::kVisibilityMap, Fork::kInit}) {
    RelFork rel{1663, 5, 4294967295U, fork};
    auto parsed = RelFork::parse(fmt::format("{}", rel));
    ASSERT_TRUE(parsed.ok()) << fmt::format("{}", rel);
    EXPECT_EQ(*parsed, rel);
  }
  EXPECT_EQ(RelFork::parse("1663/5/1259")->fork, Fork::kMain);
  for (const char* bad : {"", "1/2", "1/2/", "1/2/3/4", "1/2/3.", "1/2/3.xx", "1/2/3.vm2", "-1/2/3",
                          "1/2/4294967296", "a/b/c", "1//3", " 1/2/3", "1/2/3 "}) {
    EXPECT_EQ(RelFork::parse(bad).status().code(), Code::kInvalid) << bad;
  }
}

TEST(BytesTest, ReaderStopsAtTheEnd) {
  std::string bytes;
  append(bytes, uint32_t{7});
  append(bytes, uint16_t{8});
  ByteReader reader(as_bytes(bytes));
  EXPECT_EQ(reader.read<uint32_t>(), 7U);
  EXPECT_EQ(reader.remaining(), 2U);
  EXPECT_EQ(reader.read<uint32_t>(), 0U);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.remaining(), 0U);
  ByteReader taker(as_bytes(bytes));
  EXPECT_EQ(taker.take(6).size(), 6U);
  EXPECT_FALSE(taker.failed());
  EXPECT_TRUE(taker.take(SIZE_MAX).empty());
  EXPECT_TRUE(taker.failed());
}

TEST(BytesTest, BigEndianKeysSortByNumber) {
  std::string small;
  std::string large;
  append_be64(small, 255);
  append_be64(large, 256);
  EXPECT_LT(small, large);
  EXPECT_EQ(load_be64(large.data()), 256U);
  std::string half;
  append_be32(half, 0xFFFFFFFE);
  EXPECT_EQ(load_be32(half.data()), 0xFFFFFFFEU);
}

TEST(Crc32cTest, KnownValuesInAnyPieces) {
  EXPECT_EQ(crc32c(as_bytes("123456789")),
            0xE3069283U);  // RFC 3720's polynomial, the usual check value
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\0'))), 0x8A9136AAU);
  std::string text(1000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  uint32_t whole = crc32c(as_bytes(text));
  for (size_t cut : {0, 1, 3, 8, 511, 999, 1000}) {
    uint32_t crc = crc32c_extend(kCrc32cInit, as_bytes(std::string_view(text).substr(0, cut)));
    EXPECT_EQ(crc32c_finish(crc32c_extend(crc, as_bytes(std::string_view(text).substr(cut)))),
              whole)
        << cut;
  }
}

TEST(StatusTest, SaysWhatTheCallerCanDo) {
  EXPECT_EQ(Status::from_errno(ENOSPC, "write").code(), Code::kNoSpace);
  EXPECT_EQ(Status::from_errno(EDQUOT, "write").code(), Code::kNoSpace);
  EXPECT_EQ(Status::from_errno(ENOENT, "open").code(), Code::kNotFound);
  EXPECT_EQ(Status::from_errno(EIO, "read").code(), Code::kIo);
  Status status =
      Status(Code::kConflict, "no").with_context("do it").with_detail("d").with_hint("h");
  EXPECT_EQ(status.message(), "do it: no");
  EXPECT_EQ(status.to_string(), "CONFLICT: do it: no\nDETAIL: d\nHINT: h");
  EXPECT_TRUE(Status().with_context("x").ok());
}

Result<int> half(int value) {
  if (value % 2 != 0) return Status(Code::kInvalid, "odd");
  return value / 2;
}
Result<int> quarter(int value) { return TIDE_TRY(half(TIDE_TRY(half(value)))); }

TEST(ResultTest, TryReturnsTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status().code(), Code::kInvalid);
  EXPECT_DEATH((void)quarter(6).value(), "broken invariant");
  EXPECT_DEATH((void)Result<int>{Status()}, "broken invariant") << "success without a value";
}

}  // namespace
}  // namespace tide
