#include "learner/wal_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "learner/internal/test_storage.h"
#include "pgformat/internal/test_cluster.h"
#include "walstore/flush_watch.h"

namespace tide::learner {
namespace {

using pagestore::kRootLsn;
using pagestore::kRootTimeline;
using Event = WalStream::Event;
using storage::TestCompute;

/// What a stream told, one line each: "t1 e1", or a record's end.
class StreamTest : public StorageTest {
 protected:
  /// Everything there is up to `end`.
  static std::vector<std::string> told(WalStream& stream, Lsn end) {
    std::vector<std::string> lines;
    while (stream.position() < end) {
      auto event = stream.next(20000);
      EXPECT_OK(event);
      if (!event.ok() || *event == Event::kNothing) break;
      if (*event == Event::kWriter) {
        lines.push_back(fmt::format("{} {} from {}", stream.writer().timeline,
                                    stream.writer().epoch, stream.writer().start));
      } else {
        lines.push_back(stream.record().end.to_string());
      }
    }
    return lines;
  }
  static std::string writer(uint32_t timeline, uint64_t epoch, Lsn start) {
    return fmt::format("t{} e{} from {}", timeline, epoch, start);
  }
};

TEST_F(StreamTest, RecordsComeInOrderAcrossSegmentsAndEpochs) {
  auto compute = begin(1);
  Lsn checkpoint = compute->wal().at();
  Lsn a = compute->put(0, 'a');
  Lsn big = compute->wal().noop(40 << 20);
  compute->flush();
  auto next = begin(3);
  Lsn checkpoint3 = next->wal().at();
  Lsn b = next->put(0, 'b');
  next->flush();

  auto source = learner();
  WalStream stream(*source, kRootLsn);
  EXPECT_THAT(told(stream, b),
              testing::ElementsAre(writer(1, 1, kRootLsn), checkpoint.to_string(), a.to_string(),
                                   big.to_string(), writer(1, 3, big), checkpoint3.to_string(),
                                   b.to_string()));
  EXPECT_EQ(stream.flushed(), b);
  EXPECT_EQ(*stream.next(0), Event::kNothing);
  // From the middle: the writer is told, though it does not begin here.
  WalStream middle(*source, a);
  EXPECT_THAT(told(middle, big), testing::ElementsAre(writer(1, 1, kRootLsn), big.to_string()));
}

TEST_F(StreamTest, ATornTailIsForgottenWhenTheNextEpochBegins) {
  auto compute = begin(1);
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  Lsn whole = compute->put(0, 'a');
  compute->wal().noop(60000);
  Lsn torn((whole.value() / kWalPageSize + 5) * kWalPageSize);
  compute->flush(torn);
  told(stream, whole);
  EXPECT_EQ(*stream.next(0), Event::kNothing) << "the bytes of the torn record are read by now";
  EXPECT_EQ(stream.flushed(), torn);

  // The next life stays below what was read of the torn record.
  auto next = begin(2);
  Lsn checkpoint = next->wal().at();
  Lsn b = next->put(0, 'b');
  next->flush();
  ASSERT_LT(b, torn);
  EXPECT_THAT(told(stream, b),
              testing::ElementsAre(writer(1, 2, whole), checkpoint.to_string(), b.to_string()));
  EXPECT_EQ(stream.flushed(), b);
  // The same for a stream that waits at that moment.
  next->wal().noop(60000);
  next->flush(b + 5 * kWalPageSize);
  std::vector<std::string> lines;
  auto patient = learner();
  WalStream waiting(*patient, b);
  std::thread reader([&] { lines = told(waiting, b + 1); });
  while (next->waiters() == 0) std::this_thread::yield();
  auto third = begin(3);
  Lsn checkpoint3 = third->wal().at();
  reader.join();
  EXPECT_THAT(lines,
              testing::ElementsAre(writer(1, 2, whole), writer(1, 3, b), checkpoint3.to_string()));
}

TEST_F(StreamTest, ARecordThatEndsItsSegmentEarly) {
  auto compute = begin(1);
  Lsn switched = compute->wal().add(pgformat::Rmgr::kXlog, pgformat::xlog::kSwitch, {});
  Lsn segment = pgformat::segment_start(pgformat::segment_number(switched) + 1);
  compute->flush();
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  told(stream, segment);
  EXPECT_EQ(stream.position(), segment) << "as PostgreSQL counts it, before the padding is there";
  // PostgreSQL fills the segment with zeros and goes on in the next one.
  auto end = service()->close_epoch(Epoch{1});
  ASSERT_OK(end);
  ASSERT_EQ(end->end, segment);
  auto next = begin(2);
  Lsn b = next->put(0, 'b');
  next->flush();
  EXPECT_THAT(told(stream, b), testing::Contains(writer(1, 2, segment)));
  EXPECT_EQ(stream.position(), b);
}

TEST_F(StreamTest, ABranchIsReadThroughItsAncestors) {
  auto compute = begin(1);
  Lsn a = compute->put(0, 'a');
  Lsn b = compute->put(0, 'b');
  compute->put(0, 'c');
  compute->flush();
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, b, std::nullopt));
  auto source = learner(2);
  WalStream stream(*source, kRootLsn);
  EXPECT_THAT(told(stream, b), testing::ElementsAre(writer(1, 1, kRootLsn), testing::_,
                                                    a.to_string(), b.to_string()));
  EXPECT_EQ(*stream.next(0), Event::kNothing) << "the parent's later WAL is none of the branch";

