#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "env/file.h"

namespace tide::env {

/// When a process began, in clock ticks since boot: with its pid it names one process for ever.
struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

/// How a process ended.
struct ExitStatus {
  bool known =
      false;  ///< False for a process that was not our child: the kernel tells only parents.
  int exit_code = 0;  ///< If it exited by itself.
  int signal = 0;     ///< If a signal ended it, else 0.
  std::string to_string() const;
};

/// What to run. The child gets exactly the descriptors named here, an empty signal mask and default
/// signal handlers.
struct SpawnSpec {
  std::string program;                   ///< Absolute path; nothing is searched.
  std::vector<std::string> arguments;    ///< Without argv[0], which is `program`.
  std::vector<std::string> environment;  ///< "NAME=value"; added to ours, replacing equal names.
  bool clean_environment = false;  ///< Of ours only PATH, HOME, USER, LOGNAME, TZ, TMPDIR pass.
  std::string directory;           ///< Working directory; empty: ours.
  std::string output_file;   ///< Standard output and error are appended here; empty: /dev/null.
  int output = -1;           ///< Or an open descriptor for both, if not negative.
  bool own_session = false;  ///< setsid(2): no terminal, signals to our group miss it.
  std::vector<int> inherit;  ///< Open descriptors it keeps, as numbers 3, 4, ... in this order.
};

/// A process that may or may not be our child, held by a pidfd: a signal never reaches a stranger
/// that was given the same number later. Thread-safe but for moving.
class Process {
 public:
  Process() = default;

  /// kNotFound if there is no such process, or it is another one than `identity` names.
  static Result<Process> open(ProcessIdentity identity);
  static Result<Process> open(pid_t pid);

  pid_t pid() const { return identity_.pid; }
  const ProcessIdentity& identity() const { return identity_; }
  /// Becomes readable for poll(2) when the process has ended.
  int pidfd() const { return pidfd_.get(); }
  bool is_open() const { return pidfd_.is_open(); }

  bool alive() const;
  /// A process that has already ended is fine.
  Status signal(int signal) const;
  /// Waits for the end and reaps a child. Nothing if it is still alive when the time is up.
  Result<std::optional<ExitStatus>> wait(std::chrono::milliseconds timeout) const;

 private:
  friend Result<Process> spawn(const SpawnSpec& spec);
  Process(ProcessIdentity identity, FileDescriptor pidfd)
      : identity_(identity), pidfd_(std::move(pidfd)) {}

  ProcessIdentity identity_;
  FileDescriptor pidfd_;
};

Result<Process> spawn(const SpawnSpec& spec);

/// Runs a program to its end and yields its output (standard output and error together).
/// kUnavailable with the output as DETAIL if it fails or `timeout` passes (then it is killed).
Result<std::string> run(SpawnSpec spec, std::chrono::milliseconds timeout);

/// Every process number in /proc.
std::vector<pid_t> all_processes();
/// Those that `matches`, our own process excepted.
std::vector<pid_t> find_processes(const std::function<bool(pid_t)>& matches);

Result<ProcessIdentity> process_identity(pid_t pid);
/// State letter of /proc/PID/stat ('R', 'S', 'T', 'Z', ...); 0 if there is no such process.
char process_state(pid_t pid);
/// Empty if the process is gone or belongs to somebody else.
std::vector<std::string> process_arguments(pid_t pid);
std::string process_directory(pid_t pid);
/// Path of the program file, as the kernel has it.
std::string process_program(pid_t pid);
/// The value of an environment variable as it was when the program began.
std::optional<std::string> process_environment(pid_t pid, std::string_view name);
/// True if the process has a descriptor that carries an flock of this kind on the file `path`.
bool process_holds_lock(pid_t pid, const std::string& path, LockKind kind);

}  // namespace tide::env
