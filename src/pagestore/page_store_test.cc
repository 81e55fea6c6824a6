#include "pagestore/page_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <random>
#include <thread>

#include "pagestore/history_policy.h"
#include "pagestore/internal/test_store.h"

namespace tide::pagestore {
namespace {

using testing::ElementsAre;
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new UnprivilegedEnvironment);

constexpr RelFork kRel{1663, 5, 1000, Fork::kMain};

TEST(TimelineTreeTest, LevelsAreCutAtBranchPoints) {
  TimelineTree tree;
  auto put = [&](uint32_t id, uint32_t parent, uint64_t lsn) {
    TimelineInfo info;
    info.id = TimelineId{id};
    if (parent != 0) info.parent = TimelineId{parent};
    info.branch_lsn = Lsn(lsn);
    tree.put(info);
  };
  put(1, 0, 100);
  put(2, 1, 200);
  put(3, 2, 300);
  put(4, 1, 150);
  auto levels = [&](uint32_t id, uint64_t at) {
    std::vector<std::pair<uint32_t, uint64_t>> pairs;
    for (const auto& level : tree.levels(TimelineId{id}, Lsn(at))) {
      pairs.emplace_back(level.timeline.value, level.limit.value());
    }
    return pairs;
  };
  using P = std::pair<uint32_t, uint64_t>;
  EXPECT_THAT(levels(3, 900), ElementsAre(P(3, 900), P(2, 300), P(1, 200)));
  EXPECT_THAT(levels(3, 250), ElementsAre(P(3, 250), P(2, 250), P(1, 200)));
  EXPECT_THAT(levels(3, 120), ElementsAre(P(3, 120), P(2, 120), P(1, 120)));
  EXPECT_THAT(levels(1, 900), ElementsAre(P(1, 900)));
  EXPECT_TRUE(levels(9, 900).empty());
  EXPECT_THAT(tree.branch_points(TimelineId{1}), ElementsAre(Lsn(150), Lsn(200)));
  EXPECT_TRUE(tree.has_children(TimelineId{2}));
  EXPECT_FALSE(tree.has_children(TimelineId{3}));
  tree.remove(TimelineId{3});
  EXPECT_FALSE(tree.has_children(TimelineId{2}));
}

TEST(TimelineTreeTest, JsonComesBackAndDamageIsCorrupt) {
  TimelineInfo info;
  info.id = TimelineId{7};
  info.parent = TimelineId{3};
  info.branch_lsn = Lsn(0x1234567890);
  info.created_us = 1700000000000000;
  info.history_cutoff = Lsn(0x55);
  auto read = TimelineInfo::from_json(info.to_json());
  ASSERT_OK(read);
  EXPECT_EQ(read->to_json(), info.to_json());
  EXPECT_EQ(read->parent, TimelineId{3});
  for (const char* bad :
       {"", "{}", "[1]", R"({"id":"x","branch_lsn":"0/1"})", R"({"id":1,"branch_lsn":5})",
        R"({"id":1,"branch_lsn":"zz"})", R"({"id":1,"branch_lsn":"0/1","parent":"p"})"}) {
    EXPECT_EQ(TimelineInfo::from_json(bad).status().code() == Code::kOk, false) << bad;
  }
}

class VersionsTest : public testing::Test {
 protected:
  /// Root with versions at +10, +20, +30; 2 branches at +20 with its own at +25; 3 branches from 2
  /// at +40 with +50.
  void SetUp() override {
    store_.add_root();
    put(1, 10, "1@10");
    put(1, 20, "1@20");
    store_.write(TimelineId{1}, kRootLsn + 35, {});
    store_.add_branch(2, 1, kRootLsn + 20);
    put(1, 30, "1@30");
    put(2, 25, "2@25");
    store_.write(TimelineId{2}, kRootLsn + 45, {});
    store_.add_branch(3, 2, kRootLsn + 40);
    put(2, 45, "2@45");
    put(3, 50, "3@50");
  }
  void put(uint32_t id, uint64_t at, const std::string& value, const std::string& body = "thing") {
    store_.write(TimelineId{id}, kRootLsn + at, {{Kind::kRelMap, body, kRootLsn + at, value}});
  }
  std::string newest(uint32_t id, uint64_t at) {
    return store_.newest(id, Kind::kRelMap, "thing", kRootLsn + at);
  }

