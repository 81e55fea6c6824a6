#include "mirror/transaction_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace tide::mirror {
namespace {

using pgformat::TupleId;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Kind = BufferedChange::Kind;

/// A change that owns its bytes, to compare with.
struct Kept {
  BufferedChange change;
  std::string body;

  static Kept of(const BufferedChange& change) {
    return {change, std::string(as_chars(change.tuple.body))};
  }
  friend bool operator==(const Kept& a, const Kept& b) {
    const BufferedChange& x = a.change;
    const BufferedChange& y = b.change;
    return x.kind == y.kind && x.lsn == y.lsn && x.rel == y.rel && x.old == y.old &&
           x.fresh == y.fresh && x.tuple.hoff == y.tuple.hoff &&
           x.tuple.infomask == y.tuple.infomask && x.tuple.infomask2 == y.tuple.infomask2 &&
           a.body == b.body;
  }
};

class TransactionBufferTest : public testing::Test {
 protected:
  TransactionBufferTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tide-buffer-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~TransactionBufferTest() override { std::filesystem::remove_all(root_); }

  TransactionBuffer make(size_t memory_bytes) {
    return TransactionBuffer({.spill_directory = root_ + "/spill", .memory_bytes = memory_bytes});
  }
  static BufferedChange insert(uint64_t lsn, TupleId id, std::string_view body) {
    BufferedChange change;
    change.lsn = Lsn(lsn);
    change.rel = {1663, 5, 16384, Fork::kMain};
    change.fresh = id;
    change.tuple.hoff = 24;
    change.tuple.body = as_bytes(body);
    return change;
  }
  static std::vector<Kept> all(const TransactionBuffer& buffer, std::vector<uint32_t> xids) {
    std::vector<Kept> found;
    Status visited = buffer.visit(xids, [&](const BufferedChange& change) -> Status {
      found.push_back(Kept::of(change));
      return {};
    });
    EXPECT_TRUE(visited.ok()) << visited.to_string();
    return found;
  }
  static std::vector<uint64_t> lsns(const TransactionBuffer& buffer, std::vector<uint32_t> xids) {
    std::vector<uint64_t> found;
    for (const Kept& kept : all(buffer, std::move(xids))) found.push_back(kept.change.lsn.value());
    return found;
  }

