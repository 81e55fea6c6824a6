#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/api.h"
#include "control/computes.h"
#include "control/database.h"
#include "control/provision.h"
#include "control/service.h"
#include "control/settings.h"
#include "control/store.h"
#include "env/file.h"
#include "env/instance.h"
#include "env/process.h"
#include "net/api_error.h"
#include "net/http_server.h"

namespace tide::control {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

/// PostgreSQL refuses to run as root.
class Unprivileged : public ::testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    passwd* user = ::getpwnam("postgres");
    ASSERT_NE(user, nullptr);
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setgid(user->pw_gid), 0);
    ASSERT_EQ(::setuid(user->pw_uid), 0);
    ::prctl(PR_SET_DUMPABLE, 1);
    ASSERT_EQ(::chdir("/"), 0);
  }
};
const auto* const kUnprivileged = ::testing::AddGlobalTestEnvironment(new Unprivileged);

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit = 30s) {
  auto deadline = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

/// Speaks the storage API from a script: timelines are numbers only, every backup is the template.
class ScriptedStorage {
 public:
  explicit ScriptedStorage(std::string directory) : directory_(std::move(directory)) { start(); }

  void start() {
    net::HttpRouter router;
    using Request = net::HttpRequest;
    auto number = [](const Request& request, const char* name) {
      return static_cast<uint64_t>(std::stoull(request.params.at(name)));
    };
    auto guarded = [this](auto handle) {
      return [this, handle](const Request& request) {
        std::lock_guard lock(mutex_);
        ++calls_;
        if (fail_next_ > 0 && request.method == "POST" && request.path == fail_path_) {
          --fail_next_;
          return net::error_response(failure_);
        }
        return handle(request);
      };
    };
    router.add(
        "GET", "/v1/status", guarded([this](const Request&) {
          return net::json_response({{"system_id", system_id_}, {"project", !system_id_.empty()}});
        }));
    router.add("POST", "/v1/project", guarded([this](const Request& request) {
                 template_ = json::parse(request.body)["template"];
                 system_id_ = "7001";
                 epochs_[1] = 0;
                 return net::json_response(
                     {{"system_id", system_id_}, {"timeline", 1}, {"lsn", "0/1500000"}});
               }));
    router.add("GET", "/v1/timelines", guarded([this](const Request&) {
                 json list = json::array();
                 for (auto& [id, epoch] : epochs_)
                   list.push_back({{"id", id}, {"epoch", epoch}, {"end_lsn", "0/1600000"}});
                 return net::json_response(list);
               }));
    router.add("POST", "/v1/timelines", guarded([this](const Request& request) {
                 json body = json::parse(request.body);
                 if (body.value("lsn", "") == "F/F") {
                   return net::error_response(Status(Code::kOutOfRange, "F/F lies in the future"));
                 }
                 epochs_.try_emplace(body["id"], 0);
                 return net::json_response(
                     {{"id", body["id"]}, {"parent", body["parent"]}, {"branch_lsn", "0/1550000"}});
               }));
    router.add("DELETE", "/v1/timelines/{id}", guarded([this, number](const Request& request) {
                 epochs_.erase(number(request, "id"));
                 return net::json_response(json::object());
               }));
    router.add("POST", "/v1/timelines/{id}/epochs", guarded([this, number](const Request& request) {
                 uint64_t id = number(request, "id");
                 uint64_t epoch = json::parse(request.body)["epoch"];
                 if (!epochs_.contains(id))
                   return net::error_response({Code::kNotFound, "no such timeline"});
                 if (epoch < epochs_[id]) return net::error_response({Code::kStaleEpoch, "stale"});
                 std::string lock_name = fmt::format("{}/lock-{}-{}", directory_, id, epochs_[id]);
                 if (env::exists(lock_name) && epoch > epochs_[id]) {
                   auto lock = env::open_lock_file(lock_name);
                   if (!*env::try_lock(lock->get(), env::LockKind::kExclusive)) {
                     ++conflicts_;
                     return net::error_response({Code::kConflict, "the old compute lives"});
                   }
                 }
                 epochs_[id] = epoch;
                 history_.push_back({id, epoch});
                 return net::json_response(
                     {{"epoch", epoch},
                      {"start_lsn", "0/1500000"},
                      {"wal_dir", ""},
                      {"feed_file", directory_ + "/feed"},
                      {"lock_file", fmt::format("{}/lock-{}-{}", directory_, id, epoch)},
                      {"system_id", system_id_},
                      {"page_socket", directory_ + "/pages.sock"}});
               }));
    router.add("GET", "/v1/timelines/{id}/backup", guarded([this](const Request&) {
                 // The same for every test of this process.
                 static const std::string* bytes = [this] {
                   env::SpawnSpec tar;
                   tar.program = "/bin/tar";
                   tar.arguments = {"--format=ustar",      "-C", template_, "-cf",
                                    directory_ + "/t.tar", "."};
                   EXPECT_TRUE(env::run(tar, 60s).ok());
                   return new std::string(*env::read_file(directory_ + "/t.tar"));
                 }();
                 net::HttpResponse response;
                 response.stream = [](net::HttpBodyWriter& writer) { return writer.write(*bytes); };
                 return response;
               }));
    router.add("POST", "/v1/timelines/{id}/epochs/{epoch}/close", guarded([this](const Request&) {
                 ++closed_;
                 return net::json_response({{"end_lsn", "0/1600000"}, {"clean", true}});
               }));
    router.add(
        "POST", "/v1/fsck", guarded([](const Request&) {
          return net::json_response({{"checked", {{"pages", 1}}}, {"problems", json::array()}});
        }));
    net::HttpServerOptions options;
    options.unix_socket = socket();
    server_ = std::move(net::HttpServer::start(options, std::move(router))).value();
  }
  void stop() { server_.reset(); }
  std::string socket() const { return directory_ + "/storage.sock"; }

  void fail(const std::string& path, int times, Status failure) {
    std::lock_guard lock(mutex_);
    fail_path_ = path;
    fail_next_ = times;
    failure_ = std::move(failure);
  }

  std::mutex mutex_;
  std::map<uint64_t, uint64_t> epochs_;
  std::vector<std::pair<uint64_t, uint64_t>> history_;
  int conflicts_ = 0;
  int closed_ = 0;
  int calls_ = 0;
  std::string system_id_;

 private:
  const std::string directory_;
  std::string template_;
  std::string fail_path_;
  int fail_next_ = 0;
  Status failure_;
  std::unique_ptr<net::HttpServer> server_;
};

class ControlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tide-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    installation_ = compute::Installation::find().value();
    // initdb once for all tests.
    static const std::string* shared = [&] {
      char place[] = "/tmp/tide-control-template-XXXXXX";
      auto* made = new std::string(std::string(::mkdtemp(place)) + "/template");
      EXPECT_TRUE(compute::make_template(installation_, *made).ok());
      return made;
    }();
    env::SpawnSpec copy;
    copy.program = "/bin/cp";
    copy.arguments = {"-a", *shared, directory_ + "/template"};
    ASSERT_TRUE(env::run(copy, 60s).ok());
    storage_server_ = std::make_unique<ScriptedStorage>(directory_);
    port_ = 21000 + static_cast<int>(::getpid() % 8000);
  }
  void TearDown() override {
    end_control(true);
    storage_server_.reset();
    env::remove_tree(directory_).ignore("scratch");
  }

  void open_store() {
    auto opened = Store::open(directory_ + "/control.db");
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(opened).value();
  }

  void begin_control() {
    if (store_ == nullptr) open_store();
    storage_ = std::make_unique<StorageClient>(storage_server_->socket());
    ComputesOptions options;
    options.data_directory = directory_;
    options.socket_directory = directory_ + "/pg";
    options.installation = installation_;
    options.main_port = port_;
    computes_ = std::make_unique<Computes>(options, *store_, *storage_);
    copy_ = std::make_unique<StateCopy>("file://" + directory_ + "/objects", *store_);
    service_ = std::make_unique<Service>(
        ServiceOptions{
            .data_directory = directory_, .main_port = port_, .installation = installation_},
        *store_, *storage_, *computes_, *copy_);
    service_->begin();
  }
  void bring_up() {
    begin_control();
    ASSERT_TRUE(eventually([&] { return service_->is_up(); }))
        << service_->stages()[2].problem.to_string();
  }
  /// As if killed, unless `orderly`: the computes stay.
  void end_control(bool orderly) {
    if (computes_) computes_->refuse();
    if (service_) service_->stop();
    if (computes_ && orderly) computes_->stop_all().ignore("checked where it matters");
    if (copy_) copy_->stop();
    service_.reset();
    copy_.reset();
    computes_.reset();
    storage_.reset();
    store_.reset();
  }
  Computes::Info main_info() { return computes_->info(store_->branch("main")->timeline); }

  std::string psql(int port, const std::string& sql, const std::string& database = "postgres") {
    env::SpawnSpec spec;
    spec.program = installation_.program("psql");
    spec.arguments = {"-XAtqh", directory_ + "/pg",
                      "-p",     fmt::format("{}", port),
                      "-U",     compute::kSuperuser,
                      "-d",     database,
                      "-c",     sql};
    auto out = env::run(spec, 20s);
    EXPECT_TRUE(out.ok()) << out.status().to_string();
    return out.ok() ? out->substr(0, out->find('\n')) : "";
  }

  std::string directory_;
  int port_ = 0;
  compute::Installation installation_;
  std::unique_ptr<ScriptedStorage> storage_server_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<StorageClient> storage_;
  std::unique_ptr<Computes> computes_;
  std::unique_ptr<StateCopy> copy_;
  std::unique_ptr<Service> service_;
};

