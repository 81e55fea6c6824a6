#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/storage_client.h"
#include "control/store.h"

namespace tide::control {

/// The part of the control plane's state that the storage cannot know (names of branches, settings
/// made by ALTER SYSTEM, the owner role's password), kept beside the data in the object store under
/// control/state.json, so that a fresh machine finds it there. The password stands there in clear,
/// as all data does: every branch, at every moment of its history, holds the verifier of this very
/// one.
///
/// The copy follows the store within seconds; a branch made after the last copy is found again by
/// its timeline and gets a name like "recovered-t7".
class StateCopy {
 public:
  StateCopy(std::string object_store, Store& store);
  ~StateCopy();

  /// Keeps the copy up to date on a thread of its own.
  void begin();
  /// One last copy, then the thread ends.
  void stop();

  /// Fills an empty store with the project that the storage has opened from its object store.
  Status recover(const std::string& system_id,
                 const std::vector<StorageClient::Timeline>& timelines, const Project& project,
                 const std::string& main_branch);

 private:
  Result<std::string> snapshot();
  Status upload();
  void run();

  const std::string object_store_;
  Store& store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool quit_ = false;
  std::string uploaded_;  ///< Touched by the thread only.
  std::thread thread_;
};

}  // namespace tide::control
