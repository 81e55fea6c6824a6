#include "storage/first_touch.h"

#include <algorithm>
#include <optional>

namespace tide::storage {
namespace {

constexpr auto kFirstSeconds = std::chrono::seconds(3);
/// A timeline's list is no longer; what was touched longest ago goes.
constexpr size_t kMost = 256;

}  // namespace

void FirstTouch::begin(TimelineId timeline) {
  Clock::time_point until = Clock::now() + kFirstSeconds;
  std::lock_guard lock(mutex_);
  known_[timeline].until = until;
  latest_ = std::max(latest_.load(), until.time_since_epoch().count());
}

void FirstTouch::note(TimelineId timeline, const RelFork& rel) {
  Clock::time_point now = Clock::now();
  if (now.time_since_epoch().count() > latest_.load(std::memory_order_relaxed)) return;
  if (rel.fork != Fork::kMain) return;
  std::lock_guard lock(mutex_);
  auto found = known_.find(timeline);
  if (found == known_.end() || now > found->second.until) return;
  std::vector<RelFork>& relations = found->second.relations;
  if (std::find(relations.begin(), relations.end(), rel) != relations.end()) return;
  if (relations.size() >= kMost) relations.erase(relations.begin());
  relations.push_back(rel);
}

void FirstTouch::forget(TimelineId timeline) {
  std::lock_guard lock(mutex_);
  known_.erase(timeline);
}

std::vector<RelFork> FirstTouch::relations(TimelineId timeline,
                                           const pagestore::TimelineTree& tree) const {
  std::lock_guard lock(mutex_);
  std::optional<TimelineId> at = timeline;
  while (at) {
    auto found = known_.find(*at);
    if (found != known_.end() && !found->second.relations.empty()) return found->second.relations;
    auto info = tree.find(*at);
    at = info ? info->parent : std::nullopt;
  }
  return {};
}

}  // namespace tide::storage
