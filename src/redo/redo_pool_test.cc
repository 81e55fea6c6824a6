#include "redo/redo_pool.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "env/file.h"
#include "env/process.h"
#include "pgformat/control_file.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_reader.h"
#include "pgformat/wal_record.h"

namespace tide::redo {
namespace {

using pgformat::WalRecord;
using testing::HasSubstr;

const std::string kBin = TIDE_TEST_PG_BIN;

struct OwnedRecord {
  Lsn end;
  Bytes bytes;
};

/// WAL of a small cluster whose user tables have their whole history in it, and the cluster's
/// files. PostgreSQL does not run as root: if we are, we become postgres, for good.
class RedoPoolTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() == 0) {
      EXPECT_EQ(RedoPool::open(options()).status().code(), Code::kDenied);
      const passwd* user = getpwnam("postgres");
      ASSERT_NE(user, nullptr);
      ASSERT_EQ(setgroups(0, nullptr), 0);
      ASSERT_EQ(setresgid(user->pw_gid, user->pw_gid, user->pw_gid), 0);
      ASSERT_EQ(setresuid(user->pw_uid, user->pw_uid, user->pw_uid), 0);
    }
    char pattern[] = "/tmp/tide-redo-test-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    root_ = pattern;
    std::string data = root_ + "/data";
    auto made =
        env::run({.program = kBin + "/initdb",
                  .arguments = {"-D", data, "-N", "-A", "trust", "-U", "postgres", "--no-locale"},
                  .directory = root_},
                 std::chrono::minutes(1));
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    // A single-user session writes WAL as a server does, and needs no port.
    const std::string script =
        "CREATE TABLE t (id int, body text);\n"
        "CREATE INDEX t_id ON t (id);\n"
        "INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 5000) i;\n"
        "DELETE FROM t WHERE id % 3 = 0;\n"
        "CREATE TABLE hot (n int);\n"
        "INSERT INTO hot VALUES (0);\n"
        "DO $$ BEGIN FOR i IN 1..18000 LOOP UPDATE hot SET n = n + 1; COMMIT; END LOOP; END $$;\n"
        "COPY (SELECT relname || ' ' || pg_relation_filepath(oid) FROM pg_class WHERE relname IN "
        "('t', 't_id', 'hot')) TO '" +
        root_ + "/paths';\n";
    ASSERT_TRUE(env::write_file(root_ + "/script.sql", script).ok());
    auto ran = env::run(
        {.program = "/bin/sh",
         .arguments = {"-c", fmt::format(
                                 "{}/postgres --single -D {} -c full_page_writes=off -c fsync=off "
                                 "-c autovacuum=off -c max_wal_size=4GB postgres < {}/script.sql",
                                 kBin, data, root_)},
         .directory = root_},
        std::chrono::minutes(2));
    ASSERT_TRUE(ran.ok()) << ran.status().to_string();
    read_paths();
    read_wal(data);
  }

  static void TearDownTestSuite() { env::remove_tree(root_).ignore("scratch"); }

  static void read_paths() {
    std::string text = env::read_file(root_ + "/paths").value();
    size_t at = 0;
    while (at < text.size()) {
      size_t end = text.find('\n', at);
      std::string line = text.substr(at, end - at);
      at = end + 1;
      size_t space = line.find(' ');
      std::string path = line.substr(space + 1);
      paths_[line.substr(0, space)] = path;
      unsigned db = 0;
      unsigned rel = 0;
      ASSERT_EQ(sscanf(path.c_str(), "base/%u/%u", &db, &rel), 2);
      rels_[line.substr(0, space)] = {1663, db, rel, Fork::kMain};
    }
    ASSERT_EQ(rels_.size(), 3U);
  }

  static void read_wal(const std::string& data) {
    auto control =
        pgformat::parse_control_file(as_bytes(env::read_file(data + "/global/pg_control").value()));
    ASSERT_TRUE(control.ok());
    // All WAL since initdb is in the first segments.
    pgformat::WalReader reader(
        {.start = Lsn(kWalSegmentSize), .prev_check = pgformat::WalReader::PrevCheck::kOrdered});
    WalRecord record;
    std::vector<std::string> names = env::list_directory(data + "/pg_wal").value();
    for (const std::string& name : names) {
      if (name.size() != 24) continue;
      std::string segment = env::read_file(data + "/pg_wal/" + name).value();
      reader.feed(as_bytes(segment));
      for (;;) {
        auto next = reader.next();
        if (!next.ok() || reader.ended() || !next->has_value()) break;
        ASSERT_TRUE(record.parse(**next).ok());
        records_.push_back({record.end(), Bytes(record.bytes().begin(), record.bytes().end())});
        for (const auto& block : record.blocks()) chains_[block.tag].push_back(records_.size() - 1);
        if (record.is(pgformat::Rmgr::kXact)) commit_ = records_.size() - 1;
      }
    }
    ASSERT_GT(records_.size(), 10000U);
  }

  static Options options() {
    return {.directory = root_ + "/redo",
            .postgres = kBin + "/postgres",
            .library = TIDE_TEST_LIBRARY,
            .template_directory = root_ + "/data",
            .instance = "redo-test",
            .helpers = 1};
  }

  static std::unique_ptr<RedoPool> open(Options with) {
    auto pool = RedoPool::open(std::move(with));
    EXPECT_TRUE(pool.ok()) << pool.status().to_string();
    return std::move(pool).value();
  }

  static std::vector<Record> chain(const PageTag& tag) {
    std::vector<Record> chain;
    for (size_t index : chains_.at(tag))
      chain.push_back({records_[index].end, records_[index].bytes});
    return chain;
  }

  static Bytes file_page(const std::string& name, uint32_t block) {
    std::string content = env::read_file(root_ + "/data/" + paths_[name]).value();
    BytesView page = as_bytes(content).subspan(block * kPageSize, kPageSize);
    return {page.begin(), page.end()};
  }

  /// Of heap and btree pages without hint bits: LSN, line pointers, tuples' user data sizes.
  static void expect_same_page(const Bytes& ours, const Bytes& theirs) {
    EXPECT_EQ(load<uint64_t>(ours.data()), load<uint64_t>(theirs.data()));
    uint16_t lower = load<uint16_t>(theirs.data() + 12);
    ASSERT_EQ(load<uint16_t>(ours.data() + 12), lower);
    EXPECT_EQ(std::memcmp(ours.data() + 24, theirs.data() + 24, lower - 24), 0);
  }

  static std::vector<pid_t> helper_pids() {
    std::vector<pid_t> pids;
    for (pid_t pid : env::all_processes()) {
      for (const std::string& word : env::process_arguments(pid)) {
        if (word.find(root_ + "/redo") != std::string::npos) {
          pids.push_back(pid);
          break;
        }
      }
    }
    return pids;
  }

  /// A record's raw bytes with its CRC, which redo does not check, left as it was.
  static Bytes altered(size_t index, size_t at, uint8_t value) {
    Bytes bytes = records_[index].bytes;
    bytes.at(at) = std::byte{value};
    return bytes;
  }

  /// The first plain heap insert of the table, and the page before it.
  struct Insert {
    PageTag tag;
    size_t position;  ///< in the page's chain
    size_t index;     ///< in records_
  };
  static Insert an_insert() {
    PageTag tag{rels_["t"], 3};
    const auto& indexes = chains_.at(tag);
    return {tag, 5, indexes[5]};
  }

  static inline std::string root_;
  static inline std::map<std::string, std::string> paths_;
  static inline std::map<std::string, RelFork> rels_;
  static inline std::vector<OwnedRecord> records_;
  static inline std::map<PageTag, std::vector<size_t>> chains_;
  static inline size_t commit_ = 0;
};

