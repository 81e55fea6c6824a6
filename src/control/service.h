#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "control/computes.h"
#include "control/state_copy.h"
#include "control/storage_client.h"
#include "control/store.h"

namespace tide::control {

/// kInvalid unless it is 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end.
Status check_branch_name(const std::string& name);

/// "db[@branch]" taken apart; empty parts take the project's defaults.
struct Target {
  std::string database;
  std::string branch;
  bool lake = false;  ///< its tables in the lake: the warehouse answers
  static Result<Target> parse(const std::string& text);
};

struct ServiceOptions {
  std::string data_directory;
  std::string main_branch = "main";
  int main_port = 5432;
  compute::Installation installation;
};

/// What the control plane does: projects, branches, endpoints. Every change is an operation in the
/// store, carried on after a crash at any step. Operations on one branch come one after the other.
class Service {
 public:
  Service(ServiceOptions options, Store& store, StorageClient& storage, Computes& computes,
          StateCopy& copy);
  ~Service();

  /// Begins to bring everything up on a thread of its own: waits for the storage, makes the project
  /// if there is none, carries on what was interrupted, starts the wanted computes.
  void begin();
  /// Ends that thread and refuses further changes.
  void stop();

  struct Stage {
    std::string name;
    std::string state;  ///< "waiting", "running", "done"
    std::string detail;
    double seconds = 0;
    Status problem;  ///< Why it does not get on; it is tried again.
  };
  std::vector<Stage> stages();
  bool is_up();

  struct Point {
    std::string lsn;  ///< Either, or neither for the head.
    std::string time;
  };
  Result<Branch> create_branch(const std::string& name, const std::string& from,
                               const Point& point);
  Status delete_branch(const std::string& name);
  struct Rewound {
    Branch branch;
    Branch backup;
  };
  /// The branch becomes its parent's head of now; the old state is kept as a branch of its own.
  Result<Rewound> reset_branch(const std::string& name);
  /// The branch goes back to a point of its own history; the old state is kept under `preserve_as`.
  Result<Rewound> restore_branch(const std::string& name, const Point& point,
                                 const std::string& preserve_as);
  Status set_protected(const std::string& name, bool is_protected);

  Status start_endpoint(const std::string& branch);
  Status suspend_endpoint(const std::string& branch);
  Status restart_endpoint(const std::string& branch);

  struct Connection {
    std::string branch;
    std::string database;
    std::string role;
    std::string password;
    int port = 0;
    std::string url() const;
  };
  /// Starts the branch's endpoint if it sleeps, so that the answer works at once.
  Result<Connection> connection(const Target& target);
  /// The same without starting anything; nothing if the project is not provisioned yet.
  Result<std::optional<Connection>> known_connection(const Target& target);

  /// The storage's check and our own; the shape of the storage API's answer.
  Result<nlohmann::json> fsck(bool deep);

 private:
  class BranchLock;

  void bring_up();
  Status bring_up_storage(Stage& stage);
  Status bring_up_project(Stage& stage);
  Status bring_up_compute(Stage& stage);
  Status require_project();

  /// Carries an operation on from its step to its end and notes the end. An error that may pass
  /// leaves it running: the keeper tries again.
  Status carry_on(const Operation& operation);
  Status carry_on_create_project(const Operation& operation);
  Status carry_on_create(const Operation& operation);
  Status carry_on_delete(const Operation& operation);
  Status carry_on_rewind(const Operation& operation);
  Status make_timeline(const Operation& operation, TimelineId parent, const Point& point,
                       Lsn& branch_lsn);
  Result<Rewound> rewind(const std::string& kind, const Branch& branch, TimelineId source,
                         const Point& point, const std::string& backup_name);
  Result<std::string> free_backup_name(const std::string& name, const std::string& infix);
  void carry_on_interrupted();

  const ServiceOptions options_;
  Store& store_;
  StorageClient& storage_;
  Computes& computes_;
  StateCopy& copy_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool quit_ = false;
  bool up_ = false;
  std::vector<Stage> stages_;
  std::set<std::string> busy_;  ///< Branch names with an operation under way.
  std::set<int64_t> in_hand_;   ///< Operations some thread is carrying on.
  std::thread keeper_;
};

}  // namespace tide::control
