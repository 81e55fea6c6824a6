#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "walstore/timeline_log.h"

namespace tide::walstore {

/// Waits for a log's next WAL without looking again and again:
///
///   while (true) {
///     FlushWatch watch(log);
///     if (what is wanted is in the log) break;
///     watch.wait(patience);
///   }
///
/// What happens to the log after the construction ends the wait: newly durable WAL (the compute
/// wakes us as it publishes, the acceptor as it has synced), a promise, a begin or an end of an
/// epoch, TimelineLog::wake(). Waiting may end without any of these. `log` must outlive it.
class FlushWatch {
 public:
  explicit FlushWatch(const TimelineLog& log);
  ~FlushWatch();
  FlushWatch(const FlushWatch&) = delete;
  FlushWatch& operator=(const FlushWatch&) = delete;

  void wait(std::chrono::milliseconds patience);

 private:
  std::shared_ptr<FeedFile> feed_;
  const uint32_t* word_ = nullptr;
  uint32_t seen_ = 0;
};

}  // namespace tide::walstore