  auto own = begin(1, 2);
  Lsn checkpoint = own->wal().at();
  Lsn d = own->put(0, 'd');
  own->flush();
  EXPECT_THAT(told(stream, d),
              testing::ElementsAre(writer(2, 1, b), checkpoint.to_string(), d.to_string()));
  // And a branch of the branch, from before that began.
  ASSERT_OK(project_->create_timeline(TimelineId{3}, TimelineId{2}, d, std::nullopt));
  auto grandchild = learner(3);
  WalStream through(*grandchild, a);
  EXPECT_THAT(told(through, d), testing::ElementsAre(writer(1, 1, kRootLsn), b.to_string(),
                                                     writer(2, 1, b), testing::_, d.to_string()));
}

TEST_F(StreamTest, ABranchMayBeginInsideARecordOfItsParent) {
  auto compute = begin(1);
  Lsn a = compute->put(0, 'a');
  compute->wal().noop(60000);
  compute->put(0, 'b');
  compute->flush();
  Lsn inside = a + 20000;
  auto at = project_->create_timeline(TimelineId{2}, kRootTimeline, inside, std::nullopt);
  ASSERT_OK(at);
  ASSERT_GT(*at, a);
  auto own = begin(1, 2);
  Lsn d = own->put(0, 'd');
  own->flush();
  auto source = learner(2);
  WalStream stream(*source, a);
  EXPECT_THAT(told(stream, d), testing::ElementsAre(writer(1, 1, kRootLsn), writer(2, 1, *at),
                                                    testing::_, d.to_string()));
}

