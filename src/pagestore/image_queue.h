#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "pagestore/keys.h"

namespace tide::pagestore {

/// Counts how long each thing's chain of versions has grown since its last base, and names those
/// that want a new image, so that no read ever has much to redo.
///
/// Counts are kept in memory only and forgotten when they become too many: a forgotten chain grows
/// to twice the limit at worst for each time. Thread-safe.
class ImageQueue {
 public:
  /// A chain wants an image once it has this many versions or bytes. Our helper redoes about a
  /// million records a second: 100 of them cost 0.1 ms.
  static constexpr uint32_t kVersionsMax = 100;
  static constexpr uint32_t kBytesMax = 32 * 1024;

  struct Wanted {
    TimelineId timeline;
    Kind kind;
    std::string body;
  };

  void grew(TimelineId timeline, Kind kind, const std::string& body, size_t bytes);
  void got_base(TimelineId timeline, Kind kind, const std::string& body);

  /// Takes up to `count` wanted images; empty if there are none.
  std::vector<Wanted> take(size_t count);
  size_t size() const;

 private:
  struct Growth {
    uint32_t versions = 0;
    uint32_t bytes = 0;
  };
  static constexpr size_t kCountsMax = 1 << 19;

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Growth> growth_;  // by version_prefix
  std::vector<Wanted> wanted_;
};

}  // namespace tide::pagestore
