#include "pagestore/image_queue.h"

#include <algorithm>
#include <tuple>

namespace tide::pagestore {

void ImageQueue::grew(TimelineId timeline, Kind kind, const std::string& body, size_t bytes) {
  std::string thing = version_prefix(kind, timeline, body);
  std::lock_guard lock(mutex_);
  if (growth_.size() >= kCountsMax) growth_.clear();
  Growth& growth = growth_[std::move(thing)];
  ++growth.versions;
  growth.bytes += static_cast<uint32_t>(bytes);
  if (growth.versions < kVersionsMax && growth.bytes < kBytesMax) return;
  growth = {};
  wanted_.push_back({timeline, kind, body});
}

void ImageQueue::got_base(TimelineId timeline, Kind kind, const std::string& body) {
  std::lock_guard lock(mutex_);
  growth_.erase(version_prefix(kind, timeline, body));
}

std::vector<ImageQueue::Wanted> ImageQueue::take(size_t count) {
  std::lock_guard lock(mutex_);
  // A hot page may be wanted several times: one image serves all.
  auto before = [](const Wanted& a, const Wanted& b) {
    return std::tie(a.timeline, a.kind, a.body) < std::tie(b.timeline, b.kind, b.body);
  };
  std::sort(wanted_.begin(), wanted_.end(), before);
  auto same = [](const Wanted& a, const Wanted& b) {
    return a.timeline == b.timeline && a.kind == b.kind && a.body == b.body;
  };
  wanted_.erase(std::unique(wanted_.begin(), wanted_.end(), same), wanted_.end());
  size_t taken = std::min(count, wanted_.size());
  std::vector<Wanted> result(wanted_.end() - static_cast<ptrdiff_t>(taken), wanted_.end());
  wanted_.resize(wanted_.size() - taken);
  return result;
}

size_t ImageQueue::size() const {
  std::lock_guard lock(mutex_);
  return wanted_.size();
}

}  // namespace tide::pagestore