  TestStore store_;
};

TEST_F(VersionsTest, ReadsFallThroughAtTheBranchPoints) {
  EXPECT_EQ(newest(1, 9), "-");
  EXPECT_EQ(newest(1, 10), "1@10");
  EXPECT_EQ(newest(1, 29), "1@20");
  EXPECT_EQ(newest(1, 99), "1@30");
  EXPECT_EQ(newest(2, 19), "1@10");
  EXPECT_EQ(newest(2, 20), "1@20") << "a version at the branch point belongs to the branch";
  EXPECT_EQ(newest(2, 24), "1@20") << "and not what the parent did later";
  EXPECT_EQ(newest(2, 25), "2@25");
  EXPECT_EQ(newest(3, 30), "2@25");
  EXPECT_EQ(newest(3, 49), "2@25") << "2@45 is behind the branch point";
  EXPECT_EQ(newest(3, 50), "3@50");
  EXPECT_EQ(newest(3, 15), "1@10");
}

TEST_F(VersionsTest, WalkSeesTheWholeChainNewestFirst) {
  std::vector<std::string> seen;
  ASSERT_OK(store_->versions().walk(TimelineId{3}, Kind::kRelMap, "thing", Lsn::max(),
                                    [&](Lsn, std::string_view v) {
                                      seen.emplace_back(v);
                                      return true;
                                    }));
  EXPECT_THAT(seen, ElementsAre("3@50", "2@25", "1@20", "1@10"));
}

TEST_F(VersionsTest, WalkManyAsksAncestorsOnlyForWhatIsOpen) {
  put(1, 36, "b@36", "bravo");
  put(3, 51, "c@51", "charly");
  put(3, 52, "t@52", "thing");
  std::vector<std::string> bodies = {"alpha", "bravo", "charly", "thing"};
  std::vector<std::vector<std::string>> seen(4);
  ASSERT_OK(store_->versions().walk_many(TimelineId{3}, Kind::kRelMap, bodies, kRootLsn + 60,
                                         [&](size_t i, Lsn, std::string_view value) {
                                           seen[i].emplace_back(value);
                                           return value != "c@51" && value != "2@25";
                                         }));
  EXPECT_TRUE(seen[0].empty());
  EXPECT_TRUE(seen[1].empty()) << "b@36 is behind the point where 2 branched off";
  EXPECT_THAT(seen[2], ElementsAre("c@51"));
  EXPECT_THAT(seen[3], ElementsAre("t@52", "3@50", "2@25"));
}

TEST_F(VersionsTest, ListGivesEachThingOnceWithTombstones) {
  put(1, 36, "late", "on the parent only");
  put(2, 46, "", "thing");  // dropped on 2, behind the branch point of 3
  put(3, 53, "x", "prefix/a");
  put(3, 54, "", "prefix/a");
  put(3, 55, "y", "prefix/b");
  auto list = [&](uint32_t id, const std::string& prefix, uint64_t at) {
    std::vector<std::string> seen;
    EXPECT_OK(store_->versions().list(TimelineId{id}, Kind::kRelMap, prefix, kRootLsn + at,
                                      [&](std::string_view body, Lsn lsn, std::string_view value) {
                                        seen.push_back(
                                            fmt::format("{}={}@{}", body, value, lsn - kRootLsn));
                                        return Status();
                                      }));
    return seen;
  };
  EXPECT_THAT(list(3, "", 90), ElementsAre("prefix/a=@54", "prefix/b=y@55", "thing=3@50@50"));
  EXPECT_THAT(list(3, "", 53), ElementsAre("prefix/a=x@53", "thing=3@50@50"));
  EXPECT_THAT(list(3, "prefix/b", 90), ElementsAre("prefix/b=y@55"));
  EXPECT_THAT(list(2, "", 90), ElementsAre("thing=@46"));
  EXPECT_THAT(list(1, "", 90), ElementsAre("on the parent only=late@36", "thing=1@30@30"));
  EXPECT_EQ(
      store_->versions()
          .list(TimelineId{3}, Kind::kRelMap, "", kRootLsn + 90,
                [](std::string_view, Lsn, std::string_view) { return Status(Code::kIo, "stop"); })
          .code(),
      Code::kIo);
}

class PageStoreTest : public testing::Test {
 protected:
  void SetUp() override { store_.add_root(); }
  static std::string size_value(uint32_t blocks) {
    std::string value;
    append(value, blocks);
    return value;
  }
  TestStore store_;
};

TEST_F(PageStoreTest, WaitForWakesUpTimesOutAndAsks) {
  EXPECT_OK(store_->wait_for(kRootTimeline, kRootLsn, 0));
  EXPECT_EQ(store_->wait_for(kRootTimeline, kRootLsn + 8, 20).code(), Code::kRetry);
  EXPECT_EQ(store_->wait_for(TimelineId{99}, kRootLsn, 20).code(), Code::kNotFound);
  std::atomic<int> asked = 0;
  store_->set_wait_hook([&](TimelineId id) { asked += id == kRootTimeline ? 1 : 100; });
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    store_.write(kRootTimeline, kRootLsn + 8, {});
  });
  EXPECT_OK(store_->wait_for(kRootTimeline, kRootLsn + 8, 10000));
  writer.join();
  EXPECT_EQ(asked, 1);
  // A position just behind a page header is the page's start.
  store_.write(kRootTimeline, Lsn(0x2000000), {});
  EXPECT_OK(store_->wait_for(kRootTimeline, Lsn(0x2000000 + 40), 0));
}

