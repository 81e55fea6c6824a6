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

// A bitmap container whose header states fewer values than it has bits once made rows() write
// beyond its buffer; unsorted arrays made contains() lie.
TEST(RowSet, DamagedContainersAreRefused) {
  RowSet array;
  RowSet bitmap;
  RowSet runs;
  for (uint32_t row = 0; row < 3000; row += 3) array.add(row);
  for (uint32_t row = 0; row < 60'000; row += 2) bitmap.add(row);
  for (uint32_t row = 100; row < 400'000; ++row) runs.add(row);
  for (const RowSet* set : {&array, &bitmap, &runs}) {
    const std::string bytes = set->encode();
    ASSERT_TRUE(RowSet::decode(as_bytes(bytes)).ok());
    EXPECT_EQ(*RowSet::encoded_size(as_bytes(bytes + "behind")), bytes.size());
    for (size_t size = 0; size < bytes.size(); size += 1 + size / 50) {
      EXPECT_FALSE(RowSet::decode(as_bytes(bytes.substr(0, size))).ok());
    }
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      Result<RowSet> read = RowSet::decode(as_bytes(damaged));
      // What still is a valid bitmap is consistent in itself.
      if (read.ok()) {
        EXPECT_EQ(read->rows().size(), read->size());
      }
    }
  }
}

}  // namespace
}  // namespace tide::columns
