#include "compute/compute.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "compute/configuration.h"
#include "env/file.h"
#include "obs/log.h"

namespace tide::compute {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kIdVariable = "TIDE_COMPUTE";
constexpr milliseconds kLeftovers{10'000};
constexpr milliseconds kReaping{1'000};
constexpr uint64_t kLogTail = 8192;
constexpr int kLookAgainMs = 20;

double ms(steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

/// The path as the kernel shows it in /proc/PID/cwd.
std::string canonical(const std::string& path) {
  std::error_code error;
  std::string result = std::filesystem::weakly_canonical(path, error).string();
  return error ? path : result;
}

/// What every process of any life on this data directory carries in TIDE_COMPUTE; the life follows.
std::string id_prefix(const std::string& data_dir) { return data_dir + "|"; }

bool is_postgres(pid_t pid) {
  std::string program = env::process_program(pid);
  constexpr std::string_view kDeleted = " (deleted)";  // replaced by a package upgrade
  if (program.ends_with(kDeleted)) program.resize(program.size() - kDeleted.size());
  return program.ends_with("/postgres");
}

bool lives_in(pid_t pid, const std::string& data_dir) {
  std::string directory = env::process_directory(pid);
  return directory == data_dir || directory == data_dir + " (deleted)";
}

/// Three marks, as none covers all: PostgreSQL's backends overwrite their environment with their
/// title; a program of COPY may change its directory; only programs that closed what they inherited
/// miss the lock. A lock held by the storage is an exclusive one.
bool belongs_to(pid_t pid, const std::string& data_dir, const std::string& lock_file) {
  if (is_postgres(pid) && lives_in(pid, data_dir)) return true;
  std::optional<std::string> id = env::process_environment(pid, kIdVariable);
  if (id.has_value() && id->starts_with(id_prefix(data_dir))) return true;
  return !lock_file.empty() && env::process_holds_lock(pid, lock_file, env::LockKind::kShared);
}

Status kill_everything(const std::string& data_dir, const std::string& lock_file,
                       milliseconds timeout) {
  auto deadline = steady_clock::now() + timeout;
  auto pause = std::chrono::microseconds(500);
  while (true) {
    std::vector<pid_t> members = env::find_processes([&](pid_t pid) {
      return env::process_state(pid) != 'Z' && belongs_to(pid, data_dir, lock_file);
    });
    for (pid_t pid : members) {
      Result<env::Process> process = env::Process::open(pid);
      // Asked again behind the pidfd: the number could have passed to a stranger.
      if (!process.ok() || !belongs_to(pid, data_dir, lock_file)) continue;
      process->signal(SIGKILL).ignore("counted in the next round if it still lives");
    }
    if (members.empty()) {
      if (lock_file.empty() || !env::exists(lock_file)) break;
      env::FileDescriptor lock = TIDE_TRY(env::open_lock_file(lock_file));
      if (TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kExclusive))) break;
    }
    if (steady_clock::now() >= deadline) {
      std::string who;
      for (pid_t pid : members) {
        char state = env::process_state(pid);
        who +=
            fmt::format("{}{} (state {})", who.empty() ? "" : ", ", pid, state == 0 ? '?' : state);
      }
      if (who.empty()) who = fmt::format("somebody we cannot see holds {}", lock_file);
      return Status(Code::kUnavailable,
                    fmt::format("processes of the compute in {} do not end", data_dir))
          .with_detail(
              fmt::format("Killed, but still there after {} ms: {}.", timeout.count(), who))
          .with_hint("State D means that the kernel waits for a disk.");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20'000));
  }
  remove_shared_memory(data_dir);
  return {};
}

enum class Port { kFree, kTaken, kNoSuchAddress };

Result<Port> probe(const char* address, uint16_t port) {
  bool v6 = std::strchr(address, ':') != nullptr;
  int fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Port::kNoSuchAddress;
  env::FileDescriptor holder(fd);
  int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage storage{};
  socklen_t length = 0;
  if (v6) {
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    auto* name = reinterpret_cast<sockaddr_in6*>(&storage);
    name->sin6_family = AF_INET6;
    name->sin6_port = htons(port);
    ::inet_pton(AF_INET6, address, &name->sin6_addr);
    length = sizeof *name;
  } else {
    auto* name = reinterpret_cast<sockaddr_in*>(&storage);
    name->sin_family = AF_INET;
    name->sin_port = htons(port);
    ::inet_pton(AF_INET, address, &name->sin_addr);
    length = sizeof *name;
  }
  // Listening too: with SO_REUSEADDR two sockets may be bound to one port, but only one may listen.
  if (::bind(fd, reinterpret_cast<sockaddr*>(&storage), length) == 0 && ::listen(fd, 1) == 0) {
    return Port::kFree;
  }
  if (errno == EADDRINUSE) return Port::kTaken;
  if (errno == EADDRNOTAVAIL) return Port::kNoSuchAddress;
  return Status::from_errno(errno, fmt::format("listen on {} port {}", address, port));
}

Status port_taken(uint16_t port) {
  return Status(Code::kConflict, fmt::format("port {} is in use", port))
      .with_hint("Choose another one with --port, or end the program that listens there.");
}

Result<std::string> usable_addresses(uint16_t port) {
  std::string addresses;
  for (const char* address : {"127.0.0.1", "::1"}) {
    Port state = TIDE_TRY(probe(address, port));
    if (state == Port::kTaken) return port_taken(port);
    if (state == Port::kNoSuchAddress) continue;
    addresses += fmt::format("{}{}", addresses.empty() ? "" : ",", address);
  }
  return addresses;
}

Status check_spec(const ComputeSpec& spec) {
  for (const std::string* path :
       {&spec.data_dir, &spec.socket_dir, &spec.log_file, &spec.lock_file}) {
    if (!path->starts_with('/')) {
      return Status(Code::kInvalid, fmt::format("compute: \"{}\" is not an absolute path", *path));
    }
  }
  std::string socket = fmt::format("{}/.s.PGSQL.{}", spec.socket_dir, spec.port);
  if (socket.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return Status(Code::kInvalid, fmt::format("the path {} is too long for a Unix socket", socket))
        .with_hint("Use a data directory with a shorter path.");
  }
  return {};
}

/// Removes an old directory without waiting for its gigabytes to be freed: it is renamed here, and
/// deleted by a program that outlives us.
Status discard_directory(const std::string& path) {
  struct stat info {};
  std::string aside = path + ".discarded";
  if (::lstat(path.c_str(), &info) == 0) {
    std::string name =
        fmt::format("{}-{}-{}", aside, ::getpid(), steady_clock::now().time_since_epoch().count());
    if (::rename(path.c_str(), name.c_str()) != 0) return env::remove_tree(path);
  }
  std::filesystem::path parent = std::filesystem::path(path).parent_path();
  std::string prefix = std::filesystem::path(aside).filename().string();
  env::SpawnSpec remover;
  remover.program = "/bin/rm";
  remover.arguments = {"-rf", "--"};
  Result<std::vector<std::string>> names = env::list_directory(parent.string());
  if (!names.ok()) return {};
  for (const std::string& name : *names) {
    if (name.starts_with(prefix)) remover.arguments.push_back((parent / name).string());
  }
  if (remover.arguments.size() == 2) return {};
  remover.own_session = true;
  remover.clean_environment = true;
  Result<env::Process> process = env::spawn(remover);
  if (!process.ok()) return {};  // The next start tries again.
  std::thread([process = std::move(*process)] {
    process.wait(std::chrono::hours(1)).status().ignore("only reaps");
  }).detach();
  return {};
}

/// Removes the socket and its lock file that a killed postmaster left, unless somebody listens
/// there. PostgreSQL would take a zombie, or a stranger with the reused process number, for its
/// owner.
Status clear_socket(const ComputeSpec& spec) {
  std::string path = fmt::format("{}/.s.PGSQL.{}", spec.socket_dir, spec.port);
  env::FileDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.is_open()) return Status::from_errno(errno, "socket");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());  // check_spec() looked at the length
  bool listens = ::connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 ||
                 (errno != ECONNREFUSED && errno != ENOENT);
  if (listens) return port_taken(spec.port);
  TIDE_TRY(env::remove_file(path));
  return env::remove_file(path + ".lock");
}

Status write_configuration(const ComputeSpec& spec) {
  const std::string& dir = spec.data_dir;
  TIDE_TRY(env::write_file(dir + "/postgresql.conf", postgresql_conf(spec)));
  TIDE_TRY(env::write_file(dir + "/pg_hba.conf", pg_hba_conf()));
  TIDE_TRY(env::write_file(dir + "/pg_ident.conf", "# Written by Tidewater at every start.\n"));
  TIDE_TRY(env::write_file(dir + "/postgresql.auto.conf", spec.preserved.auto_conf));
  // Statistics describe the tables as they were at the stop; from any other point they would lie.
  if (spec.preserved.stop_lsn.is_valid() && spec.preserved.stop_lsn == spec.start_lsn) {
    TIDE_TRY(env::make_directories(dir + "/pg_stat"));
    for (const auto& [name, content] : spec.preserved.statistics) {
      TIDE_TRY(env::write_file(fmt::format("{}/pg_stat/{}", dir, name), content));
    }
  }
  if (!spec.wal_dir.empty()) {
    std::string pg_wal = dir + "/pg_wal";
    TIDE_TRY(env::remove_tree(pg_wal));
    if (::symlink(spec.wal_dir.c_str(), pg_wal.c_str()) != 0) {
      return Status::from_errno(errno, fmt::format("link {}", pg_wal));
    }
  }
  return {};
}

/// The state word a postmaster keeps in line 8 of its pid file; empty if there is none yet.
std::string postmaster_state(const std::string& data_dir) {
  Result<std::string> content = env::read_file(data_dir + "/postmaster.pid");
  if (!content.ok()) return {};
  size_t at = 0;
  for (int line = 1; line < 8; ++line) {
    at = content->find('\n', at);
    if (at == std::string::npos) return {};
    ++at;
  }
  return content->substr(at, content->find_first_of(" \n", at) - at);
}

/// Reports what happens to files in a directory; without inotify (its instances are limited per
/// user) an empty descriptor.
env::FileDescriptor watch_directory(const std::string& directory) {
  env::FileDescriptor changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (changes.is_open() &&
      ::inotify_add_watch(changes.get(), directory.c_str(), IN_MODIFY | IN_ONLYDIR) < 0) {
    changes.reset();
  }
  return changes;
}

/// Returns soon after a file of the watched directory was written or the process has ended; in any
/// case after a while.
void wait_for_change(int changes, int pidfd) {
  pollfd entries[2] = {{.fd = pidfd, .events = POLLIN, .revents = 0},
                       {.fd = changes, .events = POLLIN, .revents = 0}};
  if (::poll(entries, 2, changes >= 0 ? kLookAgainMs : 1) > 0 && entries[1].revents != 0) {
    alignas(inotify_event) char events[4096];
    while (::read(changes, events, sizeof events) > 0) {
    }
  }
}

std::string log_tail(const std::string& log_file, uint64_t from) {
  Result<env::FileDescriptor> file = env::open_file(log_file, O_RDONLY);
  Result<uint64_t> size = env::file_size(log_file);
  if (!file.ok() || !size.ok()) return {};
  if (*size > from + kLogTail) from = *size - kLogTail;
  Result<std::string> text = env::read_range(file->get(), from, kLogTail);
  if (!text.ok()) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return std::move(*text);
}

Status failed_start(const ComputeSpec& spec, std::string what, uint64_t log_from) {
  std::string tail = log_tail(spec.log_file, log_from);
  if (tail.find("Address already in use") != std::string::npos) return port_taken(spec.port);
  Status status = Status(Code::kUnavailable, fmt::format("PostgreSQL did not start: {}", what))
                      .with_detail(tail.empty() ? "It logged nothing." : tail);
  if (!spec.preserved.auto_conf.empty() && tail.find("postgresql.auto.conf") != std::string::npos) {
    return std::move(status).with_hint("A setting made by ALTER SYSTEM keeps it from starting.");
  }
  return std::move(status).with_hint(fmt::format("The whole log is in {}.", spec.log_file));
}

}  // namespace

