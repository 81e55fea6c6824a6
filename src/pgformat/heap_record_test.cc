#include "pgformat/heap_record.h"

#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <random>
#include <set>

#include "pgformat/control_file.h"
#include "pgformat/internal/test_cluster.h"
#include "pgformat/page.h"
#include "pgformat/wal_reader.h"

namespace tide::pgformat {
namespace {

constexpr uint32_t kFirstUserOid = 16384;

struct Stored {
  uint16_t infomask2 = 0;
  uint16_t infomask = 0;
  uint8_t hoff = 0;
  std::string body;

  static Stored of(const HeapTuple& tuple) {
    return {tuple.infomask2, tuple.infomask, tuple.hoff, std::string(as_chars(tuple.body))};
  }
  HeapTuple view() const { return {infomask2, infomask, hoff, as_bytes(body)}; }
  /// What the tuple's values depend on; the rest of the header changes without a row change.
  friend bool operator==(const Stored& a, const Stored& b) {
    constexpr uint16_t kShape = 0x0007;  // nulls, varlenas, external values
    return (a.infomask2 & kHeapNattsMask) == (b.infomask2 & kHeapNattsMask) &&
           (a.infomask & kShape) == (b.infomask & kShape) && a.hoff == b.hoff && a.body == b.body;
  }
};

using Tuples = std::map<uint64_t, Stored>;

/// Every main fork of the cluster's files, block by block.
template <typename Visit>
void for_each_page(const TestCluster& cluster, const Visit& visit) {
  namespace fs = std::filesystem;
  auto directory = [&](const std::string& path, uint32_t spc, uint32_t db) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      std::string name = entry.path().filename();
      if (!std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); }))
        continue;
      RelFork rel{spc, db, static_cast<uint32_t>(std::stoul(name)), Fork::kMain};
      std::string bytes = read_whole_file(entry.path());
      for (uint32_t block = 0; (block + 1) * kPageSize <= bytes.size(); ++block) {
        visit(PageTag{rel, block}, as_bytes(bytes).data() + block * kPageSize);
      }
    }
  };
  directory(cluster.data() + "/global", 1664, 0);
  for (const fs::directory_entry& entry : fs::directory_iterator(cluster.data() + "/base")) {
    directory(entry.path(), 1663,
              static_cast<uint32_t>(std::stoul(entry.path().filename().string())));
  }
}

/// The tuples on a page that has heap tuples; index pages have items that look alike.
void for_each_tuple(const std::byte* page, const std::function<void(uint16_t, Stored)>& visit) {
  if (page_is_new(page) || page_special(page) != kPageSize) return;
  size_t pointers = (page_lower(page) - kPageHeaderSize) / 4;
  for (size_t offset = 1; offset <= pointers; ++offset) {
    auto tuple = tuple_on_page(page, static_cast<uint16_t>(offset));
    if (tuple.ok()) visit(static_cast<uint16_t>(offset), Stored::of(*tuple));
  }
}

const char* const kRowWorkload = R"SQL(
CREATE TABLE t (id int PRIMARY KEY, a text, n int, b text);
INSERT INTO t SELECT i, repeat(md5(i::text), 2), CASE i % 3 WHEN 0 THEN NULL ELSE i END, md5(i::text)
  FROM generate_series(1,500) i;
CREATE TABLE copied (x int, y text, z int);
COPY copied(x, y) FROM PROGRAM 'seq 1 3000 | sed "s/$/\tabc/"';
CHECKPOINT;
UPDATE t SET n = n + 1 WHERE id % 2 = 0;
UPDATE t SET a = 'short' WHERE id % 5 = 0;
UPDATE t SET id = id + 100000 WHERE id % 7 = 0;
UPDATE t SET b = b || 'longer' WHERE id % 11 = 0;
UPDATE t SET n = NULL WHERE id % 13 = 0;
UPDATE t SET id = id + 1000000, a = 'all', n = 5, b = NULL WHERE id % 17 = 0;
UPDATE t SET b = repeat(b, 40) WHERE id % 29 = 0;
DELETE FROM t WHERE id % 19 = 0;
BEGIN; INSERT INTO t VALUES (-1, 'never', 1, 'x'); UPDATE t SET n = 0 WHERE id < 60; ROLLBACK;
VACUUM t;
CHECKPOINT;
COPY copied(x, y) FROM PROGRAM 'seq 3001 3100 | sed "s/$/\tabc/"';
COPY copied FROM PROGRAM 'seq 1 9 | sed "s/$/\tq\t7/"';
INSERT INTO t VALUES (-2, NULL, NULL, NULL), (-3, '', 0, '');
INSERT INTO t(id) VALUES (-2) ON CONFLICT (id) DO UPDATE SET a = 'conflict';
CREATE TABLE wide (x int, y text);
ALTER TABLE wide ALTER y SET STORAGE EXTERNAL;
INSERT INTO wide SELECT i, repeat(md5(i::text), 300) FROM generate_series(1,20) i;
UPDATE wide SET x = x + 100;
UPDATE wide SET y = y || '.' WHERE x % 3 = 0;
DO $$ BEGIN FOR i IN 1..40 LOOP
  EXECUTE format('CREATE TABLE many_%s (a int, b text, c numeric(10,2)[])', i);
  EXECUTE format('ALTER TABLE many_%s RENAME b TO %s', i, 'a_much_longer_name');
  EXECUTE format('ALTER TABLE many_%s ADD d int DEFAULT 7', i);
  EXECUTE format('ALTER TABLE many_%s DROP c', i);
  EXECUTE format('COMMENT ON TABLE many_%s IS %L', i, repeat('c', i));
