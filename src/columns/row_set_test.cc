#include "columns/row_set.h"

#include <gtest/gtest.h>

namespace tide::columns {
namespace {

TEST(RowSet, KeepsRowsAcrossTheWire) {
  RowSet set;
  for (uint32_t row = 0; row < 300'000; row += 7) EXPECT_TRUE(set.add(row));
  EXPECT_FALSE(set.add(7));
  Result<RowSet> back = RowSet::decode(as_bytes(set.encode()));
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_TRUE(*back == set);
  EXPECT_TRUE(back->contains(299'999 / 7 * 7));
  EXPECT_FALSE(back->contains(1));
  EXPECT_EQ(back->rows().size(), set.size());
}

TEST(RowSet, CopiesAreIndependent) {
  RowSet set;
  set.add(1);
  RowSet copy = set;
  copy.add(2);
  EXPECT_EQ(set.size(), 1U);
  set = std::move(copy);
  EXPECT_EQ(set.size(), 2U);
}

TEST(RowSet, OtherBytesAreRefused) {
  RowSet set;
  set.add(5);
  std::string bytes = set.encode();
  EXPECT_EQ(RowSet::decode(as_bytes("nonsense")).status().code(), Code::kCorrupt);
  EXPECT_EQ(RowSet::decode(as_bytes(bytes + "x")).status().code(), Code::kCorrupt);
  EXPECT_EQ(RowSet::decode({}).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace tide::columns
