#include "control/computes.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "control/provision.h"
#include "env/file.h"
#include "obs/log.h"

namespace tide::control {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kFirstPort = 20000;
constexpr int kPortCount = 10000;
constexpr size_t kWorkers = 4;
constexpr milliseconds kKillDeadline{20'000};
constexpr milliseconds kRetryPauseMax{30'000};
/// A life shorter than this counts as another failure in a row.
constexpr milliseconds kHealthyLife{30'000};
constexpr std::string_view kAcceptorName = "tidewater_acceptor_1";

bool port_is_free(int port) {
  int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  int yes = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool free = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(probe);
  return free;
}

/// A process's connection string value in single quotes.
std::string conninfo_value(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

bool worth_repeating(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kRetry;
}

}  // namespace

std::string_view state_name(Computes::State state) {
  switch (state) {
    case Computes::State::kSuspended:
      return "suspended";
    case Computes::State::kStarting:
      return "starting";
    case Computes::State::kRunning:
      return "running";
    case Computes::State::kStopping:
      return "stopping";
    case Computes::State::kFailed:
      return "failed";
  }
  return "unknown";
}

struct Computes::Slot {
  explicit Slot(TimelineId id) : timeline(id) {}
  const TimelineId timeline;
  std::mutex busy;  ///< Held through a start or stop. Taken before mutex_.
  std::unique_ptr<compute::Compute> compute;  ///< Guarded by busy.

  // Guarded by mutex_.
  Info info;
  bool wanted = false;
  bool queued = false;
  int failures = 0;  ///< In a row.
  Clock::time_point began{};
  std::optional<Clock::time_point> next_attempt;
};

Computes::Computes(ComputesOptions options, Store& store, StorageClient& storage)
    : options_(std::move(options)), store_(store), storage_(storage) {}

Computes::~Computes() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    changed_.notify_all();
  }
  if (keeper_.joinable()) keeper_.join();
  for (std::thread& worker : workers_) worker.join();
  // Outside of mutex_: a watcher that is just calling back needs it.
  std::map<TimelineId, std::shared_ptr<Slot>> slots;
  {
    std::lock_guard lock(mutex_);
    slots.swap(slots_);
  }
  for (auto& [timeline, slot] : slots) slot->compute.reset();
}

std::shared_ptr<Computes::Slot> Computes::slot(TimelineId timeline) {
  std::lock_guard lock(mutex_);
  auto& found = slots_[timeline];
  if (found == nullptr) found = std::make_shared<Slot>(timeline);
  return found;
}

std::string Computes::directory_of(TimelineId timeline) const {
  return fmt::format("{}/compute/{}", options_.data_directory, timeline);
}

Computes::Info Computes::info(TimelineId timeline) {
  std::lock_guard lock(mutex_);
  auto found = slots_.find(timeline);
  if (found == slots_.end()) return {};
  Info info = found->second->info;
  if (info.state == State::kFailed && found->second->next_attempt) {
    std::chrono::duration<double> left = *found->second->next_attempt - Clock::now();
    info.retry_in = std::max(0.0, left.count());
  }
  return info;
}

Result<int> Computes::free_port(TimelineId) {
  std::set<int> taken;
  for (const Endpoint& endpoint : TIDE_TRY(store_.endpoints())) taken.insert(endpoint.port);
  // Instances on one machine begin their search at different places.
  size_t offset = std::hash<std::string>()(options_.data_directory) % kPortCount;
  for (size_t i = 0; i < kPortCount; ++i) {
    int port = kFirstPort + static_cast<int>((offset + i) % kPortCount);
    if (port == options_.main_port || taken.contains(port) || !port_is_free(port)) continue;
    return port;
  }
  return Status(Code::kUnavailable, fmt::format("no free port between {} and {}", kFirstPort,
                                                kFirstPort + kPortCount - 1));
}

Result<Endpoint> Computes::endpoint_of(TimelineId timeline) {
  std::optional<Endpoint> found = TIDE_TRY(store_.endpoint(timeline));
  if (found) return std::move(*found);
  std::lock_guard lock(port_mutex_);
  Branch branch = TIDE_TRY(store_.branch(timeline));
  int port = options_.main_port;
  if (branch.name != options_.main_branch) port = TIDE_TRY(free_port(timeline));
  TIDE_TRY(store_.insert_endpoint(timeline, port));
  return std::move(*TIDE_TRY(store_.endpoint(timeline)));
}

Status Computes::make_endpoint(TimelineId timeline) {
  Result<Endpoint> endpoint = endpoint_of(timeline);
  return endpoint.ok() ? Status() : std::move(endpoint).status();
}

Status Computes::take_up() {
  for (const Endpoint& endpoint : TIDE_TRY(store_.endpoints())) {
    std::shared_ptr<Slot> slot = this->slot(endpoint.timeline);
    std::lock_guard busy(slot->busy);
    std::string directory = directory_of(endpoint.timeline);
    Branch branch = TIDE_TRY(store_.branch(endpoint.timeline));
    if (branch.name == options_.main_branch && endpoint.port != options_.main_port) {
      TIDE_TRY(store_.set_endpoint_port(endpoint.timeline, options_.main_port));
    }
    std::unique_ptr<compute::Compute> living =
        TIDE_TRY(compute::find_running(directory, endpoint.lock_file));
    {
      std::lock_guard lock(mutex_);
      slot->wanted = endpoint.wanted;
      slot->info.port = branch.name == options_.main_branch ? options_.main_port : endpoint.port;
      slot->info.epoch = endpoint.epoch;
    }
    if (living == nullptr) continue;
    // Its epoch must be the last one given out, and its start must have been completed.
    std::string life = fmt::format("|{}|{}", endpoint.timeline, endpoint.epoch);
    bool complete = endpoint.epoch == branch.epoch && living->id().ends_with(life) &&
                    endpoint.pid == living->pid();
    bool answers =
        complete && is_answering(options_.socket_directory, endpoint.port, living->pid());
    if (endpoint.wanted && answers && endpoint.port == slot->info.port) {
      obs::info("takes up the compute of branch {}: process {}", branch.name, living->pid());
      slot->compute = std::move(living);
      {
        std::lock_guard lock(mutex_);
        slot->info.state = State::kRunning;
        slot->info.pid = slot->compute->pid();
        slot->began = Clock::now();
      }
      TIDE_TRY(watch(*slot));
      continue;
    }
    obs::info("ends the compute of branch {} that an earlier control role left: process {}",
              branch.name, living->pid());
    slot->compute = std::move(living);
    // One that hangs or is frozen would not follow an order to stop.
    if (!answers) TIDE_TRY(compute::kill_all(directory, endpoint.lock_file, kKillDeadline));
    Status stopped = stop_in(*slot, true);
    if (!stopped.ok()) obs::warn("{}", stopped.to_string());
  }
  return {};
}

void Computes::keep_up() {
  keeper_ = std::thread([this] { keep_running(); });
  for (size_t i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { work(); });
}

Status Computes::start(TimelineId timeline) {
  std::shared_ptr<Slot> slot = this->slot(timeline);
  {
    std::lock_guard lock(mutex_);
    if (quit_) return {Code::kUnavailable, "the control role is stopping"};
    slot->wanted = true;
    slot->failures = 0;
  }
  std::lock_guard busy(slot->busy);
  return start_in(*slot);
}

/// Under slot.busy.
Status Computes::start_in(Slot& slot) {
  if (slot.compute != nullptr) {
    if (slot.compute->alive()) return {};
    slot.compute.reset();
  }
  {
    std::lock_guard lock(mutex_);
    if (!slot.wanted || quit_) return {Code::kUnavailable, "the endpoint is not wanted any more"};
    slot.info.state = State::kStarting;
    slot.info.pid = 0;
    slot.next_attempt.reset();
  }
  auto began = Clock::now();
  Status started = start_once(slot);
  if (!started.ok()) {
    slot.compute.reset();
    note_failure(slot, started);
    return started;
  }
  ++starts_;
  std::lock_guard lock(mutex_);
  slot.began = Clock::now();
  slot.info.state = State::kRunning;
  slot.info.pid = slot.compute->pid();
  slot.info.start_seconds = std::chrono::duration<double>(Clock::now() - began).count();
  slot.info.error.clear();
  obs::info("compute of {} runs: {}, port {}, process {}, {:.0f} ms", slot.timeline,
            slot.info.epoch, slot.info.port, slot.info.pid, slot.info.start_seconds * 1000);
  return {};
}

void Computes::note_failure(Slot& slot, const Status& failure) {
  std::lock_guard lock(mutex_);
  ++slot.failures;
  milliseconds pause =
      std::min(kRetryPauseMax, milliseconds(250) * (1 << std::min(slot.failures - 1, 10)));
  slot.info.state = slot.wanted ? State::kFailed : State::kSuspended;
  slot.info.pid = 0;
  slot.info.error = failure.to_string();
  slot.next_attempt = Clock::now() + pause;
  obs::error("compute of {}: {}", slot.timeline, failure.to_string());
  changed_.notify_all();
}

/// A new epoch, granted by the storage when every process of the one before is dead.
Status Computes::begin_epoch(Slot& slot, const Endpoint& endpoint,
                             StorageClient::BegunEpoch& begun) {
  Epoch epoch = TIDE_TRY(store_.next_epoch(slot.timeline));
  auto deadline = Clock::now() + options_.start_deadline;
  while (true) {
    Result<StorageClient::BegunEpoch> answer =
        storage_.begin_epoch(slot.timeline, epoch, options_.durability);
    if (answer.ok()) {
      begun = std::move(answer).value();
      return {};
    }
    Status refused = answer.status();
    if (Clock::now() > deadline) return refused;
    if (refused.code() == Code::kConflict) {
      obs::info("the last compute of {} still lives, kills it: {}", slot.timeline,
                refused.detail());
      TIDE_TRY(compute::kill_all(directory_of(slot.timeline), endpoint.lock_file, kKillDeadline));
    } else if (refused.code() == Code::kStaleEpoch) {
      // The storage has seen a later epoch than control.db knows: somebody brought an old one back.
      for (const StorageClient::Timeline& timeline : TIDE_TRY(storage_.timelines())) {
        if (timeline.id == slot.timeline)
          TIDE_TRY(store_.raise_epoch(slot.timeline, timeline.epoch));
      }
      epoch = TIDE_TRY(store_.next_epoch(slot.timeline));
    } else if (!worth_repeating(refused)) {
      return refused;
    }
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, milliseconds(20), [this] { return quit_; })) {
        return {Code::kUnavailable, "the control role is stopping"};
      }
    }
  }
}