TEST_F(RedoPoolTest, MakesEveryPageFromNothing) {
  auto pool = open([] {
    Options o = options();
    o.helpers = 2;
    return o;
  }());
  std::vector<std::vector<Record>> chains;
  std::vector<PageRequest> requests;
  std::vector<std::string> names;
  Bytes out(2000 * kPageSize);
  chains.reserve(2000);
  for (const auto& [name, rel] : rels_) {
    for (const auto& [tag, indexes] : chains_) {
      if (tag.rel != rel) continue;
      chains.push_back(chain(tag));
      requests.push_back(
          {.tag = tag, .records = chains.back(), .out = out.data() + requests.size() * kPageSize});
      names.push_back(name);
    }
  }
  ASSERT_GT(requests.size(), 50U);
  Status status = pool->apply(requests);
  ASSERT_TRUE(status.ok()) << status.to_string();
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(requests[i].status.ok()) << requests[i].status.to_string();
    SCOPED_TRACE(fmt::format("{}", requests[i].tag));
    expect_same_page(Bytes(requests[i].out, requests[i].out + kPageSize),
                     file_page(names[i], requests[i].tag.block));
  }
  EXPECT_EQ(pool->stats().helper_deaths, 0U);
}

TEST_F(RedoPoolTest, ChainsAreCutAnywhereAndMayExceedTheRing) {
  Options small = options();
  small.ring_bytes = 1 << 20;
  auto pool = open(small);
  PageTag tag{rels_["hot"], 0};
  std::vector<Record> all = chain(tag);
  size_t bytes = 0;
  for (const Record& record : all) bytes += record.bytes.size();
  Bytes whole(kPageSize);
  PageRequest request{.tag = tag, .records = all, .out = whole.data()};
  ASSERT_TRUE(pool->apply({&request, 1}).ok());
  ASSERT_TRUE(request.status.ok()) << request.status.to_string();

  Bytes stepwise(kPageSize);
  size_t half = all.size() / 2;
  PageRequest first{.tag = tag, .records = std::span(all).first(half), .out = stepwise.data()};
  ASSERT_TRUE(pool->apply({&first, 1}).ok() && first.status.ok()) << first.status.to_string();
  PageRequest second{.tag = tag,
                     .base = stepwise.data(),
                     .records = std::span(all).subspan(half),
                     .out = stepwise.data()};
  ASSERT_TRUE(pool->apply({&second, 1}).ok() && second.status.ok()) << second.status.to_string();
  EXPECT_EQ(whole, stepwise);
  expect_same_page(whole, file_page("hot", 0));
  EXPECT_GT(bytes, small.ring_bytes) << "the workload has become too small for this test";
}

