#pragma once

#include <sys/types.h>

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

/// What every command shares: which instance, how to ask it, how to say what went wrong.
namespace tide::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitNotRunning = 3,
  kExitDenied = 4
};

/// An error with the exit code it deserves.
struct Failure {
  Status status;
  ExitCode exit_code = kExitError;
};

/// Prints message, DETAIL and HINT to standard error (or JSON to standard output) and yields the
/// exit code.
int fail(const Status& status, bool as_json);

/// --data, else TIDE_DATA, else ~/.tidewater; canonical.
Result<std::string> data_directory(const std::string& option);

/// kUnavailable with a hint unless a supervisor of the instance runs.
Status require_running(const std::string& data);
/// True for the Status of require_running: exit code 3.
bool is_not_running(const Status& status);

struct Request {
  std::string method = "GET";
  std::string target;
  std::string body;
  std::chrono::milliseconds timeout{180'000};
};
/// Asks the control role; while it is being started again, waits for it.
Result<std::string> ask_raw(const std::string& data, const Request& request);
Result<nlohmann::json> ask(const std::string& data, const Request& request);

/// Processes of the instance besides ourselves: roles and computes carry DIR in their arguments.
std::vector<pid_t> instance_processes(const std::string& data);
/// Those of them that are PostgreSQL.
std::vector<pid_t> compute_processes(const std::string& data);

/// Path of this program, and of tidewater.so beside it (TIDE_LIBRARY if set).
Result<std::string> program_path();
Result<std::string> library_path();

/// What was appended to a file behind `from`, its last lines.
std::string tail(const std::string& path, uint64_t from, size_t lines);

std::string bytes_text(uint64_t bytes);
std::string seconds_text(double seconds);

}  // namespace tide::cli
