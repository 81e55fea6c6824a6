#include "control/service.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "control/provision.h"
#include "env/file.h"
#include "net/api_error.h"
#include "net/http.h"
#include "obs/log.h"

namespace tide::control {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr milliseconds kBranchWait{60'000};
constexpr milliseconds kStorageWait{30'000};

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

/// The storage did not refuse, it did not answer: the same request may be repeated.
bool may_pass(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
    case Code::kRetry:
    case Code::kNoSpace:
    case Code::kIo:
      return true;
    default:
      return false;
  }
}

Status check_point(const Service::Point& point) {
  if (!point.lsn.empty() && !point.time.empty()) {
    return Status(Code::kInvalid, "both an LSN and a time are given")
        .with_hint("Give one of them.");
  }
  if (!point.lsn.empty()) {
    Result<Lsn> lsn = Lsn::parse(point.lsn);
    if (!lsn.ok()) return std::move(lsn).status();
  }
  return {};
}

}  // namespace

Status check_branch_name(const std::string& name) {
  bool good = !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-';
  for (char c : name) good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
  if (good) return {};
  return Status(Code::kInvalid, fmt::format("\"{}\" is not a branch name", name))
      .with_detail(
          "A branch name has 1 to 63 lower-case letters, digits and hyphens, and no hyphen at "
          "either end.");
}

Result<Target> Target::parse(const std::string& whole) {
  constexpr std::string_view kLake = ".lake";
  Target target;
  target.lake = whole.ends_with(kLake);
  std::string text = whole.substr(0, whole.size() - (target.lake ? kLake.size() : 0));
  size_t at = text.rfind('@');
  target.database = text.substr(0, at);
  if (at != std::string::npos) {
    target.branch = text.substr(at + 1);
    Status named = check_branch_name(target.branch);
    if (!named.ok()) {
      return std::move(named).with_hint(
          "A target is DATABASE@BRANCH, DATABASE or @BRANCH, for the lake with .lake behind it.");
    }
  }
  return target;
}

std::string Service::Connection::url() const {
  return fmt::format("postgresql://{}:{}@127.0.0.1:{}/{}", net::encode_uri_component(role),
                     net::encode_uri_component(password), port,
                     net::encode_uri_component(database));
}

/// Operations on one branch exclude each other; a waiting one gives up after a while.
class Service::BranchLock {
 public:
  static Result<std::unique_ptr<BranchLock>> take(Service& service, const std::string& name) {
    std::unique_lock lock(service.mutex_);
    bool got = service.changed_.wait_for(
        lock, kBranchWait, [&] { return service.quit_ || !service.busy_.contains(name); });
    if (service.quit_) return Status(Code::kUnavailable, "the control role is stopping");
    if (!got) {
      return Status(Code::kRetry, fmt::format("another operation on branch {} is under way", name))
          .with_hint("See: tide status");
    }
    service.busy_.insert(name);
    return std::unique_ptr<BranchLock>(new BranchLock(service, name));
  }
  ~BranchLock() {
    std::lock_guard lock(service_.mutex_);
    service_.busy_.erase(name_);
    service_.changed_.notify_all();
  }

 private:
  BranchLock(Service& service, std::string name) : service_(service), name_(std::move(name)) {}
  Service& service_;
  const std::string name_;
};

Service::Service(ServiceOptions options, Store& store, StorageClient& storage, Computes& computes,
                 StateCopy& copy)
    : options_(std::move(options)),
      store_(store),
      storage_(storage),
      computes_(computes),
      copy_(copy) {
  stages_ = {{.name = "storage", .state = "waiting"},
             {.name = "project", .state = "waiting"},
             {.name = "compute", .state = "waiting"}};
}

Service::~Service() { stop(); }

void Service::begin() {
  keeper_ = std::thread([this] { bring_up(); });
}

void Service::stop() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    changed_.notify_all();
  }
  if (keeper_.joinable()) keeper_.join();
}

std::vector<Service::Stage> Service::stages() {
  std::lock_guard lock(mutex_);
  return stages_;
}

