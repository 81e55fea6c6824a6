#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "objectstore/object_store.h"
#include "pagestore/project_upload.h"
#include "storage/project.h"

namespace tide::storage {

/// The project's copy in the object store: page-store files behind a manifest, and WAL
/// (docs/formats/object-layout.md). A fresh machine opens the project from it alone. One thread at
/// a time.
class ObjectMirror {
 public:
  static Result<std::unique_ptr<ObjectMirror>> open(objectstore::ObjectStore& store,
                                                    Project& project,
                                                    const std::string& pages_directory,
                                                    uint64_t generation);

  /// Page-store files and the manifest that names them. Includes everything ingested before the
  /// call.
  Status upload_pages();
  /// Epoch histories and finished segments; with `partial`, also what the last segments hold by
  /// now.
  Status upload_wal(bool partial);
  /// Removes WAL objects that neither of the two newest manifests needs, nor any learner, and those
  /// of deleted timelines.
  Status trim();

  /// All of the timeline's WAL below is in the object store or below what the manifest holds.
  Lsn safe(TimelineId id) const;

  /// Local WAL below needs not stay: the store has all that safe() promises, and every segment that
  /// a learner may still ask for.
  Lsn trimmable(TimelineId id) const;

  /// Reads uploaded WAL of an epoch from `from` on, not beyond its segment nor `limit`. kOutOfRange
  /// if no object has it. From any thread.
  static Result<size_t> read_wal(objectstore::ObjectStore& store, TimelineId timeline, Epoch epoch,
                                 Lsn from, Lsn limit, std::span<std::byte> out);

  /// Lays WAL that a fresh machine needs into `wal_root`: histories and all segments there are.
  static Status restore_wal(objectstore::ObjectStore& store, const std::string& wal_root);

  objectstore::ObjectStore& store() { return store_; }

 private:
  ObjectMirror(objectstore::ObjectStore& store, Project& project)
      : store_(store), project_(project) {}
  Status upload_timeline(TimelineService& timeline, bool partial);
  Status upload_history(TimelineId id, const walstore::EpochHistory& history);
  Status upload_segment(TimelineService& timeline, Epoch epoch, uint64_t segment, Lsn end);

  objectstore::ObjectStore& store_;
  Project& project_;
  std::unique_ptr<pagestore::ProjectUpload> pages_;
  std::map<TimelineId, std::string> histories_;           ///< as uploaded last
  std::map<std::pair<TimelineId, Epoch>, Lsn> uploaded_;  ///< WAL of an epoch that is there
  std::map<TimelineId, Lsn> safe_before_;  ///< safe_ as of the manifest before the newest
  mutable std::mutex mutex_;               ///< guards the fields below
  std::map<TimelineId, Lsn> safe_;
  std::map<TimelineId, Lsn> wal_there_;  ///< WAL below is there, or nobody needs it there
};

}  // namespace tide::storage
