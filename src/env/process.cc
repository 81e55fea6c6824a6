#include "env/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

extern char** environ;

namespace tide::env {
namespace {

int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int pidfd_send_signal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

/// The fields of /proc/PID/stat from the state letter on: the program's name before them may hold
/// spaces and parentheses.
Result<std::vector<std::string>> stat_fields(pid_t pid) {
  std::string content = TIDE_TRY(read_file(fmt::format("/proc/{}/stat", pid)));
  size_t end_of_name = content.rfind(')');
  if (end_of_name == std::string::npos || end_of_name + 2 >= content.size()) {
    return Status(Code::kCorrupt, fmt::format("/proc/{}/stat: no program name", pid));
  }
  std::vector<std::string> fields;
  std::string_view rest = std::string_view(content).substr(end_of_name + 2);
  while (!rest.empty()) {
    size_t space = rest.find(' ');
    fields.emplace_back(rest.substr(0, space));
    if (space == std::string_view::npos) break;
    rest.remove_prefix(space + 1);
  }
  return fields;
}

std::string read_link(const std::string& path) {
  char target[4096];
  ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return length < 0 ? std::string() : std::string(target, static_cast<size_t>(length));
}

std::vector<std::string> read_strings(const std::string& path) {
  std::vector<std::string> strings;
  Result<std::string> content = read_file(path);
  if (!content.ok()) return strings;
  std::string_view rest = *content;
  while (!rest.empty()) {
    size_t end = rest.find('\0');
    strings.emplace_back(rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return strings;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& added, bool clean) {
  static constexpr std::string_view kPassed[] = {
      "PATH=", "HOME=", "USER=", "LOGNAME=", "TZ=", "TMPDIR="};
  std::vector<std::string> merged = added;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = std::any_of(added.begin(), added.end(), [&](const std::string& other) {
      return std::string_view(other).substr(0, name.size()) == name;
    });
    bool passes =
        !clean || std::find(std::begin(kPassed), std::end(kPassed), name) != std::end(kPassed);
    if (!replaced && passes) merged.emplace_back(text);
  }
  return merged;
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (!known) return "ended";
  if (signal != 0) return fmt::format("ended by signal {} ({})", signal, ::strsignal(signal));
  return fmt::format("ended with exit code {}", exit_code);
}

Result<Process> Process::open(pid_t pid) {
  FileDescriptor pidfd(pidfd_open(pid));
  if (!pidfd.is_open()) {
    if (errno == ESRCH || errno == EINVAL) {
      return Status(Code::kNotFound, fmt::format("no process {}", pid));
    }
    return Status::from_errno(errno, fmt::format("pidfd_open {}", pid));
  }
  // Read behind the pidfd: if the process is still there now, these are its own facts.
  ProcessIdentity identity = TIDE_TRY(process_identity(pid));
  Process process(identity, std::move(pidfd));
  if (!process.alive()) return Status(Code::kNotFound, fmt::format("no process {}", pid));
  return process;
}

Result<Process> Process::open(ProcessIdentity identity) {
  Process process = TIDE_TRY(open(identity.pid));
  if (process.identity() != identity) {
    return Status(Code::kNotFound, fmt::format("process {} is another one now", identity.pid));
  }
  return process;
}

bool Process::alive() const {
  if (!pidfd_.is_open()) return false;
  pollfd entry{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  while (true) {
    int ready = ::poll(&entry, 1, 0);
    if (ready >= 0) return ready == 0;
    if (errno != EINTR) return true;
  }
}

Status Process::signal(int signal) const {
  if (pidfd_send_signal(pidfd_.get(), signal) == 0 || errno == ESRCH) return {};
  return Status::from_errno(errno, fmt::format("send signal {} to process {}", signal, pid()));
}

Result<std::optional<ExitStatus>> Process::wait(std::chrono::milliseconds timeout) const {
  auto deadline = std::chrono::steady_clock::now() + timeout;
  pollfd entry{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  while (true) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Status::from_errno(errno, fmt::format("wait for process {}", pid()));
    if (ready == 0) return std::optional<ExitStatus>();
    break;
  }
  siginfo_t info{};
  ExitStatus status;
  // P_PIDFD is 3; glibc's enumerator is newer than some headers.
  if (::waitid(static_cast<idtype_t>(3), static_cast<id_t>(pidfd_.get()), &info,
               WEXITED | WNOHANG) == 0 &&
      info.si_pid != 0) {
    status.known = true;
    if (info.si_code == CLD_EXITED) {
      status.exit_code = info.si_status;
    } else {
      status.signal = info.si_status;
    }
  }
  return std::optional<ExitStatus>(status);
}

Result<Process> spawn(const SpawnSpec& spec) {
  FileDescriptor opened_output;
  int output = spec.output;
  if (output < 0) {
    opened_output = TIDE_TRY(open_file(spec.output_file.empty() ? "/dev/null" : spec.output_file,
                                       O_WRONLY | O_APPEND | O_CREAT, 0600));
    output = opened_output.get();
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  struct Cleanup {
    posix_spawn_file_actions_t* actions;
    posix_spawnattr_t* attributes;
    ~Cleanup() {
      ::posix_spawn_file_actions_destroy(actions);
      ::posix_spawnattr_destroy(attributes);
    }
  } cleanup{&actions, &attributes};

  // The sources are first copied above every target number, so that no copy overwrites a source
  // that is still needed.
  int first_free = 3 + static_cast<int>(spec.inherit.size());
  std::vector<FileDescriptor> copies;
  std::vector<int> sources = {output};
  sources.insert(sources.end(), spec.inherit.begin(), spec.inherit.end());
  for (int source : sources) {
    int copy = ::fcntl(source, F_DUPFD_CLOEXEC, first_free);
    if (copy < 0)
      return Status::from_errno(errno, fmt::format("start {}: copy descriptor", spec.program));
    copies.emplace_back(copy);
  }
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, copies[0].get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, copies[0].get(), 2);
  for (size_t i = 0; i < spec.inherit.size(); ++i) {
    ::posix_spawn_file_actions_adddup2(&actions, copies[i + 1].get(), 3 + static_cast<int>(i));
  }
  ::posix_spawn_file_actions_addclosefrom_np(&actions, first_free);
  if (!spec.directory.empty()) {
    ::posix_spawn_file_actions_addchdir_np(&actions, spec.directory.c_str());
  }

  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (spec.own_session) flags |= POSIX_SPAWN_SETSID;
  ::posix_spawnattr_setflags(&attributes, flags);

  std::vector<char*> arguments = {const_cast<char*>(spec.program.c_str())};
  for (const std::string& argument : spec.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  std::vector<std::string> variables = merged_environment(spec.environment, spec.clean_environment);
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);

  pid_t pid = 0;
  int error = ::posix_spawn(&pid, spec.program.c_str(), &actions, &attributes, arguments.data(),
                            environment.data());
  if (error != 0) return Status::from_errno(error, fmt::format("start {}", spec.program));
  // Our child stays a zombie until we reap it, so its number cannot be another process's yet.
  FileDescriptor pidfd(pidfd_open(pid));
  if (!pidfd.is_open()) {
    int open_error = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return Status::from_errno(open_error, fmt::format("pidfd_open {}", pid));
  }
  ProcessIdentity identity = TIDE_TRY(process_identity(pid));
  return Process(identity, std::move(pidfd));
}

Result<std::string> run(SpawnSpec spec, std::chrono::milliseconds timeout) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Status::from_errno(errno, "pipe");
  FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  spec.output = writer.get();
  Process process = TIDE_TRY(spawn(spec));
  writer.reset();

  auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string output;
  bool timed_out = false;
  while (true) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{.fd = reader.get(), .events = POLLIN, .revents = 0};
    int ready = left.count() <= 0 ? 0 : ::poll(&entry, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      timed_out = true;
      break;
    }
    char buffer[65536];
    ssize_t got = ::read(reader.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    output.append(buffer, static_cast<size_t>(got));
  }
  if (timed_out) {
    process.signal(SIGKILL).ignore("it is ours; waiting follows");
  }
  auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  std::optional<ExitStatus> status =
      TIDE_TRY(process.wait(std::max(left, std::chrono::milliseconds(1000))));
  if (!status.has_value()) {
    process.signal(SIGKILL).ignore("it is ours; waiting follows");
    status = TIDE_TRY(process.wait(std::chrono::milliseconds(1000)));
    timed_out = true;
  }
  if (timed_out) {
    return Status(Code::kUnavailable,
                  fmt::format("{} did not end within {} ms", spec.program, timeout.count()))
        .with_detail(output);
  }
  if (!status->known || status->signal != 0 || status->exit_code != 0) {
    return Status(Code::kUnavailable, fmt::format("{} {}", spec.program, status->to_string()))
        .with_detail(output);
  }
  return output;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return found;
  while (dirent* entry = ::readdir(directory)) {
    std::string_view name = entry->d_name;
    pid_t pid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && end == name.data() + name.size()) found.push_back(pid);
  }
  ::closedir(directory);
  return found;
}

std::vector<pid_t> find_processes(const std::function<bool(pid_t)>& matches) {
  std::vector<pid_t> found;
  pid_t self = ::getpid();
  for (pid_t pid : all_processes()) {
    if (pid != self && matches(pid)) found.push_back(pid);
  }
  return found;
}

Result<ProcessIdentity> process_identity(pid_t pid) {
  Result<std::vector<std::string>> fields = stat_fields(pid);
  if (!fields.ok()) return Status(Code::kNotFound, fmt::format("no process {}", pid));
  // starttime is field 22 of proc(5); ours begin with field 3.
  constexpr size_t kStartTime = 22 - 3;
  ProcessIdentity identity{.pid = pid, .start_ticks = 0};
  if (fields->size() <= kStartTime) {
    return Status(Code::kCorrupt, fmt::format("/proc/{}/stat is short", pid));
  }
  const std::string& text = (*fields)[kStartTime];
  std::from_chars(text.data(), text.data() + text.size(), identity.start_ticks);
  return identity;
}

char process_state(pid_t pid) {
  Result<std::vector<std::string>> fields = stat_fields(pid);
  return fields.ok() && !fields->empty() && !fields->front().empty() ? fields->front()[0] : '\0';
}

std::vector<std::string> process_arguments(pid_t pid) {
  return read_strings(fmt::format("/proc/{}/cmdline", pid));
}

std::string process_directory(pid_t pid) { return read_link(fmt::format("/proc/{}/cwd", pid)); }

std::string process_program(pid_t pid) { return read_link(fmt::format("/proc/{}/exe", pid)); }

std::optional<std::string> process_environment(pid_t pid, std::string_view name) {
  for (const std::string& entry : read_strings(fmt::format("/proc/{}/environ", pid))) {
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return entry.substr(name.size() + 1);
    }
  }
  return std::nullopt;
}

bool process_holds_lock(pid_t pid, const std::string& path, LockKind kind) {
  struct stat wanted {};
  if (::stat(path.c_str(), &wanted) != 0) return false;
  std::string descriptors = fmt::format("/proc/{}/fd", pid);
  Result<std::vector<std::string>> names = list_directory(descriptors);
  if (!names.ok()) return false;
  for (const std::string& name : *names) {
    struct stat info {};
    if (::stat(fmt::format("{}/{}", descriptors, name).c_str(), &info) != 0) continue;
    if (info.st_dev != wanted.st_dev || info.st_ino != wanted.st_ino) continue;
    // "lock:\t1: FLOCK  ADVISORY  READ  PID MAJOR:MINOR:INODE START END", once for every process
    // that shares the open file.
    Result<std::string> facts = read_file(fmt::format("/proc/{}/fdinfo/{}", pid, name));
    if (!facts.ok()) continue;
    std::string_view rest = *facts;
    while (!rest.empty()) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.starts_with("lock:") && line.find(" FLOCK ") != line.npos &&
          line.find(kind == LockKind::kShared ? " READ " : " WRITE ") != line.npos) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace tide::env