Status Computes::start_once(Slot& slot) {
  Endpoint endpoint = TIDE_TRY(endpoint_of(slot.timeline));
  Branch branch = TIDE_TRY(store_.branch(slot.timeline));
  std::string directory = directory_of(slot.timeline);

  auto began = Clock::now();
  auto milliseconds_since = [](Clock::time_point then) {
    return std::chrono::duration<double, std::milli>(Clock::now() - then).count();
  };
  StorageClient::BegunEpoch begun;
  TIDE_TRY(begin_epoch(slot, endpoint, begun));
  TIDE_TRY(store_.set_endpoint_begun(slot.timeline, begun.epoch, begun.lock_file));
  double epoch_ms = milliseconds_since(began);

  compute::ComputeSpec spec;
  spec.instance = "tide";
  spec.branch = branch.name;
  spec.timeline = slot.timeline;
  spec.epoch = begun.epoch;
  spec.start_lsn = begun.start_lsn;
  spec.durability = options_.durability;
  spec.data_dir = directory;
  spec.socket_dir = options_.socket_directory;
  spec.log_file = fmt::format("{}/log/compute-{}.log", options_.data_directory, slot.timeline);
  spec.library = options_.library;
  spec.page_socket = begun.page_socket;
  if (options_.durability == compute::Durability::kLocal) {
    spec.wal_dir = begun.wal_dir;
  } else {
    spec.synchronous_standbys = fmt::format("ANY 1 ({})", kAcceptorName);
  }
  spec.feed_file = begun.feed_file;
  spec.lock_file = begun.lock_file;
  spec.preserved = TIDE_TRY(store_.preserved(slot.timeline));
  spec.start_timeout = options_.start_deadline;

  Result<std::unique_ptr<compute::Compute>> started = Status(Code::kBug, "not tried");
  for (int attempt = 0; attempt < 5; ++attempt) {
    spec.port = static_cast<uint16_t>(endpoint.port);
    std::unique_ptr<net::HttpStream> backup = TIDE_TRY(storage_.backup(slot.timeline, begun.epoch));
    started = compute::start(options_.installation, spec,
                             [&](std::span<std::byte> into) { return backup->read(into); });
    bool movable = branch.name != options_.main_branch;
    if (started.ok() || started.status().code() != Code::kConflict || !movable ||
        port_is_free(endpoint.port))
      break;
    // Somebody took the port while the branch slept.
    std::lock_guard lock(port_mutex_);
    endpoint.port = TIDE_TRY(free_port(slot.timeline));
    TIDE_TRY(store_.set_endpoint_port(slot.timeline, endpoint.port));
  }
  if (!started.ok()) {
    Status failure = std::move(started).status();
    if (failure.code() == Code::kConflict && branch.name == options_.main_branch &&
        failure.hint().empty()) {
      return std::move(failure).with_hint("Stop what uses it, or: tide down; tide up --port OTHER");
    }
    return failure;
  }
  slot.compute = std::move(started).value();
  obs::info("start of {}: epoch {:.1f} ms, backup and PostgreSQL {:.1f} ms", slot.timeline,
            epoch_ms, milliseconds_since(began) - epoch_ms);
  {
    std::lock_guard lock(mutex_);
    slot.info.port = endpoint.port;
    slot.info.epoch = begun.epoch;
  }
  auto rest = [&]() -> Status {
    if (options_.durability == compute::Durability::kAcceptor) {
      TIDE_TRY(
          storage_.stream_epoch(slot.timeline, begun.epoch,
                                fmt::format("host={} port={} user={} application_name={}",
                                            conninfo_value(options_.socket_directory),
                                            endpoint.port, compute::kSuperuser, kAcceptorName)));
    }
    std::optional<Project> project = TIDE_TRY(store_.project());
    if (project && !project->provisioned && branch.name == options_.main_branch) {
      TIDE_TRY(provision_owner(options_.socket_directory, endpoint.port,
                               {project->role, project->password, project->database}));
      TIDE_TRY(store_.set_provisioned());
    }
    TIDE_TRY(store_.set_endpoint_started(slot.timeline, slot.compute->pid()));
    return watch(slot);
  };
  Status ready = rest();
  if (!ready.ok()) {
    slot.compute->kill_all(kKillDeadline).ignore("the next epoch begins by killing it");
  }
  return ready;
}

