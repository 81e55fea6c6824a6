#include "control/state_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bytes.h"
#include "control/service.h"
#include "net/api_error.h"
#include "objectstore/object_store.h"
#include "obs/log.h"

namespace tide::control {

using nlohmann::json;

namespace {
constexpr const char* kKey = "control/state.json";
constexpr uint64_t kFormat = 1;
constexpr std::chrono::seconds kInterval{2};

objectstore::Options patient_once() {
  objectstore::Options options;
  options.attempts = 2;  // the next round tries again anyway
  return options;
}
}  // namespace

StateCopy::StateCopy(std::string object_store, Store& store)
    : object_store_(std::move(object_store)), store_(store) {}

StateCopy::~StateCopy() { stop(); }

void StateCopy::begin() {
  if (object_store_.empty() || thread_.joinable()) return;
  thread_ = std::thread([this] { run(); });
}

void StateCopy::stop() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Result<std::string> StateCopy::snapshot() {
  json branches = json::array();
  Status read = store_.transaction([&]() -> Status {
    for (const Branch& branch : TIDE_TRY(store_.branches())) {
      if (branch.state != Branch::State::kReady) continue;
      branches.push_back({{"timeline", branch.timeline.value},
                          {"name", branch.name},
                          {"protected", branch.is_protected},
                          {"backup_of", branch.backup_of},
                          {"created_at", branch.created_at},
                          {"auto_conf", TIDE_TRY(store_.preserved(branch.timeline)).auto_conf}});
    }
    return {};
  });
  TIDE_TRY(std::move(read));
  std::optional<Project> project = TIDE_TRY(store_.project());
  if (!project || project->system_id.empty()) return std::string();
  json state = {{"format", kFormat},
                {"project", project->name},
                {"system_id", project->system_id},
                {"role", project->role},
                {"password", project->password},
                {"database", project->database},
                {"next_timeline", TIDE_TRY(store_.peek_next_timeline()).value},
                {"branches", std::move(branches)}};
  return net::to_text(state);
}

Status StateCopy::upload() {
  std::string now = TIDE_TRY(snapshot());
  if (now.empty() || now == uploaded_) return {};
  std::unique_ptr<objectstore::ObjectStore> store =
      TIDE_TRY(objectstore::open(object_store_, patient_once()));
  TIDE_TRY(store->put(kKey, as_bytes(now)));
  uploaded_ = std::move(now);
  return {};
}

void StateCopy::run() {
  std::string last_error;
  while (true) {
    bool last;
    {
      std::unique_lock lock(mutex_);
      last = changed_.wait_for(lock, kInterval, [this] { return quit_; });
    }
    Status copied = upload();
    if (copied.message() != last_error && !copied.ok()) {
      obs::warn("copy the control state to the object store: {}", copied.to_string());
    }
    last_error = copied.message();
    if (last) return;
  }
}

Status StateCopy::recover(const std::string& system_id,
                          const std::vector<StorageClient::Timeline>& timelines,
                          const Project& project, const std::string& main_branch) {
  if (timelines.empty()) return {Code::kCorrupt, "the storage has a project, but no timeline"};
  json state = json::object();
  if (!object_store_.empty()) {
    std::unique_ptr<objectstore::ObjectStore> store = TIDE_TRY(objectstore::open(object_store_));
    Result<std::string> text = store->get(kKey);
    if (text.ok()) {
      state = TIDE_TRY(net::parse_json(*text));
      uint64_t format = TIDE_TRY(net::number_member(state, "format"));
      if (format != kFormat) {
        return Status(Code::kInvalid,
                      fmt::format("{} has format {}, this tide reads {}", kKey, format, kFormat))
            .with_hint("It was written by a later tide: run that one.");
      }
      if (TIDE_TRY(net::string_member(state, "system_id")) != system_id) state = json::object();
    } else if (text.status().code() != Code::kNotFound) {
      return std::move(text).status();
    }
  }
  std::map<uint64_t, json> known;
  bool knows_main = false;
  if (state.contains("branches") && state["branches"].is_array()) {
    for (const json& branch : state["branches"]) {
      known[TIDE_TRY(net::number_member(branch, "timeline"))] = branch;
      knows_main = knows_main || TIDE_TRY(net::string_member(branch, "name")) == main_branch;
    }
  }
  std::vector<StorageClient::Timeline> sorted = timelines;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.id < b.id; });

  return store_.transaction([&]() -> Status {
    Project made = project;
    made.name = TIDE_TRY(net::string_member(state, "project", project.name));
    made.role = TIDE_TRY(net::string_member(state, "role", project.role));
    made.password = TIDE_TRY(net::string_member(state, "password", project.password));
    made.database = TIDE_TRY(net::string_member(state, "database", project.database));
    TIDE_TRY(store_.insert_project(made));
    uint64_t next = TIDE_TRY(net::number_member(state, "next_timeline", 1));
    std::set<std::string> names;
    for (const StorageClient::Timeline& timeline : sorted) {
      Branch branch;
      branch.timeline = timeline.id;
      branch.parent = timeline.parent;
      branch.branch_lsn = timeline.branch_lsn;
      branch.state = Branch::State::kReady;
      branch.name =
          !knows_main && names.empty() ? main_branch : fmt::format("recovered-{}", timeline.id);
      std::string auto_conf;
      if (auto found = known.find(timeline.id.value); found != known.end()) {
        std::string name = TIDE_TRY(net::string_member(found->second, "name"));
        if (check_branch_name(name).ok() && !names.contains(name)) branch.name = name;
        branch.is_protected = TIDE_TRY(net::bool_member(found->second, "protected", false));
        branch.backup_of = TIDE_TRY(net::string_member(found->second, "backup_of", ""));
        auto_conf = TIDE_TRY(net::string_member(found->second, "auto_conf", ""));
      }
      names.insert(branch.name);
      TIDE_TRY(store_.insert_branch(branch));
      TIDE_TRY(store_.raise_epoch(timeline.id, timeline.epoch));
      if (!auto_conf.empty()) TIDE_TRY(store_.set_recovered_auto_conf(timeline.id, auto_conf));
      next = std::max<uint64_t>(next, uint64_t{timeline.id.value} + 1);
    }
    TIDE_TRY(store_.set_next_timeline(TimelineId{static_cast<uint32_t>(next)}));
    return store_.set_system_id(system_id);
  });
}

}  // namespace tide::control
