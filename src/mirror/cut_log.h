#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "mirror/cut.h"
#include "objectstore/object_store.h"

namespace tide::mirror {

/// What a mirror needs of its past: the tables as of the last cut.
struct CutState {
  struct Heap {
    RelFork file;
    std::map<std::string, LakeFile> files;  ///< live, by name
  };
  struct Table {
    uint32_t database = 0;
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    char kind = 'r';
    std::vector<LakeColumn> columns;
    int next_column_id = 1;
    std::set<std::string> used_names;
    Publication publication;
    std::map<uint32_t, Heap> heaps;
  };
  uint64_t number = 0;
  Lsn lsn;
  Lsn restart_lsn;
  int64_t timestamp_ms = 0;
  std::map<std::pair<uint32_t, uint32_t>, Table> tables;  ///< by (database, oid)

  /// As after `cut`.
  void advance(const Cut& cut);
};

/// The commit points of one timeline's lake, in the object store:
///
///   PREFIX/<number, 16 hex>.cut     one cut: what changed, and the Delta commits it publishes
///   PREFIX/<number, 16 hex>.state   all tables as of the cut, every now and then
///
/// A cut is durable when its object is: Delta commits follow, and are repeated after a crash. Each
/// object is JSON in a frame with its CRC-32C (docs/formats/lake.md). One writer.
class CutLog {
 public:
  /// Reads the newest state and the cuts behind it. kCorrupt if one of them is damaged or missing.
  static Result<std::unique_ptr<CutLog>> open(objectstore::ObjectStore& store, std::string prefix);

  /// Nothing before the first cut.
  const std::optional<CutState>& state() const { return state_; }
  /// Delta commits of cuts whose publication may not be whole: key below the lake's root and bytes.
  struct Commit {
    std::string key;
    std::string bytes;
  };
  const std::vector<Commit>& unpublished() const { return unpublished_; }

  /// The commit point. kConflict if another mirror has written this number.
  Status append(const Cut& cut);

 private:
  CutLog(objectstore::ObjectStore& store, std::string prefix)
      : store_(store), prefix_(std::move(prefix)) {}
  Status write_state();

  objectstore::ObjectStore& store_;
  std::string prefix_;
  std::optional<CutState> state_;
  std::vector<Commit> unpublished_;
  uint64_t last_state_ = 0;
};

/// "_delta_log/00000000000000000007.json" below the table's directory.
std::string commit_key(const Publication& publication, int64_t version);

}  // namespace tide::mirror