Result<PreservedState> read_preserved_state(const std::string& data_dir) {
  PreservedState state;
  Result<std::string> auto_conf = env::read_file(data_dir + "/postgresql.auto.conf");
  if (auto_conf.ok()) {
    state.auto_conf = std::move(*auto_conf);
  } else if (auto_conf.status().code() != Code::kNotFound) {
    return std::move(auto_conf).status();
  }
  Result<std::vector<std::string>> names = env::list_directory(data_dir + "/pg_stat");
  if (!names.ok()) return state;
  constexpr uint64_t kLargest = 256ULL << 20;
  for (const std::string& name : *names) {
    std::string path = fmt::format("{}/pg_stat/{}", data_dir, name);
    Result<uint64_t> size = env::file_size(path);
    if (!name.ends_with(".stat") || !size.ok() || *size > kLargest) continue;
    state.statistics[name] = TIDE_TRY(env::read_file(path));
  }
  return state;
}

Compute::Compute(std::string id, std::string data_dir, std::string lock_file,
                 env::Process postmaster)
    : id_(std::move(id)),
      data_dir_(std::move(data_dir)),
      lock_file_(std::move(lock_file)),
      postmaster_(std::move(postmaster)),
      quit_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Compute::~Compute() {
  uint64_t one = 1;
  if (quit_.is_open() && ::write(quit_.get(), &one, sizeof one) < 0) {
    // Only a full counter can refuse, and then the watcher is awake already.
  }
  if (watcher_.joinable()) watcher_.join();
}