TEST_F(PageStoreTest, RemovalWakesThoseWhoWait) {
  store_.add_branch(2, 1, kRootLsn);
  std::thread remover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_OK(store_->remove_timeline(TimelineId{2}));
  });
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(store_->wait_for(TimelineId{2}, Lsn::max(), 5000).code(), Code::kNotFound);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  remover.join();
}

TEST_F(PageStoreTest, OnlyWhatWasFlushedIsDurable) {
  store_.write(kRootTimeline, kRootLsn + 100,
               {{Kind::kRelSize, rel_body(kRel), kRootLsn + 100, size_value(3)}});
  EXPECT_EQ(store_->ingested(kRootTimeline), kRootLsn + 100);
  EXPECT_EQ(store_->durable(kRootTimeline), kRootLsn);
  ASSERT_OK(store_->flush());
  EXPECT_EQ(store_->durable(kRootTimeline), kRootLsn + 100);
  store_.write(kRootTimeline, kRootLsn + 200,
               {{Kind::kRelSize, rel_body(kRel), kRootLsn + 200, size_value(9)}});
  store_.reopen_as_killed();
  EXPECT_EQ(store_->ingested(kRootTimeline), kRootLsn + 100) << "LSN and effects go together";
  EXPECT_EQ(store_->durable(kRootTimeline), kRootLsn + 100);
  EXPECT_EQ(*store_->rel_size(kRootTimeline, kRel, Lsn::max()), 3U);
}

TEST_F(PageStoreTest, EffectsAndTheirLsnAreNeverTornWhateverIsFlushed) {
  // Small memtables: the database flushes whenever it likes.
  std::mt19937 random(7);
  uint64_t i = 0;
  for (int kill = 0; kill < 3; ++kill) {
    for (uint64_t end = i + 800; i < end;) {
      Lsn lsn = kRootLsn + ++i * 8;
      std::string noise(4096, '\0');
      for (char& c : noise) c = static_cast<char>(random());
      store_.write(kRootTimeline, lsn,
                   {{Kind::kRelSize, rel_body(kRel), lsn, size_value(static_cast<uint32_t>(i))},
                    {Kind::kPage, page_body({kRel, static_cast<uint32_t>(i)}), lsn, "I" + noise}});
    }
    store_.reopen_as_killed();
    Lsn ingested = store_->ingested(kRootTimeline);
    i = (ingested - kRootLsn) / 8;
    auto size = store_->rel_size(kRootTimeline, kRel, Lsn::max());
    ASSERT_OK(size);
    EXPECT_EQ(size->value_or(0), i);
    EXPECT_EQ(
        store_.newest(1, Kind::kPage, page_body({kRel, static_cast<uint32_t>(i + 1)}), Lsn::max()),
        "-");
  }
  EXPECT_GT(i, 0U);
}

