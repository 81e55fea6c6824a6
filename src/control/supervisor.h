#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace tide::control {

struct SupervisorOptions {
  std::string data_directory;
  std::string program;  ///< Path of tide: every role is this program.
  std::string library;  ///< tidewater.so, handed to the roles.
  /// Brings the essential roles up just far enough to end computes that an earlier supervisor left
  /// behind, then ends as after SIGTERM.
  bool shutdown_only = false;
  bool mirror = true;  ///< False: the roles of the lake are not started; their state is "off".
};

/// What the supervisor says about itself in RUN/supervisor.json.
struct SupervisorState {
  struct Role {
    std::string name;
    pid_t pid = 0;
    std::string state;  ///< "running", "waiting" (for the next attempt), "stopped", "off"
    int restarts = 0;
    std::string last_exit;
  };
  pid_t pid = 0;
  std::string state;  ///< "running", "stopping computes", "stopping ROLE", "flushing storage"
  std::vector<Role> roles;
};

/// kNotFound if no supervisor runs.
Result<SupervisorState> read_supervisor_state(const std::string& data_directory);

/// True while a supervisor of this instance lives (it holds a lock).
bool supervisor_runs(const std::string& data_directory);

/// Runs the roles (roles.h) as child processes and starts them again when they die, until SIGTERM
/// or SIGINT: then computes are suspended, the storage is flushed, and the roles end, in the order
/// that roles.h tells. A second signal ends all at once. kExists if another supervisor of this
/// instance runs.
Status run_supervisor(const SupervisorOptions& options);

/// For a role: dies with the supervisor, even if that is killed. Call first thing in main.
Status bind_to_supervisor(pid_t supervisor);

}  // namespace tide::control
