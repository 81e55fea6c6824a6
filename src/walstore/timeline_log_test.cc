#include "walstore/timeline_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>

#include "walstore/flush_watch.h"
#include "walstore/internal/test_wal.h"

namespace tide::walstore {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr Lsn kStart(5 * kWalSegmentSize);
constexpr TimelineId kId{3};

class TimelineLogTest : public testing::Test {
 protected:
  void SetUp() override { reopen(); }

  void reopen() {
    log_.reset();
    auto log = TimelineLog::open(path(), kId);
    ASSERT_OK(log);
    log_ = std::move(log).value();
  }
  std::string path() const { return scratch_ / "wal/t3"; }

  /// Opens an epoch and gives what its compute writes behind the synthetic checkpoint record.
  TestWal begin(uint64_t epoch, Lsn start = kStart, Lsn prev = Lsn(),
                Durability form = Durability::kLocal) {
    pgformat::StartRecord record;
    record.at = start;
    record.prev = prev;
    record.system_id = 77;
    Lsn first_end = pgformat::checkpoint_record_end(start);
    auto pieces = pgformat::lay_start_record(record, {});
    EXPECT_OK(pieces);
    EXPECT_OK(log_->promise(Epoch{epoch}));
    EXPECT_OK(log_->begin_epoch(Epoch{epoch}, form, start, prev, first_end, *pieces));
    return TestWal(first_end, record_start(start));
  }

  void publish(uint64_t epoch, Lsn flushed) {
    std::string feed = log_->epoch_directory(Epoch{epoch}) + "/feed";
    auto file = env::open_file(feed, O_RDWR);
    ASSERT_OK(file);
    uint64_t value = flushed.value();
    ASSERT_OK(env::write_at(file->get(), offsetof(TideFeed, flush_lsn),
                            {reinterpret_cast<const std::byte*>(&value), sizeof value}));
  }

  std::string read_all(Lsn from, Lsn to) {
    std::string all;
    std::string piece(1000003, '\0');
    while (from < to) {
      auto size = log_->read(from, to, {reinterpret_cast<std::byte*>(piece.data()), piece.size()});
      EXPECT_OK(size);
      if (!size.ok() || *size == 0) break;
      all.append(piece, 0, *size);
      from = from + *size;
    }
    return all;
  }

  TestDirectory scratch_;
  std::unique_ptr<TimelineLog> log_;
};

TEST_F(TimelineLogTest, AnEpochThatBeginsLateInASegmentHasTheNextOne) {
  auto spares = SpareSegments::open(scratch_ / "spare", 1);
  ASSERT_OK(spares);
  for (int i = 0; i < 6000 && (*spares)->ready() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  auto log = TimelineLog::open(path(), kId, spares->get());
  ASSERT_OK(log);
  log_ = std::move(log).value();
  auto next_of = [&](uint64_t epoch) {
    return log_->epoch_directory(Epoch{epoch}) + "/" + pgformat::segment_file_name(6);
  };
  begin(1, kStart + 4096 * 8);
  EXPECT_FALSE(env::exists(next_of(1)));
  ASSERT_OK(log_->close_epoch(kStart + 4096 * 8));
  Lsn late = kStart + kWalSegmentSize / 8 * 7;
  begin(2, late, late - 8);
  EXPECT_EQ(env::file_size(next_of(2)).value(), kWalSegmentSize);
  EXPECT_EQ((*spares)->ready(), 0);
  // It is no WAL: the end is found before it.
  auto end = log_->close_epoch(late);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, pgformat::checkpoint_record_end(late));
  log_.reset();
}

TEST_F(TimelineLogTest, PromiseIsDurableAndOnlyRises) {
  ASSERT_OK(log_->promise(Epoch{4}));
  ASSERT_OK(log_->promise(Epoch{4}));
  EXPECT_EQ(log_->promise(Epoch{3}).code(), Code::kStaleEpoch);
  reopen();
  EXPECT_EQ(log_->promised(), Epoch{4});
  EXPECT_EQ(log_->promise(Epoch{3}).code(), Code::kStaleEpoch);
}

TEST_F(TimelineLogTest, APromiseThatCouldNotBeWrittenIsNotMade) {
  begin(1);
  ASSERT_OK(
      env::make_directories(path() + "/history.json.new"));  // writing fails as on a full disk
  EXPECT_FALSE(log_->promise(Epoch{2}).ok());
  EXPECT_EQ(log_->promised(), Epoch{1});
  EXPECT_FALSE(log_->promise(Epoch{2}).ok()) << "repeating it must not make it true";
  ASSERT_OK(env::remove_tree(path() + "/history.json.new"));
  ASSERT_OK(log_->promise(Epoch{2}));
  reopen();
  EXPECT_EQ(log_->promised(), Epoch{2});
}

TEST_F(TimelineLogTest, AnEndThatCouldNotBeWrittenIsNoEnd) {
  TestWal wal = begin(1);
  wal.noop();
  wal.write_to(log_->epoch_directory(Epoch{1}));
  ASSERT_OK(env::make_directories(path() + "/history.json.new"));
  EXPECT_FALSE(log_->close_epoch(kStart).ok());
  EXPECT_TRUE(log_->has_open_epoch());
  EXPECT_FALSE(log_->close_epoch(kStart).ok());
  ASSERT_OK(env::remove_tree(path() + "/history.json.new"));
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, wal.at());
  reopen();
  EXPECT_FALSE(log_->has_open_epoch());
}