TEST_F(RedoPoolTest, RefusesWhatDoesNotBelongAndKeepsTheRest) {
  auto pool = open(options());
  PageTag tag{rels_["t"], 0};
  PageTag other{rels_["t"], 1};
  std::vector<Record> good = chain(tag);
  std::vector<Record> foreign = chain(other);
  std::vector<Record> headless(good.begin() + 1, good.end());
  std::vector<Record> commit = {{records_[commit_].end, records_[commit_].bytes}};
  Bytes garbage_bytes(100, std::byte{0x5A});
  std::vector<Record> garbage = {{Lsn(1000), garbage_bytes}};
  Bytes huge_bytes(17 << 20);
  std::vector<Record> huge = {{Lsn(1000), huge_bytes}};
  Bytes outs(7 * kPageSize);
  auto out = [&](size_t i) { return outs.data() + i * kPageSize; };
  std::vector<PageRequest> requests = {{.tag = tag, .records = foreign, .out = out(0)},
                                       {.tag = tag, .records = headless, .out = out(1)},
                                       {.tag = tag, .records = commit, .out = out(2)},
                                       {.tag = tag, .records = garbage, .out = out(3)},
                                       {.tag = tag, .records = {}, .out = out(4)},
                                       {.tag = tag, .records = good, .out = out(5)},
                                       {.tag = tag, .records = huge, .out = out(6)}};
  ASSERT_TRUE(pool->apply(requests).ok());
  EXPECT_THAT(requests[0].status.message(), HasSubstr("does not touch this block"));
  EXPECT_THAT(requests[1].status.message(), HasSubstr("not initialised"));
  EXPECT_THAT(requests[2].status.message(), HasSubstr("cannot be redone on a page"));
  EXPECT_THAT(requests[3].status.message(), HasSubstr("bytes long but says"));
  EXPECT_THAT(requests[4].status.message(), HasSubstr("without records"));
  EXPECT_TRUE(requests[5].status.ok()) << requests[5].status.to_string();
  EXPECT_THAT(requests[6].status.message(), HasSubstr("too large"));
  for (size_t i : {0, 1, 2, 3, 4, 6}) EXPECT_EQ(requests[i].status.code(), Code::kInvalid) << i;

  // An earlier record once more on the page that has it.
  Bytes page(out(5), out(5) + kPageSize);
  std::vector<Record> earlier(good.end() - 2, good.end() - 1);
  PageRequest again{.tag = tag, .base = page.data(), .records = earlier, .out = page.data()};
  ASSERT_TRUE(pool->apply({&again, 1}).ok());
  EXPECT_EQ(again.status.code(), Code::kCorrupt);
  EXPECT_THAT(again.status.message(), HasSubstr("did not apply"));
  EXPECT_EQ(pool->stats().helper_deaths, 0U);
}

