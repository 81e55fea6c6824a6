#include "columns/column.h"

#include <gtest/gtest.h>

namespace tide::columns {
namespace {

std::vector<Field> fields() {
  return {{"id", Kind::kInt64},
          {"name", Kind::kString},
          {"tags", Type::list(Kind::kString)},
          {"point", Type::structure({{"x", Kind::kDouble}, {"label", Kind::kString}})}};
}

Batch sample(int rows) {
  Batch batch(fields());
  for (int i = 0; i < rows; ++i) {
    batch.columns[0].append<int64_t>(i);
    if (i % 3 == 0) {
      batch.columns[1].append_null();
    } else {
      batch.columns[1].append_bytes(std::string(static_cast<size_t>(i % 50), 'x'));
    }
    for (int k = 0; k < i % 4; ++k) batch.columns[2].child(0).append_bytes("t");
    batch.columns[2].end_list();
    batch.columns[3].child(0).append<double>(i / 2.0);
    batch.columns[3].child(1).append_null();
    batch.columns[3].end_struct();
  }
  return batch;
}

TEST(Columns, TravelAsBytes) {
  Batch batch = sample(1000);
  std::string bytes = encode(batch);
  Result<Batch> back = decode(as_bytes(bytes), fields());
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->rows(), 1000U);
  EXPECT_EQ(encode(*back), bytes);
  EXPECT_EQ(back->columns[1].null_count(), 334U);
}

TEST(Columns, DamagedBytesAreRefused) {
  std::string bytes = encode(sample(100));
  EXPECT_EQ(decode(as_bytes(bytes.substr(0, bytes.size() - 1)), fields()).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(decode(as_bytes(bytes + "x"), fields()).status().code(), Code::kCorrupt);
  std::string flipped = bytes;
  flipped[0] ^= 1;
  EXPECT_EQ(decode(as_bytes(flipped), fields()).status().code(), Code::kCorrupt);
}

TEST(Columns, TruncateTakesRowsBack) {
  Batch batch = sample(100);
  Batch wanted = sample(70);
  for (Column& column : batch.columns) column.truncate(70);
  EXPECT_EQ(encode(batch), encode(wanted));
}

TEST(Columns, RowsAreCopied) {
  Batch from = sample(100);
  Batch to(fields());
  for (size_t row = 0; row < 100; ++row) to.append_from(from, row);
  EXPECT_EQ(encode(to), encode(from));
}

TEST(Columns, ArraysOfFixedWidthAreAppended) {
  std::vector<int32_t> values(1000);
  std::vector<uint64_t> validity(16, ~uint64_t{0});
  for (int i = 0; i < 1000; ++i) values[i] = i;
  for (int i : {0, 63, 64, 500, 999}) validity[i / 64] &= ~(uint64_t{1} << i % 64);
  auto bytes = reinterpret_cast<const char*>(values.data());
  Column all(Kind::kInt32);
  Column wanted(Kind::kInt32);
  for (auto [begin, count] : {std::pair{0, 1}, {3, 70}, {0, 1000}, {490, 64}, {7, 0}}) {
    all.append_fixed(bytes, validity.data(), begin, count);
    all.append_fixed(bytes, nullptr, begin, count);
    for (const bool nulls : {true, false}) {
      for (int i = begin; i < begin + count; ++i) {
        if (nulls && (validity[i / 64] >> i % 64 & 1) == 0) {
          wanted.append_null();
        } else {
          wanted.append<int32_t>(i);
        }
      }
    }
  }
  EXPECT_EQ(all.validity(), wanted.validity());
  EXPECT_EQ(all.values(), wanted.values());
  EXPECT_EQ(all.null_count(), wanted.null_count());
  EXPECT_EQ(all.size(), wanted.size());
}

}  // namespace
}  // namespace tide::columns
