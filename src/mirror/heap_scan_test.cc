#include "mirror/heap_scan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "mirror/internal/data_directory.h"

namespace tide::mirror {
namespace {

using pgformat::TestCluster;

/// Rows in every state that a transaction can leave them in. Rows below 1000 are frozen.
const char* const kStates = R"SQL(
CREATE EXTENSION pageinspect;
CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 60);
INSERT INTO t SELECT i, 'a' FROM generate_series(1, 999) i;
VACUUM (FREEZE) t;
INSERT INTO t SELECT i, 'b' FROM generate_series(1000, 1999) i;
-- Ended ones.
BEGIN; INSERT INTO t SELECT i, 'aborted' FROM generate_series(2000, 2099) i; ROLLBACK;
DELETE FROM t WHERE id % 50 = 1;
UPDATE t SET v = 'hot' WHERE id % 50 = 2;
UPDATE t SET id = id + 10000 WHERE id % 50 = 3;
BEGIN; DELETE FROM t WHERE id % 50 = 4; UPDATE t SET v = 'x' WHERE id % 50 = 5; ROLLBACK;
BEGIN;
INSERT INTO t SELECT i, 'top' FROM generate_series(3000, 3020) i;
SAVEPOINT one; INSERT INTO t SELECT i, 'sub' FROM generate_series(3100, 3120) i;
SAVEPOINT two; UPDATE t SET v = 'subsub' WHERE id % 50 = 6; RELEASE two; RELEASE one;
SAVEPOINT three; DELETE FROM t WHERE id % 50 = 7; INSERT INTO t VALUES (3200, 'sub aborted');
ROLLBACK TO three;
COMMIT;
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 8 FOR UPDATE) x;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 9 FOR NO KEY UPDATE) x;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 10 FOR SHARE) x;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 11 FOR KEY SHARE) x;
COMMIT;
-- A multixact of one transaction and its subtransactions.
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 12 FOR KEY SHARE) x;
SAVEPOINT s; UPDATE t SET v = 'multi' WHERE id % 50 = 12; RELEASE s;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 13 FOR SHARE) x;
SAVEPOINT s; SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 13 FOR UPDATE) x; RELEASE s;
COMMIT;
-- Open ones: prepared transactions are in progress for everybody.
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 BETWEEN 20 AND 25 FOR KEY SHARE) x;
PREPARE TRANSACTION 'locks';
UPDATE t SET v = 'beside a lock' WHERE id % 50 = 20;
BEGIN; UPDATE t SET v = 'x' WHERE id % 50 = 21; ROLLBACK;
SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 50 = 22 FOR SHARE) x;
BEGIN; UPDATE t SET v = 'open beside a lock' WHERE id % 50 = 23; PREPARE TRANSACTION 'updates';
BEGIN;
INSERT INTO t SELECT i, 'open' FROM generate_series(4000, 4020) i;
SAVEPOINT s; INSERT INTO t SELECT i, 'open sub' FROM generate_series(4100, 4120) i; RELEASE s;
DELETE FROM t WHERE id BETWEEN 4100 AND 4105 OR id % 50 = 30;
SAVEPOINT s; UPDATE t SET v = 'open sub' WHERE id % 50 = 31; RELEASE s;
SAVEPOINT s; DELETE FROM t WHERE id % 50 = 32; ROLLBACK TO s;
PREPARE TRANSACTION 'commits';
BEGIN;
INSERT INTO t SELECT i, 'open' FROM generate_series(5000, 5020) i;
DELETE FROM t WHERE id % 50 = 33;
PREPARE TRANSACTION 'aborts';
)SQL";

/// Every row version, and by PostgreSQL's own word who is still at it: "id|inserter|deleter" for
/// what is there or may come to be, sorted by id.
const char* const kOracle = R"SQL(
WITH item AS (
  SELECT block * 65536 + lp AS id, t_xmin, t_xmax, t_infomask AS mask
  FROM generate_series(0, pg_relation_size('t') / 8192 - 1) block,
    LATERAL heap_page_items(get_raw_page('t', block::int)) WHERE lp_flags = 1
), who AS (
  SELECT id,
    CASE WHEN mask & 768 = 768 THEN 'committed'
         ELSE pg_xact_status(t_xmin::text::xid8) END AS inserted, t_xmin,
    CASE WHEN mask & 2048 <> 0 OR mask & 128 <> 0 OR mask & 4176 = 64 THEN NULL
         WHEN mask & 4096 <> 0 THEN
           (SELECT xid FROM pg_get_multixact_members(t_xmax) WHERE mode IN ('upd', 'nokeyupd'))
         ELSE t_xmax END AS deleter
  FROM item
), ends AS (
  SELECT *, pg_xact_status(deleter::text::xid8) AS deleted FROM who
)
SELECT id || '|' || CASE inserted WHEN 'in progress' THEN t_xmin::text ELSE '0' END
  || '|' || CASE deleted WHEN 'in progress' THEN deleter::text ELSE '0' END
FROM ends WHERE inserted <> 'aborted' AND deleted IS DISTINCT FROM 'committed'
ORDER BY id;
)SQL";

const char* const kVisible = R"SQL(
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT (ctid::text::point)[0]::bigint * 65536 + (ctid::text::point)[1]::bigint FROM t ORDER BY 1;
)SQL";

struct Scan {
  std::string versions;  ///< as kOracle prints them
  std::string visible;   ///< as kVisible does
  size_t total = 0;
  size_t inserters = 0;
  size_t deleters = 0;
};

