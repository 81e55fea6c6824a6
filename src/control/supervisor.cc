#include "control/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/roles.h"
#include "control/storage_client.h"
#include "env/file.h"
#include "env/instance.h"
#include "env/process.h"
#include "net/api_error.h"
#include "obs/log.h"

namespace tide::control {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr milliseconds kPauseMax{10'000};
constexpr milliseconds kHealthyLife{30'000};
constexpr milliseconds kFlush{300'000};
constexpr uint64_t kLogBytesMax = 16 << 20;

std::string state_file(const std::string& data) {
  return env::runtime_directory(data) + "/supervisor.json";
}
std::string lock_file(const std::string& data) {
  return env::runtime_directory(data) + "/supervisor.lock";
}

class Supervisor {
 public:
  Supervisor(const SupervisorOptions& options, env::FileDescriptor signals)
      : options_(options), signals_(std::move(signals)) {
    for (const Role& role : kRoles) {
      // What is not essential has no part in ending what an earlier supervisor left behind.
      if (!role.essential && options_.shutdown_only) continue;
      roles_.push_back(Child{.role = role, .off = role.of_lake && !options_.mirror});
    }
  }

  Status run();

 private:
  struct Child {
    const Role& role;
    bool off = false;  // by the settings
    env::Process process;
    bool running = false;
    int restarts = -1;  // the first start is none
    int failures = 0;
    Clock::time_point began;
    Clock::time_point next_attempt;
    std::string last_exit;
  };

  Child& child(std::string_view name);
  void start(Child& child);
  void notice_death(Child& child, const env::ExitStatus& exit);
  /// Waits until the role has ended; false if it had to be killed.
  bool end(Child& child);
  bool impatient();
  void say(const std::string& state);
  Status stop();

  const SupervisorOptions& options_;
  env::FileDescriptor signals_;
  std::vector<Child> roles_;
  std::string state_ = "running";
  bool killed_ = false;
};

void Supervisor::say(const std::string& state) {
  state_ = state;
  json roles = json::array();
  for (const Child& role : roles_) {
    roles.push_back({{"name", role.role.name},
                     {"pid", role.running ? role.process.pid() : 0},
                     {"state", role.off              ? "off"
                               : role.running        ? "running"
                               : state_ == "running" ? "waiting"
                                                     : "stopped"},
                     {"restarts", std::max(0, role.restarts)},
                     {"last_exit", role.last_exit}});
  }
  json content = {{"pid", ::getpid()}, {"state", state_}, {"roles", roles}};
  // A reader sees the old file or the new one; nothing of it has to survive.
  std::string path = state_file(options_.data_directory);
  Status written = env::write_file(path + ".new", content.dump(2) + "\n");
  if (!written.ok() || ::rename((path + ".new").c_str(), path.c_str()) != 0) {
    obs::warn("write {}: {}", path, written.to_string());
  }
}

Supervisor::Child& Supervisor::child(std::string_view name) {
  return *std::find_if(roles_.begin(), roles_.end(),
                       [&](const Child& child) { return child.role.name == name; });
}

void Supervisor::start(Child& child) {
  std::string_view name = child.role.name;
  std::string log = fmt::format("{}/log/{}.log", options_.data_directory, name);
  if (Result<uint64_t> size = env::file_size(log); size.ok() && *size > kLogBytesMax) {
    if (::rename(log.c_str(), (log + ".1").c_str()) != 0) obs::warn("{} cannot be put aside", log);
  }
  env::SpawnSpec spec;
  spec.program = options_.program;
  spec.arguments = {std::string(name),
                    "--data",
                    options_.data_directory,
                    "--supervisor",
                    fmt::format("{}", ::getpid()),
                    "--library",
                    options_.library};
  if (name == kControlRole && options_.shutdown_only) spec.arguments.push_back("--shutdown");
  spec.directory = options_.data_directory;
  spec.output_file = log;
  spec.own_session = true;  // Ctrl-C on the terminal is for the supervisor, which stops in order.
  Result<env::Process> started = env::spawn(spec);
  ++child.restarts;
  child.began = Clock::now();
  if (!started.ok()) {
    child.last_exit = started.status().to_string();
    notice_death(child, {});
    obs::error("start {}: {}", name, started.status().to_string());
    return;
  }
  child.process = std::move(started).value();
  child.running = true;
  obs::info("{} runs as process {}", name, child.process.pid());
}

void Supervisor::notice_death(Child& role, const env::ExitStatus& exit) {
  role.running = false;
  if (exit.known) role.last_exit = exit.to_string();
  role.failures = Clock::now() - role.began > kHealthyLife ? 0 : role.failures + 1;
  milliseconds pause =
      role.failures <= 1
          ? milliseconds(0)
          : std::min(kPauseMax, milliseconds(200) * (1 << std::min(role.failures - 2, 10)));
  role.next_attempt = Clock::now() + pause;
}

Status Supervisor::run() {
  for (Child& role : roles_) {
    if (!role.off) start(role);
  }
  say("running");
  while (true) {
    std::vector<pollfd> waits = {{signals_.get(), POLLIN, 0}};
    auto wake = Clock::now() + std::chrono::seconds(10);
    for (const Child& role : roles_) {
      if (role.running) {
        waits.push_back({role.process.pidfd(), POLLIN, 0});
      } else if (!role.off) {
        wake = std::min(wake, role.next_attempt);
      }
    }
    auto left = std::chrono::duration_cast<milliseconds>(wake - Clock::now()).count() + 1;
    int ready = ::poll(waits.data(), waits.size(), static_cast<int>(std::max<int64_t>(0, left)));
    if (ready < 0 && errno != EINTR) return Status::from_errno(errno, "poll");
    if (waits[0].revents != 0) {
      signalfd_siginfo info{};
      (void)!::read(signals_.get(), &info, sizeof info);
      obs::info("signal {}: stops", info.ssi_signo);
      return stop();
    }
    bool changed = false;
    for (Child& role : roles_) {
      if (role.running && !role.process.alive()) {
        Result<std::optional<env::ExitStatus>> exit = role.process.wait(milliseconds(0));
        env::ExitStatus how = exit.ok() && exit->has_value() ? **exit : env::ExitStatus{};
        obs::warn("{} (process {}) ended: {}", role.role.name, role.process.pid(), how.to_string());
        notice_death(role, how);
        changed = true;
        // It has done what it was started for.
        if (options_.shutdown_only && role.role.name == kControlRole && how.known &&
            how.exit_code == 0 && how.signal == 0) {
          return stop();
        }
      }
      if (!role.running && !role.off && role.next_attempt <= Clock::now()) {
        start(role);
        changed = true;
      }
    }
    if (changed) say("running");
  }
}

/// A second signal: the user does not want to wait.
bool Supervisor::impatient() {
  pollfd wait = {signals_.get(), POLLIN, 0};
  if (::poll(&wait, 1, 0) > 0) {
    signalfd_siginfo info{};
    (void)!::read(signals_.get(), &info, sizeof info);
    killed_ = true;
  }
  return killed_;
}

bool Supervisor::end(Child& role) {
  if (!role.running) return true;
  role.process.signal(SIGTERM).ignore("the wait below sees whether it ended");
  auto deadline = Clock::now() + role.role.stop_patience;
  while (Clock::now() < deadline && !impatient()) {
    Result<std::optional<env::ExitStatus>> ended = role.process.wait(milliseconds(100));
    if (ended.ok() && ended->has_value()) {
      role.running = false;
      role.last_exit = (*ended)->to_string();
      return true;
    }
  }
  obs::warn("{} does not end, kills it", role.role.name);
  role.process.signal(SIGKILL).ignore("the wait below sees whether it ended");
  role.process.wait(std::chrono::seconds(10))
      .status()
      .ignore("a process that cannot die is the kernel's");
  role.running = false;
  role.last_exit = "killed by the supervisor";
  return false;
}

Status Supervisor::stop() {
  Child& storage = child(kStorageRole);
  Child& control = child(kControlRole);
  say("stopping computes");
  Status outcome;
  if (!options_.shutdown_only && !control.running) {
    // Only control knows how to end computes in order.
    start(control);
  }
  if (!end(control)) {
    outcome = {Code::kUnavailable,
               "the computes could not be stopped in order; what was committed is safe"};
  }
  for (auto other = roles_.rbegin(); other != roles_.rend(); ++other) {
    if (other->role.essential) continue;
    say(fmt::format("stopping {}", other->role.name));
    end(*other);
  }
  if (!killed_ && storage.running) {
    say("flushing storage");
    Status flushed = StorageClient(env::storage_socket(options_.data_directory)).flush(kFlush);
    if (!flushed.ok()) {
      obs::warn("flush: {}", flushed.to_string());
      if (outcome.ok()) outcome = std::move(flushed).with_context("flush the storage");
    }
  }
  say("stopping storage");
  end(storage);
  say("stopped");
  obs::info("stopped");
  env::remove_file(state_file(options_.data_directory)).ignore("the lock says that nobody runs");
  return outcome;
}

}  // namespace

Result<SupervisorState> read_supervisor_state(const std::string& data_directory) {
  std::string text = TIDE_TRY(env::read_file(state_file(data_directory)));
  json content = TIDE_TRY(net::parse_json(text));
  SupervisorState state;
  state.pid = static_cast<pid_t>(TIDE_TRY(net::number_member(content, "pid")));
  state.state = TIDE_TRY(net::string_member(content, "state"));
  if (content.contains("roles") && content["roles"].is_array()) {
    for (const json& entry : content["roles"]) {
      SupervisorState::Role role;
      role.name = TIDE_TRY(net::string_member(entry, "name"));
      role.pid = static_cast<pid_t>(TIDE_TRY(net::number_member(entry, "pid", 0)));
      role.state = TIDE_TRY(net::string_member(entry, "state", ""));
      role.restarts = static_cast<int>(TIDE_TRY(net::number_member(entry, "restarts", 0)));
      role.last_exit = TIDE_TRY(net::string_member(entry, "last_exit", ""));
      state.roles.push_back(std::move(role));
    }
  }
  return state;
}

bool supervisor_runs(const std::string& data_directory) {
  Result<env::FileDescriptor> lock = env::open_file(lock_file(data_directory), O_RDWR);
  if (!lock.ok()) return false;
  Result<bool> free = env::try_lock(lock->get(), env::LockKind::kShared);
  return free.ok() && !*free;
}

Status run_supervisor(const SupervisorOptions& options) {
  TIDE_TRY(env::prepare_runtime_directory(options.data_directory));
  TIDE_TRY(env::make_directories(options.data_directory + "/log"));
  env::FileDescriptor lock = TIDE_TRY(env::open_lock_file(lock_file(options.data_directory)));
  if (!TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive))) {
    return {Code::kExists, fmt::format("a supervisor of {} runs already", options.data_directory)};
  }
  sigset_t handled;
  sigemptyset(&handled);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&handled, signal);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  env::FileDescriptor signals(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.is_open()) return Status::from_errno(errno, "signalfd");
  return Supervisor(options, std::move(signals)).run();
}

Status bind_to_supervisor(pid_t supervisor) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
    return Status::from_errno(errno, "prctl(PR_SET_PDEATHSIG)");
  // It may have died before that.
  if (::getppid() != supervisor) return {Code::kUnavailable, "the supervisor is gone"};
  return {};
}

}  // namespace tide::control