END LOOP; END $$;
ANALYZE;
CREATE ROLE somebody; ALTER ROLE somebody LOGIN; GRANT SELECT ON t TO somebody;
DROP TABLE many_1, many_2;
VACUUM (FREEZE, ANALYZE) copied;
CREATE DATABASE other STRATEGY wal_log;
SET wal_compression = pglz; CHECKPOINT; UPDATE t SET n = 9 WHERE id % 3 = 0;
SET wal_compression = zstd; CHECKPOINT; COPY copied(x, y) FROM PROGRAM 'seq 1 50 | sed "s/$/\tabc/"';
)SQL";

/// Records and pages with wrong bytes end in an error or in a wrong row, but not outside of memory.
void damage(const std::vector<std::string>& records) {
  ASSERT_GT(records.size(), 500U);
  WalRecord record;
  // Every view is read to its end, so that a sanitizer sees where it leads.
  uint64_t sum = 0;
  auto read = [&](const HeapTuple& tuple) {
    for (std::byte byte : tuple.body) sum += static_cast<uint64_t>(byte);
  };
  std::string old_body(300, 'o');
  std::mt19937 random(3);
  OldTuple old_tuple = [&](const RelFork&, TupleId) -> Result<HeapTuple> {
    if (random() % 8 == 0) return Status(Code::kCorrupt, "unknown");
    return HeapTuple{3, 2, 24, as_bytes(old_body).first(1 + random() % old_body.size())};
  };
  std::string scratch;
  size_t failed = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string bytes = records[random() % records.size()];
    size_t size = bytes.size() - kRecordHeaderSize;
    for (unsigned i = 0; i < 1 + random() % 3; ++i) {
      // Mostly what says how long things are, which is in front and at the end.
      size_t at = random() % 2 == 0 ? random() % std::min<size_t>(size, 60)
                                    : size - 1 - random() % std::min<size_t>(size, 80);
      bytes[kRecordHeaderSize + at] = static_cast<char>(random());
    }
    if (random() % 8 == 0) bytes[16] = static_cast<char>(random());  // another operation
    if (!record.parse({Lsn(100), Lsn(200), Lsn(), as_bytes(bytes)}).ok()) continue;
    Status decoded = heap_changes(record, random() % 4 == 0 ? OldTuple() : old_tuple, scratch,
                                  [&](const HeapChange& change) {
                                    read(change.tuple);
                                    return Status();
                                  });
    if (!decoded.ok()) ++failed;
  }
  EXPECT_GT(failed, 100U);
  std::string page(kPageSize, '\0');
  for (int round = 0; round < 20'000; ++round) {
    for (size_t at = 0; at < 200; ++at) page[at] = static_cast<char>(random());
    auto tuple = tuple_on_page(as_bytes(page).data(), static_cast<uint16_t>(random() % 60));
    if (tuple.ok()) read(*tuple);
  }
  EXPECT_GT(sum, 0U);
}

class HeapRecords : public testing::TestWithParam<const char*> {};