TEST_F(TimelineLogTest, ReadsWhatIsDurableOnly) {
  TestWal wal = begin(1);
  EXPECT_EQ(log_->flushed(), pgformat::checkpoint_record_end(kStart));
  Lsn first = wal.noop(100);
  wal.noop(100);
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, first);
  EXPECT_EQ(log_->flushed(), first);
  EXPECT_EQ(read_all(pgformat::checkpoint_record_end(kStart), log_->flushed()),
            wal.bytes().substr(0, first - pgformat::checkpoint_record_end(kStart)));
  EXPECT_TRUE(log_->has_open_epoch());
}

TEST_F(TimelineLogTest, CloseAdoptsWholeRecordsBeyondTheFeedAndLeavesTornOnes) {
  TestWal wal = begin(1);
  Lsn published = wal.noop(3000);
  Lsn whole = wal.noop(20000);
  Lsn whole_start = wal.prev();
  wal.noop(30000);  // torn: written up to a page boundary inside
  Lsn torn((whole.value() / kWalPageSize + 2) * kWalPageSize);
  wal.write_to(log_->epoch_directory(Epoch{1}), pgformat::checkpoint_record_end(kStart), torn);
  publish(1, published);
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, whole);
  EXPECT_EQ(end->prev, whole_start);
  EXPECT_FALSE(end->clean);
  EXPECT_EQ(log_->flushed(), whole);
  reopen();
  EXPECT_EQ(log_->flushed(), whole);
  auto again = log_->close_epoch(kStart);
  ASSERT_OK(again);
  EXPECT_EQ(again->end, whole);
  EXPECT_EQ(again->prev, whole_start);
}

TEST_F(TimelineLogTest, DurableWalMayEndInsideARecord) {
  TestWal wal = begin(1);
  Lsn whole = wal.noop(50);
  wal.noop(30000);
  Lsn torn((whole.value() / kWalPageSize + 2) * kWalPageSize);
  wal.write_to(log_->epoch_directory(Epoch{1}), pgformat::checkpoint_record_end(kStart), torn);
  publish(1, torn);
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, whole);
}

TEST_F(TimelineLogTest, DamageBelowWhatWasDurableIsNoEnd) {
  TestWal wal = begin(1);
  Lsn good = wal.noop(500);
  wal.noop(500);
  Lsn last = wal.noop(500);
  std::string directory = log_->epoch_directory(Epoch{1});
  wal.write_to(directory);
  publish(1, last);
  std::string segment = directory + "/" + pgformat::segment_file_name(5);
  {
    auto file = env::open_file(segment, O_RDWR);
    ASSERT_OK(env::write_at(file->get(), good - kStart + 100, as_bytes("rot")));
  }
  auto end = log_->close_epoch(kStart);
  ASSERT_FALSE(end.ok()) << "acknowledged commits must not vanish silently";
  EXPECT_EQ(end.status().code(), Code::kCorrupt);
  EXPECT_THAT(end.status().to_string(), HasSubstr(good.to_string()));
  EXPECT_TRUE(log_->has_open_epoch());
  fs::remove(segment);
  EXPECT_EQ(log_->close_epoch(kStart).status().code(), Code::kCorrupt) << "a missing segment, too";
}