Scan scan(const TestCluster& cluster, const RelFork& file) {
  DataDirectory source(cluster.data());
  TransactionStatus transactions(source, Lsn(1));
  Scan out;
  uint64_t last = 0;
  Status done = scan_heap(
      source, file, Lsn(1), transactions,
      [&](const ScannedTuple& found) -> Status {
        EXPECT_GT(found.id.value, last);
        last = found.id.value;
        ++out.total;
        out.versions += fmt::format("{}|{}|{}\n", found.id.value, found.inserter, found.deleter);
        if (found.inserter == 0) out.visible += fmt::format("{}\n", found.id.value);
        out.inserters += found.inserter != 0 ? 1 : 0;
        out.deleters += found.deleter != 0 ? 1 : 0;
        return {};
      },
      [&](const ScannedTuple&) -> Status {
        ++out.total;
        return {};
      });
  EXPECT_TRUE(done.ok()) << done.to_string();
  return out;
}

class HeapScanTest : public testing::Test {
 protected:
  std::string ask(const std::string& sql) {
    std::string out;
    EXPECT_TRUE(cluster_.sql(sql, &out));
    return out;
  }
  Scan check(const char* when) {
    SCOPED_TRACE(when);
    EXPECT_TRUE(cluster_.sql("CHECKPOINT"));
    Scan found = scan(cluster_, file_);
    EXPECT_EQ(found.versions, ask(kOracle));
    EXPECT_EQ(found.visible, ask(kVisible));
    EXPECT_EQ(std::to_string(found.total) + "\n",
              ask("SELECT count(*) FROM generate_series(0, pg_relation_size('t') / 8192 - 1) b, "
                  "LATERAL heap_page_items(get_raw_page('t', b::int)) WHERE lp_flags = 1"));
    return found;
  }

  TestCluster cluster_;
  RelFork file_;
  std::string unused_;
};

TEST_F(HeapScanTest, SeesWhatPostgresSees) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL is not installed";
  ASSERT_TRUE(cluster_.init("max_prepared_transactions=10\n"));
  ASSERT_TRUE(cluster_.start());
  ASSERT_TRUE(cluster_.sql(kStates));
  file_ = file_of(cluster_, "t");
  Scan fresh = check("no hint bits");
  EXPECT_GT(fresh.inserters, 100U);
  EXPECT_GT(fresh.deleters, 100U);
  check("with the hint bits that the check itself has set");

  // A transaction that a crash ends is in progress for ever; nobody else takes it for that.
  std::thread open([&] {
    pgformat::run_as_postgres("psql -XqAt -U postgres -h " + cluster_.root() +
                                  " -c \"BEGIN; INSERT INTO t SELECT i, 'crash' FROM "
                                  "generate_series(6000, 6020) i; DELETE FROM t WHERE id % 50 = 40;"
                                  " SELECT pg_sleep(600)\" postgres",
                              &unused_);
  });
  for (int i = 0; i < 300; ++i) {
    if (ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1\n") break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(cluster_.sql("CHECKPOINT"));
  ASSERT_TRUE(cluster_.crash());
  open.join();
  ASSERT_TRUE(cluster_.start());
  ASSERT_TRUE(cluster_.sql("CHECKPOINT"));
  Scan crashed = scan(cluster_, file_);
  EXPECT_EQ(crashed.visible, ask(kVisible));
  EXPECT_EQ(crashed.inserters, fresh.inserters + 21);
  EXPECT_GT(crashed.deleters, fresh.deleters);

  ASSERT_TRUE(cluster_.sql(
      "COMMIT PREPARED 'commits'; ROLLBACK PREPARED 'aborts'; COMMIT PREPARED 'updates';"
      "COMMIT PREPARED 'locks'; VACUUM (FREEZE) t;"));
  Scan settled = check("all ended");
  EXPECT_EQ(settled.inserters, 0U);
  EXPECT_EQ(settled.deleters, 0U);
}

TEST_F(HeapScanTest, DamagedPagesAreErrors) {
  class Damaged : public DataDirectory {
   public:
    Damaged() : DataDirectory("nowhere") {}
    Result<std::string> pages(const RelFork&, uint32_t, uint32_t, Lsn) override { return page; }
    Result<std::optional<uint32_t>> rel_size(const RelFork&, Lsn) override {
      return std::optional<uint32_t>(1);
    }
    std::string page = std::string(kPageSize, '\0');
  } source;
  TransactionStatus transactions(source, Lsn(1));
  auto scan = [&] {
    return scan_heap(source, {1663, 5, 16384, Fork::kMain}, Lsn(1), transactions,
                     [](const ScannedTuple&) { return Status(); });
  };
  EXPECT_TRUE(scan().ok());  // a new page
  source.page.assign(kPageSize, 'x');
  EXPECT_EQ(scan().code(), Code::kCorrupt);
  source.page.assign(kPageSize, '\0');
  auto put = [&](size_t at, auto value) {
    std::memcpy(source.page.data() + at, &value, sizeof value);
  };
  put(12, uint16_t{28});    // pd_lower: one line pointer
  put(14, uint16_t{8100});  // pd_upper
  put(16, uint16_t{8192});  // pd_special
  put(18, uint16_t{8196});  // size and version
  put(24, uint32_t{8100 | 1 << 15 | 92 << 17});
  put(8100 + 22, uint8_t{24});
  EXPECT_TRUE(scan().ok()) << scan().to_string();
  put(8100 + 22, uint8_t{200});  // a header longer than the tuple
  EXPECT_EQ(scan().code(), Code::kCorrupt);
  put(24, uint32_t{8100 | 1 << 15 | 93 << 17});  // over the page's end
  EXPECT_EQ(scan().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace tide::mirror
