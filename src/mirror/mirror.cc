#include "mirror/mirror.h"

#include <signal.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "duck/engine.h"
#include "env/instance.h"
#include "mirror/branch_worker.h"
#include "mirror/lake_service.h"
#include "net/api_error.h"
#include "objectstore/object_store.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

using nlohmann::json;

constexpr uint64_t kEngineMemory = uint64_t{1} << 30;

/// The workers, one per branch that control knows.
class Branches {
 public:
  Branches(const MirrorOptions& options, objectstore::ObjectStore& store, duck::Engine& engine)
      : options_(options), store_(store), engine_(engine) {}

  /// Asks control which branches there are; begins and ends workers. Without an answer all stays.
  void look() {
    net::HttpCall call{.unix_socket = env::control_socket(options_.data_directory),
                       .target = "/v1/branches"};
    Result<json> answer = net::json_call(call);
    if (!answer.ok()) return;
    const json& list = answer->is_array() ? *answer : (*answer)["branches"];
    std::map<uint32_t, std::string> wanted;
    for (const json& branch : list) {
      if (branch.contains("timeline") && branch.value("state", "ready") != "deleting") {
        wanted[branch["timeline"]] = branch["name"];
      }
    }
    std::vector<std::shared_ptr<BranchWorker>> ended;
    {
      std::lock_guard lock(mutex_);
      for (auto worker = workers_.begin(); worker != workers_.end();) {
        if (wanted.contains(worker->first) && worker->second->is_alive()) {
          ++worker;
        } else {
          ended.push_back(std::move(worker->second));
          worker = workers_.erase(worker);
        }
      }
      for (const auto& [timeline, name] : wanted) {
        if (!workers_.contains(timeline)) workers_[timeline] = begin(timeline, name);
      }
    }
  }

  std::shared_ptr<BranchWorker> find(TimelineId timeline) {
    std::lock_guard lock(mutex_);
    auto worker = workers_.find(timeline.value);
    return worker == workers_.end() ? nullptr : worker->second;
  }

  std::vector<std::shared_ptr<BranchWorker>> all() {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<BranchWorker>> workers;
    for (const auto& [timeline, worker] : workers_) workers.push_back(worker);
    return workers;
  }

  void clear() {
    std::map<uint32_t, std::shared_ptr<BranchWorker>> ending;
    std::lock_guard lock(mutex_);
    ending.swap(workers_);
  }

 private:
  std::shared_ptr<BranchWorker> begin(uint32_t timeline, const std::string& name) {
    BranchWorker::Options worker;
    worker.timeline = TimelineId{timeline};
    worker.branch = name;
    worker.page_socket = env::page_socket(options_.data_directory);
    worker.spill_directory = fmt::format("{}/mirror/spill/t{}", options_.data_directory, timeline);
    worker.local_root = options_.data_directory + "/lake";
    worker.version = options_.version;
    return std::make_shared<BranchWorker>(std::move(worker), store_, engine_);
  }

  const MirrorOptions& options_;
  objectstore::ObjectStore& store_;
  duck::Engine& engine_;
  std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<BranchWorker>> workers_;
};

}  // namespace

Status run_mirror(const MirrorOptions& options) {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::unique_ptr<objectstore::ObjectStore> store =
      TIDE_TRY(objectstore::open(options.object_store));
  duck::EngineOptions engine_options;
  engine_options.memory_limit_bytes = kEngineMemory;
  engine_options.threads = 1;
  engine_options.temp_directory = options.data_directory + "/mirror/tmp";
  std::unique_ptr<duck::Engine> engine = TIDE_TRY(duck::Engine::open(engine_options));
  Branches branches(options, *store, *engine);
  LakeService::Branches interface;
  interface.find = [&](TimelineId timeline) { return branches.find(timeline); };
  interface.all = [&] { return branches.all(); };
  interface.include = [&](TimelineId timeline, const std::string& database,
                          const std::string& table, bool in) -> Status {
    std::shared_ptr<BranchWorker> worker = branches.find(timeline);
    if (worker == nullptr) return {Code::kNotFound, fmt::format("no branch {}", timeline)};
    return worker->include(database, table, in);
  };
  std::unique_ptr<LakeService> service =
      TIDE_TRY(LakeService::start(env::lake_socket(options.data_directory), std::move(interface)));
  obs::info("the mirror answers on {}", env::lake_socket(options.data_directory));
  while (true) {
    branches.look();
    timespec pause{0, 500'000'000};
    if (::sigtimedwait(&signals, nullptr, &pause) > 0) break;
  }
  service = nullptr;
  branches.clear();
  return {};
}

}  // namespace tide::mirror