bool Service::is_up() {
  std::lock_guard lock(mutex_);
  return up_;
}

// ------------------------------------------------------------------------------- bringing it all
// up

void Service::bring_up() {
  using Step = Status (Service::*)(Stage&);
  const Step steps[] = {&Service::bring_up_storage, &Service::bring_up_project,
                        &Service::bring_up_compute};
  for (size_t i = 0; i < std::size(steps); ++i) {
    auto began = Clock::now();
    milliseconds pause{20};
    while (true) {
      Stage stage;
      {
        std::lock_guard lock(mutex_);
        if (quit_) return;
        stages_[i].state = "running";
        stage = stages_[i];
      }
      stage.problem = {};
      Status outcome = (this->*steps[i])(stage);
      stage.seconds = seconds_since(began);
      stage.problem = outcome;
      if (outcome.ok()) stage.state = "done";
      std::unique_lock lock(mutex_);
      // What is on its way is not worth a word at once.
      if (!outcome.ok() && stages_[i].problem.message() != outcome.message() &&
          seconds_since(began) > 2) {
        obs::warn("{} is not up yet: {}", stage.name, outcome.to_string());
      }
      stages_[i] = stage;
      if (outcome.ok()) break;
      if (changed_.wait_for(lock, pause, [this] { return quit_; })) return;
      // At first quickly: a user waits for "tide up".
      pause =
          seconds_since(began) < 10 ? milliseconds(20) : std::min(pause * 2, milliseconds(2000));
    }
  }
  {
    std::lock_guard lock(mutex_);
    up_ = true;
    changed_.notify_all();
  }
  // From here on: operations that wait for the storage to answer again.
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, milliseconds(2000), [this] { return quit_; })) return;
    }
    carry_on_interrupted();
  }
}

Status Service::bring_up_storage(Stage& stage) {
  json status = TIDE_TRY(storage_.status());
  stage.detail = "WAL store, page store and object store are ready";
  return {};
}

Status Service::bring_up_project(Stage& stage) {
  std::optional<Project> project = TIDE_TRY(store_.project());
  bool is_new = !project.has_value();
  if (is_new) {
    Project wanted;
    wanted.name = "main";
    wanted.role = compute::kSuperuser;
    wanted.database = "tide";
    wanted.password = TIDE_TRY(random_password(24));
    json status = TIDE_TRY(storage_.status());
    std::string stored = TIDE_TRY(net::string_member(status, "system_id", ""));
    if (!stored.empty()) {
      // A fresh data directory on an object store that holds a project.
      TIDE_TRY(copy_.recover(stored, TIDE_TRY(storage_.timelines()), wanted, options_.main_branch));
    } else {
      TIDE_TRY(store_.transaction([&]() -> Status {
        TIDE_TRY(store_.insert_project(wanted));
        auto begun =
            store_.begin_operation("create_project", options_.main_branch, TimelineId{}, "{}");
        return begun.ok() ? Status() : std::move(begun).status();
      }));
    }
    project = TIDE_TRY(store_.project());
    is_new = stored.empty();
    if (!is_new) stage.detail = "opened from the object store";
  }
  for (const Operation& operation : TIDE_TRY(store_.running_operations())) {
    if (operation.kind == "create_project") TIDE_TRY(carry_on(operation));
  }
  project = TIDE_TRY(store_.project());
  if (project->system_id.empty()) {
    // An earlier attempt was refused for good, for example by a damaged template: begin again.
    Operation again = TIDE_TRY(
        store_.begin_operation("create_project", options_.main_branch, TimelineId{}, "{}"));
    TIDE_TRY(carry_on(again));
  } else {
    json status = TIDE_TRY(storage_.status());
    std::string theirs = TIDE_TRY(net::string_member(status, "system_id", ""));
    if (theirs != project->system_id) {
      return Status(Code::kConflict, "the storage holds another project than control.db")
          .with_detail(
              fmt::format("The storage's system identifier is \"{}\", control.db's is \"{}\".",
                          theirs, project->system_id))
          .with_hint("Bring back the data directory or object store that belongs to it.");
    }
  }
  stage.detail = fmt::format("{}, branch {}{}", project->name, options_.main_branch,
                             is_new                 ? " (new)"
                             : stage.detail.empty() ? ""
                                                    : " (" + stage.detail + ")");
  copy_.begin();
  TIDE_TRY(computes_.take_up());
  computes_.keep_up();
  carry_on_interrupted();
  return {};
}

