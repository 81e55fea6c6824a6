#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "walstore/timeline_log.h"

namespace tide::storage {

/// Pulls a compute's WAL as its synchronous standby (acceptor form of durability).
///
/// Writes what arrives into the epoch's directory, syncs once for all that has arrived, and only
/// then acknowledges: so what PostgreSQL tells its clients is durable here. Whoever holds the
/// compute back from committing (fencing) destroys this object: after that nothing of its epoch is
/// acknowledged, the promise of a higher epoch being checked between sync and acknowledgement.
class Acceptor {
 public:
  /// Connects and starts streaming at the log's end. `conninfo`: libpq's, without replication
  /// settings. `on_wal` is called from its thread after each acknowledgement. Reconnects by itself
  /// while the epoch lasts.
  static Result<std::unique_ptr<Acceptor>> start(walstore::TimelineLog& log, Epoch epoch,
                                                 const std::string& conninfo,
                                                 std::function<void()> on_wal);
  /// As start(), for a compute that an earlier process of ours was connected to: tries until it
  /// succeeds.
  static std::unique_ptr<Acceptor> resume(walstore::TimelineLog& log, Epoch epoch,
                                          const std::string& conninfo,
                                          std::function<void()> on_wal);
  ~Acceptor();

  /// The name in synchronous_standby_names.
  static constexpr const char* kStandbyName = "tidewater_acceptor_1";

 private:
  class Impl;
  explicit Acceptor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tide::storage
