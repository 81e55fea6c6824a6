#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace tide::deltalog {

/// The actions of a Delta log as their JSON has them, names in our style. Paths stay
/// percent-encoded (path.h). Times are milliseconds since 1970-01-01 UTC.

/// Physical column name -> value in the protocol's text form, nothing for null.
using PartitionValues = std::map<std::string, std::optional<std::string>>;
using Properties = std::map<std::string, std::string>;

struct Metadata {
  std::string id;  ///< The table's GUID.
  std::optional<std::string> name;
  std::optional<std::string> description;
  std::string provider = "parquet";
  Properties format_options;
  std::string schema_string;  ///< JSON, see schema.h; empty where a writer had none yet.
  std::vector<std::string> partition_columns;
  Properties configuration;
  std::optional<int64_t> created_time;

  /// The property, or nothing.
  std::optional<std::string> property(const std::string& key) const;
  bool operator==(const Metadata&) const = default;
};

struct Protocol {
  int32_t min_reader_version = 1;
  int32_t min_writer_version = 2;
  std::optional<std::vector<std::string>> reader_features;  ///< Only with reader version 3.
  std::optional<std::vector<std::string>> writer_features;  ///< Only with writer version 7.
  bool operator==(const Protocol&) const = default;
};

/// Names a deletion vector: where its bytes are (deletion_vector.h).
struct DeletionVectorDescriptor {
  char storage_type = 'u';     ///< 'u' beside the table, 'i' inline, 'p' absolute path.
  std::string path_or_inline;  ///< pathOrInlineDv.
  std::optional<int64_t> offset;
  int64_t size_in_bytes = 0;
  int64_t cardinality = 0;

  /// What tells the vectors of one data file apart.
  std::string unique_id() const;
  bool operator==(const DeletionVectorDescriptor&) const = default;
};

struct AddFile {
  std::string path;
  PartitionValues partition_values;
  int64_t size = 0;
  int64_t modification_time = 0;
  bool data_change = true;
  std::optional<std::string> stats;  ///< JSON, see statistics.h.
  Properties tags;
  std::optional<DeletionVectorDescriptor> deletion_vector;
  std::optional<int64_t> base_row_id;
  std::optional<int64_t> default_row_commit_version;
  std::optional<std::string> clustering_provider;
  bool operator==(const AddFile&) const = default;
};

struct RemoveFile {
  std::string path;
  std::optional<int64_t> deletion_timestamp;
  bool data_change = true;
  /// True where partition values and size are those of the file.
  bool extended_file_metadata = false;
  PartitionValues partition_values;
  std::optional<int64_t> size;
  /// The vector that the removed file had.
  std::optional<DeletionVectorDescriptor> deletion_vector;
  std::optional<int64_t> base_row_id;
  std::optional<int64_t> default_row_commit_version;
  bool operator==(const RemoveFile&) const = default;
};

/// The remove that takes `add` away.
RemoveFile remove_of(const AddFile& add, int64_t deletion_timestamp, bool data_change);

struct CdcFile {
  std::string path;
  PartitionValues partition_values;
  int64_t size = 0;
  Properties tags;
  bool operator==(const CdcFile&) const = default;
};

struct Transaction {
  std::string app_id;
  int64_t version = 0;
  std::optional<int64_t> last_updated;
  bool operator==(const Transaction&) const = default;
};

struct DomainMetadata {
  std::string domain;
  std::string configuration;
  bool removed = false;
  bool operator==(const DomainMetadata&) const = default;
};

struct CommitInfo {
  std::optional<int64_t> timestamp;
  std::optional<int64_t> in_commit_timestamp;
  std::optional<std::string> operation;
  std::optional<std::string> engine_info;
  std::optional<std::string> txn_id;
  /// All other members: text of a JSON object ("operationParameters", what a writer adds).
  std::string others = "{}";
  bool operator==(const CommitInfo&) const = default;
};

struct SidecarFile {
  std::string path;
  int64_t size_in_bytes = 0;
  int64_t modification_time = 0;
  bool operator==(const SidecarFile&) const = default;
};

struct CheckpointMetadata {
  int64_t version = 0;
  bool operator==(const CheckpointMetadata&) const = default;
};

using Action = std::variant<CommitInfo, Protocol, Metadata, AddFile, RemoveFile, CdcFile,
                            Transaction, DomainMetadata, SidecarFile, CheckpointMetadata>;

/// The actions of a commit, a compacted commit or a JSON checkpoint. Unknown actions and members
/// are passed over; kCorrupt with the line's number for what is no JSON or lacks what it must have.
Result<std::vector<Action>> parse_actions(std::string_view lines);

/// A line per action, each with its newline; a CommitInfo goes first.
std::string write_actions(const std::vector<Action>& actions);

/// Only the commitInfo of a commit's text, as far as it is on the first line; cheap.
std::optional<CommitInfo> parse_commit_info(std::string_view lines);

}  // namespace tide::deltalog
