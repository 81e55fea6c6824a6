#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/ids.h"
#include "base/result.h"
#include "env/file.h"
#include "pagestore/page_store.h"
#include "storage/first_touch.h"

namespace tide::storage {

class LearnerService;

/// Answers computes and learners on a Unix socket (contracts/page_service.h).
///
/// A thread per connection: a backend asks, waits and asks again, so its thread blocks where the
/// backend does, and no hop to another thread is paid. Idle branches have no backends and so no
/// threads.
class PageService {
 public:
  /// The epoch whose compute may read a timeline; asked for each request, so fencing takes effect
  /// at once.
  using CurrentEpoch = std::function<Epoch(TimelineId)>;

  /// `learners` answers what learners ask and outlives the service; null: nobody does.
  static Result<std::unique_ptr<PageService>> start(const std::string& socket_path,
                                                    const pagestore::PageStore& store,
                                                    CurrentEpoch current_epoch,
                                                    LearnerService* learners = nullptr);
  /// What computes ask for first.
  FirstTouch& first_touch() { return first_touch_; }
  /// Breaks all connections off and waits for their threads. `learners` answers no more.
  ~PageService();

  struct Stats {
    uint64_t connections;  ///< open now
    uint64_t requests;
    uint64_t pages;
    uint64_t errors;
  };
  Stats stats() const;

 private:
  class Connection;
  PageService(env::FileDescriptor listener, const pagestore::PageStore& store,
              CurrentEpoch current_epoch, LearnerService* learners);
  void accept_loop();

  env::FileDescriptor listener_;
  env::FileDescriptor quit_;  // eventfd
  const pagestore::PageStore& store_;
  CurrentEpoch current_epoch_;
  FirstTouch first_touch_;
  LearnerService* learners_;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> pages_{0};
  std::atomic<uint64_t> errors_{0};

  std::mutex mutex_;  // guards connections_
  struct Serving {
    std::unique_ptr<Connection> connection;
    std::thread thread;
    std::atomic<bool> done{false};
  };
  std::map<uint64_t, std::unique_ptr<Serving>> connections_;
  std::atomic<uint64_t> open_connections_{0};
  std::thread acceptor_;
};

}  // namespace tide::storage
