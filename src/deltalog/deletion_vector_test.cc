#include "deltalog/deletion_vector.h"

#include <gtest/gtest.h>

#include <random>

namespace tide::deltalog {
namespace {

using columns::RowSet;

RowSet rows_of(std::initializer_list<uint32_t> rows) {
  RowSet set;
  for (uint32_t row : rows) set.add(row);
  return set;
}

TEST(Z85, KnowsTheSpecificationsExample) {
  const unsigned char bytes[] = {0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B};
  EXPECT_EQ(z85_encode(std::as_bytes(std::span(bytes))), "HelloWorld");
  EXPECT_EQ(z85_decode("HelloWorld"), std::string(reinterpret_cast<const char*>(bytes), 8));
  EXPECT_FALSE(z85_decode("Hello "));
  EXPECT_FALSE(z85_decode("Hell"));
  EXPECT_FALSE(z85_decode("#####"));
}

// The protocol's own examples of names.
TEST(DeletionVector, PlacesAsInTheProtocol) {
  DeletionVectorDescriptor relative{'u', "ab^-aqEH.-t@S}K{vb[*k^", 4, 40, 6};
  Result<DeletionVectorPlace> place = place_of(relative);
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(place->file, "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
  EXPECT_EQ(relative.unique_id(), "uab^-aqEH.-t@S}K{vb[*k^@4");
  DeletionVectorDescriptor absolute{'p', "file:/t/deletion%20vector.bin", 4, 40, 6};
  EXPECT_EQ(place_of(absolute)->file, "/t/deletion vector.bin");
  EXPECT_EQ(place_of(DeletionVectorDescriptor{'x', "", 1, 1, 1}).status().code(), Code::kInvalid);
  EXPECT_EQ(place_of(DeletionVectorDescriptor{'u', "short", 1, 1, 1}).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(place_of(DeletionVectorDescriptor{'i', "^Bg9", {}, -1, 1}).status().code(),
            Code::kCorrupt);
}

TEST(DeletionVector, InlineVectorsAreRead) {
  // Rows 3, 4, 7, 11, 18, 29 in the portable form, as other writers store them.
  RowSet rows = rows_of({3, 4, 7, 11, 18, 29});
  DeletionVectorDescriptor descriptor{
      'i', "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", {}, 44, 6};
  Result<RowSet> read = read_inline(descriptor);
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_TRUE(*read == rows);
  DeletionVectorDescriptor ours = inline_deletion_vector(rows);
  EXPECT_TRUE(*read_inline(ours) == rows);
  ours.cardinality = 5;
  EXPECT_EQ(read_inline(ours).status().code(), Code::kCorrupt);
}

TEST(DeletionVector, TheNativeFormIsRead) {
  RowSet rows = rows_of({1, 70'000});
  std::string bitmap = rows.encode();
  std::string bytes;
  append(bytes, uint32_t{1681511376});
  append(bytes, uint32_t{1});
  append(bytes, static_cast<uint32_t>(bitmap.size()));
  bytes += bitmap;
  EXPECT_TRUE(*read_deletion_vector(as_bytes(bytes)) == rows);
}

TEST(DeletionVector, OneFileHoldsMany) {
  std::mt19937 random(3);
  Uuid uuid = *parse_uuid("0123abcd-0000-1111-2222-333344445555");
  EXPECT_EQ(to_string(uuid), "0123abcd-0000-1111-2222-333344445555");
  DeletionVectorFile file(uuid);
  EXPECT_TRUE(file.empty());
  std::vector<RowSet> sets;
  std::vector<DeletionVectorDescriptor> descriptors;
  for (int i = 0; i < 20; ++i) {
    RowSet rows;
    for (int k = 0; k < i * 500; ++k) rows.add(random() % 1'000'000);
    descriptors.push_back(file.add(rows));
    sets.push_back(rows);
  }
  EXPECT_EQ(descriptors[0].offset, 1);
  EXPECT_EQ(place_of(descriptors[3])->file, file.name());
  for (size_t i = 0; i < sets.size(); ++i) {
    Result<RowSet> read = read_from_file(descriptors[i], as_bytes(file.bytes()));
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    EXPECT_TRUE(*read == sets[i]);
    // A reader may fetch only the vector's own range.
    uint64_t at = static_cast<uint64_t>(*descriptors[i].offset);
    std::string range = file.bytes().substr(at, 8 + descriptors[i].size_in_bytes);
    EXPECT_TRUE(*read_from_file(descriptors[i], as_bytes(range), at) == sets[i]);
  }
}

TEST(DeletionVector, EveryDamagedByteIsSeen) {
  DeletionVectorFile file(Uuid{});
  DeletionVectorDescriptor descriptor = file.add(rows_of({1, 5, 9, 100'000}));
  for (size_t i = 0; i < file.bytes().size(); ++i) {
    std::string damaged = file.bytes();
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(read_from_file(descriptor, as_bytes(damaged)).ok()) << i;
    EXPECT_FALSE(read_from_file(descriptor, as_bytes(file.bytes().substr(0, i))).ok()) << i;
  }
  descriptor.offset = 1'000'000;
  EXPECT_EQ(read_from_file(descriptor, as_bytes(file.bytes())).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace tide::deltalog