Status Service::bring_up_compute(Stage& stage) {
  Branch main = TIDE_TRY(store_.branch(options_.main_branch));
  TIDE_TRY(computes_.make_endpoint(main.timeline));
  // "tide up" wakes main, whatever it was before.
  TIDE_TRY(store_.set_endpoint_wanted(main.timeline, true));
  TIDE_TRY(computes_.start(main.timeline));
  stage.detail =
      fmt::format("branch {} is awake on port {}", main.name, computes_.info(main.timeline).port);
  return {};
}

Status Service::carry_on_create_project(const Operation& operation) {
  std::string directory = options_.data_directory + "/template";
  TIDE_TRY(compute::make_template(options_.installation, directory));
  TIDE_TRY(store_.set_operation_step(operation.id, "import"));
  StorageClient::Imported imported = TIDE_TRY(storage_.import_project(directory));
  return store_.transaction([&]() -> Status {
    TimelineId timeline = TIDE_TRY(store_.next_timeline());
    if (timeline != imported.timeline) {
      return {Code::kBug, fmt::format("the storage calls the first timeline {}, we {}",
                                      imported.timeline, timeline)};
    }
    Branch main;
    main.timeline = timeline;
    main.name = options_.main_branch;
    main.branch_lsn = imported.lsn;
    main.state = Branch::State::kReady;
    TIDE_TRY(store_.insert_branch(main));
    TIDE_TRY(store_.insert_endpoint(timeline, options_.main_port));
    TIDE_TRY(store_.set_endpoint_wanted(timeline, true));
    return store_.set_system_id(imported.system_id);
  });
}

Status Service::require_project() {
  Result<std::optional<Project>> project = store_.project();
  if (!project.ok()) return std::move(project).status();
  if (*project && !(*project)->system_id.empty()) return {};
  return Status(Code::kRetry, "the project is still being made").with_hint("See: tide status");
}

// ------------------------------------------------------------------------------------- operations

Status Service::carry_on(const Operation& operation) {
  {
    std::lock_guard lock(mutex_);
    if (!in_hand_.insert(operation.id).second)
      return {Code::kRetry, "the operation is in hand already"};
  }
  Status outcome;
  if (operation.kind == "create_project") {
    outcome = carry_on_create_project(operation);
  } else if (operation.kind == "create_branch") {
    outcome = carry_on_create(operation);
  } else if (operation.kind == "delete_branch") {
    outcome = carry_on_delete(operation);
  } else if (operation.kind == "reset_branch" || operation.kind == "restore_branch") {
    outcome = carry_on_rewind(operation);
  } else if (operation.kind == "start_endpoint") {
    outcome = computes_.start(operation.timeline);
  } else if (operation.kind == "restart_endpoint") {
    outcome = computes_.restart(operation.timeline);
  } else if (operation.kind == "suspend_endpoint") {
    outcome = computes_.suspend(operation.timeline);
  } else {
    outcome = {Code::kBug, fmt::format("unknown kind of operation {}", operation.kind)};
  }
  // A start that failed is over: the computes' own keeper goes on trying.
  bool is_start = operation.kind == "start_endpoint" || operation.kind == "restart_endpoint";
  if (outcome.ok() || is_start || !may_pass(outcome)) {
    // Some note their end together with their last change.
    Result<Operation> now = store_.operation(operation.id);
    if (!now.ok() || now->state == Operation::State::kRunning) {
      Status ended = is_start && outcome.ok() ? store_.end_started(operation.id)
                                              : store_.end_operation(operation.id, outcome);
      if (!ended.ok() && outcome.ok()) outcome = ended;
    }
    obs::info("operation {}: {} of {} {}", operation.id, operation.kind, operation.branch,
              outcome.ok() ? "done" : "failed: " + outcome.to_string());
  } else if (operation.kind != "create_project") {
    if (outcome.hint().empty()) {
      outcome = std::move(outcome).with_hint(fmt::format(
          "Operation {} goes on by itself when that has passed; see: tide status", operation.id));
    }
  }
  std::lock_guard lock(mutex_);
  in_hand_.erase(operation.id);
  return outcome;
}