TEST_F(TimelineLogTest, CleanEndIsKnownEvenIfIngestHasSeenItAll) {
  TestWal wal = begin(1);
  wal.noop(20000);
  Lsn end_lsn = wal.shutdown_checkpoint({});
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, end_lsn);
  auto end = log_->close_epoch(end_lsn);  // known boundary = the very end
  ASSERT_OK(end);
  EXPECT_EQ(end->end, end_lsn);
  EXPECT_EQ(end->prev, wal.prev());
  EXPECT_TRUE(end->clean);
  reopen();
  auto again = log_->close_epoch(end_lsn);
  ASSERT_OK(again);
  EXPECT_TRUE(again->clean);
  EXPECT_EQ(again->prev, wal.prev());
}

TEST_F(TimelineLogTest, TheRecordBeforeTheEndIsFoundAcrossSegments) {
  TestWal wal = begin(1);
  wal.noop(100);
  Lsn end_lsn = wal.noop(40 << 20);  // longer than two segments
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, end_lsn);
  auto end = log_->close_epoch(end_lsn);
  ASSERT_OK(end);
  EXPECT_EQ(end->prev, wal.prev());
}

TEST_F(TimelineLogTest, EndAfterAWalSwitchIsTheNextSegment) {
  TestWal wal = begin(1);
  wal.add(pgformat::Rmgr::kXlog, pgformat::xlog::kSwitch, {});
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, kStart + kWalSegmentSize);
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, kStart + kWalSegmentSize);
  TestWal next = begin(2, end->end, end->prev);
  next.noop();
  next.write_to(log_->epoch_directory(Epoch{2}));
  auto second = log_->close_epoch(end->end);
  ASSERT_OK(second);
  EXPECT_EQ(second->end, next.at());
}

TEST_F(TimelineLogTest, EpochsFollowEachOtherAndReadsCrossThem) {
  TestWal one = begin(1);
  one.noop(10000);
  one.write_to(log_->epoch_directory(Epoch{1}));
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  TestWal two = begin(5, end->end, end->prev);
  two.noop(10);
  two.write_to(log_->epoch_directory(Epoch{5}));
  publish(5, two.at());
  reopen();
  EXPECT_EQ(log_->flushed(), two.at());
  auto history = log_->history();
  ASSERT_EQ(history.entries.size(), 2U);
  EXPECT_EQ(history.entries[1].start, end->end);
  pgformat::WalReader reader({.start = kStart});
  std::string all = read_all(kStart, log_->flushed());
  ASSERT_EQ(all.size(), log_->flushed() - kStart);
  reader.feed(as_bytes(all));
  int records = 0;
  while (true) {
    auto record = reader.next();
    ASSERT_OK(record);  // both synthetic records link to the ones before
    if (!*record) break;
    ++records;
  }
  EXPECT_EQ(records, 4);
}

TEST_F(TimelineLogTest, AnEpochNumberIsNeverUsedTwice) {
  TestWal wal = begin(2);
  wal.noop();
  wal.write_to(log_->epoch_directory(Epoch{2}));
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(
      log_->begin_epoch(Epoch{2}, Durability::kLocal, end->end, end->prev, end->end, {}).code(),
      Code::kStaleEpoch);
  EXPECT_EQ(
      log_->begin_epoch(Epoch{1}, Durability::kLocal, end->end, end->prev, end->end, {}).code(),
      Code::kStaleEpoch);
  EXPECT_FALSE(read_all(kStart, end->end).empty()) << "its WAL is still there";
}

TEST_F(TimelineLogTest, ALivingComputeIsNotClosed) {
  begin(1);
  std::string lock_path = log_->epoch_directory(Epoch{1}) + "/lock";
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    auto lock = env::open_lock_file(lock_path);
    bool taken = lock.ok() && env::try_lock(lock->get(), env::LockKind::kShared).value();
    char answer = taken ? 'y' : 'n';
    (void)!write(ready[1], &answer, 1);
    pause();
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  auto end = log_->close_epoch(kStart);
  EXPECT_EQ(end.status().code(), Code::kConflict);
  EXPECT_THAT(end.status().detail(), HasSubstr(std::to_string(child)));
  EXPECT_TRUE(log_->has_open_epoch());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_OK(log_->close_epoch(kStart));
  close(ready[0]);
  close(ready[1]);
}

