#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "compute/compute.h"
#include "control/storage_client.h"
#include "control/store.h"

namespace tide::control {

struct ComputesOptions {
  std::string data_directory;
  std::string socket_directory;
  compute::Durability durability = compute::Durability::kLocal;
  compute::Installation installation;
  std::string library;  ///< tidewater.so; empty runs plain PostgreSQL (tests).
  std::string main_branch = "main";
  int main_port = 5432;  ///< Fixed for the main branch; others get free ones of their own.
  std::chrono::milliseconds start_deadline{90'000};
  std::chrono::milliseconds stop_deadline{60'000};
};

/// The computes of all branches: starts them, suspends them, and brings back those that die.
///
/// A life begins by taking a new epoch (durable before anything else), which the storage grants
/// only when the previous life is proven dead. A compute that dies although it is wanted is started
/// again at once, then with growing pauses. All calls block; one thread per branch is inside at a
/// time.
class Computes {
 public:
  enum class State { kSuspended, kStarting, kRunning, kStopping, kFailed };
  struct Info {
    State state = State::kSuspended;
    int port = 0;
    pid_t pid = 0;
    Epoch epoch;
    int restarts = 0;                ///< After deaths, since this control role began.
    double start_seconds = 0;        ///< What the last start took.
    std::string error;               ///< Why the last start failed or the last life ended.
    std::optional<double> retry_in;  ///< Seconds until the next attempt.
  };

  Computes(ComputesOptions options, Store& store, StorageClient& storage);
  /// Leaves the computes running.
  ~Computes();

  /// Takes up the computes that live (of an earlier control role) and are wanted, and ends the
  /// others.
  Status take_up();
  /// From now on keeps the wanted ones running.
  void keep_up();

  /// Gives the branch an endpoint with a port of its own, if it has none yet.
  Status make_endpoint(TimelineId timeline);
  /// Returns when the branch's compute accepts connections. The caller has noted that it is wanted.
  Status start(TimelineId timeline);
  /// Fast shutdown; what was committed is with the storage when this returns.
  Status suspend(TimelineId timeline);
  /// Kills the compute, if one lives, and starts the next life: for one that hangs.
  Status restart(TimelineId timeline);
  /// Kills it and ends its epoch, for a branch that is going away.
  Status destroy(TimelineId timeline);
  /// Forgets a timeline that has no endpoint any more.
  void forget(TimelineId timeline);

  /// Starts nothing any more; starts under way give up.
  void refuse();
  /// Suspends all, but keeps in mind which ones are wanted; nothing is started any more.
  Status stop_all();

  Info info(TimelineId timeline);
  uint64_t starts() const { return starts_; }
  uint64_t deaths() const { return deaths_; }

 private:
  struct Slot;

  std::shared_ptr<Slot> slot(TimelineId timeline);
  Status start_in(Slot& slot);
  Status start_once(Slot& slot);
  Status begin_epoch(Slot& slot, const Endpoint& endpoint, StorageClient::BegunEpoch& begun);
  Status watch(Slot& slot);
  Status stop_in(Slot& slot, bool keep_state);
  Result<Endpoint> endpoint_of(TimelineId timeline);
  Result<int> free_port(TimelineId timeline);
  std::string directory_of(TimelineId timeline) const;
  void on_death(TimelineId timeline, Epoch epoch, const env::ExitStatus& exit);
  void note_failure(Slot& slot, const Status& failure);
  void keep_running();
  void work();

  const ComputesOptions options_;
  Store& store_;
  StorageClient& storage_;

  std::mutex mutex_;  ///< Guards what follows and every slot's visible part; held briefly.
  std::map<TimelineId, std::shared_ptr<Slot>> slots_;
  bool quit_ = false;
  std::condition_variable changed_;
  std::deque<TimelineId> jobs_;
  std::thread keeper_;
  std::vector<std::thread> workers_;
  std::mutex port_mutex_;  ///< One choice of a free port at a time.
  std::atomic<uint64_t> starts_{0};
  std::atomic<uint64_t> deaths_{0};
};

std::string_view state_name(Computes::State state);

}  // namespace tide::control
