#include "redo/redo_pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "env/file.h"
#include "redo/internal/helper_process.h"
#include "redo/internal/ring.h"

namespace tide::redo {
namespace {

using internal::HelperProcess;
using internal::Ring;
using Clock = std::chrono::steady_clock;

/// Larger batches win nothing more and leave the processor's caches.
constexpr size_t kBatchPagesMax = 128;
/// Below this a batch is not worth a second helper's wake-up.
constexpr size_t kBatchPagesMin = 8;
/// A page is given up when it has taken down this many helpers.
constexpr int kDeathsMax = 2;
/// After this many starts in a row that failed, callers are told instead of kept waiting.
constexpr int kStartFailuresMax = 3;
constexpr std::chrono::milliseconds kRestartBackoff{1000};
/// A waiting caller looks this often whether its batch has run out of time.
constexpr std::chrono::milliseconds kWaitSlice{1000};

}  // namespace

class RedoPool::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) {}
  ~Impl();

  Status start();
  Status apply(std::span<PageRequest> pages);
  Stats stats() const;

 private:
  /// One helper's place. `state` and `process` belong to mutex_, the ring to whoever made it kBusy
  /// (to the keeper while kDown).
  struct Slot {
    enum class State { kDown, kIdle, kBusy };
    State state = State::kDown;
    std::atomic<bool> dead = false;  ///< the process has ended and its holder has not let go yet
    HelperProcess process;
    std::string end_reason;
    Clock::time_point not_before;  ///< kDown: when to start again
    std::unique_ptr<Ring> ring;
    std::string data_directory;
    std::string log_path;
  };

  /// A request under way.
  struct Work {
    PageRequest* page;
    const std::byte* base;
    size_t next_record = 0;
    int deaths = 0;
  };

  /// A batch in a helper's hands.
  struct Flight {
    Slot* slot;
    struct Part {
      Work* work;
      size_t record_end;
    };
    std::vector<Part> parts;
    Clock::time_point begin;
    bool timed_out = false;
  };

  void keep();
  void wake_keeper();
  Result<Slot*> acquire(bool block);
  void release(Slot* slot);
  void release_dead(Slot* slot, bool died_starting, std::string tail);
  Flight launch(Slot* slot, std::deque<Work*>& pending, size_t pages_max);
  void land(Flight flight, std::deque<Work*>& pending);
  /// Takes over the result of one finished part.
  void settle(const Flight& flight, size_t index, std::deque<Work*>& unfinished);
  void fail(Work* work, Status status);

  Options options_;
  std::vector<std::unique_ptr<Slot>> slots_;
  env::FileDescriptor wake_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  bool stopping_ = false;
  int start_failures_ = 0;  ///< in a row
  std::string start_failure_;

  std::atomic<uint64_t> batches_ = 0;
  std::atomic<uint64_t> pages_ = 0;
  std::atomic<uint64_t> records_ = 0;
  std::atomic<uint64_t> failed_pages_ = 0;
  std::atomic<uint64_t> helper_starts_ = 0;
  std::atomic<uint64_t> helper_deaths_ = 0;
  std::atomic<uint64_t> busy_micros_ = 0;

  /// Starts and reaps the helpers; they end with this thread.
  std::thread keeper_;
};

Status RedoPool::Impl::start() {
  wake_ = env::FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.is_open()) return Status::from_errno(errno, "make an eventfd");
  for (int i = 0; i < options_.helpers; ++i) {
    auto slot = std::make_unique<Slot>();
    slot->data_directory = fmt::format("{}/redo-{}", options_.directory, i);
    slot->log_path = fmt::format("{}/redo-{}.log", options_.directory, i);
    TIDE_TRY(internal::make_data_directory(slot->data_directory, options_));
    slot->ring = TIDE_TRY(Ring::create(options_.ring_bytes));
    slots_.push_back(std::move(slot));
  }
  keeper_ = std::thread([this] { keep(); });
  return {};
}

RedoPool::Impl::~Impl() {
  if (keeper_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_keeper();
    keeper_.join();
  }
  for (const auto& slot : slots_) {
    env::remove_tree(slot->data_directory).ignore("scratch: the next open() clears it too");
  }
}