TEST_F(PageStoreTest, WhatIsWrittenAheadIsSeenWithItsRecordOnly) {
  rocksdb::WriteBatch batch;
  batch.Put(version_key(Kind::kRelSize, kRootTimeline, rel_body(kRel), kRootLsn + 80),
            size_value(5));
  ASSERT_OK(store_->write_ahead(batch));
  EXPECT_EQ(store_->ingested(kRootTimeline), kRootLsn);
  EXPECT_FALSE(store_->rel_size(kRootTimeline, kRel, store_->ingested(kRootTimeline))->has_value());
  store_.write(kRootTimeline, kRootLsn + 80, {});
  EXPECT_EQ(*store_->rel_size(kRootTimeline, kRel, store_->ingested(kRootTimeline)), 5U);
}

TEST_F(PageStoreTest, SizesAndDrops) {
  RelFork other{1663, 5, 1001, Fork::kMain};
  RelFork elsewhere{1663, 6, 1000, Fork::kMain};
  store_.write(kRootTimeline, kRootLsn + 8,
               {{Kind::kRelSize, rel_body(kRel), kRootLsn + 8, size_value(3)},
                {Kind::kRelSize, rel_body(other), kRootLsn + 8, size_value(4)},
                {Kind::kRelSize, rel_body(elsewhere), kRootLsn + 8, size_value(5)}});
  store_.write(kRootTimeline, kRootLsn + 16,
               {{Kind::kRelSize, rel_body(other), kRootLsn + 16, size_value(kNoRelation)}});
  EXPECT_EQ(*store_->database_bytes(kRootTimeline, 5, kRootLsn + 8), 7 * kPageSize);
  EXPECT_EQ(*store_->database_bytes(kRootTimeline, 5, kRootLsn + 16), 3 * kPageSize);
  EXPECT_EQ(*store_->total_bytes(kRootTimeline, kRootLsn + 16), 8 * kPageSize);
  EXPECT_FALSE(store_->rel_size(kRootTimeline, other, kRootLsn + 16)->has_value());
  EXPECT_EQ(*store_->rel_size(kRootTimeline, other, kRootLsn + 15), 4U);
  EXPECT_EQ(store_->checkpoint(kRootTimeline, kRootLsn - 1).status().code(), Code::kOutOfRange);
  EXPECT_EQ(store_->checkpoint(kRootTimeline, kRootLsn)->next_xid, 1024U);
}

TEST_F(PageStoreTest, TimelinesSurviveAndAreChecked) {
  store_.write(kRootTimeline, kRootLsn + 100, {});
  store_.add_branch(2, 1, kRootLsn + 50);
  store_.add_branch(2, 1, kRootLsn + 50);
  TimelineInfo info;
  info.id = TimelineId{2};
  info.parent = kRootTimeline;
  info.branch_lsn = kRootLsn + 58;
  EXPECT_EQ(store_->add_timeline(info).code(), Code::kExists);
  info.id = TimelineId{3};
  info.branch_lsn = kRootLsn - 8;
  EXPECT_EQ(store_->add_timeline(info).code(), Code::kOutOfRange);
  info.parent = TimelineId{77};
  EXPECT_EQ(store_->add_timeline(info).code(), Code::kNotFound);
  EXPECT_EQ(store_->remove_timeline(kRootTimeline).code(), Code::kConflict);
  store_.write(TimelineId{2}, kRootLsn + 70, {{Kind::kRelMap, "own", kRootLsn + 70, "x"}});
  ASSERT_OK(store_->put_metadata("control", "state"));
  ASSERT_OK(store_->flush());
  store_.reopen_as_killed();
  EXPECT_EQ(store_->ingested(TimelineId{2}), kRootLsn + 70);
  EXPECT_EQ(*store_->metadata("control"), "state");
  EXPECT_EQ(store_->metadata("other").status().code(), Code::kNotFound);
  ASSERT_OK(store_->remove_timeline(TimelineId{2}));
  ASSERT_OK(store_->remove_timeline(TimelineId{2}));
  store_.reopen_as_killed();
  EXPECT_FALSE(store_->tree().find(TimelineId{2}));
  store_.add_branch(2, 1, kRootLsn + 50);
  EXPECT_EQ(store_.newest(2, Kind::kRelMap, "own", Lsn::max()), "-") << "its versions went with it";
}

