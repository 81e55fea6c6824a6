#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "contracts/feed.h"
#include "env/futex.h"
#include "pagestore/internal/test_store.h"
#include "storage/timeline_service.h"

/// For tests only.
namespace tide::storage {

/// A compute made by hand: it writes WAL into its epoch's directory and says so in the feed, as
/// pgext does.
class TestCompute {
 public:
  explicit TestCompute(const TimelineService::Begun& begun)
      : directory_(begun.wal_directory),
        wal_(pgformat::checkpoint_record_end(begun.start), record_start(begun.start)),
        written_(wal_.at()) {
    auto file = env::open_file(directory_ + "/feed", O_RDWR).value();
    void* mapped =
        ::mmap(nullptr, TIDE_FEED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    EXPECT_NE(mapped, MAP_FAILED);
    feed_ = static_cast<TideFeed*>(mapped);
  }
  ~TestCompute() { ::munmap(feed_, TIDE_FEED_SIZE); }
  TestCompute(const TestCompute&) = delete;
  TestCompute& operator=(const TestCompute&) = delete;

  walstore::TestWal& wal() { return wal_; }
  const std::string& directory() const { return directory_; }
  /// Writes everything appended so far, up to `to`, and publishes it.
  void flush(Lsn to = Lsn::max()) {
    to = std::min(to, wal_.at());
    wal_.write_to(directory_, written_, to);
    written_ = to;
    publish(to);
  }
  void publish(Lsn lsn) {
    __atomic_store_n(&feed_->flush_lsn, lsn.value(), __ATOMIC_SEQ_CST);
    if (waiters() == 0) return;
    __atomic_fetch_add(&feed_->signal, 1U, __ATOMIC_SEQ_CST);
    env::futex_wake_all(&feed_->signal);
  }
  uint32_t waiters() const { return __atomic_load_n(&feed_->waiters, __ATOMIC_SEQ_CST); }
  /// A page image in the relation's block: one change that can be looked for.
  Lsn put(uint32_t block, char fill) { return put({1663, 5, 1000, Fork::kMain}, block, fill); }
  Lsn put(const RelFork& rel, uint32_t block, char fill) {
    return wal_.image({rel, block}, pagestore::page_of(fill));
  }

 private:
  std::string directory_;
  walstore::TestWal wal_;
  Lsn written_;
  TideFeed* feed_ = nullptr;
};

}  // namespace tide::storage
