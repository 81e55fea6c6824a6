#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "pagestore/image_queue.h"
#include "pagestore/page_store.h"
#include "pagestore/template_import.h"
#include "redo/redo_pool.h"
#include "storage/image_maker.h"
#include "storage/timeline_service.h"

namespace tide::storage {

/// One project's storage: the page store, and a timeline service per branch. Thread-safe.
class Project {
 public:
  struct Paths {
    std::string pages;  ///< the page store's database
    std::string wal;    ///< a directory per timeline
  };
  static Result<std::unique_ptr<Project>> open(Paths paths, redo::RedoPool& redo,
                                               std::shared_ptr<rocksdb::FileSystem> file_system);
  ~Project();

  pagestore::PageStore& store() { return *store_; }
  const ImageMaker& images() const { return *image_maker_; }

  /// Imports the template as timeline 1, unless that was done before: then says what it was.
  Result<pagestore::ImportedTemplate> create(const std::string& template_directory);
  std::optional<uint64_t> system_id() const;

  /// kNotFound for an unknown timeline. Shared: a caller may hold it while it is deleted.
  Result<std::shared_ptr<TimelineService>> timeline(TimelineId id) const;
  std::vector<std::shared_ptr<TimelineService>> timelines() const;

  /// Branches at `lsn`, at `time_us`, or at the parent's newest flushed LSN. Idempotent for the
  /// same id: the LSN of the first call stands.
  Result<Lsn> create_timeline(TimelineId id, TimelineId parent, std::optional<Lsn> lsn,
                              std::optional<int64_t> time_us);
  /// kConflict while it has children or a live compute; nothing there is fine.
  Status delete_timeline(TimelineId id);

  Epoch current_epoch(TimelineId id) const;

 private:
  Project(Paths paths, std::unique_ptr<pagestore::PageStore> store);
  Status open_timeline(TimelineId id);
  /// Opens all timelines, parents first: a branch is readable once its parent has the WAL up to it
  /// again.
  Status open_timelines();

  Paths paths_;
  std::unique_ptr<pagestore::PageStore> store_;
  pagestore::ImageQueue image_queue_;
  std::unique_ptr<ImageMaker> image_maker_;
  std::mutex shape_mutex_;           // one creation or deletion at a time; taken before all others
  mutable std::shared_mutex mutex_;  // guards timelines_
  std::unique_ptr<walstore::SpareSegments> spares_;  // outlives the timelines
  std::map<TimelineId, std::shared_ptr<TimelineService>> timelines_;
};

}  // namespace tide::storage