Status Computes::watch(Slot& slot) {
  TimelineId timeline = slot.timeline;
  Epoch epoch;
  {
    std::lock_guard lock(mutex_);
    epoch = slot.info.epoch;
  }
  compute::Compute::Watcher watcher;
  watcher.on_death = [this, timeline, epoch](const env::ExitStatus& exit) {
    on_death(timeline, epoch, exit);
  };
  watcher.on_settings = [this, timeline](std::string content) {
    Status saved = store_.set_auto_conf(timeline, content);
    if (!saved.ok()) obs::error("keep the settings of {}: {}", timeline, saved.to_string());
  };
  return slot.compute->watch(std::move(watcher));
}

/// On the compute's own thread, so it only notes what happened.
void Computes::on_death(TimelineId timeline, Epoch epoch, const env::ExitStatus& exit) {
  std::lock_guard lock(mutex_);
  auto found = slots_.find(timeline);
  if (found == slots_.end()) return;
  Slot& slot = *found->second;
  if (slot.info.epoch != epoch || slot.info.state != State::kRunning) return;
  ++deaths_;
  ++slot.info.restarts;
  if (Clock::now() - slot.began > kHealthyLife) slot.failures = 0;
  milliseconds pause =
      slot.failures == 0
          ? milliseconds(0)
          : std::min(kRetryPauseMax, milliseconds(250) * (1 << std::min(slot.failures - 1, 10)));
  ++slot.failures;
  slot.info.state = State::kFailed;
  slot.info.pid = 0;
  slot.info.error = fmt::format("PostgreSQL ended: {}", exit.to_string());
  slot.next_attempt = Clock::now() + pause;
  obs::warn("compute of {} ({}) ended: {}", timeline, epoch, exit.to_string());
  changed_.notify_all();
}