TEST_F(PageStoreTest, ACrashMayTakeWhatAParentIngestedButNotTheBranch) {
  store_.write(kRootTimeline, kRootLsn + 100, {});
  store_.add_branch(2, 1, kRootLsn + 100);
  store_.reopen_as_killed();
  EXPECT_EQ(store_->ingested(kRootTimeline), kRootLsn);
  ASSERT_TRUE(store_->tree().find(TimelineId{2}));
  // Who opens the project waits for the parent: storage::Project does.
  EXPECT_EQ(
      store_->wait_for(kRootTimeline, store_->tree().find(TimelineId{2})->branch_lsn, 10).code(),
      Code::kRetry);
}

TEST_F(PageStoreTest, LsnForTime) {
  using Point = PageStore::TimePoint;
  auto commit = [&](uint32_t id, int64_t us, uint64_t at) {
    rocksdb::WriteBatch batch;
    std::string key = version_prefix(Kind::kCommitTime, TimelineId{id}, "");
    append_be64(key, static_cast<uint64_t>(us));
    append_be64(key, (kRootLsn + at).value());
    batch.Put(key, "");
    EXPECT_OK(store_->write(TimelineId{id}, batch, kRootLsn + at + 40));
  };
  commit(1, 1000, 100);
  commit(1, 2001, 200);  // out of order in time, as commits are
  commit(1, 2000, 240);
  commit(1, 3000, 300);
  store_.add_branch(2, 1, kRootLsn + 290);
  commit(1, 4000, 400);
  commit(2, 5000, 500);
  auto at = [&](uint32_t id, int64_t us) {
    auto point = store_->lsn_for_time(TimelineId{id}, us);
    EXPECT_OK(point);
    return std::pair<uint64_t, int>(point->lsn - kRootLsn, point->kind);
  };
  using R = std::pair<uint64_t, int>;
  EXPECT_EQ(at(1, 0), R(100, Point::kBeforeHistory)) << "before the project was made";
  EXPECT_EQ(at(1, 999), R(100, Point::kExact));
  EXPECT_EQ(at(1, 1000), R(200, Point::kExact))
      << "the commit at that very time is in, the next is not";
  EXPECT_EQ(at(1, 2000), R(200, Point::kExact)) << "never one with a later time";
  EXPECT_EQ(at(1, 2001), R(300, Point::kExact));
  EXPECT_EQ(at(1, 4000), R(440, Point::kAfterEnd));
  EXPECT_EQ(at(2, 1500), R(200, Point::kExact)) << "on the parent, before the branch point";
  EXPECT_EQ(at(2, 2500), R(500, Point::kExact)) << "the parent's 3000 is not on the branch";
  EXPECT_EQ(at(2, 9000), R(540, Point::kAfterEnd));
  ASSERT_OK(store_->flush());
  ASSERT_OK(store_->set_history_cutoff(kRootTimeline, kRootLsn + 250));
  EXPECT_EQ(at(1, 999).second, Point::kBeforeHistory);
  EXPECT_EQ(at(1, 2500), R(300, Point::kExact));
}

TEST(HistoryPolicyTest, NeededIsWhatSomebodyMayAskFor) {
  HistoryPolicy::Timeline timeline{Lsn(100), {Lsn(20), Lsn(50)}};
  auto needed = [&](uint64_t begin, uint64_t end) {
    return HistoryPolicy::is_needed(timeline, Lsn(begin), Lsn(end));
  };
  EXPECT_TRUE(needed(150, UINT64_MAX));
  EXPECT_TRUE(needed(10, UINT64_MAX)) << "the newest is always needed";
  EXPECT_TRUE(needed(60, 101)) << "visible at the cutoff";
  EXPECT_FALSE(needed(60, 100));
  EXPECT_TRUE(needed(20, 21));
  EXPECT_TRUE(needed(50, 51));
  EXPECT_TRUE(needed(45, 60));
  EXPECT_FALSE(needed(21, 50));
  EXPECT_FALSE(needed(51, 60));
  EXPECT_FALSE(needed(5, 20));
}

