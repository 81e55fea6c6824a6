#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

namespace tide::warehouse {

/// Ends statements that take too long or whose client has gone. One thread for all; accurate to
/// about 50 ms.
class Watchdog {
 public:
  enum class Reason { kTimeout, kClientGone };
  using Bite = std::function<void(Reason)>;

  Watchdog();
  ~Watchdog();

  /// A statement under watch until this goes out of scope; then no bite begins or goes on.
  class Watch {
   public:
    Watch(Watchdog& dog, uint64_t id) : dog_(dog), id_(id) {}
    ~Watch() { dog_.forget(id_); }
    Watch(const Watch&) = delete;
    uint64_t id() const { return id_; }

   private:
    Watchdog& dog_;
    const uint64_t id_;
  };
  /// `limit` zero: none. `client`: a socket, negative for none.
  Watch watch(std::chrono::milliseconds limit, int client, Bite bite);
  /// Its time is over now: it is bitten until it ends. Nothing if it has ended.
  void hurry(uint64_t id);

 private:
  struct Entry {
    std::optional<std::chrono::steady_clock::time_point> deadline;
    int client = -1;
    Bite bite;
    bool bitten = false;
  };
  void run();
  void forget(uint64_t id);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Entry> entries_;
  uint64_t next_ = 1;
  bool quit_ = false;
  std::thread thread_;
};

}  // namespace tide::warehouse