TEST_F(TimelineLogTest, WhoeverStartsTooLateIsFenced) {
  begin(1);
  auto late = FeedFile::open(log_->epoch_directory(Epoch{1}) + "/feed");
  ASSERT_OK(late);
  auto fenced = [&] {
    std::string text = env::read_file(log_->epoch_directory(Epoch{1}) + "/feed").value();
    return load<uint32_t>(text.data() + offsetof(TideFeed, fenced));
  };
  EXPECT_EQ(fenced(), 0U);
  ASSERT_OK(log_->close_epoch(kStart));
  EXPECT_EQ(fenced(), 1U);
}

TEST_F(TimelineLogTest, APromiseFencesTheOpenEpochAlsoAfterARestart) {
  begin(1);
  ASSERT_OK(log_->promise(Epoch{2}));
  std::string feed = log_->epoch_directory(Epoch{1}) + "/feed";
  EXPECT_EQ(load<uint32_t>(env::read_file(feed)->data() + offsetof(TideFeed, fenced)), 1U);
  auto file = env::open_file(feed, O_RDWR);
  ASSERT_OK(env::write_at(file->get(), offsetof(TideFeed, fenced),
                          as_bytes(std::string_view("\0\0\0\0", 4))));
  reopen();
  EXPECT_EQ(load<uint32_t>(env::read_file(feed)->data() + offsetof(TideFeed, fenced)), 1U);
}

TEST_F(TimelineLogTest, AFeedLostByAPowerFailureIsMadeAnew) {
  TestWal wal = begin(1);
  Lsn end_lsn = wal.noop(5000);
  wal.write_to(log_->epoch_directory(Epoch{1}));
  std::string feed = log_->epoch_directory(Epoch{1}) + "/feed";
  for (const std::string& content : {std::string(), std::string(TIDE_FEED_SIZE, '\0')}) {
    log_.reset();
    ASSERT_OK(env::write_file(feed, content));
    reopen();
    ASSERT_NE(log_, nullptr);
    EXPECT_EQ(log_->flushed(), kStart);
  }
  log_.reset();
  ASSERT_OK(env::remove_file(feed));
  reopen();
  ASSERT_NE(log_, nullptr);
  auto end = log_->close_epoch(end_lsn);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, end_lsn);
}

/// Every state that a kill can leave behind: the directory as it is after each step, opened again.
TEST_F(TimelineLogTest, AKillBetweenAnyTwoStepsLosesNothing) {
  TestWal wal = begin(1);
  Lsn end_lsn = wal.noop(5000);
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, end_lsn);
  auto copy = [&](const std::string& name) {
    fs::copy(path(), scratch_ / name, fs::copy_options::recursive);
    return scratch_ / name;
  };
  std::vector<std::string> states;
  states.push_back(copy("open"));
  ASSERT_OK(log_->promise(Epoch{2}));
  states.push_back(copy("promised"));
  ASSERT_OK(log_->close_epoch(kStart));
  states.push_back(copy("closed"));
  // A begin that did not reach the history leaves its directory behind, and perhaps a temporary
  // history.
  states.push_back(copy("half begun"));
  ASSERT_OK(env::make_directories(states.back() + "/e2/archive_status"));
  ASSERT_OK(env::write_file(states.back() + "/e2/" + pgformat::segment_file_name(5), "garbage"));
  ASSERT_OK(env::write_file(states.back() + "/history.json.new", "{\"form"));
  for (const std::string& state : states) {
    SCOPED_TRACE(state);
    auto log = TimelineLog::open(state, kId);
    ASSERT_OK(log);
    log_ = std::move(log).value();
    ASSERT_OK(log_->promise(Epoch{2}));
    auto end = log_->close_epoch(kStart);
    ASSERT_OK(end);
    EXPECT_EQ(end->end, end_lsn);
    EXPECT_EQ(end->prev, wal.prev());
    TestWal next = begin(2, end->end, end->prev);
    Lsn next_end = next.noop();
    next.write_to(log_->epoch_directory(Epoch{2}));
    auto second = log_->close_epoch(end->end);
    ASSERT_OK(second);
    EXPECT_EQ(second->end, next_end);
  }
}

