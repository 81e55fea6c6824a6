#include "walstore/spare_segments.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "walstore/internal/test_wal.h"

namespace tide::walstore {
namespace {

namespace fs = std::filesystem;

class SpareSegmentsTest : public testing::Test {
 protected:
  std::unique_ptr<SpareSegments> open(int count) {
    auto spares = SpareSegments::open(pool(), count);
    EXPECT_OK(spares);
    return std::move(spares).value();
  }
  static bool wait_until_ready(const SpareSegments& spares, int count) {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (spares.ready() < count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  std::string pool() const { return scratch_ / "spare"; }

  TestDirectory scratch_;
};

TEST_F(SpareSegmentsTest, GivesWholeSegmentsOfZerosAndMakesMore) {
  auto spares = open(2);
  ASSERT_TRUE(wait_until_ready(*spares, 2));
  for (const char* name : {"a", "b"}) {
    auto given = spares->give(scratch_ / name);
    ASSERT_OK(given);
    EXPECT_TRUE(*given);
    auto content = env::read_file(scratch_ / name);
    ASSERT_OK(content);
    EXPECT_EQ(*content, std::string(kWalSegmentSize, '\0'));
  }
  EXPECT_TRUE(wait_until_ready(*spares, 2));
}

TEST_F(SpareSegmentsTest, NeverReplacesASegment) {
  auto spares = open(1);
  ASSERT_TRUE(wait_until_ready(*spares, 1));
  ASSERT_OK(env::write_file(scratch_ / "mine", "WAL"));
  auto given = spares->give(scratch_ / "mine");
  ASSERT_OK(given);
  EXPECT_FALSE(*given);
  EXPECT_EQ(env::read_file(scratch_ / "mine").value(), "WAL");
  EXPECT_EQ(spares->ready(), 1);
  EXPECT_FALSE(spares->give(scratch_ / "no/such/directory").ok());
}

TEST_F(SpareSegmentsTest, KeepsFromBeforeOnlyWhatIsWholeAndItsOwn) {
  { ASSERT_TRUE(wait_until_ready(*open(3), 3)); }
  fs::resize_file(pool() + "/zeros-0", 8192);                      // cut short
  fs::create_hard_link(pool() + "/zeros-1", scratch_ / "in-use");  // somebody's segment
  ASSERT_OK(env::write_file(pool() + "/zeros-7.new", "half"));
  {
    auto again = open(3);
    EXPECT_EQ(again->ready(), 1);
    EXPECT_FALSE(env::exists(pool() + "/zeros-7.new"));
    EXPECT_TRUE(env::exists(scratch_ / "in-use"));
  }
  EXPECT_LE(open(0)->ready(), 0);
  EXPECT_TRUE(fs::is_empty(pool()));
}

}  // namespace
}  // namespace tide::walstore