TEST_F(ControlTest, FirstStartMakesProjectRoleAndDatabase) {
  bring_up();
  auto connection = service_->connection({});
  ASSERT_TRUE(connection.ok()) << connection.status().to_string();
  EXPECT_EQ(connection->port, port_);
  EXPECT_EQ(connection->password.size(), 24u);
  env::SpawnSpec spec;
  spec.program = installation_.program("psql");
  spec.arguments = {"-XAtq", connection->url(), "-c",
                    "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"};
  auto out = env::run(spec, 20s);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(*out, "tide|t\n");
  struct stat state;
  ASSERT_EQ(::stat((directory_ + "/control.db").c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777, 0600u);
  EXPECT_EQ(store_->running_operations()->size(), 0u);
}

TEST_F(ControlTest, DeadComputeIsStartedAgainUnderANewEpoch) {
  bring_up();
  Computes::Info before = main_info();
  ASSERT_EQ(before.state, Computes::State::kRunning);
  ::kill(before.pid, SIGKILL);
  ASSERT_TRUE(eventually([&] {
    auto info = main_info();
    return info.state == Computes::State::kRunning && info.pid != before.pid;
  })) << main_info().error;
  EXPECT_GT(main_info().epoch, before.epoch);
  EXPECT_EQ(main_info().restarts, 1);
}

TEST_F(ControlTest, LivingComputeIsTakenUpByTheNextControl) {
  bring_up();
  pid_t pid = main_info().pid;
  end_control(false);
  bring_up();
  EXPECT_EQ(main_info().pid, pid);
  // And is watched again.
  ::kill(pid, SIGKILL);
  ASSERT_TRUE(eventually(
      [&] { return main_info().state == Computes::State::kRunning && main_info().pid != pid; }));
}

TEST_F(ControlTest, FrozenComputeIsReplacedByTheNextControl) {
  bring_up();
  Computes::Info before = main_info();
  ::kill(before.pid, SIGSTOP);
  end_control(false);
  bring_up();
  EXPECT_NE(main_info().pid, before.pid);
  EXPECT_GT(main_info().epoch, before.epoch);
  EXPECT_FALSE(env::Process::open(before.pid).ok());
}

TEST_F(ControlTest, UnknownLifeIsKilledBeforeTheNextBegins) {
  bring_up();
  Computes::Info before = main_info();
  end_control(false);
  // A control role that died between taking an epoch and beginning it.
  open_store();
  ASSERT_TRUE(store_->next_epoch(TimelineId{1}).ok());
  bring_up();
  EXPECT_NE(main_info().pid, before.pid);
  EXPECT_GE(main_info().epoch.value, before.epoch.value + 2);
}

TEST_F(ControlTest, SuspendKeepsSettingsAndEndsTheEpoch) {
  bring_up();
  psql(port_, "ALTER SYSTEM SET work_mem = '7MB'");
  ASSERT_TRUE(service_->suspend_endpoint("main").ok());
  EXPECT_EQ(main_info().state, Computes::State::kSuspended);
  EXPECT_GE(storage_server_->closed_, 1);
  EXPECT_FALSE(env::exists(directory_ + "/compute/t1"));
  std::this_thread::sleep_for(1200ms);
  EXPECT_EQ(main_info().state, Computes::State::kSuspended) << "nobody wanted it";
  ASSERT_TRUE(service_->start_endpoint("main").ok());
  EXPECT_EQ(psql(port_, "SHOW work_mem"), "7MB");
  ASSERT_TRUE(service_->restart_endpoint("main").ok());
  EXPECT_EQ(psql(port_, "SHOW work_mem"), "7MB");
}

TEST_F(ControlTest, BranchesAndTheirRules) {
  bring_up();
  auto dev = service_->create_branch("dev", "", {});
  ASSERT_TRUE(dev.ok()) << dev.status().to_string();
  EXPECT_EQ(dev->timeline.value, 2u);
  EXPECT_EQ(dev->branch_lsn, Lsn::parse("0/1550000").value());
  EXPECT_EQ(service_->create_branch("dev", "", {}).status().code(), Code::kExists);
  EXPECT_EQ(service_->create_branch("Dev", "", {}).status().code(), Code::kInvalid);
  EXPECT_EQ(service_->create_branch("a", "nothing", {}).status().code(), Code::kNotFound);
  EXPECT_EQ(service_->create_branch("a", "", {.lsn = "x"}).status().code(), Code::kInvalid);
  EXPECT_EQ(service_->create_branch("a", "", {.lsn = "0/1", .time = "now"}).status().code(),
            Code::kInvalid);

  // Refused by the storage: nothing is left, and its number is not given out again.
  EXPECT_EQ(service_->create_branch("future", "", {.lsn = "F/F"}).status().code(),
            Code::kOutOfRange);
  EXPECT_EQ(store_->branch("future").status().code(), Code::kNotFound);
  auto child = service_->create_branch("child", "dev", {});
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(child->timeline.value, 4u);

  Status has_children = service_->delete_branch("dev");
  EXPECT_EQ(has_children.code(), Code::kConflict);
  EXPECT_NE(has_children.detail().find("child"), std::string::npos);
  EXPECT_EQ(service_->delete_branch("main").code(), Code::kConflict);
  EXPECT_EQ(service_->reset_branch("main").status().code(), Code::kConflict);
  ASSERT_TRUE(service_->start_endpoint("child").ok());
  int port = store_->endpoint(child->timeline).value()->port;
  EXPECT_EQ(psql(port, "SELECT 1"), "1");
  ASSERT_TRUE(service_->delete_branch("child").ok());
  EXPECT_FALSE(storage_server_->epochs_.contains(4));
  ASSERT_TRUE(service_->delete_branch("dev").ok());
}

TEST_F(ControlTest, ResetAndRestoreKeepTheOldStateAndThePort) {
  bring_up();
  ASSERT_TRUE(service_->create_branch("dev", "", {}).ok());
  ASSERT_TRUE(service_->start_endpoint("dev").ok());
  Branch before = store_->branch("dev").value();
  int port = store_->endpoint(before.timeline).value()->port;

  auto reset = service_->reset_branch("dev");
  ASSERT_TRUE(reset.ok()) << reset.status().to_string();
  EXPECT_EQ(reset->backup.name, "dev-before-reset-1");
  EXPECT_EQ(reset->backup.timeline, before.timeline);
  EXPECT_EQ(reset->branch.parent, before.parent);
  EXPECT_EQ(store_->endpoint(reset->branch.timeline).value()->port, port);
  EXPECT_EQ(psql(port, "SELECT 1"), "1") << "it ran, so it runs again";

  auto restored = service_->restore_branch("main", {.lsn = "0/1540000"}, "safe");
  ASSERT_TRUE(restored.ok()) << restored.status().to_string();
  EXPECT_EQ(restored->backup.name, "safe");
  EXPECT_EQ(restored->branch.parent, restored->backup.timeline);
  EXPECT_EQ(psql(port_, "SELECT 1"), "1");
  EXPECT_EQ(service_->restore_branch("main", {}, "").status().code(), Code::kInvalid);
  // Of the backup, its own endpoint.
  ASSERT_TRUE(service_->start_endpoint("safe").ok());
  EXPECT_NE(store_->endpoint(restored->backup.timeline).value()->port, port_);
}

TEST_F(ControlTest, InterruptedOperationsGoOn) {
  bring_up();
  ASSERT_TRUE(service_->create_branch("gone", "", {}).ok());
  end_control(true);
  open_store();
  // Crashed right after each was written down.
  auto begin_create = [&]() -> Status {
    Branch half;
    half.timeline = TIDE_TRY(store_->next_timeline());
    half.name = "half";
    half.parent = TimelineId{1};
    TIDE_TRY(store_->insert_branch(half));
    TIDE_TRY(store_->begin_operation("create_branch", "half", half.timeline, R"({"parent": 1})"));
    Branch gone = TIDE_TRY(store_->branch("gone"));
    TIDE_TRY(store_->set_branch_state(gone.timeline, Branch::State::kDeleting));
    TIDE_TRY(store_->begin_operation("delete_branch", "gone", gone.timeline, "{}"));
    return {};
  };
  ASSERT_TRUE(begin_create().ok());
  bring_up();
  ASSERT_TRUE(eventually([&] { return store_->running_operations()->empty(); }));
  EXPECT_EQ(store_->branch("half")->state, Branch::State::kReady);
  EXPECT_EQ(store_->branch("gone").status().code(), Code::kNotFound);
}

TEST_F(ControlTest, StorageThatIsAwayIsWaitedFor) {
  storage_server_->stop();
  begin_control();
  std::this_thread::sleep_for(300ms);
  EXPECT_FALSE(service_->is_up());
  EXPECT_EQ(service_->create_branch("x", "", {}).status().code(), Code::kRetry);
  storage_server_->start();
  ASSERT_TRUE(eventually([&] { return service_->is_up(); }));
  storage_server_->fail("/v1/timelines", 3, {Code::kUnavailable, "restarting"});
  EXPECT_TRUE(service_->create_branch("dev", "", {}).ok());
  storage_server_->fail("/v1/timelines/1/epochs", 3, {Code::kUnavailable, "restarting"});
  EXPECT_TRUE(service_->restart_endpoint("main").ok());
}

TEST_F(ControlTest, OldControlDatabaseNeverReusesAnEpoch) {
  bring_up();
  {
    std::lock_guard lock(storage_server_->mutex_);
    storage_server_->epochs_[1] = 40;
  }
  ASSERT_TRUE(service_->restart_endpoint("main").ok());
  EXPECT_GT(main_info().epoch.value, 40u);
}

TEST_F(ControlTest, LostControlDatabaseIsRecoveredFromTheObjectStore) {
  bring_up();
  ASSERT_TRUE(service_->create_branch("dev", "", {}).ok());
  psql(port_, "ALTER SYSTEM SET work_mem = '7MB'");
  ASSERT_TRUE(service_->suspend_endpoint("main").ok());
  std::string password = store_->project().value()->password;
  end_control(true);
  for (const char* file : {"/control.db", "/control.db-wal", "/control.db-shm"}) {
    env::remove_file(directory_ + file).ignore("may be gone");
  }
  storage_server_->epochs_[9] = 3;  // made after the last copy
  bring_up();
  EXPECT_EQ(store_->branch("dev")->timeline.value, 2u);
  EXPECT_EQ(store_->branch("recovered-t9")->epoch.value, 3u);
  EXPECT_EQ(psql(port_, "SHOW work_mem"), "7MB");
  EXPECT_EQ(store_->project().value()->password, password);
  EXPECT_EQ(service_->create_branch("next", "", {})->timeline.value, 10u);
}

TEST_F(ControlTest, ApiAsksForATokenOverTcpOnly) {
  bring_up();
  Api api(
      {.data_directory = directory_, .postgresql_version = "15", .token = "secret-of-some-length"},
      *service_, *store_, *storage_, *computes_);
  net::HttpRequest request;
  request.method = "GET";
  request.path = "/v1/status";
  EXPECT_EQ(api.admit(request)->status, 401);
  EXPECT_NE(api.admit(request)->body.find("hint"), std::string::npos);
  request.headers["authorization"] = "Bearer wrong";
  EXPECT_EQ(api.admit(request)->status, 401);
  request.headers["authorization"] = "Bearer secret-of-some-length";
  EXPECT_FALSE(api.admit(request).has_value());
  request.headers.clear();
  request.over_unix_socket = true;
  EXPECT_FALSE(api.admit(request).has_value());

  net::HttpRouter router = api.router();
  json status = json::parse(router.dispatch(request).body);
  EXPECT_TRUE(status["ready"].get<bool>()) << status.dump(2);
  EXPECT_EQ(status["branches"][0]["name"], "main");
  EXPECT_EQ(status["branches"][0]["endpoint"]["state"], "running");
  EXPECT_EQ(status["problems"].size(), 0u) << status["problems"].dump();
  EXPECT_EQ(status.dump().find(store_->project().value()->password), std::string::npos);
  request.path = "/v1/url";
  request.query["target"] = "shop@main";
  json url = json::parse(router.dispatch(request).body);
  EXPECT_TRUE(url["url"].get<std::string>().ends_with(fmt::format("@127.0.0.1:{}/shop", port_)));
  request.path = "/metrics";
  EXPECT_NE(router.dispatch(request).body.find("tide_control_endpoint_running{branch=\"main\"} 1"),
            std::string::npos);
  request.method = "POST";
  request.path = "/v1/fsck";
  EXPECT_EQ(json::parse(router.dispatch(request).body)["problems"].size(), 0u);
  request.path = "/v1/branches";
  request.body = "not json";
  EXPECT_EQ(router.dispatch(request).status, 400);
}

TEST(DatabaseTest, TransactionsAreAllOrNothing) {
  char name[] = "/tmp/tide-db-XXXXXX";
  std::string directory = ::mkdtemp(name);
  auto database = Database::open(directory + "/x.db").value();
  ASSERT_TRUE(database->migrate({"CREATE TABLE t (a INTEGER PRIMARY KEY) STRICT;"}).ok());
  Status failed = database->transaction([&]() -> Status {
    TIDE_TRY(database->run("INSERT INTO t VALUES (1)"));
    return {Code::kInvalid, "no"};
  });
  EXPECT_EQ(failed.code(), Code::kInvalid);
  int64_t count = -1;
  ASSERT_TRUE(
      database->query("SELECT count(*) FROM t", {}, [&](const Row& row) { count = row.number(0); })
          .ok());
  EXPECT_EQ(count, 0);
  ASSERT_TRUE(database->run("INSERT INTO t VALUES (7)").ok());
  EXPECT_EQ(database->run("INSERT INTO t VALUES (7)").code(), Code::kConflict);
  ASSERT_TRUE(database
                  ->migrate({"CREATE TABLE t (a INTEGER PRIMARY KEY) STRICT;",
                             "CREATE TABLE u (b TEXT) STRICT;"})
                  .ok());
  EXPECT_EQ(database->migrate({}).code(), Code::kInvalid) << "written by a later version";
  database.reset();
  ASSERT_TRUE(env::write_file(directory + "/bad.db", std::string(8192, 'x')).ok());
  EXPECT_EQ(Database::open(directory + "/bad.db").status().code(), Code::kCorrupt);
  env::remove_tree(directory).ignore("scratch");
}

TEST(SettingsTest, RoundTripAndMistakes) {
  char name[] = "/tmp/tide-settings-XXXXXX";
  std::string directory = ::mkdtemp(name);
  EXPECT_EQ(Settings::load(directory).status().code(), Code::kNotFound);
  Settings settings;
  settings.port = 5555;
  settings.object_store = "s3://bucket/prefix";
  ASSERT_TRUE(settings.save(directory).ok());
  auto loaded = Settings::load(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->port, 5555);
  EXPECT_EQ(loaded->object_store, "s3://bucket/prefix");
  ASSERT_TRUE(env::write_file(settings_file(directory), "{").ok());
  EXPECT_EQ(Settings::load(directory).status().code(), Code::kCorrupt);
  for (const char* bad : {"", "/tmp/x", "file://relative", "s3://", "http://x"}) {
    EXPECT_FALSE(check_object_store_url(bad).ok()) << bad;
  }
  env::remove_tree(directory).ignore("scratch");
}

TEST(NamesTest, BranchesAndTargets) {
  for (const char* good : {"a", "dev", "a-1", "0"})
    EXPECT_TRUE(check_branch_name(good).ok()) << good;
  for (const char* bad : {"", "-a", "a-", "A", "a_b", "a.b", "a@b", "ä"})
    EXPECT_FALSE(check_branch_name(bad).ok()) << bad;
  EXPECT_FALSE(check_branch_name(std::string(64, 'a')).ok());
  EXPECT_EQ(Target::parse("shop@dev")->database, "shop");
  EXPECT_EQ(Target::parse("shop@dev")->branch, "dev");
  EXPECT_EQ(Target::parse("@dev")->database, "");
  EXPECT_EQ(Target::parse("me@home@dev")->database, "me@home");
  EXPECT_EQ(Target::parse("shop")->branch, "");
  EXPECT_FALSE(Target::parse("shop@Dev").ok());
  EXPECT_EQ(random_password(24)->size(), 24u);
}

}  // namespace
}  // namespace tide::control
