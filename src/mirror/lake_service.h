#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "env/file.h"
#include "mirror/branch_worker.h"
#include "net/blob_channel.h"

namespace tide::mirror {

/// Answers the warehouse and `tide lake` on a Unix socket (docs/formats/lake-service.md):
/// consistent snapshots of databases, and figures. A thread per connection; a connection's
/// snapshots end with it.
class LakeService {
 public:
  struct Branches {
    /// Null for a timeline without a worker.
    std::function<std::shared_ptr<BranchWorker>(TimelineId)> find;
    std::function<std::vector<std::shared_ptr<BranchWorker>>()> all;
    /// "schema.table" in or out of the lake, durably.
    std::function<Status(TimelineId, const std::string& database, const std::string& table,
                         bool in)>
        include;
  };
  static Result<std::unique_ptr<LakeService>> start(const std::string& socket_path,
                                                    Branches branches);
  ~LakeService();

 private:
  class Conversation;
  LakeService(env::FileDescriptor listener, Branches branches);
  void accept_loop();

  Branches branches_;
  env::FileDescriptor listener_;
  env::FileDescriptor quit_;  // eventfd
  std::mutex mutex_;          // guards serving_
  struct Serving {
    std::unique_ptr<Conversation> conversation;
    std::thread thread;
    std::atomic<bool> done{false};
  };
  std::list<Serving> serving_;
  std::thread acceptor_;
};

}  // namespace tide::mirror
