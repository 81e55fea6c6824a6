#include "storage/upkeep.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

#include "obs/log.h"

namespace tide::storage {
namespace {

constexpr auto kTick = std::chrono::seconds(1);
constexpr auto kCutoffInterval = std::chrono::minutes(5);
constexpr int kNice = 10;

using Clock = std::chrono::steady_clock;

std::string utc_now() {
  std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

}  // namespace

Upkeep::Upkeep(Project& project, ObjectMirror* mirror, UpkeepOptions options)
    : project_(project),
      mirror_(mirror),
      options_(options),
      last_flush_(Clock::now()),
      last_upload_(Clock::now()),
      last_cutoff_(Clock::now()) {
  state_.has_object_store = mirror != nullptr;
  if (mirror != nullptr) state_.object_store = mirror->store().describe();
  thread_ = std::thread([this] { run(); });
}

Upkeep::~Upkeep() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Upkeep::State Upkeep::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void Upkeep::remember(const Status& status) {
  std::lock_guard lock(mutex_);
  std::string error = status.ok() ? "" : status.to_string();
  if (error == state_.last_error) return;
  if (status.ok()) {
    obs::info("upkeep works again");
  } else {
    obs::error("upkeep, trying again: {}", error);
  }
  state_.last_error = error;
}

void Upkeep::run() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kTick, [&] { return stopping_; })) {
    lock.unlock();
    {
      std::lock_guard work(work_mutex_);
      auto round = [&]() -> Status {
        bool flushed = flush_is_due();
        if (flushed) {
          TIDE_TRY(flush_pages());
          pages_due_ = true;
        }
        if (mirror_ != nullptr &&
            (flushed || Clock::now() - last_upload_ >= options_.upload_interval)) {
          TIDE_TRY(upload(false));
          if (pages_due_) TIDE_TRY(upload_pages());
        }
        if (flushed) TIDE_TRY(trim_wal());
        if (Clock::now() - last_cutoff_ >= kCutoffInterval) TIDE_TRY(move_history_cutoffs());
        return {};
      };
      remember(round());
    }
    lock.lock();
  }
}

bool Upkeep::flush_is_due() const {
  uint64_t behind = 0;
  for (const auto& timeline : project_.timelines()) {
    Lsn ingested = project_.store().ingested(timeline->id());
    Lsn durable = project_.store().durable(timeline->id());
    if (ingested > durable) behind += ingested - durable;
  }
  if (behind == 0) return false;
  return behind >= options_.flush_bytes || Clock::now() - last_flush_ >= options_.flush_interval;
}

Status Upkeep::flush_pages() {
  last_flush_ = Clock::now();
  TIDE_TRY(project_.store().flush());
  for (const auto& timeline : project_.timelines()) {
    if (auto feed = timeline->log().feed())
      feed->set_durable(project_.store().durable(timeline->id()));
  }
  return {};
}

Status Upkeep::upload(bool partial_segments) {
  last_upload_ = Clock::now();
  TIDE_TRY(mirror_->upload_wal(partial_segments));
  std::lock_guard lock(mutex_);
  state_.last_upload_time = utc_now();
  return {};
}

Status Upkeep::upload_pages() {
  TIDE_TRY(mirror_->upload_pages());
  pages_due_ = false;
  return mirror_->trim();
}

Status Upkeep::trim_wal() {
  for (const auto& timeline : project_.timelines()) {
    Lsn needless = project_.store().durable(timeline->id());
    // Without an object store this is the only place a learner can read from.
    needless = std::min(needless, mirror_ != nullptr
                                      ? mirror_->trimmable(timeline->id())
                                      : project_.store().tree().learners_need(timeline->id()));
    TIDE_TRY(timeline->log().trim(needless));
  }
  return {};
}

Status Upkeep::move_history_cutoffs() {
  last_cutoff_ = Clock::now();
  auto oldest = std::chrono::system_clock::now() - options_.history;
  int64_t oldest_us =
      std::chrono::duration_cast<std::chrono::microseconds>(oldest.time_since_epoch()).count();
  for (const auto& timeline : project_.timelines()) {
    auto point = TIDE_TRY(project_.store().lsn_for_time(timeline->id(), oldest_us));
    auto info = project_.store().tree().find(timeline->id());
    // A timeline younger than the window keeps all it has.
    if (!info || info->created_us > oldest_us) continue;
    if (point.kind != pagestore::PageStore::TimePoint::kBeforeHistory) {
      TIDE_TRY(project_.store().set_history_cutoff(timeline->id(), point.lsn));
    }
  }
  return {};
}

Status Upkeep::flush_all() {
  std::lock_guard work(work_mutex_);
  for (const auto& timeline : project_.timelines()) {
    TIDE_TRY(timeline->settle(60000));
  }
  TIDE_TRY(flush_pages());
  if (mirror_ != nullptr) {
    pages_due_ = true;
    TIDE_TRY(upload(true));
    TIDE_TRY(upload_pages());
  }
  return trim_wal();
}

}  // namespace tide::storage
