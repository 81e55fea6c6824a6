#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "compute/compute.h"
#include "net/http_client.h"

namespace tide::control {

/// The storage role's API (docs/formats/storage-api.md) as functions. Thread-safe, keeps nothing.
class StorageClient {
 public:
  explicit StorageClient(std::string socket) : socket_(std::move(socket)) {}

  struct Imported {
    std::string system_id;
    TimelineId timeline;
    Lsn lsn;
  };
  Result<Imported> import_project(const std::string& template_directory);

  Result<nlohmann::json> status();

  struct Timeline {
    TimelineId id;
    std::optional<TimelineId> parent;
    Lsn branch_lsn;
    Epoch epoch;
    bool active = false;
    Lsn end_lsn;
    Lsn oldest_lsn;
    std::string oldest_time;
    uint64_t logical_bytes = 0;
    uint64_t own_bytes = 0;
  };
  Result<std::vector<Timeline>> timelines();

  /// `lsn` or `time` or neither (the parent's head). Answers the branch point.
  Result<Lsn> create_timeline(TimelineId id, TimelineId parent, const std::string& lsn,
                              const std::string& time);
  /// A timeline that does not exist is fine.
  Status delete_timeline(TimelineId id);

  struct BegunEpoch {
    Epoch epoch;
    Lsn start_lsn;
    std::string wal_dir;
    std::string feed_file;
    std::string lock_file;
    std::string system_id;
    std::string page_socket;
  };
  Result<BegunEpoch> begin_epoch(TimelineId timeline, Epoch epoch, compute::Durability durability);
  Result<std::unique_ptr<net::HttpStream>> backup(TimelineId timeline, Epoch epoch);
  Status stream_epoch(TimelineId timeline, Epoch epoch, const std::string& conninfo);

  struct ClosedEpoch {
    Lsn end_lsn;
    bool clean = false;
  };
  Result<ClosedEpoch> close_epoch(TimelineId timeline, Epoch epoch);

  Result<std::string> page(TimelineId timeline, const std::string& rel, const std::string& block,
                           const std::string& lsn);
  Status flush(std::chrono::milliseconds timeout);
  Result<nlohmann::json> fsck(bool deep);
  Result<std::string> metrics();

 private:
  net::HttpCall call(std::string method, std::string target, std::string body = {}) const;
  const std::string socket_;
};

}  // namespace tide::control
