#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tide::deltalog {

/// What a file in `_delta_log` is, by its name.
enum class LogFileKind {
  kCommit,             ///< %020d.json
  kClassicCheckpoint,  ///< %020d.checkpoint.parquet
  kCheckpointPart,     ///< %020d.checkpoint.%010d.%010d.parquet
  kUuidCheckpoint,     ///< %020d.checkpoint.<uuid>.parquet or .json
  kCompactedCommit,    ///< %020d.%020d.compacted.json
  kChecksum,           ///< %020d.crc
};
struct LogFile {
  std::string name;
  LogFileKind kind;
  int64_t version;      ///< Of kCompactedCommit: of its first commit.
  int64_t end_version;  ///< Of kCompactedCommit: of its last commit; else = version.
  int part = 0;         ///< Of kCheckpointPart, from 1.
  int parts = 0;
};
/// Nothing for other names.
std::optional<LogFile> parse_log_file(std::string_view name);

std::string commit_name(int64_t version);
std::string checkpoint_name(int64_t version);

/// The files from which a version's state comes, in the order in which they are read.
struct LogSegment {
  int64_t version = -1;
  /// -1: none, the commits begin at 0.
  int64_t checkpoint_version = -1;
  std::vector<std::string> checkpoint;
  struct Commit {
    std::string name;
    int64_t version;  ///< The state has this version after it.
  };
  std::vector<Commit> commits;
};

/// The files of a log directory.
class LogListing {
 public:
  /// From the names in `_delta_log`, in any order; unknown ones are passed over.
  explicit LogListing(const std::vector<std::string>& names);

  /// -1: no table.
  int64_t latest_version() const { return latest_; }
  bool has_commit(int64_t version) const { return commits_.contains(version); }
  /// Versions of the commits whose files exist, ascending.
  std::vector<int64_t> commit_versions() const;
  /// Versions of complete checkpoints, ascending.
  std::vector<int64_t> checkpoint_versions() const;
  /// All files, by version.
  const std::vector<LogFile>& files() const { return files_; }

  /// What to read for `version` (the latest if none), from the newest checkpoint that is not newer
  /// and is below `checkpoint_below`: a caller that could not read one asks again with its version.
  /// kNotFound if there is no such version (any more); kCorrupt if commits are missing in between.
  Result<LogSegment> segment(std::optional<int64_t> version,
                             int64_t checkpoint_below = INT64_MAX) const;

 private:
  struct Checkpoints {
    std::string classic;
    std::vector<std::string> uuids;
    std::map<int, std::map<int, std::string>> parts;  ///< By number of parts, then part.
    /// Names of the best complete one; empty if there is none.
    std::vector<std::string> best() const;
  };
  std::vector<LogFile> files_;
  std::map<int64_t, std::string> commits_;
  std::map<int64_t, std::map<int64_t, std::string>> compacted_;  ///< By first, then last version.
  std::map<int64_t, Checkpoints> checkpoints_;
  int64_t latest_ = -1;
};

/// The text of `_last_checkpoint`. We write it for others; our own reader always lists.
std::string write_last_checkpoint(int64_t version, int64_t actions, int64_t bytes,
                                  int64_t add_files);

}  // namespace tide::deltalog
