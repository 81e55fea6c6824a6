#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "columns/row_set.h"
#include "duck/engine.h"
#include "mirror/cut.h"
#include "mirror/cut_log.h"
#include "objectstore/object_store.h"

namespace tide::mirror {

/// Who makes Delta commits: named in their `txn` and domain metadata.
struct WriterIdentity {
  std::string application;  ///< txn.appId: of one timeline of one project, for ever
  std::string version;      ///< of the program, for commitInfo.engineInfo
};

/// Puts what a cut holds into Delta tables: data files, deletion vectors, commits. The lake's root
/// is "lake/" in the object store; a file that is written also stays below `local_root`, where this
/// machine reads it. One thread at a time.
class LakeWriter {
 public:
  static Result<std::unique_ptr<LakeWriter>> create(objectstore::ObjectStore& store,
                                                    std::string local_root, duck::Engine& engine,
                                                    WriterIdentity identity);
  ~LakeWriter();

  /// Writes a table's files and its commit's text. Nothing refers to them yet: after a crash they
  /// are garbage with the cut's number in their names.
  Status write(const Cut& cut, TableCut& table);
  /// Publishes a commit: kConflict if another writer has taken its version.
  Status publish(const std::string& key, std::string_view bytes);

  /// What keeps a table quick to open and small, now and then after a commit: checkpoints, old
  /// commits and files that nobody can ask for any more.
  Status tend(const std::string& directory, int64_t version);

  /// Where this machine has a file of a table, fetched from the object store if need be.
  Result<std::string> local_path(const std::string& directory, const std::string& name);
  /// The ctids of a file's rows, in their order.
  Result<std::vector<int64_t>> read_tuple_ids(const std::string& directory, const LakeFile& file);
  Result<columns::RowSet> read_deleted(const std::string& directory, const LakeFile& file);

  /// Where a table's Delta table lies if that is free: "main/app/public/orders".
  static std::string directory_for(std::string_view branch, std::string_view database,
                                   std::string_view schema, std::string_view table);

  /// True if no Delta table lies there.
  bool is_free(const std::string& directory);
  /// A random GUID.
  static std::string random_id();

 private:
  LakeWriter(objectstore::ObjectStore& store, std::string local_root, duck::Engine& engine,
             WriterIdentity identity);
  /// Files of up to some million rows each.
  Status write_segments(const Cut& cut, const TableCut& table, TableCut::Heap& heap);
  Status write_merged(const Cut& cut, const TableCut& table, TableCut::Heap& heap);
  Result<LakeFile> write_file(const Cut& cut, const TableCut& table,
                              const std::vector<std::shared_ptr<const columns::Batch>>& batches);
  std::string commit_text(const Cut& cut, const TableCut& table) const;

  objectstore::ObjectStore& store_;
  std::string local_root_;
  duck::Engine& engine_;
  std::unique_ptr<duck::Connection> connection_;
  WriterIdentity identity_;
  std::map<std::string, std::chrono::steady_clock::time_point> vacuumed_;  ///< by directory
};

/// Name of the domain in which every commit says up to which LSN its table is.
inline constexpr std::string_view kMirrorDomain = "tidewater.mirror";
/// Tag of an add action: the relation (a partition, say) whose rows the file has.
inline constexpr std::string_view kRelationTag = "tidewater.relation";

}  // namespace tide::mirror
