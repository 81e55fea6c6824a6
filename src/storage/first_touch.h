#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <vector>

#include "base/ids.h"
#include "base/page_tag.h"
#include "pagestore/timeline_tree.h"

namespace tide::storage {

/// Which relations computes ask for in the first seconds of their life: the next base backup brings
/// them along, where a first backend would wait for dozens of answers one after the other.
///
/// Kept in memory: after a restart of the storage role the next start of a compute teaches it
/// again. Thread-safe.
class FirstTouch {
 public:
  /// From now on, for some seconds, what is asked of `timeline` counts.
  void begin(TimelineId timeline);
  /// A page of `rel` was asked for.
  void note(TimelineId timeline, const RelFork& rel);
  void forget(TimelineId timeline);

  /// What is known of the timeline, or else of its nearest ancestor, in the order of touch.
  std::vector<RelFork> relations(TimelineId timeline, const pagestore::TimelineTree& tree) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    Clock::time_point until{};
    std::vector<RelFork> relations;
  };

  /// The latest of all `until`, as Clock ticks: most requests come later and take no lock.
  std::atomic<Clock::rep> latest_{0};
  mutable std::mutex mutex_;  // guards the map
  std::map<TimelineId, Known> known_;
};

}  // namespace tide::storage
