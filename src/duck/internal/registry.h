#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace tide::duck {

/// Things that SQL names by number. Thread-safe.
template <typename Thing>
class Registry {
 public:
  int64_t add(std::shared_ptr<const Thing> thing) {
    const std::lock_guard lock(mutex_);
    things_.emplace(++last_, std::move(thing));
    return last_;
  }
  void remove(int64_t id) {
    const std::lock_guard lock(mutex_);
    things_.erase(id);
  }
  /// nullptr if there is none of this number.
  std::shared_ptr<const Thing> find(int64_t id) const {
    const std::lock_guard lock(mutex_);
    const auto found = things_.find(id);
    return found == things_.end() ? nullptr : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<const Thing>> things_;
  int64_t last_ = 0;
};

}  // namespace tide::duck