void Service::carry_on_interrupted() {
  Result<std::vector<Operation>> running = store_.running_operations();
  if (!running.ok()) return;
  for (const Operation& operation : *running) {
    {
      std::lock_guard lock(mutex_);
      if (quit_) return;
      // Its own thread is at it, or waits for the branch.
      if (in_hand_.contains(operation.id) || busy_.contains(operation.branch)) continue;
      busy_.insert(operation.branch);
    }
    Result<Operation> now = store_.operation(operation.id);
    if (now.ok() && now->state == Operation::State::kRunning) {
      carry_on(*now).ignore("noted in the operation, or tried again later");
    }
    std::lock_guard lock(mutex_);
    busy_.erase(operation.branch);
    changed_.notify_all();
  }
}

/// Asks for the timeline until the storage grants or refuses it; refused, all traces are removed.
Status Service::make_timeline(const Operation& operation, TimelineId parent, const Point& point,
                              Lsn& branch_lsn) {
  auto deadline = Clock::now() + kStorageWait;
  while (true) {
    Result<Lsn> made = storage_.create_timeline(operation.timeline, parent, point.lsn, point.time);
    if (made.ok()) {
      branch_lsn = *made;
      return {};
    }
    Status refused = std::move(made).status();
    if (!may_pass(refused)) {
      TIDE_TRY(storage_.delete_timeline(operation.timeline));
      TIDE_TRY(store_.remove_branch(operation.timeline));
      std::string where = point.lsn.empty() ? point.time : point.lsn;
      return where.empty() ? refused : std::move(refused).with_context("branch at " + where);
    }
    std::unique_lock lock(mutex_);
    if (Clock::now() > deadline) return refused;
    if (changed_.wait_for(lock, milliseconds(100), [this] { return quit_; })) return refused;
  }
}

Result<Branch> Service::create_branch(const std::string& name, const std::string& from,
                                      const Point& point) {
  TIDE_TRY(require_project());
  TIDE_TRY(check_branch_name(name));
  TIDE_TRY(check_point(point));
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    Branch parent = TIDE_TRY(store_.branch(from.empty() ? options_.main_branch : from));
    if (parent.state != Branch::State::kReady) {
      return {Code::kConflict,
              fmt::format("branch {} is {}", parent.name, state_name(parent.state))};
    }
    if (Result<Branch> existing = store_.branch(name); existing.ok()) {
      return Status(Code::kExists, fmt::format("there is a branch {} already", name))
          .with_detail(fmt::format("It was made at {}.", existing->created_at));
    }
    Branch branch;
    branch.timeline = TIDE_TRY(store_.next_timeline());
    branch.name = name;
    branch.parent = parent.timeline;
    TIDE_TRY(store_.insert_branch(branch));
    json parameters = {{"parent", parent.timeline.value}, {"lsn", point.lsn}, {"time", point.time}};
    operation =
        TIDE_TRY(store_.begin_operation("create_branch", name, branch.timeline, parameters.dump()));
    return {};
  }));
  TIDE_TRY(carry_on(*operation));
  return store_.branch(name);
}

Status Service::carry_on_create(const Operation& operation) {
  json parameters = TIDE_TRY(net::parse_json(operation.parameters));
  TimelineId parent{static_cast<uint32_t>(TIDE_TRY(net::number_member(parameters, "parent")))};
  Point point{TIDE_TRY(net::string_member(parameters, "lsn", "")),
              TIDE_TRY(net::string_member(parameters, "time", ""))};
  Lsn branch_lsn;
  TIDE_TRY(make_timeline(operation, parent, point, branch_lsn));
  // The end is noted in the same transaction: one sync less on a path that users wait for.
  return store_.transaction([&]() -> Status {
    TIDE_TRY(store_.set_branch_ready(operation.timeline, branch_lsn));
    return store_.end_operation(operation.id, {});
  });
}

