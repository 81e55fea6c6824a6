#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "objectstore/object_store.h"

namespace rocksdb {
class FileSystem;
struct DBOptions;
}  // namespace rocksdb

namespace tide::pagestore {

/// An immutable file of a project's database and the object that holds its copy.
struct RemoteFile {
  std::string name;  ///< In the database's directory, e.g. "000123.sst".
  std::string key;
  uint64_t size = 0;
  uint32_t crc32c = 0;
  friend bool operator==(const RemoteFile&, const RemoteFile&) = default;
};

struct RemoteFilesProgress {
  uint64_t files_missing = 0;
  uint64_t bytes_missing = 0;
  uint64_t files_fetched = 0;
  uint64_t bytes_fetched = 0;
  uint64_t failures = 0;  ///< Fetches that failed; each may have been tried again since.
};

/// Makes the table and blob files of a database that are in the object store, but not here, appear
/// to be here: a RocksDB file system that downloads such a file when it is first opened.
///
/// A download goes to a temporary file, is checked against size and CRC-32C and renamed, so a file
/// in the directory is always whole. Several readers of one missing file share one download. A file
/// that cannot be fetched fails the read that wanted it (retryable if the store is only
/// unavailable) and is tried again by the next one. After the first download nothing lies between
/// RocksDB and the file.
///
/// Thread-safe. Must outlive neither the database nor its Env: the file system keeps what it needs,
/// but `store` must outlive the file system.
class RemoteFiles {
 public:
  /// `files` that exist in `directory` (made if needed) count as fetched; remains of broken
  /// downloads go.
  static Result<std::unique_ptr<RemoteFiles>> open(const std::string& directory,
                                                   objectstore::ObjectStore& store,
                                                   const std::vector<RemoteFile>& files);

  /// To be put under `rocksdb::NewCompositeEnv` and into `DBOptions::env`.
  std::shared_ptr<rocksdb::FileSystem> file_system() const;

  /// Downloads one file now; a file that is not missing is success.
  Status fetch(const std::string& name);
  /// Downloads everything still missing, oldest number first, until done, `stop` or an error.
  Status fetch_all(const std::stop_token& stop);

  RemoteFilesProgress progress() const;

  class State;

 private:
  explicit RemoteFiles(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
  std::shared_ptr<rocksdb::FileSystem> file_system_;
};

/// Sets what keeps DB::Open from touching every file: no statistics or size checks over all files,
/// and so few open files that RocksDB opens at most two tables ahead. After DB::Open raise the
/// limit again: `db->SetDBOptions({{"max_open_files", "5000"}})`; a compaction may still fetch its
/// inputs at any time.
void set_lazy_open(rocksdb::DBOptions& options);

}  // namespace tide::pagestore