Result<bool> Compute::wait_for_end(milliseconds timeout) {
  std::optional<env::ExitStatus> status = TIDE_TRY(postmaster_.wait(timeout));
  if (!status.has_value()) return false;
  std::lock_guard guard(mutex_);
  if (status->known) ended_ = *status;
  return true;
}

Status Compute::stop(StopMode mode, milliseconds timeout) {
  TIDE_TRY(postmaster_.signal(mode == StopMode::kFast ? SIGINT : SIGQUIT));
  if (!TIDE_TRY(wait_for_end(timeout))) {
    return Status(
        Code::kUnavailable,
        fmt::format("PostgreSQL (process {}) did not stop within {} ms", pid(), timeout.count()));
  }
  return kill_everything(data_dir_, lock_file_, kLeftovers);
}

Status Compute::kill_all(milliseconds timeout) {
  // The postmaster first: without it nothing new is started.
  TIDE_TRY(postmaster_.signal(SIGKILL));
  Status status = kill_everything(data_dir_, lock_file_, timeout);
  // A dying process gives up its lock a little before it can be reaped.
  TIDE_TRY(wait_for_end(kReaping));
  return status;
}

Status Compute::watch(Watcher watcher) {
  std::lock_guard guard(mutex_);
  if (watcher_.joinable()) return Status(Code::kBug, "the compute has a watcher already");
  // Without inotify (its instances are limited per user) only on_settings is missed.
  int inotify = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify >= 0) ::inotify_add_watch(inotify, data_dir_.c_str(), IN_MOVED_TO | IN_ONLYDIR);
  watcher_ =
      std::thread([this, watcher = std::move(watcher), inotify] { run_watcher(watcher, inotify); });
  return {};
}