class HistoryTest : public PageStoreTest {
 protected:
  /// A thing of whole values, a chain on a base and a large one in blob files, a version each 10 up
  /// to 100.
  void fill() {
    for (uint64_t i = 1; i <= 10; ++i) {
      Lsn lsn = kRootLsn + i * 10;
      bool base = i % 4 == 1;  // at 10, 50, 90
      store_.write(kRootTimeline, lsn,
                   {{Kind::kRelMap, "map", lsn, fmt::format("{}", i * 10)},
                    {Kind::kPage, small_, lsn, (base ? "I" : "R") + fmt::format("{}", i * 10)},
                    {Kind::kPage, large_, lsn, (base ? "I" : "R") + std::string(3000, 'b')}});
    }
    ASSERT_OK(store_->flush());
  }
  void compact() {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    ASSERT_TRUE(store_->db().CompactRange(options, nullptr, nullptr).ok());
  }
  /// Distances from the root's LSN of all versions that are stored.
  std::vector<uint64_t> stored(Kind kind, const std::string& body) {
    std::vector<uint64_t> lsns;
    EXPECT_OK(store_->versions().walk(kRootTimeline, kind, body, Lsn::max(),
                                      [&](Lsn lsn, std::string_view) {
                                        lsns.insert(lsns.begin(), lsn - kRootLsn);
                                        return true;
                                      }));
    return lsns;
  }
  const std::string small_ = page_body({kRel, 1});
  const std::string large_ = page_body({kRel, 2});
};

TEST_F(HistoryTest, NothingGoesBeforeACutoffIsSet) {
  fill();
  compact();
  EXPECT_EQ(stored(Kind::kRelMap, "map").size(), 10U);
  EXPECT_EQ(stored(Kind::kPage, small_).size(), 10U);
  EXPECT_EQ(stored(Kind::kPage, large_).size(), 10U);
}

TEST_F(HistoryTest, CompactionRemovesOnlyWhatNobodyMayAskFor) {
  fill();
  store_.add_branch(2, 1, kRootLsn + 25);
  ASSERT_OK(store_->set_history_cutoff(kRootTimeline, kRootLsn + 65));
  compact();
  // 20 for the branch, 60 as the state at the cutoff, and all above.
  EXPECT_THAT(stored(Kind::kRelMap, "map"), ElementsAre(20, 60, 70, 80, 90, 100));
  // Chains from the base on: 10 to 20 for the branch (30 and 40 are not told apart from what the
  // branch needs but by LSN), 50 on for the cutoff.
  EXPECT_THAT(stored(Kind::kPage, small_), ElementsAre(10, 20, 50, 60, 70, 80, 90, 100));
  EXPECT_THAT(stored(Kind::kPage, large_), ElementsAre(10, 20, 50, 60, 70, 80, 90, 100));
  EXPECT_EQ(store_.newest(2, Kind::kRelMap, "map", Lsn::max()), "20");

  TimelineInfo info;
  info.id = TimelineId{3};
  info.parent = kRootTimeline;
  info.branch_lsn = kRootLsn + 60;
  EXPECT_EQ(store_->add_timeline(info).code(), Code::kOutOfRange) << "that state is gone";
  store_.reopen_as_killed();
  EXPECT_EQ(store_->history_cutoff(kRootTimeline), kRootLsn + 65) << "and stays gone";
  EXPECT_EQ(store_->add_timeline(info).code(), Code::kOutOfRange);
  ASSERT_OK(store_->remove_timeline(TimelineId{2}));
  compact();
  EXPECT_THAT(stored(Kind::kRelMap, "map"), ElementsAre(60, 70, 80, 90, 100));
  EXPECT_THAT(stored(Kind::kPage, small_), ElementsAre(50, 60, 70, 80, 90, 100));
}

TEST_F(HistoryTest, TheCutoffNeverPassesWhatIsDurable) {
  fill();
  store_.write(kRootTimeline, kRootLsn + 200, {{Kind::kRelMap, "map", kRootLsn + 200, "200"}});
  ASSERT_OK(store_->set_history_cutoff(kRootTimeline, kRootLsn + 200));
  EXPECT_EQ(store_->history_cutoff(kRootTimeline), kRootLsn + 100);
  compact();
  store_.reopen_as_killed();
  EXPECT_LE(store_->history_cutoff(kRootTimeline), store_->ingested(kRootTimeline));
  EXPECT_NE(store_.newest(1, Kind::kRelMap, "map", store_->ingested(kRootTimeline)), "-");
}

