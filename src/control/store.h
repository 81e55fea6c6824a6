#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "compute/compute.h"

namespace tide::control {

class Database;

struct Project {
  std::string name;
  std::string system_id;  ///< Empty until the storage has imported the template.
  std::string role;       ///< Owner role of the user's databases, a superuser.
  std::string password;
  std::string database;
  bool provisioned = false;  ///< Role and database exist.
  std::string created_at;
};

/// A name for a timeline. Reset and restore give the name to another timeline and keep the old one
/// under a new name.
struct Branch {
  enum class State { kCreating, kReady, kDeleting };
  TimelineId timeline;
  std::string name;
  std::optional<TimelineId> parent;
  Lsn branch_lsn;
  State state = State::kCreating;
  bool is_protected = false;
  std::string backup_of;  ///< The branch whose earlier state this keeps, if it does.
  std::string created_at;
  Epoch epoch;  ///< Last one given out.
};
std::string_view state_name(Branch::State state);

/// What survives of a branch's compute: how it is reached, and how it was last started.
struct Endpoint {
  TimelineId timeline;
  int port = 0;
  bool wanted = false;    ///< Shall it run?
  Epoch epoch;            ///< Of the last life that the storage has begun; 0 if none.
  std::string lock_file;  ///< Of that life.
  int64_t pid = 0;        ///< Of that life's postmaster while it runs, as far as we know.
  std::string last_start;
  std::string last_stop;
};

/// A change that takes several steps. It is written down before its first step and carried on, or
/// taken back, after a crash.
struct Operation {
  enum class State { kRunning, kDone, kFailed };
  int64_t id = 0;
  std::string kind;
  std::string branch;
  TimelineId timeline;  ///< The one it makes, changes or removes.
  State state = State::kRunning;
  std::string step;
  std::string parameters;  ///< JSON
  std::string error;
  std::string created_at;
  std::string updated_at;
};
std::string_view state_name(Operation::State state);

/// "2026-01-02T03:04:05.678Z"
std::string now_text();

/// The control plane's durable state: DIR/control.db (mode 0600; it holds the owner role's
/// password). Every call is one transaction unless it stands inside transaction(). Thread-safe.
class Store {
 public:
  static Result<std::unique_ptr<Store>> open(const std::string& path);
  ~Store();

  Status transaction(const std::function<Status()>& body);
  Status check_integrity();

  Result<std::optional<Project>> project();
  Status insert_project(const Project& project);
  Status set_system_id(const std::string& system_id);
  Status set_provisioned();

  /// Numbers that have never been given out and never will be again.
  Result<TimelineId> next_timeline();
  /// What next_timeline() would give.
  Result<TimelineId> peek_next_timeline();
  Status set_next_timeline(TimelineId next);
  Result<Epoch> next_epoch(TimelineId timeline);
  /// The next epoch will be above this one.
  Status raise_epoch(TimelineId timeline, Epoch at_least);

  Result<std::vector<Branch>> branches();
  /// kNotFound with the names that exist.
  Result<Branch> branch(const std::string& name);
  Result<Branch> branch(TimelineId timeline);
  Result<std::vector<std::string>> children(TimelineId timeline);
  Status insert_branch(const Branch& branch);
  Status set_branch_ready(TimelineId timeline, Lsn branch_lsn);
  Status set_branch_state(TimelineId timeline, Branch::State state);
  Status rename_branch(TimelineId timeline, const std::string& name, const std::string& backup_of);
  Status set_protected(TimelineId timeline, bool is_protected);
  Status remove_branch(TimelineId timeline);

  Result<std::vector<Endpoint>> endpoints();
  Result<std::optional<Endpoint>> endpoint(TimelineId timeline);
  Status insert_endpoint(TimelineId timeline, int port);
  Status set_endpoint_port(TimelineId timeline, int port);
  Status set_endpoint_wanted(TimelineId timeline, bool wanted);
  Status set_endpoint_begun(TimelineId timeline, Epoch epoch, const std::string& lock_file);
  Status set_endpoint_started(TimelineId timeline, int64_t pid);
  Status set_endpoint_stopped(TimelineId timeline);
  /// Gives the endpoint with its port and settings to another timeline; statistics stay behind.
  Status move_endpoint(TimelineId from, TimelineId to);

  Result<compute::PreservedState> preserved(TimelineId timeline);
  Status set_preserved(TimelineId timeline, const compute::PreservedState& state);
  Status set_auto_conf(TimelineId timeline, const std::string& content);
  /// For a branch without an endpoint as yet: the settings its endpoint will begin with.
  Status set_recovered_auto_conf(TimelineId timeline, const std::string& content);

  Result<Operation> begin_operation(const std::string& kind, const std::string& branch,
                                    TimelineId timeline, const std::string& parameters);
  Status set_operation_step(int64_t id, const std::string& step);
  /// Done, or failed if `outcome` is an error.
  Status end_operation(int64_t id, const Status& outcome);
  /// The same for a start that went well. Lost in a power failure, it is only done again.
  Status end_started(int64_t id);
  Result<Operation> operation(int64_t id);
  Result<std::vector<Operation>> running_operations();
  Result<std::vector<Operation>> recent_operations(int limit);

 private:
  explicit Store(std::unique_ptr<Database> database);
  std::unique_ptr<Database> database_;
};

}  // namespace tide::control
