#include "learner/learner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>
#include <thread>

#include "learner/internal/test_storage.h"

namespace tide::learner {
namespace {

using pagestore::kRootLsn;
using pagestore::kRootTimeline;
using std::chrono::milliseconds;

[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new pagestore::UnprivilegedEnvironment);

constexpr RelFork kRel{1663, 5, 1000, Fork::kMain};

/// What put() filled the page with; '?' for anything but one page of it.
char fill_of(const Result<std::string>& page) {
  EXPECT_OK(page);
  if (!page.ok() || page->size() != kPageSize) return '?';
  return std::set<char>(page->begin() + 24, page->end()).size() == 1 ? page->back() : '?';
}

class LearnerTest : public StorageTest {};

TEST_F(LearnerTest, PagesAtExactlyTheLsnAskedFor) {
  auto compute = begin(1);
  Lsn a = compute->put(1, 'a');
  Lsn b = compute->put(1, 'b');
  compute->flush();
  auto asks = learner();
  EXPECT_EQ(fill_of(asks->pages(kRel, 1, 1, a)), 'a');
  EXPECT_EQ(fill_of(asks->pages(kRel, 1, 1, b)), 'b');
  EXPECT_EQ(*asks->rel_size(kRel, b), 2U);
  EXPECT_FALSE(asks->rel_size(kRel, kRootLsn)->has_value());
  auto many = asks->pages(kRel, 0, 300, b);
  ASSERT_OK(many);
  EXPECT_EQ(many->size(), 300 * kPageSize);
  EXPECT_EQ(fill_of(many->substr(kPageSize, kPageSize)), 'b');
  EXPECT_EQ(asks->pages(kRel, 0, 1, kRootLsn - 4096).status().code(), Code::kOutOfRange);

  // Waits for what is not ingested yet.
  Lsn c = compute->put(1, 'c');
  auto page = std::async(std::launch::async, [&] { return asks->pages(kRel, 1, 1, c); });
  compute->flush();
  EXPECT_EQ(fill_of(page.get()), 'c');
}

TEST_F(LearnerTest, HistoryThatIsGoneIsNotGuessedOnABranchEither) {
  auto compute = begin(1);
  Lsn a = compute->put(1, 'a');
  Lsn b = compute->put(1, 'b');
  Lsn c = compute->put(1, 'c');
  compute->flush();
  ASSERT_OK(service()->settle(10000));
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, b, std::nullopt));
  auto branch = learner(2);
  EXPECT_EQ(fill_of(branch->pages(kRel, 1, 1, a)), 'a');
  ASSERT_OK(project_->store().flush());
  ASSERT_OK(project_->store().set_history_cutoff(kRootTimeline, c));
  EXPECT_EQ(branch->pages(kRel, 1, 1, a).status().code(), Code::kOutOfRange);
  EXPECT_EQ(fill_of(branch->pages(kRel, 1, 1, b)), 'b');
}

TEST_F(LearnerTest, FlushedIsAtEveryAcknowledgedCommit) {
  auto compute = begin(1);
  auto asks = learner();
  for (int i = 0; i < 100; ++i) {
    compute->wal().noop();
    compute->flush();
    ASSERT_EQ(*asks->flushed(), compute->wal().at());
  }
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, std::nullopt, std::nullopt));
  EXPECT_EQ(*learner(2)->flushed(), compute->wal().at()) << "without WAL of its own";
}

TEST_F(LearnerTest, DescribesItsTimeline) {
  auto compute = begin(1);
  compute->put(1, 'a');
  compute->flush();
  auto at = project_->create_timeline(TimelineId{2}, kRootTimeline, std::nullopt, std::nullopt);
  ASSERT_OK(at);
  auto root = learner()->describe();
  ASSERT_OK(root);
  EXPECT_EQ(root->id, kRootTimeline);
  EXPECT_FALSE(root->parent.has_value());
  EXPECT_EQ(root->branch_lsn, kRootLsn);
  EXPECT_EQ(root->system_id, 77U);
  EXPECT_FALSE(root->confirmed_lsn.is_valid());
  auto branch = learner(2)->describe();
  ASSERT_OK(branch);
  EXPECT_EQ(branch->parent, kRootTimeline);
  EXPECT_EQ(branch->branch_lsn, *at);
  EXPECT_EQ(branch->oldest_lsn, *at);
}