TEST_F(TimelineLogTest, TrimKeepsWhatIsNeeded) {
  TestWal wal = begin(1);
  wal.noop(40 << 20);
  Lsn tail = wal.noop(100);
  wal.write_to(log_->epoch_directory(Epoch{1}));
  publish(1, tail);
  EXPECT_EQ(*log_->trim(kStart), 0);
  EXPECT_EQ(*log_->trim(kStart + kWalSegmentSize - 1), 0);
  EXPECT_EQ(*log_->trim(kStart + kWalSegmentSize), 1);
  EXPECT_EQ(*log_->trim(tail), 1);
  std::byte byte;
  EXPECT_EQ(log_->read(kStart + 100, tail, {&byte, 1}).status().code(), Code::kOutOfRange);
  EXPECT_EQ(*log_->read(tail - 1, tail, {&byte, 1}), 1U);
  auto end = log_->close_epoch(tail);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, tail);
  EXPECT_EQ(*log_->trim(tail), 0) << "the last epoch's directory stays";
  begin(2, end->end, end->prev);
  EXPECT_EQ(*log_->trim(tail - 8), 0);
  EXPECT_EQ(*log_->trim(tail), 1);
  EXPECT_FALSE(env::exists(log_->epoch_directory(Epoch{1})));
  EXPECT_TRUE(env::exists(log_->epoch_directory(Epoch{2}) + "/" +
                          pgformat::segment_file_name(pgformat::segment_number(tail))));
}

TEST_F(TimelineLogTest, AcceptedWalOnlyGrows) {
  TestWal wal = begin(1, kStart, Lsn(), Durability::kAcceptor);
  Lsn end_lsn = wal.noop(100);
  wal.write_to(log_->epoch_directory(Epoch{1}));
  log_->set_accepted(end_lsn);
  log_->set_accepted(kStart);
  EXPECT_EQ(log_->flushed(), end_lsn);
  EXPECT_EQ(log_->feed(), nullptr);
  auto end = log_->close_epoch(kStart);
  ASSERT_OK(end);
  EXPECT_EQ(end->end, end_lsn);
}

TEST(EpochHistoryTest, JsonKeepsEverything) {
  EpochHistory history;
  history.promised = Epoch{9};
  history.entries.push_back(
      {.epoch = Epoch{1}, .start = Lsn(100), .end = Lsn(200), .last_record = Lsn(160)});
  history.entries.push_back({.epoch = Epoch{4},
                             .start = Lsn(200),
                             .prev = Lsn(160),
                             .end = Lsn(200),
                             .clean = true,
                             .durability = Durability::kAcceptor});
  history.entries.push_back({.epoch = Epoch{7}, .start = Lsn(200), .prev = Lsn(160)});
  auto read = EpochHistory::from_json(history.to_json());
  ASSERT_OK(read);
  EXPECT_EQ(read->to_json(), history.to_json());
  EXPECT_EQ(read->promised, Epoch{9});
  ASSERT_EQ(read->entries.size(), 3U);
  EXPECT_EQ(read->entries[0].end, Lsn(200));
  EXPECT_EQ(read->entries[0].last_record, Lsn(160));
  EXPECT_TRUE(read->entries[1].clean);
  EXPECT_EQ(read->entries[1].durability, Durability::kAcceptor);
  EXPECT_FALSE(read->entries[2].end.has_value());

  EXPECT_EQ(history.writer_of(Lsn(99)), nullptr);
  EXPECT_EQ(history.writer_of(Lsn(199))->epoch, Epoch{1});
  EXPECT_EQ(history.writer_of(Lsn(200))->epoch, Epoch{7});
  history.entries.back().end = Lsn(300);
  EXPECT_EQ(history.writer_of(Lsn(300)), nullptr);
}

TEST(EpochHistoryTest, DamagedJsonIsRefusedNotFollowed) {
  auto entry = [](const std::string& members) {
    return R"({"format":1,"promised":5,"epochs":[)" + members + "]}";
  };
  const std::string good =
      R"({"epoch":1,"start":"0/64","prev":"0/0","durability":"local","end":"0/C8"})";
  ASSERT_OK(EpochHistory::from_json(entry(good)));
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("{"),
        std::string(R"({"format":"1","epochs":[]})"), std::string(R"({"format":2,"epochs":[]})"),
        std::string(R"({"format":1,"promised":-1,"epochs":3})"), entry("7"),
        entry(R"({"epoch":"x"})"), entry(good + "," + good),
        entry(good + R"(,{"epoch":2,"start":"0/D0","prev":"0/0","durability":"local"})"),
        entry(R"({"epoch":1,"start":"0/64","prev":"0/0","durability":"local"},)"
              R"({"epoch":2,"start":"0/64","prev":"0/0","durability":"local"})"),
        entry(R"({"epoch":1,"start":"0/64","prev":"0/0","durability":"local","end":"0/10"})"),
        entry(R"({"epoch":6,"start":"0/64","prev":"0/0","durability":"local"})"),
        entry(R"({"epoch":1,"start":"0/64","prev":"0/0","durability":"quorum"})")}) {
    EXPECT_FALSE(EpochHistory::from_json(bad).ok()) << bad;
  }
}

