#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tide::objectstore {
class ObjectStore;
}

namespace tide::delta {

/// The directory of one table, whatever holds it. Names are relative to the table's root. Writes
/// are durable and whole when they return; put_if_absent has one winner among all writers.
///
/// Thread-safe. Errors as objectstore::ObjectStore's.
class TableDirectory {
 public:
  struct Entry {
    std::string name;  ///< Relative to the folder that was listed.
    uint64_t size = 0;
    std::optional<int64_t> modified_ms;  ///< Nothing where the place does not tell.
  };

  virtual ~TableDirectory() = default;

  /// Files in `folder` ("" is the root), with those of folders below it if `recursive`. A folder
  /// that does not exist is empty. Sorted by name.
  virtual Result<std::vector<Entry>> list(const std::string& folder, bool recursive) = 0;
  virtual Result<std::string> read(const std::string& name) = 0;
  /// Bytes [offset, offset + size), fewer at the file's end.
  virtual Result<std::string> read_range(const std::string& name, uint64_t offset,
                                         uint64_t size) = 0;
  /// True if written; false, and nothing changed, if the name exists.
  virtual Result<bool> put_if_absent(const std::string& name, BytesView bytes) = 0;
  /// Replaces what there is.
  virtual Status put(const std::string& name, BytesView bytes) = 0;
  /// A local path, new each time, at which a file may be made that adopt() then takes.
  virtual Result<std::string> temporary_path() = 0;
  /// Makes the finished local file at `path` (durable already, from temporary_path()) the file
  /// `name`, replacing what there is. `path` is gone afterwards.
  virtual Status adopt(const std::string& path, const std::string& name) = 0;
  /// Nothing there is success.
  virtual Status remove(const std::string& name) = 0;
  /// Absolute path of a local file with the bytes of `name`: itself, or a copy fetched before. The
  /// file need not exist where names are local anyway.
  virtual Result<std::string> local_path(const std::string& name) = 0;
  /// For messages.
  virtual std::string describe() const = 0;
};

/// A directory of the local file system. Made when something is first written.
std::unique_ptr<TableDirectory> local_directory(std::string path);

/// The part of `store` under `prefix`. Copies of files that local_path() was asked for are kept in
/// `cache_directory` (data files never change, so a copy stays right). `store` must outlive it.
std::unique_ptr<TableDirectory> store_directory(objectstore::ObjectStore& store, std::string prefix,
                                                std::string cache_directory);

}  // namespace tide::delta