Status Service::delete_branch(const std::string& name) {
  TIDE_TRY(require_project());
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    Branch branch = TIDE_TRY(store_.branch(name));
    if (name == options_.main_branch) {
      return Status(Code::kConflict, fmt::format("branch {} cannot be deleted", name))
          .with_detail("It is the project's main branch.");
    }
    if (branch.is_protected) return {Code::kConflict, fmt::format("branch {} is protected", name)};
    std::vector<std::string> children = TIDE_TRY(store_.children(branch.timeline));
    if (!children.empty()) {
      std::string names;
      for (const std::string& child : children) names += (names.empty() ? "" : ", ") + child;
      return Status(Code::kConflict, fmt::format("branch {} has children", name))
          .with_detail(fmt::format("Made from it: {}.", names))
          .with_hint("Delete them first.");
    }
    TIDE_TRY(store_.set_branch_state(branch.timeline, Branch::State::kDeleting));
    operation = TIDE_TRY(store_.begin_operation("delete_branch", name, branch.timeline, "{}"));
    return {};
  }));
  return carry_on(*operation);
}

Status Service::carry_on_delete(const Operation& operation) {
  TIDE_TRY(computes_.destroy(operation.timeline));
  Status deleted = storage_.delete_timeline(operation.timeline);
  if (!deleted.ok() && !may_pass(deleted)) {
    TIDE_TRY(store_.set_branch_state(operation.timeline, Branch::State::kReady));
    return deleted;
  }
  TIDE_TRY(std::move(deleted));
  TIDE_TRY(store_.remove_branch(operation.timeline));
  computes_.forget(operation.timeline);
  return {};
}

Result<std::string> Service::free_backup_name(const std::string& name, const std::string& infix) {
  for (int n = 1; n < 10000; ++n) {
    std::string suffix = fmt::format("-before-{}-{}", infix, n);
    std::string candidate = name.substr(0, 63 - suffix.size()) + suffix;
    Result<Branch> existing = store_.branch(candidate);
    if (existing.ok()) continue;
    if (existing.status().code() != Code::kNotFound) return std::move(existing).status();
    return candidate;
  }
  return Status(Code::kExists, fmt::format("branch {} has too many backups", name))
      .with_hint("Delete some of them.");
}

Result<Service::Rewound> Service::reset_branch(const std::string& name) {
  TIDE_TRY(require_project());
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  Branch branch = TIDE_TRY(store_.branch(name));
  if (!branch.parent) {
    return Status(Code::kConflict, fmt::format("branch {} has no parent to be reset to", name))
        .with_hint("To go back in its own history: tide branch restore");
  }
  return rewind("reset_branch", branch, *branch.parent, {},
                TIDE_TRY(free_backup_name(name, "reset")));
}

Result<Service::Rewound> Service::restore_branch(const std::string& name, const Point& point,
                                                 const std::string& preserve_as) {
  TIDE_TRY(require_project());
  TIDE_TRY(check_point(point));
  if (point.lsn.empty() && point.time.empty()) {
    return Status(Code::kInvalid, "restore needs a point to go back to")
        .with_hint("Give --lsn X/Y or --time RFC3339.");
  }
  if (!preserve_as.empty()) TIDE_TRY(check_branch_name(preserve_as));
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  Branch branch = TIDE_TRY(store_.branch(name));
  std::string backup = preserve_as;
  if (backup.empty()) backup = TIDE_TRY(free_backup_name(name, "restore"));
  return rewind("restore_branch", branch, branch.timeline, point, backup);
}