void Compute::run_watcher(const Watcher& watcher, int inotify) {
  env::FileDescriptor changes(inotify);
  pollfd entries[3] = {{.fd = postmaster_.pidfd(), .events = POLLIN, .revents = 0},
                       {.fd = quit_.get(), .events = POLLIN, .revents = 0},
                       {.fd = changes.get(), .events = POLLIN, .revents = 0}};
  while (true) {
    if (::poll(entries, 3, -1) < 0) continue;
    if (entries[2].revents != 0) {
      alignas(inotify_event) char buffer[16384];
      ssize_t got = ::read(changes.get(), buffer, sizeof buffer);
      bool changed = false;
      for (ssize_t at = 0; at < got;) {
        auto* event = reinterpret_cast<inotify_event*>(buffer + at);
        if (event->len > 0 && std::strcmp(event->name, "postgresql.auto.conf") == 0) changed = true;
        at += static_cast<ssize_t>(sizeof *event + event->len);
      }
      if (changed && watcher.on_settings) {
        Result<std::string> content = env::read_file(data_dir_ + "/postgresql.auto.conf");
        if (content.ok()) watcher.on_settings(std::move(*content));
      }
      if (got <= 0) entries[2].fd = -1;
    }
    if (entries[0].revents != 0) {
      wait_for_end(milliseconds(0)).status().ignore("the end itself is known");
      env::ExitStatus ended;
      {
        std::lock_guard guard(mutex_);
        ended = ended_;
      }
      if (watcher.on_death) watcher.on_death(ended);
      return;
    }
    if (entries[1].revents != 0) return;
  }
}

