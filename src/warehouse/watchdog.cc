#include "warehouse/watchdog.h"

#include <poll.h>
#include <pthread.h>

namespace tide::warehouse {

namespace {
constexpr std::chrono::milliseconds kTick{50};
}

Watchdog::Watchdog() : thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

Watchdog::Watch Watchdog::watch(std::chrono::milliseconds limit, int client, Bite bite) {
  std::lock_guard lock(mutex_);
  Entry entry;
  if (limit.count() > 0) entry.deadline = std::chrono::steady_clock::now() + limit;
  entry.client = client;
  entry.bite = std::move(bite);
  uint64_t id = next_++;
  entries_[id] = std::move(entry);
  changed_.notify_all();
  return {*this, id};
}

void Watchdog::hurry(uint64_t id) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.deadline = std::chrono::steady_clock::now();
  changed_.notify_all();
}

void Watchdog::forget(uint64_t id) {
  std::lock_guard lock(mutex_);
  entries_.erase(id);
}

void Watchdog::run() {
  pthread_setname_np(pthread_self(), "watchdog");
  std::unique_lock lock(mutex_);
  while (!quit_) {
    if (entries_.empty()) {
      changed_.wait(lock);
      continue;
    }
    changed_.wait_for(lock, kTick, [this] { return quit_; });
    auto now = std::chrono::steady_clock::now();
    for (auto& [id, entry] : entries_) {
      std::optional<Reason> reason;
      if (entry.deadline && *entry.deadline <= now && !entry.bitten) reason = Reason::kTimeout;
      if (entry.client >= 0 && !entry.bitten) {
        pollfd state{entry.client, POLLRDHUP, 0};
        if (::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
          reason = Reason::kClientGone;
      }
      if (!reason) continue;
      // A bite between two of the statement's steps misses: it is repeated until one of them ends.
      entry.bitten = *reason == Reason::kClientGone;
      entry.bite(*reason);
    }
  }
}

}  // namespace tide::warehouse