Result<Service::Rewound> Service::rewind(const std::string& kind, const Branch& branch,
                                         TimelineId source, const Point& point,
                                         const std::string& backup_name) {
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    if (branch.state != Branch::State::kReady) {
      return {Code::kConflict,
              fmt::format("branch {} is {}", branch.name, state_name(branch.state))};
    }
    if (branch.is_protected)
      return {Code::kConflict, fmt::format("branch {} is protected", branch.name)};
    if (Result<Branch> existing = store_.branch(backup_name); existing.ok()) {
      return {Code::kExists, fmt::format("there is a branch {} already", backup_name)};
    }
    Branch made;
    made.timeline = TIDE_TRY(store_.next_timeline());
    // No user can take this name: it has a dot.
    made.name = fmt::format("{}.{}", branch.name, made.timeline.value);
    made.parent = source;
    made.is_protected = branch.is_protected;
    TIDE_TRY(store_.insert_branch(made));
    json parameters = {{"old", branch.timeline.value},
                       {"source", source.value},
                       {"lsn", point.lsn},
                       {"time", point.time},
                       {"backup", backup_name}};
    operation =
        TIDE_TRY(store_.begin_operation(kind, branch.name, made.timeline, parameters.dump()));
    return {};
  }));
  TIDE_TRY(carry_on(*operation));
  Rewound rewound;
  rewound.branch = TIDE_TRY(store_.branch(branch.name));
  rewound.backup = TIDE_TRY(store_.branch(backup_name));
  return rewound;
}

Status Service::carry_on_rewind(const Operation& operation) {
  json parameters = TIDE_TRY(net::parse_json(operation.parameters));
  TimelineId old{static_cast<uint32_t>(TIDE_TRY(net::number_member(parameters, "old")))};
  TimelineId source{static_cast<uint32_t>(TIDE_TRY(net::number_member(parameters, "source")))};
  std::string backup = TIDE_TRY(net::string_member(parameters, "backup"));
  Point point{TIDE_TRY(net::string_member(parameters, "lsn", "")),
              TIDE_TRY(net::string_member(parameters, "time", ""))};

  if (operation.step != "swapped") {
    Lsn branch_lsn;
    TIDE_TRY(make_timeline(operation, source, point, branch_lsn));
    // Nobody must write to the old state and believe it was the new one. What was wanted stays
    // noted.
    TIDE_TRY(computes_.suspend(old));
    TIDE_TRY(store_.transaction([&]() -> Status {
      TIDE_TRY(store_.rename_branch(old, backup, operation.branch));
      TIDE_TRY(store_.rename_branch(operation.timeline, operation.branch, ""));
      TIDE_TRY(store_.set_branch_ready(operation.timeline, branch_lsn));
      TIDE_TRY(store_.move_endpoint(old, operation.timeline));
      return store_.set_operation_step(operation.id, "swapped");
    }));
    computes_.forget(old);
  }
  std::optional<Endpoint> endpoint = TIDE_TRY(store_.endpoint(operation.timeline));
  if (endpoint && endpoint->wanted) {
    Status started = computes_.start(operation.timeline);
    // The change is complete; the computes' keeper goes on trying, and status shows it.
    if (!started.ok())
      obs::warn("start branch {} after {}: {}", operation.branch, operation.kind,
                started.to_string());
  }
  return {};
}

Status Service::set_protected(const std::string& name, bool is_protected) {
  Branch branch = TIDE_TRY(store_.branch(name));
  return store_.set_protected(branch.timeline, is_protected);
}

// -------------------------------------------------------------------------------------- endpoints

namespace {
Status check_ready(const Branch& branch) {
  if (branch.state == Branch::State::kReady) return {};
  return {Code::kConflict, fmt::format("branch {} is {}", branch.name, state_name(branch.state))};
}
}  // namespace