void RedoPool::Impl::wake_keeper() {
  uint64_t one = 1;
  // Fails only when the counter is full, and then the keeper wakes anyway.
  [[maybe_unused]] ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void RedoPool::Impl::keep() {
  std::vector<pollfd> watched;
  std::vector<Slot*> watched_slots;
  for (;;) {
    Clock::time_point next_start = Clock::time_point::max();
    bool stopping;
    {
      std::lock_guard lock(mutex_);
      stopping = stopping_;
    }
    watched.assign(1, pollfd{.fd = wake_.get(), .events = POLLIN});
    watched_slots.clear();
    for (const auto& slot : slots_) {
      std::unique_lock lock(mutex_);
      if (stopping && slot->process.pidfd.is_open()) internal::kill_helper(slot->process);
      if (!stopping && slot->state == Slot::State::kDown) {
        if (slot->not_before > Clock::now()) {
          next_start = std::min(next_start, slot->not_before);
        } else {
          lock.unlock();
          slot->ring->reset();
          Result<HelperProcess> started = internal::start_helper(options_, slot->data_directory,
                                                                 slot->log_path, slot->ring->fd());
          lock.lock();
          if (started.ok()) {
            slot->process = std::move(*started);
            slot->dead = false;
            slot->state = Slot::State::kIdle;
            helper_starts_++;
          } else {
            ++start_failures_;
            start_failure_ = started.status().to_string();
            slot->not_before = Clock::now() + kRestartBackoff;
            next_start = std::min(next_start, slot->not_before);
          }
          idle_.notify_all();
        }
      }
      if (slot->process.pidfd.is_open()) {
        watched.push_back(pollfd{.fd = slot->process.pidfd.get(), .events = POLLIN});
        watched_slots.push_back(slot.get());
      }
    }
    if (stopping && watched_slots.empty()) return;

    int timeout = -1;
    if (next_start != Clock::time_point::max()) {
      auto wait = std::chrono::ceil<std::chrono::milliseconds>(next_start - Clock::now());
      timeout = static_cast<int>(std::clamp<int64_t>(wait.count(), 0, 60'000));
    }
    poll(watched.data(), watched.size(), timeout);
    uint64_t count;
    [[maybe_unused]] ssize_t drained = read(wake_.get(), &count, sizeof(count));

    for (size_t i = 0; i < watched_slots.size(); ++i) {
      if (watched[i + 1].revents == 0) continue;
      Slot* slot = watched_slots[i];
      std::string reason = internal::reap(slot->process);
      std::unique_lock lock(mutex_);
      slot->process.pidfd.reset();
      slot->end_reason = std::move(reason);
      if (stopping_) continue;
      helper_deaths_++;
      if (slot->state == Slot::State::kBusy) {
        slot->dead = true;
        slot->ring->abandon();
      } else {
        slot->state = Slot::State::kDown;
        bool died_starting = slot->ring->helper_state() == TIDE_REDO_STARTING;
        slot->not_before = Clock::now();
        if (died_starting) {
          start_failure_ = fmt::format("The helper {}. {}", slot->end_reason,
                                       internal::log_tail(slot->log_path, slot->process.log_begin));
          if (++start_failures_ >= kStartFailuresMax) slot->not_before += kRestartBackoff;
          idle_.notify_all();
        }
      }
    }
  }
}

Result<RedoPool::Impl::Slot*> RedoPool::Impl::acquire(bool block) {
  std::unique_lock lock(mutex_);
  Clock::time_point deadline = Clock::now() + options_.batch_timeout;
  for (;;) {
    Slot* found = nullptr;
    bool any_busy = false;
    for (const auto& slot : slots_) {
      any_busy |= slot->state == Slot::State::kBusy;
      if (slot->state != Slot::State::kIdle) continue;
      // One that is still starting takes a batch as well, but answers later.
      if (found == nullptr || slot->ring->helper_state() == TIDE_REDO_SERVING) found = slot.get();
      if (slot->ring->helper_state() == TIDE_REDO_SERVING) break;
    }
    if (found != nullptr) {
      found->state = Slot::State::kBusy;
      return found;
    }
    if (!block) return nullptr;
    if (!any_busy && start_failures_ >= kStartFailuresMax) {
      return Status(Code::kUnavailable, "redo helpers do not start").with_detail(start_failure_);
    }
    if (idle_.wait_until(lock, deadline) == std::cv_status::timeout) {
      return Status(Code::kRetry, "all redo helpers are busy")
          .with_detail(fmt::format("Waited {} ms for one of {}.", options_.batch_timeout.count(),
                                   slots_.size()));
    }
  }
}

void RedoPool::Impl::release(Slot* slot) {
  {
    std::lock_guard lock(mutex_);
    start_failures_ = 0;
    if (slot->dead) {
      // It died after its answer.
      slot->state = Slot::State::kDown;
      slot->not_before = Clock::now();
    } else {
      slot->state = Slot::State::kIdle;
    }
    if (slot->state == Slot::State::kIdle) {
      idle_.notify_one();
      return;
    }
  }
  wake_keeper();
}

void RedoPool::Impl::release_dead(Slot* slot, bool died_starting, std::string tail) {
  {
    std::lock_guard lock(mutex_);
    slot->state = Slot::State::kDown;
    slot->not_before = Clock::now();
    if (died_starting) {
      start_failure_ = fmt::format("The helper {}. {}", slot->end_reason, tail);
      if (++start_failures_ >= kStartFailuresMax) slot->not_before += kRestartBackoff;
      idle_.notify_all();
    } else {
      start_failures_ = 0;
    }
  }
  wake_keeper();
}

void RedoPool::Impl::fail(Work* work, Status status) {
  failed_pages_++;
  work->page->status = std::move(status).with_context(fmt::format("redo of {}", work->page->tag));
}

RedoPool::Impl::Flight RedoPool::Impl::launch(Slot* slot, std::deque<Work*>& pending,
                                              size_t pages_max) {
  Flight flight{.slot = slot};
  Ring& ring = *slot->ring;
  ring.begin(pages_max);
  while (!pending.empty() && ring.page_count() < pages_max) {
    Work* work = pending.front();
    // A page that has taken a helper down goes alone, so that nobody else pays or is blamed.
    if (work->deaths > 0 && ring.page_count() > 0) break;
    std::span<const Record> records = work->page->records.subspan(work->next_record);
    size_t taken = ring.add(work->page->tag, work->base, records);
    if (taken == 0 && ring.page_count() > 0) break;
    pending.pop_front();
    if (taken == 0) {
      fail(work, Status(Code::kInvalid,
                        fmt::format("the record that ends at {} is too large: {} bytes",
                                    records.front().end_lsn, records.front().bytes.size()))
                     .with_detail(fmt::format("A redo ring holds records of up to {} bytes.",
                                              ring.record_bytes_max())));
      continue;
    }
    flight.parts.push_back({work, work->next_record + taken});
    if (work->deaths > 0) break;
  }
  flight.begin = Clock::now();
  if (!flight.parts.empty()) ring.submit();
  return flight;
}

void RedoPool::Impl::settle(const Flight& flight, size_t index, std::deque<Work*>& unfinished) {
  const Flight::Part& part = flight.parts[index];
  Work* work = part.work;
  std::string error;
  uint32_t status = flight.slot->ring->take(index, work->page->out, &error);
  switch (status) {
    case TIDE_REDO_OK:
      records_ += part.record_end - work->next_record;
      work->next_record = part.record_end;
      work->base = work->page->out;
      if (work->next_record < work->page->records.size()) {
        unfinished.push_back(work);
      } else {
        pages_++;
        work->page->status = {};
      }
      break;
    case TIDE_REDO_REFUSED:
      fail(work, Status(Code::kInvalid, error));
      break;
    case TIDE_REDO_FAILED:
      fail(work, Status(Code::kCorrupt, error));
      break;
    default:
      fail(work, Status(Code::kBug, fmt::format("the redo helper answered status {}", status)));
      break;
  }
}

void RedoPool::Impl::land(Flight flight, std::deque<Work*>& pending) {
  Slot* slot = flight.slot;
  Ring& ring = *slot->ring;
  if (flight.parts.empty()) {
    release(slot);
    return;
  }
  Clock::time_point deadline = flight.begin + options_.batch_timeout;
  while (!ring.is_answered() && !slot->dead) {
    Clock::time_point now = Clock::now();
    if (now >= deadline && !flight.timed_out) {
      flight.timed_out = true;
      std::lock_guard lock(mutex_);
      if (slot->process.pidfd.is_open()) internal::kill_helper(slot->process);
    }
    // A killed helper is dead in a moment.
    auto patience = flight.timed_out ? std::chrono::nanoseconds(std::chrono::milliseconds(10))
                                     : std::chrono::nanoseconds(deadline - now);
    ring.wait(std::min<std::chrono::nanoseconds>(patience, kWaitSlice));
  }

  batches_++;
  busy_micros_ +=
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - flight.begin).count();
  bool answered = ring.is_answered();
  size_t done = answered ? flight.parts.size() : ring.done_pages();
  std::deque<Work*> unfinished;
  for (size_t i = 0; i < done; ++i) settle(flight, i, unfinished);

  if (answered) {
    release(slot);
  } else {
    std::string tail;
    uint32_t state = ring.helper_state();
    std::string reason;
    {
      std::lock_guard lock(mutex_);
      reason = flight.timed_out
                   ? fmt::format("did not answer within {} ms", options_.batch_timeout.count())
                   : slot->end_reason;
      tail = internal::log_tail(slot->log_path, slot->process.log_begin);
    }
    // Whoever reported an error and ended is not to blame for the pages behind it.
    bool blame = state == TIDE_REDO_SERVING && done < flight.parts.size();
    for (size_t i = done; i < flight.parts.size(); ++i) {
      Work* work = flight.parts[i].work;
      if (blame && i == done && ++work->deaths >= kDeathsMax) {
        fail(work, Status(Code::kCorrupt, fmt::format("the redo helper {}", reason))
                       .with_detail(tail.empty() ? "The helper left no message." : tail));
      } else {
        unfinished.push_back(work);
      }
    }
    release_dead(slot, state == TIDE_REDO_STARTING, std::move(tail));
  }
  pending.insert(pending.begin(), unfinished.begin(), unfinished.end());
}

Status RedoPool::Impl::apply(std::span<PageRequest> pages) {
  std::vector<Work> works(pages.size());
  std::deque<Work*> pending;
  for (size_t i = 0; i < pages.size(); ++i) {
    works[i] = Work{.page = &pages[i], .base = pages[i].base};
    if (pages[i].records.empty()) {
      fail(&works[i], Status(Code::kInvalid, "a request without records"));
    } else {
      pending.push_back(&works[i]);
    }
  }
  size_t share = (pending.size() + slots_.size() - 1) / slots_.size();
  size_t pages_max = std::clamp(share, kBatchPagesMin, kBatchPagesMax);

  std::deque<Flight> flights;
  Status failure;
  while (!pending.empty() || !flights.empty()) {
    while (!pending.empty() && failure.ok()) {
      // Holding a helper and waiting for another could lock two callers up.
      Result<Slot*> slot = acquire(flights.empty());
      if (!slot.ok()) {
        failure = std::move(slot).status();
        break;
      }
      if (*slot == nullptr) break;
      flights.push_back(launch(*slot, pending, pages_max));
    }
    if (flights.empty()) break;
    Flight flight = std::move(flights.front());
    flights.pop_front();
    land(std::move(flight), pending);
  }
  for (Work* work : pending) fail(work, failure);
  return failure;
}

Stats RedoPool::Impl::stats() const {
  Stats stats{.batches = batches_,
              .pages = pages_,
              .records = records_,
              .failed_pages = failed_pages_,
              .helper_starts = helper_starts_,
              .helper_deaths = helper_deaths_,
              .busy_micros = busy_micros_,
              .helpers = static_cast<int>(slots_.size())};
  std::lock_guard lock(mutex_);
  for (const auto& slot : slots_) stats.helpers_alive += slot->process.pidfd.is_open() ? 1 : 0;
  return stats;
}

Result<std::unique_ptr<RedoPool>> RedoPool::open(Options options) {
  if (geteuid() == 0) {
    return Status(Code::kDenied, "redo helpers cannot run as root")
        .with_detail(
            "PostgreSQL refuses to run as root, and helpers run as the user of the page store.")
        .with_hint("Start the page store as an unprivileged user.");
  }
  if (options.helpers < 1 || options.helpers > 64) {
    return Status(Code::kInvalid, fmt::format("{} redo helpers: must be 1 to 64", options.helpers));
  }
  if (options.ring_bytes < (1 << 20) || options.ring_bytes > (1 << 30)) {
    return Status(Code::kInvalid, fmt::format("a redo ring of {} bytes: must be 1 MiB to 1 GiB",
                                              options.ring_bytes));
  }
  if (!options.library.starts_with('/')) {
    return Status(Code::kInvalid, fmt::format("library path {} is not absolute", options.library))
        .with_detail("PostgreSQL looks for it from the helper's data directory.");
  }
  for (const std::string& path :
       {options.postgres, options.library, options.template_directory + "/global/pg_control"}) {
    if (!env::exists(path)) {
      return Status(Code::kNotFound, fmt::format("open the redo pool: there is no {}", path));
    }
  }
  TIDE_TRY(env::make_directories(options.directory));
  auto impl = std::make_unique<Impl>(std::move(options));
  TIDE_TRY(impl->start());
  return std::unique_ptr<RedoPool>(new RedoPool(std::move(impl)));
}

RedoPool::RedoPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RedoPool::~RedoPool() = default;
Status RedoPool::apply(std::span<PageRequest> pages) { return impl_->apply(pages); }
Stats RedoPool::stats() const { return impl_->stats(); }

}  // namespace tide::redo
