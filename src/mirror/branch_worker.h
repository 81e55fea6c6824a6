#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "duck/engine.h"
#include "learner/learner.h"
#include "mirror/cut_log.h"
#include "mirror/lake_writer.h"
#include "mirror/timeline_mirror.h"
#include "objectstore/object_store.h"

namespace tide::mirror {

/// All tables of a database at one LSN.
struct DatabaseSnapshot {
  Lsn lsn;
  int64_t commit_time_us = 0;
  uint64_t catalog_version = 0;
  std::shared_ptr<const std::string>
      catalog;  ///< JSON (docs/formats/lake-service.md), as of catalog_version
  using Tables = std::map<uint32_t, std::shared_ptr<const TableSnapshot>>;
  std::shared_ptr<const Tables> tables;  ///< by oid
};

/// One branch at work: a thread that follows its WAL, and one that makes cuts. What fails is begun
/// anew from the last cut. Thread-safe.
class BranchWorker {
 public:
  struct Options {
    TimelineId timeline;
    std::string branch;  ///< name, for the lake's directories
    std::string page_socket;
    std::string spill_directory;
    std::string local_root;
    std::string version;  ///< of the program
    std::chrono::milliseconds cut_interval{500};
  };
  BranchWorker(Options options, objectstore::ObjectStore& store, duck::Engine& engine);
  /// Makes a last cut, then ends.
  ~BranchWorker();

  TimelineId timeline() const { return options_.timeline; }
  const std::string& branch() const { return options_.branch; }
  /// False once the timeline is gone.
  bool is_alive() const { return !gone_; }

  struct Wanted {
    std::string database;
    bool strict = true;  ///< see every commit acknowledged before now
    std::optional<Lsn> min_lsn;
    std::chrono::milliseconds bound{0};  ///< not strict: how old what is seen may be
    std::chrono::milliseconds patience{10'000};
  };
  /// kRetry if the mirror is not as far within `patience`, kNotFound for an unknown database.
  Result<std::shared_ptr<const DatabaseSnapshot>> snapshot(const Wanted& wanted);

  /// Keeps a table ("schema.table") out of the lake, or takes it in again with the rows it has.
  Status include(const std::string& database, const std::string& table, bool in);

  Result<std::string> local_path(const std::string& directory, const std::string& name) const;
  /// JSON: figures of the branch and of each table.
  std::string status();

 private:
  void run();
  Status follow();
  Status start(std::unique_ptr<TimelineMirror>& mirror, Lsn& from);
  Status restore(const CutState& state, TimelineMirror& mirror);
  /// What is excluded lies in the object store beside the cuts: database -> "schema.table".
  std::string exclusions_key() const;
  Result<std::map<std::string, std::set<std::string>>> read_exclusions();
  void cut_loop();
  /// One cut, from begin to end; false if there was nothing to do.
  Result<bool> make_cut(bool force);
  Cut begin_cut();
  std::string claim_directory(const DatabaseMirror& database, const LakeTable& table);
  bool wants_cut(bool force);
  std::shared_ptr<const DatabaseSnapshot> take_snapshot(DatabaseMirror& database);

  const Options options_;
  objectstore::ObjectStore& store_;
  duck::Engine& engine_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> gone_{false};

  /// Guards everything below but what says otherwise.
  mutable std::mutex mutex_;
  std::atomic<int> waiting_{0};  ///< for mutex_, besides the threads of this worker
  std::condition_variable progressed_;
  std::unique_ptr<TimelineMirror> mirror_;  ///< null while (re)starting
  Lsn caught_up_;                           ///< every whole record below has been applied
  Lsn flushed_;                             ///< as of the newest answer
  std::string last_error_;
  std::map<uint32_t, std::shared_ptr<const DatabaseSnapshot>> snapshots_;  ///< newest, by database
  std::unique_ptr<learner::Learner> asking_;  ///< for flushed(); under asking_mutex_
  std::mutex asking_mutex_;

  // Of the cut thread; cut_ figures also read by status().
  std::unique_ptr<CutLog> cut_log_;
  std::unique_ptr<LakeWriter> writer_;
  std::unique_ptr<learner::Learner> confirming_;
  std::set<std::string> directories_;  ///< claimed in this life
  uint64_t cuts_ = 0;
  Lsn cut_lsn_;
  int64_t cut_timestamp_ms_ = 0;
  int64_t cut_commit_time_us_ = 0;
  uint64_t cut_transactions_ = 0;
  bool cutting_ = false;  ///< a cut has begun and not ended
  std::chrono::steady_clock::time_point last_cut_;
  std::chrono::milliseconds last_cut_took_{0};
  bool ending_cuts_ = false;
  std::condition_variable cut_wake_;

  std::thread thread_;
};

}  // namespace tide::mirror
