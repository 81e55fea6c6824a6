#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "delta/table.h"
#include "delta/table_directory.h"
#include "deltalog/table_state.h"
#include "duck/engine.h"

namespace tide::delta {

struct WriterOptions {
  /// A checkpoint is due after so many commits.
  int64_t checkpoint_interval = 50;
  /// For tables without delta.logRetentionDuration and delta.deletedFileRetentionDuration.
  int64_t log_retention_ms = int64_t{24} * 3600 * 1000;
  int64_t deleted_file_retention_ms = int64_t{24} * 3600 * 1000;
};

struct NewTable {
  deltalog::Schema schema;  ///< Ids and physical names are given to fields that have none.
  std::string id;           ///< The table's GUID.
  std::optional<std::string> name;
  std::vector<std::string> partition_columns;
  deltalog::Properties properties;  ///< Beside those of deltalog::lake_properties().
};

struct CommitOutcome {
  /// False: another commit has that version; `version` is the newest there is, and the writer's
  /// state is that one.
  bool committed = false;
  int64_t version = -1;
};

/// The one who writes a table: keeps its state, so that a commit reads nothing. Others may commit
/// too; then ours is refused and the state follows them.
///
/// One thread at a time; directory and engine outlive it.
class TableWriter {
 public:
  /// kNotFound if there is no table; kInvalid if it asks of writers what we do not do.
  static Result<std::unique_ptr<TableWriter>> open(TableDirectory& directory, duck::Engine& engine,
                                                   const WriterOptions& options);
  /// The actions of version 0 of a lake table: protocol and metadata.
  static std::vector<deltalog::Action> creation(NewTable table, int64_t now_ms);
  /// Commits version 0 with `more` behind creation(). kExists if there is a table already.
  static Result<std::unique_ptr<TableWriter>> create(TableDirectory& directory,
                                                     duck::Engine& engine, NewTable table,
                                                     std::vector<deltalog::Action> more,
                                                     int64_t now_ms, const WriterOptions& options);

  const deltalog::TableState& state() const { return state_; }
  int64_t next_version() const { return state_.version() + 1; }

  /// The text of the commit that `actions` would be now: checked against the rules, with a
  /// commitInfo (made if there is none) whose in-commit timestamp is above the last one's and, if
  /// `actions` name one, not below that. What a journal keeps before publish().
  Result<std::string> prepare(std::vector<deltalog::Action> actions, int64_t now_ms) const;

  /// Writes the text as `version` unless that exists. Durable when this returns. A commit of the
  /// same bytes that is there already is ours from before a crash: committed. kInvalid if `version`
  /// leaves a gap.
  Result<CommitOutcome> publish(int64_t version, const std::string& text);

  /// prepare() and publish() as `expected_version`.
  Result<CommitOutcome> commit(int64_t expected_version, std::vector<deltalog::Action> actions,
                               int64_t now_ms);

  /// Takes in what others committed.
  Status refresh();

  bool checkpoint_due() const;
  /// Writes a checkpoint of the state, without tombstones older than the retention.
  Status checkpoint(int64_t now_ms);

  /// Removes commits, checkpoints and checksums that no version younger than the log's retention
  /// needs: the newest checkpoint that is not younger stays, with its commit and all behind it.
  /// True figures of what went.
  Result<size_t> clean_log(int64_t now_ms);

  struct Vacuumed {
    std::vector<std::string> files;  ///< Removed, or would be.
    uint64_t bytes = 0;
  };
  struct VacuumOptions {
    bool dry_run = false;
    /// For names that somebody still reads, though the table has forgotten them.
    std::function<bool(const std::string&)> in_use;
  };
  /// Removes data files and deletion vectors that no live file and no tombstone younger than the
  /// retention names and that are older than it themselves. A place that does not tell files' times
  /// keeps those that no tombstone names.
  Result<Vacuumed> vacuum(int64_t now_ms, const VacuumOptions& options);

 private:
  TableWriter(TableDirectory& directory, duck::Engine& engine, const WriterOptions& options)
      : directory_(directory), engine_(engine), options_(options), table_(directory, engine) {}
  int64_t log_retention_ms() const;
  int64_t deleted_file_retention_ms() const;

  TableDirectory& directory_;
  duck::Engine& engine_;
  WriterOptions options_;
  Table table_;
  deltalog::TableState state_;
  int64_t checkpoint_version_ = -1;
};

}  // namespace tide::delta