TEST_F(StreamTest, WaitingEndsWhenWalIsPublished) {
  // A thousand times: whoever had to look by the clock would not come to an end within the test's
  // time.
  auto compute = begin(1);
  compute->flush();
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  told(stream, compute->wal().at());
  constexpr int kRounds = 1000;
  std::atomic<int> done = 0;
  std::thread reader([&] {
    while (done < kRounds) {
      auto event = stream.next(20000);
      ASSERT_OK(event);
      if (*event == Event::kRecord) ++done;
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    while (compute->waiters() == 0) std::this_thread::yield();
    compute->wal().noop();
    compute->flush();
    while (done == i) std::this_thread::yield();
  }
  reader.join();
  EXPECT_EQ(stream.position(), compute->wal().at());
}

TEST_F(StreamTest, TrimmedWalComesFromTheObjectStore) {
  open_mirror();
  auto compute = begin(1);
  auto source = learner();
  ASSERT_OK(source->confirm(kRootLsn));
  Lsn a = compute->put(0, 'a');
  Lsn big = compute->wal().noop(50 << 20);
  compute->flush();
  ASSERT_OK(service()->close_epoch(Epoch{1}));
  auto next = begin(2);
  next->wal().noop(20 << 20);
  Lsn b = next->put(0, 'b');
  next->flush();
  for (int i = 0; i < 3; ++i) upload_and_trim();
  EXPECT_EQ(local_segments(1), 0U);
  WalStream stream(*source, kRootLsn);
  EXPECT_THAT(
      told(stream, b),
      testing::ElementsAre(writer(1, 1, kRootLsn), testing::_, a.to_string(), big.to_string(),
                           writer(1, 2, big), testing::_, testing::_, b.to_string()));

  // Confirmed, it goes.
  ASSERT_OK(source->confirm(big));
  upload_and_trim();
  WalStream late(*source, kRootLsn);
  EXPECT_EQ(late.next(0).status().code(), Code::kOutOfRange);
  WalStream again(*source, big);
  told(again, b);
  EXPECT_EQ(again.position(), b);
}

TEST_F(StreamTest, WithoutALearnerNothingIsKept) {
  open_mirror();
  auto compute = begin(1);
  compute->wal().noop(50 << 20);
  compute->flush();
  for (int i = 0; i < 3; ++i) upload_and_trim();
  EXPECT_LE(local_segments(1), 1U);
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  EXPECT_EQ(stream.next(0).status().code(), Code::kOutOfRange);
}

TEST_F(StreamTest, ABranchsLearnerHoldsItsParentsWal) {
  open_mirror();
  auto compute = begin(1);
  Lsn a = compute->put(0, 'a');
  compute->wal().noop(50 << 20);
  Lsn b = compute->put(0, 'b');
  compute->flush();
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, b, std::nullopt));
  auto root = learner();
  auto branch = learner(2);
  ASSERT_OK(root->confirm(b));
  ASSERT_OK(branch->confirm(a));
  for (int i = 0; i < 3; ++i) upload_and_trim();
  WalStream stream(*branch, a);
  told(stream, b);
  EXPECT_EQ(stream.position(), b);
  ASSERT_OK(branch->confirm(b));
  upload_and_trim();
  WalStream late(*branch, a);
  EXPECT_EQ(late.next(0).status().code(), Code::kOutOfRange);
}

TEST_F(StreamTest, ARestoreToAnOlderStateIsTold) {
  auto compute = begin(1);
  Lsn a = compute->put(0, 'a');
  compute->flush();
  close();
  ASSERT_EQ(std::system(fmt::format("cp -r {} {}/old", paths_.wal, scratch_.path()).c_str()), 0);
  open();
  compute->put(0, 'b');
  compute->flush();
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  told(stream, compute->wal().at());
  Lsn seen = stream.position();
  ASSERT_GT(seen, a);
  close();
  ASSERT_OK(env::remove_tree(paths_.wal));
  ASSERT_OK(env::remove_tree(paths_.pages));
  ASSERT_EQ(std::system(fmt::format("cp -r {}/old {}", scratch_.path(), paths_.wal).c_str()), 0);
  {
    pagestore::TestStore made;
    made.add_root();
    ASSERT_EQ(std::system(("cp -r " + made.directory() + " " + paths_.pages).c_str()), 0);
  }
  open();
  auto next = begin(2);
  next->wal().noop(60000);
  next->flush();
  EXPECT_EQ(stream.next(20000).status().code(), Code::kConflict);
}

TEST_F(StreamTest, DamageIsAnErrorEachTime) {
  auto compute = begin(1);
  Lsn a = compute->put(0, 'a');
  compute->put(0, 'b');
  compute->flush();
  std::string segment =
      compute->directory() + "/" + pgformat::segment_file_name(pgformat::segment_number(a));
  auto file = env::open_file(segment, O_RDWR);
  ASSERT_OK(file);
  ASSERT_OK(env::write_at(file->get(), a.value() % kWalSegmentSize + 300, as_bytes("rot")));
  auto source = learner();
  WalStream stream(*source, kRootLsn);
  while (stream.position() < a) ASSERT_OK(stream.next(1000));
  EXPECT_EQ(stream.next(1000).status().code(), Code::kCorrupt);
  EXPECT_EQ(stream.next(1000).status().code(), Code::kCorrupt);
  ASSERT_OK(env::write_at(file->get(), a.value() % kWalSegmentSize + 300, as_bytes("bbb")));
  EXPECT_EQ(*stream.next(1000), Event::kRecord) << "read again, it is whole";
}

