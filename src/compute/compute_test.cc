#include "compute/compute.h"

#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <future>

#include "compute/configuration.h"
#include "env/file.h"

namespace tide::compute {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// PostgreSQL refuses to run as root, and files it made are not root's business: a test that was
/// started as root goes on as postgres.
class Unprivileged : public ::testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    passwd* user = ::getpwnam("postgres");
    if (user == nullptr) user = ::getpwnam("nobody");
    ASSERT_NE(user, nullptr);
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setgid(user->pw_gid), 0);
    ASSERT_EQ(::setuid(user->pw_uid), 0);
    ::prctl(PR_SET_DUMPABLE, 1);  // /proc/self belongs to us again
    ASSERT_EQ(::chdir("/"), 0);
  }
};
const auto* const kUnprivileged = ::testing::AddGlobalTestEnvironment(new Unprivileged);

uint16_t free_port() {
  for (uint16_t port = static_cast<uint16_t>(20000 + ::getpid() % 9000);; ++port) {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0;
    ::close(fd);
    if (free) return port;
  }
}

/// A tar of a directory, made by the machine's own tar.
std::string tar_of(const std::string& directory) {
  std::string file = directory + ".tar";
  env::SpawnSpec tar;
  tar.program = "/bin/tar";
  tar.arguments = {"--format=ustar", "-C", directory, "-cf", file, "."};
  EXPECT_TRUE(env::run(tar, milliseconds(60'000)).ok());
  return *env::read_file(file);
}

ByteSource from_string(const std::string& archive) {
  return [&archive, at = size_t{0}](std::span<std::byte> to) mutable -> Result<size_t> {
    size_t part = std::min(to.size(), archive.size() - at);
    std::memcpy(to.data(), archive.data() + at, part);
    at += part;
    return part;
  };
}

class ComputeTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/tide-compute-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    Result<Installation> found = Installation::find();
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    installation_ = *found;
    Status made = make_template(installation_, base_ + "/template");
    ASSERT_TRUE(made.ok()) << made.to_string();
    archive_ = tar_of(base_ + "/template");
  }
  static void TearDownTestSuite() { env::remove_tree(base_).ignore("a test's rest"); }

  void SetUp() override {
    dir_ = fmt::format("{}/{}", base_,
                       ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(env::make_directories(dir_).ok());
    spec_.instance = "test";
    spec_.branch = "main";
    spec_.timeline = TimelineId{1};
    spec_.epoch = Epoch{1};
    spec_.data_dir = dir_ + "/data";
    spec_.socket_dir = dir_ + "/s";
    spec_.log_file = dir_ + "/log";
    spec_.lock_file = dir_ + "/lock";
    spec_.port = free_port();
    // A template's own pg_wal; nothing here needs to survive.
    spec_.settings["shared_buffers"] = "16MB";
  }
  void TearDown() override {
    Status killed = kill_all(spec_.data_dir, spec_.lock_file, milliseconds(20'000));
    EXPECT_TRUE(killed.ok()) << killed.to_string();
  }

  std::unique_ptr<Compute> start_compute() {
    Result<std::unique_ptr<Compute>> started = start(installation_, spec_, from_string(archive_));
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    return started.ok() ? std::move(*started) : nullptr;
  }

  env::SpawnSpec psql(const std::string& sql) {
    env::SpawnSpec spec;
    spec.program = installation_.program("psql");
    spec.arguments = {"-XAtq",
                      "-v",
                      "ON_ERROR_STOP=1",
                      "-h",
                      spec_.socket_dir,
                      "-p",
                      fmt::format("{}", spec_.port),
                      "-U",
                      kSuperuser,
                      "-c",
                      sql,
                      "postgres"};
    return spec;
  }
  std::string query(const std::string& sql) {
    Result<std::string> answer = env::run(psql(sql), milliseconds(30'000));
    EXPECT_TRUE(answer.ok()) << answer.status().to_string();
    if (!answer.ok()) return {};
    while (answer->ends_with('\n')) answer->pop_back();
    return *answer;
  }
  bool eventually(const std::function<bool()>& what) {
    for (int i = 0; i < 2000; ++i) {
      if (what()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  bool lock_is_free() {
    Result<env::FileDescriptor> lock = env::open_lock_file(spec_.lock_file);
    return lock.ok() && *env::try_lock(lock->get(), env::LockKind::kExclusive);
  }

  static inline std::string base_;
  static inline Installation installation_;
  static inline std::string archive_;
  std::string dir_;
  ComputeSpec spec_;
};

TEST_F(ComputeTest, StartsFromABackupAndStops) {
  auto began = steady_clock::now();
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
  RecordProperty("start_ms", static_cast<int>(took.count()));
  EXPECT_EQ(query("SELECT 1"), "1");
  EXPECT_EQ(query("SHOW cluster_name"), "test:main");
  EXPECT_EQ(query("SHOW fsync"), "on");
  EXPECT_EQ(query("SHOW wal_keep_size"), "2147483647MB");
  EXPECT_EQ(query("SHOW shared_buffers"), "16MB");
  EXPECT_EQ(query("SELECT datcollate || ' ' || pg_encoding_to_char(encoding) FROM pg_database "
                  "WHERE datname = 'postgres'"),
            "C.UTF-8 UTF8");
  EXPECT_FALSE(lock_is_free());

  Result<std::unique_ptr<Compute>> second = start(installation_, spec_, from_string(archive_));
  EXPECT_EQ(second.status().code(), Code::kConflict) << "never under a living compute";
  EXPECT_TRUE(compute->alive());

  Status stopped = compute->stop(StopMode::kFast, milliseconds(30'000));
  EXPECT_TRUE(stopped.ok()) << stopped.to_string();
  EXPECT_TRUE(lock_is_free());
  EXPECT_FALSE(compute->alive());
}

TEST_F(ComputeTest, LocalFormPutsPgWalIntoTheWalStoresDirectory) {
  spec_.wal_dir = dir_ + "/wal";
  ASSERT_TRUE(env::make_directories(spec_.wal_dir).ok());
  auto names = env::list_directory(base_ + "/template/pg_wal");
  for (const std::string& name : *names) {
    std::string from = fmt::format("{}/template/pg_wal/{}", base_, name);
    if (env::is_directory(from)) continue;
    ASSERT_TRUE(env::write_file(spec_.wal_dir + "/" + name, *env::read_file(from)).ok());
  }
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  // Segments stay, whatever checkpoints think of them.
  query("CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
  for (int i = 0; i < 3; ++i) {
    query("SELECT pg_switch_wal()");
    query("CHECKPOINT");
  }
  size_t segments = 0;
  names = env::list_directory(spec_.wal_dir);
  for (const std::string& name : *names) segments += name.size() == 24;
  EXPECT_GE(segments, 4u);
  EXPECT_TRUE(env::exists(spec_.wal_dir + "/000000010000000000000001"));
  EXPECT_TRUE(compute->stop(StopMode::kFast, milliseconds(30'000)).ok());
}

TEST_F(ComputeTest, KillAllEndsWhatOutlivesAKilledPostmaster) {
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  Result<env::Process> client = env::spawn(psql("COPY (SELECT 1) TO PROGRAM 'exec sleep 600'"));
  ASSERT_TRUE(client.ok());
  Result<env::Process> sleeper = env::spawn(psql("SELECT pg_sleep(600)"));
  ASSERT_TRUE(sleeper.ok());
  std::vector<pid_t> programs;
  ASSERT_TRUE(eventually([&] {
    programs = env::find_processes([&](pid_t pid) {
      std::vector<std::string> arguments = env::process_arguments(pid);
      return !arguments.empty() && arguments[0] == "sleep" &&
             env::process_holds_lock(pid, spec_.lock_file, env::LockKind::kShared);
    });
    return !programs.empty();
  }));
  ASSERT_EQ(::kill(compute->pid(), SIGKILL), 0);
  EXPECT_FALSE(lock_is_free()) << "the program of COPY lives on";

  Status killed = compute->kill_all(milliseconds(20'000));
  EXPECT_TRUE(killed.ok()) << killed.to_string();
  EXPECT_TRUE(lock_is_free());
  for (pid_t pid : programs) {
    char state = env::process_state(pid);
    EXPECT_TRUE(state == 0 || state == 'Z');
  }
  client->wait(milliseconds(5000)).status().ignore("reaped");
  sleeper->wait(milliseconds(5000)).status().ignore("reaped");
}

TEST_F(ComputeTest, KillAllEndsFrozenProcesses) {
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  for (pid_t pid : env::find_processes([&](pid_t p) {
         return env::process_holds_lock(p, spec_.lock_file, env::LockKind::kShared);
       })) {
    ::kill(pid, SIGSTOP);
  }
  Status stopped = compute->stop(StopMode::kFast, milliseconds(200));
  EXPECT_EQ(stopped.code(), Code::kUnavailable);
  Status killed = kill_all(spec_.data_dir, spec_.lock_file, milliseconds(20'000));
  EXPECT_TRUE(killed.ok()) << killed.to_string();
  EXPECT_TRUE(lock_is_free());
}

TEST_F(ComputeTest, IsFoundAgainEvenWithoutItsDirectory) {
  pid_t pid = 0;
  {
    std::unique_ptr<Compute> compute = start_compute();
    ASSERT_NE(compute, nullptr);
    pid = compute->pid();
  }
  Result<std::unique_ptr<Compute>> found = find_running(spec_.data_dir, spec_.lock_file);
  ASSERT_TRUE(found.ok());
  ASSERT_NE(*found, nullptr);
  EXPECT_EQ((*found)->pid(), pid);
  EXPECT_NE((*found)->id().find("|t1|e1"), std::string::npos);

  ASSERT_TRUE(env::remove_tree(spec_.data_dir).ok());
  found = find_running(spec_.data_dir, spec_.lock_file);
  ASSERT_TRUE(found.ok());
  ASSERT_NE(*found, nullptr);
  EXPECT_EQ((*found)->pid(), pid);
  EXPECT_TRUE((*found)->kill_all(milliseconds(20'000)).ok());
  EXPECT_EQ(*find_running(spec_.data_dir, spec_.lock_file), nullptr);
}

TEST_F(ComputeTest, WatcherReportsSettingsAndDeath) {
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  std::promise<env::ExitStatus> death;
  std::promise<std::string> settings;
  ASSERT_TRUE(
      compute
          ->watch({.on_death = [&](const env::ExitStatus& s) { death.set_value(s); },
                   .on_settings = [&](std::string text) { settings.set_value(std::move(text)); }})
          .ok());
  query("ALTER SYSTEM SET work_mem = '7MB'");
  auto changed = settings.get_future();
  ASSERT_EQ(changed.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(setting_in(changed.get(), "work_mem"), "7MB");
  ::kill(compute->pid(), SIGKILL);
  auto dead = death.get_future();
  ASSERT_EQ(dead.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(dead.get().signal, SIGKILL);
}

TEST_F(ComputeTest, SettingsAndStatisticsLiveOn) {
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  query("ALTER SYSTEM SET work_mem = '7MB'");
  const std::string sessions = "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'";
  for (int i = 0; i < 12; ++i) query("SELECT 1");
  ASSERT_TRUE(compute->stop(StopMode::kFast, milliseconds(30'000)).ok());
  Result<PreservedState> state = read_preserved_state(spec_.data_dir);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(setting_in(state->auto_conf, "work_mem"), "7MB");
  ASSERT_EQ(state->statistics.count("pgstat.stat"), 1u);

  // The test's backup is always the same, so its statistics tell whether the file was put back.
  spec_.preserved = *state;
  spec_.start_lsn = spec_.preserved.stop_lsn = Lsn(0x1000028);
  compute = start_compute();
  ASSERT_NE(compute, nullptr);
  EXPECT_EQ(query("SHOW work_mem"), "7MB");
  EXPECT_GT(std::stol(query(sessions)), 12);
  ASSERT_TRUE(compute->stop(StopMode::kImmediate, milliseconds(30'000)).ok());

  spec_.start_lsn = Lsn(0x2000028);
  compute = start_compute();
  ASSERT_NE(compute, nullptr);
  EXPECT_EQ(query("SHOW work_mem"), "7MB");
  EXPECT_LT(std::stol(query(sessions)), 12);
}

TEST_F(ComputeTest, UsersLibrariesFollowOursAndMissingOnesAreLeftOut) {
  spec_.preserved.auto_conf = "shared_preload_libraries = 'auto_explain, no_such_library'\n";
  EXPECT_EQ(preload_libraries(installation_, spec_), "\"auto_explain\"");
  spec_.library = "/a b/lib/tidewater.so";
  EXPECT_EQ(preload_libraries(installation_, spec_), "\"/a b/lib/tidewater.so\",\"auto_explain\"");
  spec_.library.clear();
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  EXPECT_EQ(query("SHOW shared_preload_libraries"), "\"auto_explain\"");
}

TEST_F(ComputeTest, AFailedStartSaysWhyAndLeavesNothing) {
  spec_.preserved.auto_conf = "shared_buffers = 'nonsense'\n";
  Result<std::unique_ptr<Compute>> started = start(installation_, spec_, from_string(archive_));
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.status().code(), Code::kUnavailable);
  EXPECT_NE(started.status().detail().find("shared_buffers"), std::string::npos);
  EXPECT_NE(started.status().hint().find("ALTER SYSTEM"), std::string::npos);
  EXPECT_TRUE(lock_is_free());

  spec_.preserved.auto_conf.clear();
  std::string half = archive_.substr(0, archive_.size() / 2);
  started = start(installation_, spec_, from_string(half));
  EXPECT_EQ(started.status().code(), Code::kCorrupt);
  EXPECT_TRUE(lock_is_free());
}

TEST_F(ComputeTest, ATakenPortIsNamed) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  env::FileDescriptor listener(fd);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(spec_.port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  Result<std::unique_ptr<Compute>> started = start(installation_, spec_, from_string(archive_));
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.status().code(), Code::kConflict);
  EXPECT_NE(started.status().message().find(fmt::format("{}", spec_.port)), std::string::npos);
}

TEST_F(ComputeTest, TheSocketOfAKilledServerIsNoObstacle) {
  ASSERT_TRUE(env::make_directories(spec_.socket_dir).ok());
  std::string socket = fmt::format("{}/.s.PGSQL.{}", spec_.socket_dir, spec_.port);
  ASSERT_TRUE(env::write_file(socket, "").ok());
  // PostgreSQL would take this living process for the socket's owner.
  env::SpawnSpec sleep;
  sleep.program = "/bin/sleep";
  sleep.arguments = {"60"};
  Result<env::Process> stranger = env::spawn(sleep);
  ASSERT_TRUE(stranger.ok());
  ASSERT_TRUE(
      env::write_file(socket + ".lock", fmt::format("{}\n/elsewhere\n1\n{}\n{}\n\n",
                                                    stranger->pid(), spec_.port, spec_.socket_dir))
          .ok());
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  EXPECT_EQ(query("SELECT 1"), "1");
  EXPECT_TRUE(stranger->signal(SIGKILL).ok());
  stranger->wait(milliseconds(5000)).status().ignore("reaped");
}

TEST_F(ComputeTest, AKilledServerIsReapedAtOnce) {
  for (int i = 0; i < 3; ++i) {
    std::unique_ptr<Compute> compute = start_compute();
    ASSERT_NE(compute, nullptr);
    pid_t pid = compute->pid();
    ASSERT_TRUE(compute->kill_all(milliseconds(20'000)).ok());
    EXPECT_EQ(env::process_state(pid), 0);
  }
}

TEST_F(ComputeTest, SharedMemoryOfAKilledServerIsRemoved) {
  std::unique_ptr<Compute> compute = start_compute();
  ASSERT_NE(compute, nullptr);
  std::string control = *env::read_file(spec_.data_dir + "/postmaster.pid");
  ::kill(compute->pid(), SIGKILL);
  ASSERT_TRUE(compute->kill_all(milliseconds(20'000)).ok());
  unsigned long key = 0;
  int id = 0;
  size_t at = 0;
  for (int i = 0; i < 6; ++i) at = control.find('\n', at) + 1;
  ASSERT_EQ(std::sscanf(control.c_str() + at, "%lu %d", &key, &id), 2);
  Result<std::string> segments = env::read_file("/proc/sysvipc/shm");
  ASSERT_TRUE(segments.ok());
  EXPECT_EQ(segments->find(fmt::format(" {} ", id)), std::string::npos);
}

TEST(InstallationTest, ANamedPlaceWithoutPostgresIsAnError) {
  ::setenv("TIDE_PG_BINDIR", "/nonexistent", 1);
  Result<Installation> found = Installation::find();
  ::unsetenv("TIDE_PG_BINDIR");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace tide::compute