Result<std::unique_ptr<Compute>> start(const Installation& installation, const ComputeSpec& spec,
                                       const ByteSource& backup) {
  TIDE_TRY(check_spec(spec));
  auto deadline = steady_clock::now() + spec.start_timeout;
  std::string data_dir = canonical(spec.data_dir);
  if (std::unique_ptr<Compute> running = TIDE_TRY(find_running(data_dir, spec.lock_file))) {
    return Status(Code::kConflict, fmt::format("a compute runs in {} already", data_dir))
        .with_detail(fmt::format("Its process is {}.", running->pid()));
  }
  std::string addresses;
  if (spec.listen_tcp) addresses = TIDE_TRY(usable_addresses(spec.port));

  // Taken before anything is built: from here on no newer epoch can begin beside us.
  env::FileDescriptor lock = TIDE_TRY(env::open_lock_file(spec.lock_file));
  if (!TIDE_TRY(env::try_lock(lock.get(), env::LockKind::kShared))) {
    return Status(Code::kConflict, fmt::format("{} is locked", spec.lock_file))
        .with_detail("The storage holds the lock of this epoch, or another life of this compute.");
  }

  remove_shared_memory(data_dir);
  TIDE_TRY(discard_directory(data_dir));
  TIDE_TRY(env::make_directories(data_dir));
  auto began = steady_clock::now();
  Status unpacked = unpack_tar(backup, data_dir);
  if (!unpacked.ok()) return std::move(unpacked).with_context("unpack the base backup");
  auto unpacked_at = steady_clock::now();
  ComputeSpec resolved = spec;
  resolved.data_dir = data_dir;
  TIDE_TRY(write_configuration(resolved));
  if (::chmod(data_dir.c_str(), 0700) != 0) return Status::from_errno(errno, data_dir);
  TIDE_TRY(env::make_directories(spec.socket_dir));
  TIDE_TRY(clear_socket(spec));
  std::string log_dir = std::filesystem::path(spec.log_file).parent_path().string();
  TIDE_TRY(env::make_directories(log_dir));

  Result<uint64_t> log_size = env::file_size(spec.log_file);
  uint64_t log_from = log_size.ok() ? *log_size : 0;
  std::string id = fmt::format("{}{}|{}", id_prefix(data_dir), spec.timeline, spec.epoch);
  env::SpawnSpec postmaster;
  postmaster.program = installation.program("postgres");
  postmaster.arguments = postgres_arguments(installation, resolved, addresses);
  postmaster.environment = {fmt::format("{}={}", kIdVariable, id)};
  postmaster.clean_environment = true;
  postmaster.directory = data_dir;
  postmaster.output_file = spec.log_file;
  postmaster.own_session = true;
  postmaster.inherit = {lock.get()};
  env::FileDescriptor changes = watch_directory(data_dir);
  env::Process process = TIDE_TRY(env::spawn(postmaster));
  std::unique_ptr<Compute> compute(new Compute(id, data_dir, spec.lock_file, std::move(process)));
  lock.reset();

  // The postmaster itself says in its pid file when it takes connections. Reading it costs it
  // nothing, while every attempt to connect would make it fork.
  while (postmaster_state(data_dir) != "ready") {
    wait_for_change(changes.get(), compute->process().pidfd());
    Result<bool> ended = compute->wait_for_end(milliseconds(0));
    Status failure;
    if (!ended.ok()) {
      failure = std::move(ended).status();
    } else if (*ended) {
      failure = failed_start(spec, "it " + compute->ended_.to_string(), log_from);
    } else if (steady_clock::now() >= deadline) {
      failure = failed_start(
          spec, fmt::format("not ready within {} ms", spec.start_timeout.count()), log_from);
    } else {
      continue;
    }
    compute->kill_all(kLeftovers).ignore("the first failure counts; the next start kills again");
    return failure;
  }
  obs::info("{} {}: base backup {:.1f} ms, PostgreSQL until ready {:.1f} ms", spec.timeline,
            spec.epoch, ms(unpacked_at - began), ms(steady_clock::now() - unpacked_at));
  return compute;
}

Result<std::unique_ptr<Compute>> find_running(const std::string& data_dir,
                                              const std::string& lock_file) {
  std::string directory = canonical(data_dir);
  std::optional<env::Process> oldest;
  for (pid_t pid : env::all_processes()) {
    if (!is_postgres(pid) || !lives_in(pid, directory)) continue;
    // Backends rename themselves; only the postmaster keeps its arguments.
    std::vector<std::string> arguments = env::process_arguments(pid);
    auto flag = std::find(arguments.begin(), arguments.end(), "-D");
    if (flag == arguments.end() || flag + 1 == arguments.end() || *(flag + 1) != directory)
      continue;
    Result<env::Process> process = env::Process::open(pid);
    if (!process.ok()) continue;
    // A child that has just been forked still looks like its parent, but is younger.
    auto age = [](const env::Process& p) { return std::pair(p.identity().start_ticks, p.pid()); };
    if (!oldest.has_value() || age(*process) < age(*oldest)) oldest = std::move(*process);
  }
  if (!oldest.has_value()) return std::unique_ptr<Compute>();
  std::string id =
      env::process_environment(oldest->pid(), kIdVariable).value_or(id_prefix(directory));
  return std::unique_ptr<Compute>(new Compute(id, directory, lock_file, std::move(*oldest)));
}

Status kill_all(const std::string& data_dir, const std::string& lock_file, milliseconds timeout) {
  return kill_everything(canonical(data_dir), lock_file, timeout);
}

}  // namespace tide::compute
