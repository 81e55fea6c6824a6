#pragma once

#include <memory>
#include <string>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "contracts/feed.h"

namespace tide::walstore {

/// The storage's mapping of a feed (contracts/feed.h). Thread-safe: every field is atomic. One
/// process of ours has it open at a time: whoever opens it starts with no waiters.
class FeedFile {
 public:
  /// Makes the file with `flushed` as the first flush LSN.
  static Result<std::unique_ptr<FeedFile>> create(const std::string& path, Epoch epoch,
                                                  Lsn flushed);
  static Result<std::unique_ptr<FeedFile>> open(const std::string& path);
  ~FeedFile();
  FeedFile(const FeedFile&) = delete;
  FeedFile& operator=(const FeedFile&) = delete;

  Lsn flushed() const { return Lsn(__atomic_load_n(&feed_->flush_lsn, __ATOMIC_SEQ_CST)); }
  void set_ingested(Lsn lsn) {
    __atomic_store_n(&feed_->ingested_lsn, lsn.value(), __ATOMIC_RELEASE);
  }
  void set_durable(Lsn lsn) {
    __atomic_store_n(&feed_->durable_lsn, lsn.value(), __ATOMIC_RELEASE);
  }
  /// A writer sleeps this long for every 64 KiB of WAL; 0: not at all.
  void set_throttle_us(uint64_t us) { __atomic_store_n(&feed_->throttle_us, us, __ATOMIC_RELEASE); }
  void fence() { __atomic_store_n(&feed_->fenced, 1U, __ATOMIC_RELEASE); }

  /// Between the two, the compute wakes those that sleep on signal() when it publishes.
  void add_waiter() { __atomic_fetch_add(&feed_->waiters, 1U, __ATOMIC_SEQ_CST); }
  void remove_waiter() { __atomic_fetch_sub(&feed_->waiters, 1U, __ATOMIC_SEQ_CST); }
  uint32_t* signal() { return &feed_->signal; }

 private:
  explicit FeedFile(TideFeed* feed) : feed_(feed) {}
  TideFeed* feed_;
};

}  // namespace tide::walstore
