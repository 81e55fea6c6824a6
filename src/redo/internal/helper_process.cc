#include "redo/internal/helper_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace tide::redo::internal {
namespace {

/// Descriptor numbers in the helper.
constexpr int kLogFd = 2;
constexpr int kRingFd = 3;

constexpr uint64_t kLogBytesMax = 1 << 20;
constexpr uint64_t kTailBytes = 2048;

constexpr std::string_view kConfiguration = R"(# Written by the redo pool.
shared_buffers = 32
wal_buffers = 4
max_connections = 1
max_worker_processes = 0
max_wal_senders = 0
autovacuum_max_workers = 1
max_locks_per_transaction = 10
max_pred_locks_per_transaction = 10
max_prepared_transactions = 0
huge_pages = off
dynamic_shared_memory_type = mmap
listen_addresses = ''
fsync = off
log_destination = stderr
logging_collector = off
log_line_prefix = '%m '
log_timezone = 'UTC'
)";

}  // namespace

Status make_data_directory(const std::string& path, const Options& options) {
  TIDE_TRY(env::remove_tree(path));
  for (const char* name : {"global", "pg_dynshmem", "pg_notify"}) {
    TIDE_TRY(env::make_directories(fmt::format("{}/{}", path, name)));
  }
  for (const char* name : {"PG_VERSION", "global/pg_control"}) {
    std::string content =
        TIDE_TRY(env::read_file(fmt::format("{}/{}", options.template_directory, name)));
    TIDE_TRY(env::write_file(fmt::format("{}/{}", path, name), content));
  }
  TIDE_TRY(env::write_file(path + "/postgresql.auto.conf", ""));
  return env::write_file(path + "/postgresql.conf", kConfiguration);
}

Result<HelperProcess> start_helper(const Options& options, const std::string& data_directory,
                                   const std::string& log_path, int ring_fd) {
  // Its owner is dead, and the number may by now be somebody else's.
  TIDE_TRY(env::remove_file(data_directory + "/postmaster.pid"));

  int log_flags = O_WRONLY | O_CREAT | O_APPEND;
  if (Result<uint64_t> size = env::file_size(log_path); size.ok() && *size > kLogBytesMax) {
    log_flags |= O_TRUNC;
  }
  env::FileDescriptor log = TIDE_TRY(env::open_file(log_path, log_flags));
  HelperProcess process;
  process.log_begin = TIDE_TRY(env::file_size(log_path));

  std::vector<std::string> words = {options.postgres,
                                    "--single",
                                    "-D",
                                    data_directory,
                                    "-c",
                                    "cluster_name=" + options.instance,
                                    "-c",
                                    "shared_preload_libraries=" + options.library,
                                    "-c",
                                    "tidewater.role=redo",
                                    "-c",
                                    fmt::format("tidewater.redo_fd={}", kRingFd),
                                    "postgres"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  char locale[] = "LC_ALL=C";
  char zone[] = "TZ=UTC";
  char* environment[] = {locale, zone, nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, log.get(), kLogFd);
  posix_spawn_file_actions_adddup2(&actions, log.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, ring_fd, kRingFd);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // A group of its own: a terminal's Ctrl-C is for the page store, which then ends its helpers.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  int error = posix_spawn(&process.pid, options.postgres.c_str(), &actions, &attributes,
                          arguments.data(), environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::from_errno(error, "start " + options.postgres);

  process.pidfd = env::FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (!process.pidfd.is_open()) {
    Status status = Status::from_errno(errno, "watch a redo helper");
    kill(process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
    return status;
  }
  return process;
}

std::string reap(const HelperProcess& process) {
  int status = 0;
  while (waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    return fmt::format("was ended by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  }
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

void kill_helper(const HelperProcess& process) {
  syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
}

std::string log_tail(const std::string& log_path, uint64_t log_begin) {
  Result<env::FileDescriptor> log = env::open_file(log_path, O_RDONLY);
  Result<uint64_t> size = env::file_size(log_path);
  if (!log.ok() || !size.ok() || *size <= log_begin) return "";
  uint64_t begin = std::max(log_begin, *size - std::min(*size, kTailBytes));
  Result<std::string> tail = env::read_range(log->get(), begin, *size - begin);
  if (!tail.ok()) return "";
  std::string text = std::move(*tail);
  if (begin > log_begin) {
    if (size_t line = text.find('\n'); line != std::string::npos) text.erase(0, line + 1);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace tide::redo::internal
