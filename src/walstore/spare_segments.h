#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace tide::walstore {

/// WAL segments full of zeros, written and synced ahead.
///
/// PostgreSQL makes a new segment by writing 16 MB of zeros and syncing them: at its start, if it
/// begins in the last quarter of a segment, so that a start takes longer by tens of milliseconds;
/// it takes one that is there already as it is. One pool serves all timelines of a project.
/// Thread-safe.
class SpareSegments {
 public:
  /// A segment is made anew some time after it was given away.
  static Result<std::unique_ptr<SpareSegments>> open(const std::string& directory, int count);
  ~SpareSegments();

  /// Moves a spare to `path`, on the same file system; false if there is none at the moment or
  /// something is at `path`. The caller syncs the directory of `path`.
  Result<bool> give(const std::string& path);
  /// How many are ready.
  int ready() const;

 private:
  SpareSegments(std::string directory, int count);
  std::string path_of(int number) const;
  void run();
  Status make(int number);

  const std::string directory_;
  const int count_;
  mutable std::mutex mutex_;  // guards the fields below
  std::condition_variable wake_;
  std::vector<bool> ready_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tide::walstore