Status Service::start_endpoint(const std::string& name) {
  TIDE_TRY(require_project());
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  Branch branch = TIDE_TRY(store_.branch(name));
  TIDE_TRY(check_ready(branch));
  if (computes_.info(branch.timeline).state == Computes::State::kRunning) {
    return store_.set_endpoint_wanted(branch.timeline, true);
  }
  TIDE_TRY(computes_.make_endpoint(branch.timeline));
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    TIDE_TRY(store_.set_endpoint_wanted(branch.timeline, true));
    operation = TIDE_TRY(store_.begin_operation("start_endpoint", name, branch.timeline, "{}"));
    return {};
  }));
  return carry_on(*operation);
}

Status Service::suspend_endpoint(const std::string& name) {
  TIDE_TRY(require_project());
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  Branch branch = TIDE_TRY(store_.branch(name));
  TIDE_TRY(check_ready(branch));
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    TIDE_TRY(store_.set_endpoint_wanted(branch.timeline, false));
    operation = TIDE_TRY(store_.begin_operation("suspend_endpoint", name, branch.timeline, "{}"));
    return {};
  }));
  return carry_on(*operation);
}

Status Service::restart_endpoint(const std::string& name) {
  TIDE_TRY(require_project());
  auto lock = TIDE_TRY(BranchLock::take(*this, name));
  Branch branch = TIDE_TRY(store_.branch(name));
  TIDE_TRY(check_ready(branch));
  TIDE_TRY(computes_.make_endpoint(branch.timeline));
  std::optional<Operation> operation;
  TIDE_TRY(store_.transaction([&]() -> Status {
    TIDE_TRY(store_.set_endpoint_wanted(branch.timeline, true));
    operation = TIDE_TRY(store_.begin_operation("restart_endpoint", name, branch.timeline, "{}"));
    return {};
  }));
  return carry_on(*operation);
}

Result<std::optional<Service::Connection>> Service::known_connection(const Target& target) {
  std::optional<Project> project = TIDE_TRY(store_.project());
  if (!project || !project->provisioned) return std::optional<Connection>();
  Branch branch =
      TIDE_TRY(store_.branch(target.branch.empty() ? options_.main_branch : target.branch));
  Connection connection;
  connection.branch = branch.name;
  connection.database = target.database.empty() ? project->database : target.database;
  connection.role = project->role;
  connection.password = project->password;
  std::optional<Endpoint> endpoint = TIDE_TRY(store_.endpoint(branch.timeline));
  connection.port = endpoint ? endpoint->port : 0;
  return std::optional<Connection>(connection);
}

Result<Service::Connection> Service::connection(const Target& target) {
  TIDE_TRY(start_endpoint(target.branch.empty() ? options_.main_branch : target.branch));
  std::optional<Connection> connection = TIDE_TRY(known_connection(target));
  if (!connection)
    return Status(Code::kRetry, "the first role is still being made").with_hint("See: tide status");
  return std::move(*connection);
}

Result<json> Service::fsck(bool deep) {
  json answer = TIDE_TRY(storage_.fsck(deep));
  if (!answer.is_object()) answer = json::object();
  if (!answer["problems"].is_array()) answer["problems"] = json::array();
  auto report = [&](std::string what, std::string where, std::string detail) {
    answer["problems"].push_back(
        {{"what", std::move(what)}, {"where", std::move(where)}, {"detail", std::move(detail)}});
  };
  Status intact = store_.check_integrity();
  if (!intact.ok()) report(intact.message(), "control.db", intact.detail());
  std::map<TimelineId, bool> stored;
  for (const StorageClient::Timeline& timeline : TIDE_TRY(storage_.timelines()))
    stored[timeline.id] = false;
  std::vector<Branch> branches = TIDE_TRY(store_.branches());
  for (const Branch& branch : branches) {
    auto found = stored.find(branch.timeline);
    if (found != stored.end()) {
      found->second = true;
    } else if (branch.state == Branch::State::kReady) {
      report("branch without data", branch.name,
             fmt::format("The storage has no timeline {}.", branch.timeline));
    }
  }
  for (const auto& [timeline, named] : stored) {
    if (!named)
      report("data without branch", fmt::format("{}", timeline),
             "No branch refers to this timeline.");
  }
  answer["checked"]["branches"] = branches.size();
  return answer;
}

}  // namespace tide::control