TEST_F(LearnerTest, WhatIsConfirmedOutlivesTheRole) {
  auto compute = begin(1);
  Lsn a = compute->put(1, 'a');
  Lsn b = compute->put(1, 'b');
  compute->flush();
  ASSERT_OK(service()->settle(10000));
  auto asks = learner();
  EXPECT_EQ(asks->confirm(b + (1 << 20)).status().code(), Code::kInvalid);
  EXPECT_EQ(*asks->confirm(b), b);
  EXPECT_EQ(*asks->confirm(a), b) << "it never goes back";
  // As after a kill: without any flush.
  auto& db = project_->store().db();
  ASSERT_TRUE(db.PauseBackgroundWork().ok());
  std::string killed = paths_.pages + "-killed";
  ASSERT_EQ(std::system(fmt::format("cp -r {0} {1} && rm {1}/LOCK", paths_.pages, killed).c_str()),
            0);
  ASSERT_TRUE(db.ContinueBackgroundWork().ok());
  close();
  paths_.pages = killed;
  open();
  EXPECT_EQ(asks->describe()->confirmed_lsn, b) << "over a new connection";
  EXPECT_EQ(project_->store().tree().learners_need(kRootTimeline), b);
}

TEST_F(LearnerTest, OutlivesTheStorageRole) {
  auto compute = begin(1);
  Lsn a = compute->put(1, 'a');
  compute->flush();
  auto asks = learner();
  ASSERT_OK(asks->pages(kRel, 1, 1, a));
  close();
  auto page = std::async(std::launch::async, [&] { return asks->pages(kRel, 1, 1, a); });
  std::this_thread::sleep_for(milliseconds(30));
  open();
  EXPECT_EQ(fill_of(page.get()), 'a');
  // One that waits in READ_WAL does not hold the role up when it ends.
  auto wait = std::async(std::launch::async, [&] {
    return asks->read_wal({.from = a, .boundary = a, .wait_ms = 50000}).status();
  });
  while (compute->waiters() == 0) std::this_thread::yield();
  close();
  open();
  asks->interrupt();
  EXPECT_EQ(wait.get().code(), Code::kUnavailable);
  EXPECT_EQ(asks->flushed().status().code(), Code::kUnavailable);
}

TEST_F(LearnerTest, PatienceEnds) {
  close();
  auto refused = Learner::connect(socket_, kRootTimeline, {.patience = milliseconds(50)});
  EXPECT_EQ(refused.status().code(), Code::kUnavailable);
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("t1"));
  EXPECT_EQ(Learner::connect(std::string(200, 'x'), kRootTimeline).status().code(), Code::kInvalid);
}

TEST_F(LearnerTest, TimelinesThatAreNotThere) {
  EXPECT_EQ(Learner::connect(socket_, TimelineId{9}).status().code(), Code::kNotFound);
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, kRootLsn, std::nullopt));
  auto asks = learner(2);
  auto own = begin(1, 2);
  Lsn at = own->wal().at();
  auto wait = std::async(std::launch::async, [&] {
    return asks->read_wal({.from = at, .boundary = at, .wait_ms = 50000}).status();
  });
  while (own->waiters() == 0) std::this_thread::yield();
  ASSERT_OK(service(2)->close_epoch(Epoch{1}));
  ASSERT_OK(project_->delete_timeline(TimelineId{2}));
  EXPECT_EQ(wait.get().code(), Code::kNotFound) << "it does not wait for what never comes";
  EXPECT_EQ(asks->flushed().status().code(), Code::kNotFound);
}

TEST_F(LearnerTest, ImpossibleRequestsAreErrorsAndTheConnectionLives) {
  auto asks = learner();
  EXPECT_EQ(asks->read_wal({.from = kRootLsn, .boundary = kRootLsn + 8}).status().code(),
            Code::kInvalid);
  EXPECT_EQ(
      asks->read_wal({.from = kRootLsn, .boundary = kRootLsn, .bytes_max = 0}).status().code(),
      Code::kInvalid);
  EXPECT_EQ(asks->read_wal({.from = Lsn(8), .boundary = Lsn(8)}).status().code(),
            Code::kOutOfRange);
  EXPECT_EQ(asks->slru_page(static_cast<pgformat::Slru>(9), 0, kRootLsn).status().code(),
            Code::kInvalid);
  EXPECT_OK(asks->flushed());
  auto nothing = asks->read_wal({.from = kRootLsn, .boundary = kRootLsn});
  ASSERT_OK(nothing);
  EXPECT_EQ(nothing->epoch, Epoch{}) << "nobody has written anything";
}

}  // namespace
}  // namespace tide::learner