/// WAL that PostgreSQL wrote, through the storage and its socket.
TEST_F(StreamTest, RealWal) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "no PostgreSQL";
  pgformat::TestCluster cluster;
  ASSERT_TRUE(
      cluster.init("wal_level=logical\nmax_prepared_transactions=5\ntrack_commit_timestamp=on\n"
                   "full_page_writes=off\n"));
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.stop());
  close();
  ASSERT_OK(env::remove_tree(paths_.pages));
  ASSERT_OK(env::remove_tree(paths_.wal));
  open();
  auto made = project_->create(cluster.data());
  ASSERT_OK(made);
  Lsn start = made->lsn;
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql("SELECT pg_switch_wal();"));
  ASSERT_TRUE(cluster.sql(pgformat::kWorkload));
  std::string node;
  ASSERT_TRUE(
      cluster.sql("CHECKPOINT; SELECT pg_relation_filenode('t'), "
                  "pg_relation_size('t') / 8192, oid FROM pg_database "
                  "WHERE datname = 'postgres';",
                  &node));
  ASSERT_TRUE(cluster.stop());

  std::string all = cluster.all_wal(pgformat::segment_number(start));
  pgformat::WalReader reader({.start = start});
  reader.feed(as_bytes(all));
  std::vector<Lsn> expected;
  while (true) {
    auto record = reader.next();
    if (!record.ok() || !*record) break;
    expected.push_back((*record)->end);
  }
  ASSERT_GT(expected.size(), 1000U);
  // The epoch as the log would have left it.
  close();
  walstore::EpochHistory history;
  history.promised = Epoch{1};
  history.entries.push_back({.epoch = Epoch{1}, .start = start, .end = expected.back()});
  ASSERT_OK(env::write_file_atomically(paths_.wal + "/t1/history.json", history.to_json()));
  ASSERT_EQ(std::system(
                fmt::format("mkdir -p {0}/t1/e1 && cp {1}/0* {0}/t1/e1/", paths_.wal, cluster.wal())
                    .c_str()),
            0);
  open();
  auto source = learner();
  WalStream stream(*source, start);
  std::vector<Lsn> seen;
  while (stream.position() < expected.back()) {
    auto event = stream.next(1000);
    ASSERT_OK(event);
    ASSERT_NE(*event, Event::kNothing);
    if (*event == Event::kRecord) seen.push_back(stream.record().end);
  }
  EXPECT_EQ(seen, expected);

  // The same cluster's maps and lists.
  Lsn end = expected.back();
  unsigned filenode = 0;
  unsigned blocks = 0;
  unsigned db = 0;
  ASSERT_EQ(sscanf(node.c_str(), "%u|%u|%u", &filenode, &blocks, &db), 3) << node;
  auto relations = source->relations(db, end);
  ASSERT_OK(relations);
  EXPECT_THAT(
      *relations,
      testing::Contains(testing::AllOf(
          testing::Field(&PageSource::Relation::rel, RelFork{1663, db, filenode, Fork::kMain}),
          testing::Field(&PageSource::Relation::blocks, blocks))));
  EXPECT_EQ(*source->rel_size({1663, db, filenode, Fork::kMain}, end), blocks);
  auto databases = source->databases(end);
  ASSERT_OK(databases);
  EXPECT_GE(databases->size(), 3U);
  EXPECT_THAT(*databases, testing::Contains(testing::Field(&PageSource::Database::db, db)));
  EXPECT_EQ(
      (*source->relation_map(1663, db, end)).value_or("none"),
      pgformat::read_whole_file(fmt::format("{}/base/{}/pg_filenode.map", cluster.data(), db)));
  EXPECT_EQ((*source->relation_map(1664, 0, end)).value_or("none"),
            pgformat::read_whole_file(cluster.data() + "/global/pg_filenode.map"));
  EXPECT_EQ((*source->slru_page(pgformat::Slru::kClog, 0, end)).value_or("none"),
            pgformat::read_whole_file(cluster.data() + "/pg_xact/0000").substr(0, kPageSize));
  EXPECT_FALSE(source->slru_page(pgformat::Slru::kClog, 100000, end)->has_value());
}

}  // namespace
}  // namespace tide::learner