TEST_P(HeapRecords, SayWhatThePagesHold) {
  if (!postgres_is_installed()) GTEST_SKIP() << "PostgreSQL is not installed";
  bool logical = std::string(GetParam()) == "logical";
  TestCluster cluster;
  ASSERT_TRUE(cluster.init(std::string("wal_level=") + GetParam()));
  // initdb writes most rows without WAL: they are known from the pages.
  std::map<RelFork, Tuples> model;
  for_each_page(cluster, [&](const PageTag& tag, const std::byte* page) {
    for_each_tuple(page, [&](uint16_t offset, Stored tuple) {
      model[tag.rel][TupleId(tag.block, offset).value] = std::move(tuple);
    });
  });
  auto control = parse_control_file(as_bytes(cluster.control_file()));
  ASSERT_TRUE(control.ok());
  Lsn known(control->checkpoint_lsn);
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql(kRowWorkload));
  ASSERT_TRUE(cluster.stop());

  std::string wal = cluster.all_wal(1);
  WalReader reader({.start = Lsn(kWalSegmentSize)});
  reader.feed(as_bytes(wal));
  WalRecord record;
  std::map<std::string, size_t> seen;
  std::vector<std::string> row_records;
  std::set<RelFork> whole_pages;  // rows of such files come without row changes
  std::map<RelFork, std::set<uint64_t>> inserted;
  std::string scratch;
  OldTuple old_tuple = [&](const RelFork& rel, TupleId id) -> Result<HeapTuple> {
    // Users' tables are logged for logical decoding, so nothing is left out of their records.
    EXPECT_FALSE(logical && rel.rel >= kFirstUserOid) << fmt::format("{}", rel);
    ++seen["old tuple"];
    auto found = model[rel].find(id.value);
    if (found == model[rel].end()) return Status(Code::kCorrupt, "no such tuple");
    return found->second.view();
  };
  while (true) {
    auto next = reader.next();
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!next->has_value()) break;
    ASSERT_TRUE(record.parse(**next).ok());
    if (record.end() <= known) continue;
    if (record.is(Rmgr::kXlog) && record.info() == xlog::kFpi) {
      for (const BlockRef& block : record.blocks()) whole_pages.insert(block.tag.rel);
    }
    if (changes_heap_rows(record)) row_records.emplace_back(as_chars((*next)->bytes));
    const BlockRef* block = record.block(0);
    bool from_image = block != nullptr && block->has_image && block->data.empty();
    size_t changes = 0;
    Status decoded = heap_changes(record, old_tuple, scratch, [&](const HeapChange& change) {
      ++changes;
      std::string name = change.kind == HeapChange::Kind::kInsert   ? "insert"
                         : change.kind == HeapChange::Kind::kDelete ? "delete"
                         : change.kind == HeapChange::Kind::kUpdate ? "update"
                                                                    : "in place";
      if (record.is(Rmgr::kHeap2)) name = "multi-insert";
      ++seen[name];
      if (from_image && name != "delete") ++seen[name + " from an image"];
      if ((record.info() & heap::kInitPage) != 0) ++seen[name + " on a new page"];
      if (name == "update") {
        ++seen[change.old.block() == change.fresh.block() ? "update on its page"
                                                          : "update to another page"];
        auto flags = static_cast<uint8_t>(record.main_data()[7]);
        const char* parts[] = {"nothing", "prefix", "suffix", "prefix and suffix"};
        if (!from_image) ++seen[std::string("update with ") + parts[flags >> 5 & 3] + " left out"];
      }
      EXPECT_EQ(change.rel, block->tag.rel);
      Tuples& tuples = model[change.rel];
      if (change.kind == HeapChange::Kind::kDelete || change.kind == HeapChange::Kind::kUpdate) {
        EXPECT_TRUE(tuples.contains(change.old.value)) << record.describe();
      }
      if (change.kind == HeapChange::Kind::kInplace) {
        Stored& tuple = tuples.at(change.fresh.value);
        tuple.body.replace(tuple.hoff - kHeapTupleHeaderSize, std::string::npos,
                           as_chars(change.tuple.body));
      } else if (change.kind != HeapChange::Kind::kDelete) {
        tuples[change.fresh.value] = Stored::of(change.tuple);
      }
      return Status();
    });
    ASSERT_TRUE(decoded.ok()) << decoded.to_string();
    EXPECT_EQ(changes > 0, changes_heap_rows(record)) << record.describe();
  }

  size_t compared = 0;
  size_t compared_of_users = 0;
  for_each_page(cluster, [&](const PageTag& tag, const std::byte* page) {
    auto heap = model.find(tag.rel);
    bool complete =
        tag.rel.rel >= kFirstUserOid && !whole_pages.contains(tag.rel) && heap != model.end();
    for_each_tuple(page, [&](uint16_t offset, const Stored& tuple) {
      auto found = heap == model.end() ? Tuples::iterator()
                                       : heap->second.find(TupleId(tag.block, offset).value);
      if (heap == model.end() || found == heap->second.end()) {
        EXPECT_FALSE(complete) << fmt::format("{} ({},{}) was not announced", tag, tag.block,
                                              offset);
        return;
      }
      ++compared;
      compared_of_users += complete ? 1 : 0;
      EXPECT_TRUE(found->second == tuple) << fmt::format("{} offset {}", tag, offset);
    });
  });
  EXPECT_GT(compared, 10'000U);
  EXPECT_GT(compared_of_users, 3'500U);
  for (const char* wanted :
       {"insert", "delete", "update", "in place", "multi-insert", "multi-insert on a new page",
        "insert on a new page", "update on its page", "update to another page", "old tuple",
        "update with prefix left out", "update with prefix and suffix left out",
        "update with nothing left out", "insert from an image", "update from an image",
        "multi-insert from an image"}) {
    EXPECT_GT(seen[wanted], 0U) << wanted;
  }
  // Only users' rows end alike and begin differently.
  if (!logical) {
    EXPECT_GT(seen["update with suffix left out"], 0U);
  }
  damage(row_records);
}

INSTANTIATE_TEST_SUITE_P(WalLevels, HeapRecords, testing::Values("logical", "replica"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tide::pgformat