TEST_F(RedoPoolTest, ARecordThatCrashesRedoFailsItsPageOnly) {
  auto pool = open(options());
  Insert insert = an_insert();
  // Offset 0x7FFF in the main data of a heap insert: "invalid max offset number", a PANIC.
  WalRecord parsed;
  const OwnedRecord& original = records_[insert.index];
  ASSERT_TRUE(
      parsed.parse({.start = original.end, .end = original.end, .bytes = original.bytes}).ok());
  ASSERT_TRUE(parsed.is(pgformat::Rmgr::kHeap));
  size_t main_at = parsed.main_data().data() - original.bytes.data();
  Bytes bad = altered(insert.index, main_at + 1, 0x7F);

  std::vector<Record> poisoned = chain(insert.tag);
  poisoned.resize(insert.position + 1);
  poisoned.back().bytes = bad;
  std::vector<std::vector<Record>> chains;
  std::vector<PageRequest> requests;
  Bytes outs(20 * kPageSize);
  for (uint32_t block = 10; block < 20; ++block) chains.push_back(chain({rels_["t"], block}));
  for (uint32_t i = 0; i < 10; ++i) {
    requests.push_back(
        {.tag = {rels_["t"], 10 + i}, .records = chains[i], .out = outs.data() + i * kPageSize});
    if (i == 4)
      requests.push_back(
          {.tag = insert.tag, .records = poisoned, .out = outs.data() + 15 * kPageSize});
  }
  ASSERT_TRUE(pool->apply(requests).ok());
  for (size_t i = 0; i < requests.size(); ++i) {
    if (i == 5) continue;
    EXPECT_TRUE(requests[i].status.ok()) << requests[i].status.to_string();
  }
  EXPECT_EQ(requests[5].status.code(), Code::kCorrupt);
  EXPECT_THAT(requests[5].status.message(), HasSubstr("signal 6"));
  EXPECT_THAT(requests[5].status.detail(), HasSubstr("PANIC"));
  EXPECT_EQ(pool->stats().helper_deaths, 2U);
}

TEST_F(RedoPoolTest, AnErrorOfRedoIsReportedAndLeavesNoState) {
  auto pool = open(options());
  // Custom resource manager ids are refused; an unknown operation of a known one is an ERROR or
  // PANIC by manager: XLOG_FPI without an image is an ERROR.
  Insert insert = an_insert();
  Bytes bad = altered(insert.index, 17, 0);  // xl_rmid: XLOG
  bad[16] = std::byte{0xB0};                 // xl_info: FPI
  std::vector<Record> poisoned = chain(insert.tag);
  poisoned.resize(insert.position + 1);
  poisoned.back().bytes = bad;
  std::vector<Record> good = chain(insert.tag);
  Bytes outs(2 * kPageSize);
  PageRequest requests[] = {{.tag = insert.tag, .records = poisoned, .out = outs.data()},
                            {.tag = insert.tag, .records = good, .out = outs.data() + kPageSize}};
  ASSERT_TRUE(pool->apply(requests).ok());
  EXPECT_EQ(requests[0].status.code(), Code::kCorrupt);
  EXPECT_THAT(requests[0].status.message(), HasSubstr("redo of the WAL record that ends at"));
  EXPECT_TRUE(requests[1].status.ok()) << requests[1].status.to_string();
  EXPECT_EQ(pool->stats().helper_deaths, 1U);
}

