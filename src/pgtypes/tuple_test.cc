#include "pgtypes/tuple.h"

#include <gtest/gtest.h>

#include "pgformat/wal_reader.h"
#include "pgformat/wal_record.h"
#include "pgtypes/internal/test_server.h"

namespace tide::pgtypes {
namespace {

Attribute attribute(int16_t length, char align) {
  Attribute made;
  made.length = length;
  made.align = align;
  return made;
}

/// A tuple of two columns without nulls, then one column that it does not have yet.
class TupleTest : public ::testing::Test {
 protected:
  TupleTest() {
    columns_ = {attribute(2, 's'), attribute(-1, 'i'), attribute(4, 'i')};
    tuple_.infomask2 = 2;
    tuple_.header_size = 24;
    body_ = std::string("\0\x07\0", 3) + "\x09" + "abc";
    tuple_.body = body_;
  }

  Code code_of(const TupleView& tuple) { return TupleReader(columns_).read(tuple, values_).code(); }

  std::vector<Attribute> columns_;
  std::string body_;
  TupleView tuple_;
  std::vector<AttributeValue> values_;
};

TEST_F(TupleTest, ColumnsTheTupleHasNotAreMissingOrNull) {
  ASSERT_EQ(code_of(tuple_), Code::kOk);
  EXPECT_EQ(load<int16_t>(values_[0].datum.data()), 7);
  EXPECT_EQ(values_[1].datum.substr(1), "abc");
  EXPECT_TRUE(values_[2].null);

  columns_[2].missing = std::string("\x05\0\0\0", 4);
  ASSERT_EQ(code_of(tuple_), Code::kOk);

  TupleReader reader(columns_);
  ASSERT_TRUE(reader.read(tuple_, values_).ok());
  EXPECT_FALSE(values_[2].null);
  EXPECT_EQ(load<int32_t>(values_[2].datum.data()), 5);

  columns_[2].dropped = true;
  columns_[0].dropped = true;
  ASSERT_EQ(code_of(tuple_), Code::kOk);
  EXPECT_TRUE(values_[0].null);
  EXPECT_EQ(values_[1].datum.substr(1), "abc");
  EXPECT_TRUE(values_[2].null);
}

TEST_F(TupleTest, ContradictionsAreCorrupt) {
  TupleView tuple = tuple_;
  tuple.header_size = 25;
  EXPECT_EQ(code_of(tuple), Code::kCorrupt);
  tuple.header_size = 16;
  EXPECT_EQ(code_of(tuple), Code::kCorrupt);
  tuple.header_size = 248;
  EXPECT_EQ(code_of(tuple), Code::kCorrupt);
  tuple = tuple_;
  tuple.infomask = 1;  // a bitmap of nine columns does not fit before the data
  tuple.infomask2 = 9;
  EXPECT_EQ(code_of(tuple), Code::kCorrupt);
  for (size_t size = 0; size < body_.size(); ++size) {
    tuple = tuple_;
    tuple.body = std::string_view(body_).substr(0, size);
    EXPECT_EQ(code_of(tuple), Code::kCorrupt) << size;
  }
  EXPECT_EQ(TupleView::from_page_item("short").status().code(), Code::kCorrupt);
  EXPECT_EQ(TupleView::from_wal("1234").status().code(), Code::kCorrupt);
}

TEST(VarlenaTest, ExternalValuesAreAssembled) {
  std::string datum = "\x01\x12";
  append<uint32_t>(datum, 10 + 4);
  append<uint32_t>(datum, 10);
  append<uint32_t>(datum, 77);
  append<uint32_t>(datum, 88);
  ASSERT_TRUE(is_external(datum));
  ToastPointer pointer = toast_pointer(datum).value();
  EXPECT_FALSE(pointer.compressed());
  EXPECT_EQ(pointer.value_id, 77U);
  EXPECT_EQ(pointer.toast_relation, 88U);
  std::vector<std::string_view> chunks = {"01234", "56789"};
  EXPECT_EQ(assemble_external(pointer, chunks).value(), plain_datum("0123456789"));
  chunks.pop_back();
  EXPECT_EQ(assemble_external(pointer, chunks).status().code(), Code::kCorrupt);
  std::string scratch;
  EXPECT_EQ(inline_payload(datum, scratch).status().code(), Code::kInvalid);
}

/// The tuples that WAL carries are those that lie in the pages.
TEST(WalTupleTest, TuplesInWalAreThoseInPages) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestServer server;
  ASSERT_TRUE(server.start());
  ASSERT_TRUE(
      server.psql("CREATE TABLE logged (a int, b text, c numeric, gone int, d bool);\n"
                  "INSERT INTO logged SELECT i, CASE i % 3 WHEN 0 THEN NULL ELSE repeat('x', i % "
                  "200) END, i / 7.0, "
                  "i, true FROM generate_series(1, 2000) i; ALTER TABLE logged DROP COLUMN gone;\n"
                  "ALTER TABLE logged ADD COLUMN e text DEFAULT 'late';"));
  ServerCatalog catalog;
  server.load_catalog(catalog);
  std::vector<Attribute> columns = *catalog.attributes(server.relation_oid("logged"));
  columns.back().missing = plain_datum("late");
  TupleReader reader(columns);
  std::map<std::string, StoredRow> stored;
  for (StoredRow& row : server.stored_rows("logged", catalog)) stored[row.ctid] = std::move(row);
  ASSERT_EQ(stored.size(), 2000U);

  std::string wal = server.all_wal();
  pgformat::WalReader wal_reader({.start = Lsn(kWalSegmentSize)});
  wal_reader.feed(as_bytes(wal));
  size_t compared = 0;
  pgformat::WalRecord record;
  std::vector<AttributeValue> values;
  while (true) {
    auto next = wal_reader.next();
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!next->has_value()) break;
    ASSERT_TRUE(record.parse(**next).ok());
    constexpr uint8_t kInsert = 0x00;
    if (!record.is(pgformat::Rmgr::kHeap) || (record.info() & 0x70) != kInsert) continue;
    const pgformat::BlockRef* block = record.block(0);
    if (block == nullptr || block->data.empty() ||
        block->tag.rel.rel != server.relation_oid("logged")) {
      continue;
    }
    auto number = load<uint16_t>(record.main_data().data());
    auto found = stored.find(fmt::format("({},{})", block->tag.block, number));
    ASSERT_NE(found, stored.end());
    TupleView tuple = TupleView::from_wal(as_chars(block->data)).value();
    ASSERT_TRUE(reader.read(tuple, values).ok());
    for (size_t i = 0; i + 1 < columns.size(); ++i) {
      ASSERT_EQ(values[i].null, !found->second.datums[i]);
      if (!values[i].null) {
        EXPECT_EQ(values[i].datum, *found->second.datums[i]);
      }
    }
    EXPECT_EQ(values.back().datum, plain_datum("late"));
    ++compared;
  }
  EXPECT_GT(compared, 1500U);
}

}  // namespace
}  // namespace tide::pgtypes
