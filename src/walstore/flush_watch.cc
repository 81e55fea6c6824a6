#include "walstore/flush_watch.h"

#include <algorithm>

#include "env/futex.h"

namespace tide::walstore {
namespace {

/// A compute that an older release started does not wake anybody: then we look this often.
constexpr std::chrono::milliseconds kLookAnyway{1000};

}  // namespace

FlushWatch::FlushWatch(const TimelineLog& log) {
  std::lock_guard lock(log.mutex_);  // the feed does not change in between
  feed_ = log.feed_;
  // Counted before `seen_` is noted: whoever publishes later than that finds us counted.
  if (feed_ != nullptr) feed_->add_waiter();
  word_ = feed_ != nullptr ? feed_->signal() : &log.signal_;
  seen_ = __atomic_load_n(word_, __ATOMIC_SEQ_CST);
}

FlushWatch::~FlushWatch() {
  if (feed_ != nullptr) feed_->remove_waiter();
}

void FlushWatch::wait(std::chrono::milliseconds patience) {
  env::futex_wait(word_, seen_, std::min(patience, kLookAnyway));
}

}  // namespace tide::walstore