TEST_F(RedoPoolTest, HelpersAreReplacedWhenKilledOrStuck) {
  Options impatient = options();
  impatient.batch_timeout = std::chrono::milliseconds(700);
  auto pool = open(impatient);
  PageTag tag{rels_["t"], 2};
  std::vector<Record> records = chain(tag);
  Bytes out(kPageSize);
  PageRequest request{.tag = tag, .records = records, .out = out.data()};
  ASSERT_TRUE(pool->apply({&request, 1}).ok() && request.status.ok());

  std::vector<pid_t> pids = helper_pids();
  ASSERT_EQ(pids.size(), 1U);
  EXPECT_THAT(env::read_file(fmt::format("/proc/{}/status", pids[0])).value(),
              HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(env::list_directory(fmt::format("/proc/{}/fd", pids[0])).value(),
              testing::ElementsAre("2"));
  ASSERT_EQ(kill(pids[0], SIGKILL), 0);
  ASSERT_TRUE(pool->apply({&request, 1}).ok());
  EXPECT_TRUE(request.status.ok()) << request.status.to_string();

  pids = helper_pids();
  ASSERT_EQ(pids.size(), 1U);
  ASSERT_EQ(kill(pids[0], SIGSTOP), 0);
  ASSERT_TRUE(pool->apply({&request, 1}).ok());
  EXPECT_TRUE(request.status.ok()) << request.status.to_string();
  EXPECT_EQ(pool->stats().helper_deaths, 2U);
}

TEST_F(RedoPoolTest, ManyThreadsShareThePool) {
  Options two = options();
  two.helpers = 2;
  auto pool = open(two);
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      Bytes out(kPageSize);
      for (int i = 0; i < 200; ++i) {
        PageTag tag{rels_["t"], static_cast<uint32_t>((i + t) % 30)};
        std::vector<Record> records = chain(tag);
        PageRequest request{.tag = tag, .records = records, .out = out.data()};
        if (!pool->apply({&request, 1}).ok() || !request.status.ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(pool->stats().pages, 1200U);
}

TEST_F(RedoPoolTest, HelpersEndWithTheProcessOfThePool) {
  pid_t child = fork();
  if (child == 0) {
    auto pool = RedoPool::open(options());
    if (!pool.ok()) _exit(1);
    PageTag tag{rels_["t"], 2};
    std::vector<Record> records = chain(tag);
    Bytes out(kPageSize);
    PageRequest request{.tag = tag, .records = records, .out = out.data()};
    (*pool)->apply({&request, 1}).ignore("checked by the parent: a helper must exist");
    if (helper_pids().size() != 1) _exit(2);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  for (int i = 0; i < 300 && !helper_pids().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(helper_pids().empty());
}

TEST_F(RedoPoolTest, SaysWhyHelpersDoNotStart) {
  Options broken = options();
  broken.library = root_ + "/no-library.so";
  EXPECT_EQ(RedoPool::open(broken).status().code(), Code::kNotFound);
  ASSERT_TRUE(env::write_file(broken.library, "not a library").ok());
  auto pool = open(broken);
  PageTag tag{rels_["t"], 2};
  std::vector<Record> records = chain(tag);
  Bytes out(kPageSize);
  PageRequest request{.tag = tag, .records = records, .out = out.data()};
  Status status = pool->apply({&request, 1});
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.detail(), HasSubstr("no-library.so"));
  EXPECT_EQ(request.status.code(), Code::kUnavailable);
}

}  // namespace
}  // namespace tide::redo