/// Queues every wanted compute that does not run and whose pause is over.
void Computes::keep_running() {
  std::unique_lock lock(mutex_);
  while (!quit_) {
    auto now = Clock::now();
    auto wake = now + std::chrono::seconds(1);
    for (auto& [timeline, slot] : slots_) {
      bool down = slot->info.state == State::kFailed || slot->info.state == State::kSuspended;
      if (!slot->wanted || !down || slot->queued) continue;
      if (slot->next_attempt && *slot->next_attempt > now) {
        wake = std::min(wake, *slot->next_attempt);
        continue;
      }
      slot->queued = true;
      jobs_.push_back(timeline);
      changed_.notify_all();
    }
    changed_.wait_until(lock, wake);
  }
}

void Computes::work() {
  while (true) {
    std::shared_ptr<Slot> slot;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return quit_ || !jobs_.empty(); });
      if (quit_) return;
      TimelineId timeline = jobs_.front();
      jobs_.pop_front();
      auto found = slots_.find(timeline);
      if (found == slots_.end()) continue;
      slot = found->second;
      slot->queued = false;
    }
    std::lock_guard busy(slot->busy);
    start_in(*slot).ignore("noted in the slot; tried again after the pause");
  }
}

/// Under slot.busy. Ends the compute and its epoch; `keep_state`: with settings and statistics
/// kept.
Status Computes::stop_in(Slot& slot, bool keep_state) {
  Endpoint endpoint = TIDE_TRY(endpoint_of(slot.timeline));
  std::string directory = directory_of(slot.timeline);
  {
    std::lock_guard lock(mutex_);
    slot.info.state = State::kStopping;
  }
  Status outcome = [&]() -> Status {
    if (slot.compute != nullptr && keep_state) {
      Status stopped = slot.compute->stop(compute::StopMode::kFast, options_.stop_deadline);
      if (!stopped.ok()) {
        obs::warn("{}; kills it, nothing that was committed is lost", stopped.to_string());
      }
    }
    slot.compute.reset();
    bool ever_ran = endpoint.epoch.value > 0;
    if (ever_ran) TIDE_TRY(compute::kill_all(directory, endpoint.lock_file, kKillDeadline));
    compute::PreservedState preserved;
    if (keep_state && env::is_directory(directory))
      preserved = TIDE_TRY(compute::read_preserved_state(directory));
    if (ever_ran) {
      Result<StorageClient::ClosedEpoch> closed =
          storage_.close_epoch(slot.timeline, endpoint.epoch);
      if (closed.ok()) {
        preserved.stop_lsn = closed->end_lsn;
        if (!closed->clean) preserved.statistics.clear();
      } else if (closed.status().code() == Code::kNotFound ||
                 closed.status().code() == Code::kStaleEpoch) {
        preserved.statistics.clear();
      } else {
        return std::move(closed).status().with_context(
            fmt::format("end {} of {}", endpoint.epoch, slot.timeline));
      }
    }
    if (keep_state && env::is_directory(directory))
      TIDE_TRY(store_.set_preserved(slot.timeline, preserved));
    TIDE_TRY(store_.set_endpoint_stopped(slot.timeline));
    // All of it can be had from the storage again.
    return env::remove_tree(directory);
  }();
  std::lock_guard lock(mutex_);
  slot.info.pid = 0;
  slot.info.state = State::kSuspended;
  slot.info.error = outcome.ok() ? "" : outcome.to_string();
  slot.next_attempt.reset();
  return outcome;
}

