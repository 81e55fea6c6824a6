#include "mirror/tuple_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace tide::mirror {
namespace {

using pgformat::TupleId;

TEST(TupleIndex, AgreesWithAMapWhateverIsSet) {
  std::mt19937 random(7);
  TupleIndex index;
  std::map<uint64_t, RowPlace> wanted;
  for (int i = 0; i < 200'000; ++i) {
    TupleId id(random() % 20, static_cast<uint16_t>(1 + random() % 100));
    uint32_t count = 1 + random() % 10;
    RowPlace place{static_cast<uint32_t>(random() % 3), static_cast<uint32_t>(random() % 50)};
    for (uint32_t k = 0; k < count; ++k) {
      TupleId at(id.block(), static_cast<uint16_t>(id.offset() + k));
      RowPlace there{place.unit, place.row + k};
      index.set(at, there);
      wanted[at.value] = there;
    }
  }
  for (uint32_t block = 0; block < 20; ++block) {
    for (uint16_t offset = 1; offset < 120; ++offset) {
      TupleId id(block, offset);
      auto found = wanted.find(id.value);
      EXPECT_EQ(index.find(id),
                found == wanted.end() ? std::nullopt : std::optional<RowPlace>(found->second));
    }
  }
  EXPECT_EQ(index.find(TupleId(21, 1)), std::nullopt);
}

TEST(TupleIndex, RowsInOrderCostLittle) {
  TupleIndex index;
  for (uint32_t block = 0; block < 1000; ++block) {
    for (uint16_t offset = 1; offset <= 100; ++offset) {
      index.set(TupleId(block, offset), {1, block * 100 + offset - 1});
    }
  }
  // Moved into a file, in the same order.
  for (uint32_t block = 0; block < 1000; ++block) {
    for (uint16_t offset = 1; offset <= 100; ++offset) {
      index.set(TupleId(block, offset), {2, block * 100 + offset - 1});
    }
  }
  EXPECT_LT(index.bytes(), 1024U * 80);
  EXPECT_EQ(index.find(TupleId(500, 50)), (RowPlace{2, 500 * 100 + 49}));
}

}  // namespace
}  // namespace tide::mirror
