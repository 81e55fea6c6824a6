#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/ingest.h"
#include "pagestore/page_store.h"
#include "walstore/timeline_log.h"

namespace tide::storage {

class Acceptor;

/// One timeline at work: its log, the thread that brings the log into the page store, and the steps
/// by which one compute's life ends and the next begins. Thread-safe.
class TimelineService {
 public:
  static Result<std::unique_ptr<TimelineService>> open(const std::string& wal_root, TimelineId id,
                                                       pagestore::PageStore& store,
                                                       pagestore::ImageQueue& images,
                                                       walstore::SpareSegments* spares = nullptr);
  ~TimelineService();

  TimelineId id() const { return id_; }
  walstore::TimelineLog& log() { return *log_; }
  const walstore::TimelineLog& log() const { return *log_; }

  /// The only epoch whose compute may read pages; 0 while none may.
  Epoch current_epoch() const { return Epoch{current_epoch_.load()}; }

  struct Begun {
    Epoch epoch;
    Lsn start;
    uint64_t system_id;
    std::string wal_directory;
  };
  /// Fences all lower epochs, ends the open one, and opens `epoch` (docs/formats/storage-api.md,
  /// "Beginning an epoch"). Repeating the call for the open epoch gives the same answer.
  Result<Begun> begin_epoch(Epoch epoch, walstore::Durability durability);

  /// The compute of `epoch` has ended.
  Result<walstore::TimelineLog::End> close_epoch(Epoch epoch);

  /// Acceptor form: connects to the compute and pulls its WAL; returns once it streams.
  Status start_acceptor(Epoch epoch, const std::string& conninfo);

  /// The first WAL files of an epoch in acceptor form, for its backup: name and content.
  Result<std::vector<std::pair<std::string, std::string>>> first_wal_files(Epoch epoch) const;
  /// Start LSN of an epoch; kNotFound if it never began.
  Result<Lsn> epoch_start(Epoch epoch) const;

  /// The newest LSN whose WAL is durable; where nothing was ever written, the branch point.
  Lsn flushed() const;
  /// Brings all WAL that is durable now into the page store and says up to which record that is:
  /// the newest LSN at which the whole state is known. (What is durable may end inside a record.)
  Result<Lsn> settle(int timeout_ms);
  /// Somebody waits for WAL: look at once.
  void nudge();
  /// Before the timeline is removed: no epoch begins any more and nothing is ingested. kConflict if
  /// an epoch is open.
  Status retire();
  /// What keeps ingest from going on; empty if all is well.
  std::string last_error() const;

 private:
  TimelineService(TimelineId id, std::unique_ptr<walstore::TimelineLog> log,
                  pagestore::PageStore& store, pagestore::ImageQueue& images);
  /// Goes on pulling WAL from a compute that outlived the storage role before us.
  Status resume_acceptor();
  void start_ingest();
  void stop_ingest();
  void ingest_loop();
  /// Reads and applies what is there; true if there was anything.
  Result<bool> ingest_some();
  bool nothing_to_come() const;
  Result<walstore::TimelineLog::End> end_open_epoch();

  TimelineId id_;
  std::unique_ptr<walstore::TimelineLog> log_;
  pagestore::PageStore& store_;
  pagestore::ImageQueue& images_;
  std::atomic<uint64_t> current_epoch_{0};

  std::mutex life_mutex_;  // one begin or close at a time; taken before mutex_
  std::unique_ptr<Acceptor> acceptor_;
  bool retired_ = false;

  mutable std::mutex mutex_;  // guards the fields below
  std::condition_variable wake_;
  bool nudged_ = false;
  bool stopping_ = false;
  bool running_ = false;
  std::string last_error_;
  Epoch examined_epoch_;  ///< the ingest thread has seen all WAL of this epoch below `examined_`
  Lsn examined_;
  std::condition_variable examined_more_;
  std::thread thread_;

  // Of the ingest thread.
  std::unique_ptr<pagestore::Ingest> ingest_;
  std::unique_ptr<pgformat::WalReader> reader_;
  Epoch reader_epoch_;  ///< whose WAL the reader has been fed
  Bytes chunk_;
};

}  // namespace tide::storage