Status Computes::suspend(TimelineId timeline) {
  std::shared_ptr<Slot> slot = this->slot(timeline);
  {
    std::lock_guard lock(mutex_);
    slot->wanted = false;
  }
  std::lock_guard busy(slot->busy);
  if (slot->compute == nullptr && info(timeline).state == State::kSuspended) return {};
  return stop_in(*slot, true);
}

Status Computes::restart(TimelineId timeline) {
  std::shared_ptr<Slot> slot = this->slot(timeline);
  std::lock_guard busy(slot->busy);
  {
    std::lock_guard lock(mutex_);
    if (quit_) return {Code::kUnavailable, "the control role is stopping"};
    slot->wanted = true;
    slot->failures = 0;
    slot->info.state = State::kStopping;
  }
  if (slot->compute != nullptr) {
    TIDE_TRY(slot->compute->kill_all(kKillDeadline));
    slot->compute.reset();
  }
  return start_in(*slot);
}

Status Computes::destroy(TimelineId timeline) {
  std::shared_ptr<Slot> slot = this->slot(timeline);
  {
    std::lock_guard lock(mutex_);
    slot->wanted = false;
  }
  std::lock_guard busy(slot->busy);
  if (!TIDE_TRY(store_.endpoint(timeline))) return {};
  return stop_in(*slot, false);
}

void Computes::forget(TimelineId timeline) {
  std::shared_ptr<Slot> gone;
  std::lock_guard lock(mutex_);
  auto found = slots_.find(timeline);
  if (found == slots_.end()) return;
  gone = std::move(found->second);
  slots_.erase(found);
}

void Computes::refuse() {
  std::lock_guard lock(mutex_);
  quit_ = true;
  changed_.notify_all();
}

Status Computes::stop_all() {
  refuse();
  std::vector<std::shared_ptr<Slot>> slots;
  {
    std::lock_guard lock(mutex_);
    for (auto& [timeline, slot] : slots_) slots.push_back(slot);
  }
  if (keeper_.joinable()) keeper_.join();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  // Stops wait for each other's disk hardly at all, so all go at once.
  std::mutex outcome_mutex;
  Status outcome;
  std::vector<std::thread> stoppers;
  for (auto& slot : slots) {
    stoppers.emplace_back([&, slot] {
      std::lock_guard busy(slot->busy);
      if (slot->compute == nullptr) return;
      Status stopped = stop_in(*slot, true);
      if (stopped.ok()) return;
      obs::error("stop the compute of {}: {}", slot->timeline, stopped.to_string());
      std::lock_guard lock(outcome_mutex);
      if (outcome.ok()) outcome = stopped;
    });
  }
  for (std::thread& stopper : stoppers) stopper.join();
  return outcome;
}

}  // namespace tide::control