/// Against a model: whatever is written, branched, cut off and compacted, every state that may be
/// asked for reads as it did.
TEST_F(HistoryTest, RandomHistoriesReadTheSameAfterCompaction) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 8; ++round) {
    uint32_t base_id = 100 + round * 10;
    store_.add_branch(base_id, 1, kRootLsn);
    TimelineId id{base_id};
    Lsn end = kRootLsn;
    std::vector<std::string> things = {page_body({kRel, 10}), page_body({kRel, 11}),
                                       page_body({kRel, 12})};
    for (int i = 0; i < 120; ++i) {
      end = end + 8;
      const std::string& thing = things[random() % things.size()];
      std::string value = (random() % 5 == 0 ? "I" : "R") + fmt::format("{}", i) +
                          std::string(random() % 2 == 0 ? 0 : 2000, 'x');
      store_.write(id, end, {{Kind::kPage, thing, end, value}});
      if (random() % 40 == 0) ASSERT_OK(store_->flush());
    }
    ASSERT_OK(store_->flush());
    std::vector<Lsn> points;
    for (uint32_t child = 1; child <= 3; ++child) {
      points.push_back(kRootLsn + random() % 120 * 8);
      store_.add_branch(base_id + child, base_id, points.back());
    }
    Lsn cutoff = kRootLsn + random() % 120 * 8;
    auto chain = [&](TimelineId timeline, const std::string& thing, Lsn at) {
      std::string text;
      EXPECT_OK(store_->versions().walk(timeline, Kind::kPage, thing, at,
                                        [&](Lsn lsn, std::string_view value) {
                                          text += fmt::format("{}:{} ", lsn, value);
                                          return !is_base(value);
                                        }));
      return text;
    };
    std::map<std::tuple<uint32_t, std::string, Lsn>, std::string> expected;
    for (const std::string& thing : things) {
      for (Lsn at = cutoff; at <= end; at = at + 8)
        expected[{base_id, thing, at}] = chain(id, thing, at);
      for (uint32_t child = 1; child <= 3; ++child) {
        expected[{base_id + child, thing, Lsn::max()}] =
            chain(TimelineId{base_id + child}, thing, Lsn::max());
      }
    }
    ASSERT_OK(store_->set_history_cutoff(id, cutoff));
    compact();
    for (const auto& [key, text] : expected) {
      const auto& [timeline, thing, at] = key;
      EXPECT_EQ(chain(TimelineId{timeline}, thing, at), text) << timeline << " " << at.to_string();
    }
  }
}

TEST_F(PageStoreTest, PagesWithoutRecordsAreReadHere) {
  PageTag tag{kRel, 3};
  std::string body = page_body(tag);
  std::string image = page_of('i');
  store_.write(kRootTimeline, kRootLsn + 8,
               {{Kind::kPage, body, kRootLsn + 8,
                 encode_image(reinterpret_cast<const std::byte*>(image.data()))}});
  PageTag tags[] = {{kRel, 2}, tag, {kRel, 4}};
  std::string out(3 * kPageSize, 'x');
  std::vector<Lsn> chain;
  ASSERT_OK(store_->pages().read(kRootTimeline, tags, Lsn::max(),
                                 reinterpret_cast<std::byte*>(out.data()), &chain));
  EXPECT_EQ(out, std::string(kPageSize, '\0') + image + std::string(kPageSize, '\0'));
  EXPECT_THAT(chain, ElementsAre(Lsn(), kRootLsn + 8, Lsn()));
  // A corrupt version is an error, never a page.
  store_.write(kRootTimeline, kRootLsn + 16, {{Kind::kPage, body, kRootLsn + 16, "Ishort"}});
  EXPECT_EQ(store_->pages()
                .read(kRootTimeline, tags, Lsn::max(), reinterpret_cast<std::byte*>(out.data()))
                .code(),
            Code::kCorrupt);
  EXPECT_OK(store_->verify());
  EXPECT_GT(store_->statistics().size(), 0U);
}

}  // namespace
}  // namespace tide::pagestore