  std::string root_;
};

TEST_F(TransactionBufferTest, SubtransactionsComeInTheOrderOfTheWal) {
  TransactionBuffer buffer = make(1 << 20);
  for (uint64_t lsn = 1; lsn <= 12; ++lsn) {
    uint32_t xid = 100 + static_cast<uint32_t>(lsn * 7 % 4);  // 103 belongs to somebody else
    ASSERT_TRUE(buffer.add(xid, insert(lsn, TupleId(1, 1), "x")).ok());
  }
  EXPECT_THAT(lsns(buffer, {100, 101, 102}), ElementsAre(2, 3, 4, 6, 7, 8, 10, 11, 12));
  EXPECT_THAT(lsns(buffer, {102, 101, 100}), ElementsAre(2, 3, 4, 6, 7, 8, 10, 11, 12));
  EXPECT_THAT(lsns(buffer, {103}), ElementsAre(1, 5, 9));
  EXPECT_THAT(lsns(buffer, {100, 999}), ElementsAre(4, 8, 12));
  EXPECT_THAT(lsns(buffer, {999}), IsEmpty());
}

// What a scan of pages finds half done has the scan's LSN, all of it: a row that a subtransaction
// inserted and its parent deleted must be there before it goes.
TEST_F(TransactionBufferTest, ChangesOfOneLsnComeInTheOrderTheyWereAdded) {
  TransactionBuffer buffer = make(1 << 20);
  auto change = [](Kind kind, TupleId id) {
    BufferedChange change = insert(77, id, "");
    change.kind = kind;
    if (kind == Kind::kDelete) change.old = std::exchange(change.fresh, TupleId());
    return change;
  };
  for (uint16_t i = 1; i <= 20; ++i) {
    TupleId id(0, i);
    uint32_t inserter = i % 2 == 0 ? 100 : 101;
    ASSERT_TRUE(buffer.add(inserter, change(Kind::kInsert, id)).ok());
    ASSERT_TRUE(buffer.add(201 - inserter, change(Kind::kDelete, id)).ok());
  }
  for (auto xids : {std::vector<uint32_t>{100, 101}, std::vector<uint32_t>{101, 100}}) {
    uint16_t at = 0;
    for (const Kept& kept : all(buffer, xids)) {
      TupleId id(0, static_cast<uint16_t>(at / 2 + 1));
      bool inserts = at++ % 2 == 0;
      EXPECT_EQ(kept.change.kind, inserts ? Kind::kInsert : Kind::kDelete);
      EXPECT_EQ(inserts ? kept.change.fresh : kept.change.old, id);
    }
    EXPECT_EQ(at, 40);
  }
}

TEST_F(TransactionBufferTest, WhatWasSpilledReadsBackAsItWas) {
  std::mt19937 random(11);
  // From "every change goes to disk" over "most do" to "none does".
  for (size_t memory : {size_t{0}, size_t{3000}, size_t{100'000}, size_t{64} << 20}) {
    TransactionBuffer buffer = make(memory);
    std::map<uint32_t, std::vector<Kept>> wanted;
    std::vector<Kept> in_order;
    for (uint64_t lsn = 1; lsn <= 3000; ++lsn) {
      uint32_t xid = 700 + random() % 5;
      BufferedChange change;
      change.kind = static_cast<Kind>(random() % 5);
      change.lsn = Lsn(lsn * 8);
      change.rel = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random()),
                    static_cast<uint32_t>(random()), static_cast<Fork>(random() % 4)};
      change.old = TupleId(static_cast<uint32_t>(random()), static_cast<uint16_t>(random()));
      change.fresh = TupleId(static_cast<uint32_t>(random()), static_cast<uint16_t>(random()));
      change.tuple.hoff = static_cast<uint8_t>(random());
      change.tuple.infomask = static_cast<uint16_t>(random());
      change.tuple.infomask2 = static_cast<uint16_t>(random());
      // Now and then larger than what is read ahead.
      size_t size = random() % 1000 == 0 ? 1'200'000 : random() % 300;
      std::string body(size, static_cast<char>(random()));
      change.tuple.body = as_bytes(body);
      ASSERT_TRUE(buffer.add(xid, change).ok());
      wanted[xid].push_back(Kept::of(change));
      if (xid != 704) in_order.push_back(Kept::of(change));
    }
    for (const auto& [xid, changes] : wanted) EXPECT_TRUE(all(buffer, {xid}) == changes) << xid;
    EXPECT_TRUE(all(buffer, {700, 701, 702, 703}) == in_order);
    EXPECT_EQ(std::filesystem::exists(root_ + "/spill"), memory < size_t{64} << 20);
    // Nothing of it is left behind for the next start.
    if (memory == 0) {
      EXPECT_TRUE(std::filesystem::is_empty(root_ + "/spill"));
    }
    EXPECT_GT(buffer.bytes(), 0U);
    buffer.drop(buffer.xids());
    EXPECT_EQ(buffer.bytes(), 0U);
    EXPECT_EQ(buffer.transactions(), 0U);
  }
}

TEST_F(TransactionBufferTest, AnErrorOfTheVisitorEndsTheVisit) {
  TransactionBuffer buffer = make(0);
  for (uint64_t lsn = 1; lsn <= 10; ++lsn) {
    ASSERT_TRUE(buffer.add(100 + lsn % 2, insert(lsn, TupleId(1, 1), "x")).ok());
  }
  for (auto xids : {std::vector<uint32_t>{100}, std::vector<uint32_t>{100, 101}}) {
    int seen = 0;
    Status visited = buffer.visit(xids, [&](const BufferedChange&) -> Status {
      return ++seen == 3 ? Status(Code::kNoSpace, "full") : Status();
    });
    EXPECT_EQ(visited.code(), Code::kNoSpace);
    EXPECT_EQ(seen, 3);
  }
}

TEST_F(TransactionBufferTest, ADirectoryThatCannotBeWrittenIsReported) {
  TransactionBuffer buffer({.spill_directory = root_ + "/file/spill", .memory_bytes = 10});
  std::ofstream(root_ + "/file") << "in the way";
  EXPECT_FALSE(buffer.add(100, insert(1, TupleId(1, 1), "x")).ok());
}

TEST_F(TransactionBufferTest, DroppedOnesAreForgottenAndTheirNumbersUsedAgain) {
  TransactionBuffer buffer = make(0);
  ASSERT_TRUE(buffer.add(100, insert(10, TupleId(1, 1), "a")).ok());
  ASSERT_TRUE(buffer.add(101, insert(20, TupleId(1, 2), "b")).ok());
  ASSERT_TRUE(buffer.add(102, insert(30, TupleId(1, 3), "c")).ok());
  EXPECT_EQ(buffer.oldest(Lsn(99)), Lsn(10));
  EXPECT_EQ(buffer.oldest(Lsn(5)), Lsn(5));
  std::vector<uint32_t> gone = {100, 102, 555};
  buffer.drop(gone);
  EXPECT_THAT(buffer.xids(), UnorderedElementsAre(101));
  EXPECT_FALSE(buffer.has(100));
  EXPECT_TRUE(buffer.has(101));
  EXPECT_EQ(buffer.oldest(Lsn(99)), Lsn(20));
  ASSERT_TRUE(buffer.add(100, insert(40, TupleId(1, 4), "d")).ok());
  EXPECT_THAT(lsns(buffer, {100, 101}), ElementsAre(20, 40));
  gone = {100, 101};
  buffer.drop(gone);
  EXPECT_EQ(buffer.oldest(Lsn(99)), Lsn(99));
}

TEST_F(TransactionBufferTest, OnlyPreparedTransactionsOutliveTheirCompute) {
  TransactionBuffer buffer = make(1 << 20);
  for (uint32_t xid : {100U, 101U, 102U, 103U}) {
    ASSERT_TRUE(buffer.add(xid, insert(xid, TupleId(1, 1), "x")).ok());
  }
  std::vector<uint32_t> prepared = {101, 103, 104};  // 104 changed no row
  buffer.prepare(prepared);
  buffer.drop_unprepared();
  EXPECT_THAT(buffer.xids(), UnorderedElementsAre(101, 103));
  EXPECT_EQ(buffer.oldest(Lsn(999)), Lsn(101));
  // Once ended, the number is that of an ordinary transaction again.
  buffer.drop(prepared);
  ASSERT_TRUE(buffer.add(103, insert(200, TupleId(1, 1), "x")).ok());
  buffer.drop_unprepared();
  EXPECT_THAT(buffer.xids(), IsEmpty());
}

TEST_F(TransactionBufferTest, OlderOnesAreToldOnTheCircleOfIds) {
  TransactionBuffer buffer = make(1 << 20);
  for (uint32_t xid : {0xFFFFFFF0U, 0xFFFFFFFFU, 3U, 10U, 11U}) {
    ASSERT_TRUE(buffer.add(xid, insert(xid, TupleId(1, 1), "x")).ok());
  }
  buffer.drop_older(0xFFFFFFF0U);
  EXPECT_EQ(buffer.transactions(), 5U);
  buffer.drop_older(10);
  EXPECT_THAT(buffer.xids(), UnorderedElementsAre(10, 11));
}

}  // namespace
}  // namespace tide::mirror
