#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "duck/engine.h"
#include "pgwire/tls.h"
#include "warehouse/branches.h"
#include "warehouse/lake.h"
#include "warehouse/warehouse.h"
#include "warehouse/watchdog.h"

namespace tide::warehouse {

/// Something with a cancel key.
class Cancellable {
 public:
  virtual ~Cancellable() = default;
  /// A CancelRequest came. Any thread.
  virtual void cancel() = 0;
};

/// Cancel keys of the sessions. Thread-safe.
class CancelKeys {
 public:
  struct Key {
    int32_t process = 0;
    int32_t secret = 0;
  };
  Result<Key> add(Cancellable& session);
  /// After this no cancel() of the session begins or goes on.
  void remove(const Key& key);
  /// Wrong keys do nothing, as with PostgreSQL.
  void cancel(const Key& key);

 private:
  std::mutex mutex_;
  std::map<int32_t, std::pair<int32_t, Cancellable*>> sessions_;
  int32_t next_ = 1;
};

/// What all sessions of the process use.
struct Shared {
  WarehouseOptions options;
  std::string postgres_sockets;
  std::string lake_socket;
  std::string secret;  ///< random, of this process
  Branches branches;
  std::unique_ptr<duck::Engine> engine;
  SegmentCache segments;
  std::unique_ptr<pgwire::TlsContext> tls;
  CancelKeys cancel_keys;
  Watchdog watchdog;
};

}  // namespace tide::warehouse