TEST(FeedFileTest, FieldsLieWhereTheContractSays) {
  TestDirectory scratch;
  auto feed = FeedFile::create(scratch / "feed", Epoch{12}, Lsn(0x1234));
  ASSERT_OK(feed);
  (*feed)->set_ingested(Lsn(1));
  (*feed)->set_durable(Lsn(2));
  (*feed)->set_throttle_us(3);
  auto view = load<TideFeed>(env::read_file(scratch / "feed")->data());
  EXPECT_EQ(view.magic, TIDE_FEED_MAGIC);
  EXPECT_EQ(view.epoch, 12U);
  EXPECT_EQ(view.flush_lsn, 0x1234U);
  EXPECT_EQ(view.ingested_lsn, 1U);
  EXPECT_EQ(view.durable_lsn, 2U);
  EXPECT_EQ(view.throttle_us, 3U);
  EXPECT_EQ(view.fenced, 0U);
  auto other = FeedFile::open(scratch / "feed");
  ASSERT_OK(other);
  (*other)->fence();
  EXPECT_EQ((*other)->flushed(), Lsn(0x1234));
  EXPECT_EQ(load<TideFeed>(env::read_file(scratch / "feed")->data()).fenced, 1U);

  ASSERT_OK(env::write_file(scratch / "bad", "x"));
  EXPECT_EQ(FeedFile::open(scratch / "bad").status().code(), Code::kCorrupt);
  ASSERT_OK(env::write_file(scratch / "bad", std::string(TIDE_FEED_SIZE, 'x')));
  EXPECT_EQ(FeedFile::open(scratch / "bad").status().code(), Code::kCorrupt);
  EXPECT_EQ(FeedFile::open(scratch / "none").status().code(), Code::kNotFound);
}

TEST_F(TimelineLogTest, WhatHappensAfterAWatchBeginsEndsItsWait) {
  // So often that looking by the clock would take longer than the test may.
  constexpr std::chrono::hours kLong{1};
  uint64_t epoch = 1;
  Lsn start = kStart;
  for (int round = 0; round < 40; ++round) {
    auto form = round % 2 == 0 ? Durability::kAcceptor : Durability::kLocal;
    FlushWatch begins(*log_);
    TestWal wal = begin(epoch, start, Lsn(), form);
    begins.wait(kLong);
    for (int i = 0; i < 10 && form == Durability::kAcceptor; ++i) {
      FlushWatch accepts(*log_);
      log_->set_accepted(wal.at());
      accepts.wait(kLong);
    }
    FlushWatch woken(*log_);
    log_->wake();
    woken.wait(kLong);
    FlushWatch promises(*log_);
    ASSERT_OK(log_->promise(Epoch{epoch + 1}));
    promises.wait(kLong);
    FlushWatch ends(*log_);
    auto end = log_->close_epoch(start);
    ASSERT_OK(end);
    ends.wait(kLong);
    start = end->end;
    epoch += 2;
  }
}

TEST_F(TimelineLogTest, WatchesAreCountedInTheFeed) {
  begin(1);
  auto waiters = [&] {
    auto file = env::open_file(log_->epoch_directory(Epoch{1}) + "/feed", O_RDONLY);
    return load<uint32_t>(
        env::read_range(file->get(), offsetof(TideFeed, waiters), sizeof(uint32_t))->data());
  };
  {
    FlushWatch one(*log_);
    FlushWatch two(*log_);
    EXPECT_EQ(waiters(), 2U);
  }
  EXPECT_EQ(waiters(), 0U);
  // Of a role that was killed while somebody waited.
  auto file = env::open_file(log_->epoch_directory(Epoch{1}) + "/feed", O_RDWR);
  ASSERT_OK(file);
  uint32_t one = 1;
  ASSERT_OK(env::write_at(file->get(), offsetof(TideFeed, waiters),
                          {reinterpret_cast<const std::byte*>(&one), sizeof one}));
  reopen();
  EXPECT_EQ(waiters(), 0U);
}

}  // namespace
}  // namespace tide::walstore
