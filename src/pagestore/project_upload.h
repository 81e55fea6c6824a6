#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "objectstore/object_store.h"
#include "pagestore/project_manifest.h"
#include "pagestore/remote_files.h"

namespace rocksdb {
class DB;
}

namespace tide::pagestore {

/// What one upload did. `id` names the manifest, which has been read back: whatever the database
/// and the blobs held when upload() was called survives the loss of this machine.
struct UploadReport {
  ManifestId id;
  uint64_t files = 0;  ///< In the manifest, as are `bytes`.
  uint64_t bytes = 0;
  uint64_t files_uploaded = 0;
  uint64_t bytes_uploaded = 0;
  uint64_t objects_removed = 0;
  Status cleanup;  ///< Removing old objects failed: costs space only, the next upload tries again.
};

/// A project's database as it can be opened from `directory`.
struct OpenedProject {
  uint64_t generation = 0;        ///< Claimed for us; goes into ProjectUpload::open.
  ManifestId base;                ///< The manifest whose state this is.
  std::vector<RemoteFile> files;  ///< For RemoteFiles::open.
  std::vector<Blob> blobs;        ///< As given to the upload of `base`.
  std::vector<std::string>
      skipped;  ///< Newer manifests that could not be used, with the reason; worth a warning.
};

/// Keeps a copy of one project's database in an object store, from which another machine can go on.
///
/// Objects are written once under names never used again; a manifest, written last, makes a set of
/// them the project's state. So the newest valid manifest is complete whatever happens in between.
///
/// One writer at a time: each attachment of the project to a directory claims a generation
/// (`restore`, `reattach`) by creating the manifest with sequence 0, which names no state, and
/// whoever sees a higher generation than its own stops for good (kStaleEpoch). A fenced writer may
/// still leave objects and even a manifest of its lower generation behind; they never become the
/// state, and the newer generation removes them.
///
/// Objects that neither of the two newest manifests names are removed after each upload, and only
/// once it is certain that this is still the newest generation.
///
/// Thread-safe; uploads run one after the other.
class ProjectUpload {
 public:
  struct Options {
    int parallel = 4;  ///< Files uploaded at a time.
    bool flush =
        true;  ///< Write out memtables first; else only what is in files already is uploaded.
  };

  /// `directory` is the database's. `generation` is from restore() or reattach(); 1 for a new
  /// project. kStaleEpoch if the store has a newer one, or the same one from another directory.
  static Result<std::unique_ptr<ProjectUpload>> open(rocksdb::DB& db, const std::string& directory,
                                                     objectstore::ObjectStore& store,
                                                     uint64_t generation, Options options);
  static Result<std::unique_ptr<ProjectUpload>> open(rocksdb::DB& db, const std::string& directory,
                                                     objectstore::ObjectStore& store,
                                                     uint64_t generation);

  /// Uploads the database and `blobs`. What the blobs say must be true of the database from before
  /// the call on (an LSN in them must be ingested already); the database may be newer than they
  /// are.
  Result<UploadReport> upload(const std::vector<Blob>& blobs);

  /// Takes the project over into an empty directory (a half-done restore is removed): lays down the
  /// small files and claims the next generation. Nothing if the store has no manifest. kConflict if
  /// somebody else took over at the same time.
  static Result<std::optional<OpenedProject>> restore(objectstore::ObjectStore& store,
                                                      const std::string& directory);

  /// Goes on with a directory that has a database, after a restart: claims the next generation.
  /// kStaleEpoch if the project has meanwhile been taken over elsewhere; then remove the directory
  /// and restore().
  static Result<OpenedProject> reattach(objectstore::ObjectStore& store,
                                        const std::string& directory);

  /// Checks the newest state, the one before it if of the same generation, and the objects they
  /// name: there, of the right size and, if `deep`, with the right CRC. Each fault goes to
  /// `problem`; an error means that the check itself could not be done.
  static Status verify(objectstore::ObjectStore& store, bool deep,
                       const std::function<void(const std::string& problem)>& problem);

 private:
  /// What the directory remembers of the object store, in its file REMOTE-FILES.
  struct Record;
  struct LiveFiles;

  ProjectUpload(rocksdb::DB& db, std::string directory, objectstore::ObjectStore& store,
                Options options);

  static Result<std::optional<Record>> load_record(const std::string& directory);
  static Status save_record(const std::string& directory, const Record& record);
  static Result<std::vector<ManifestId>> list_manifests(objectstore::ObjectStore& store);
  static Result<ProjectManifest> read_manifest(objectstore::ObjectStore& store, ManifestId id);
  static Result<std::optional<ProjectManifest>> newest_valid(objectstore::ObjectStore& store,
                                                             const std::vector<ManifestId>& ids,
                                                             std::vector<std::string>& skipped);
  static std::vector<ManifestId> states_of(std::vector<ManifestId> ids);
  static Result<std::vector<ManifestId>> list_states_to_verify(objectstore::ObjectStore& store);
  static Result<std::vector<ManifestId>> claim(objectstore::ObjectStore& store, ManifestId newest,
                                               const std::string& lineage, uint64_t& generation);
  static Status verify_manifests(objectstore::ObjectStore& store,
                                 const std::vector<ManifestId>& ids, bool deep,
                                 std::vector<std::string>& problems);

  /// All manifests, newest first; kStaleEpoch, now and for ever, if one is of a higher generation.
  Result<std::vector<ManifestId>> list_unless_fenced();
  Result<LiveFiles> take_live_files();
  Status upload_files(LiveFiles& live, UploadReport& report);
  Status remove_unreferenced(const ProjectManifest& newest, const std::vector<ManifestId>& ids,
                             UploadReport& report);

  rocksdb::DB& db_;
  const std::string directory_;
  const std::string scratch_;
  objectstore::ObjectStore& store_;
  const Options options_;
  std::string session_;
  std::string lineage_;
  uint64_t generation_ = 0;

  std::mutex mutex_;
  uint64_t next_sequence_ = 0;
  bool fenced_ = false;
  std::map<std::string, RemoteFile> uploaded_;  ///< By name; all that need not be uploaded again.
};

}  // namespace tide::pagestore
