#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/result.h"
#include "objectstore/object_store.h"
#include "storage/object_mirror.h"
#include "storage/project.h"

namespace tide::storage {

struct UpkeepOptions {
  /// The page store is flushed once this much WAL came since the last flush, or after the time
  /// below.
  uint64_t flush_bytes = uint64_t{256} << 20;
  std::chrono::seconds flush_interval{300};
  /// Finished WAL segments and new page-store files go to the object store this often.
  std::chrono::seconds upload_interval{10};
  /// History that branches and restores may reach.
  std::chrono::hours history{7 * 24};
};

/// What goes on behind everybody's back: making pages durable, copying to the object store,
/// removing WAL nobody needs and history nobody may ask for. One thread; failures are kept, shown
/// and tried again.
class Upkeep {
 public:
  /// `mirror` may be null: then everything stays on this machine.
  Upkeep(Project& project, ObjectMirror* mirror, UpkeepOptions options);
  ~Upkeep();

  /// Makes everything durable and uploads it, now; returns when done.
  Status flush_all();

  struct State {
    std::string last_error;
    std::string last_upload_time;  ///< RFC 3339; empty if never
    uint64_t pending_bytes = 0;    ///< of WAL that is not in the object store yet
    bool has_object_store = false;
    std::string object_store;
  };
  State state() const;
  ObjectMirror* mirror() { return mirror_; }

 private:
  void run();
  Status flush_pages();
  Status upload(bool partial_segments);
  Status upload_pages();
  Status trim_wal();
  Status move_history_cutoffs();
  bool flush_is_due() const;
  void remember(const Status& status);

  Project& project_;
  ObjectMirror* mirror_;
  UpkeepOptions options_;
  std::mutex work_mutex_;  // one round at a time
  std::chrono::steady_clock::time_point last_flush_;
  std::chrono::steady_clock::time_point last_upload_;
  std::chrono::steady_clock::time_point last_cutoff_;
  bool pages_due_ = false;  ///< flushed, and not in the object store yet

  mutable std::mutex mutex_;  // guards the fields below
  std::condition_variable wake_;
  bool stopping_ = false;
  State state_;
  std::thread thread_;
};

}  // namespace tide::storage
