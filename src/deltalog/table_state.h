#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "deltalog/action.h"
#include "deltalog/schema.h"

namespace tide::deltalog {

/// A table at one version: what the log says once its actions are reconciled. The newest protocol,
/// metadata, transaction per application, domain metadata per domain and reference per (path,
/// deletion vector) win.
///
/// Begins empty or from a checkpoint's actions; then takes the commits behind it in order. A value:
/// may be copied and kept while the log goes on.
class TableState {
 public:
  /// Actions of a checkpoint, in any order and any number of calls before the first commit.
  void load(std::vector<Action> actions);
  /// Ends loading: the state is that of `version`.
  void loaded(int64_t version) { version_ = version; }
  /// The commit `version`; also all commits up to it in one compacted commit.
  void apply(int64_t version, std::vector<Action> actions);
  /// kCorrupt without protocol, metadata or schema, or with a schema that cannot be parsed. To be
  /// called when all commits are applied; parses the schema.
  Status finish();

  /// -1: no commit yet.
  int64_t version() const { return version_; }
  /// These three are there after finish().
  const Protocol& protocol() const { return *protocol_; }
  const Metadata& metadata() const { return *metadata_; }
  const Schema& schema() const { return schema_; }

  /// By file key.
  const std::unordered_map<std::string, AddFile>& files() const { return files_; }
  /// Live files in the order of their paths.
  std::vector<const AddFile*> sorted_files() const;
  /// Removed files by file key, until expire_tombstones().
  const std::unordered_map<std::string, RemoveFile>& tombstones() const { return tombstones_; }
  /// Version of the application's last transaction.
  std::optional<int64_t> transaction(const std::string& app_id) const;
  const std::map<std::string, Transaction>& transactions() const { return transactions_; }
  /// Configuration of the domain; nothing if it is not there or was removed.
  std::optional<std::string> domain(const std::string& name) const;
  const std::map<std::string, DomainMetadata>& domains() const { return domains_; }
  /// In-commit timestamp of the last commit that had one, ms.
  std::optional<int64_t> in_commit_timestamp() const { return in_commit_timestamp_; }
  /// When a checkpoint had it not and the commit is gone.
  void set_in_commit_timestamp(int64_t ms) { in_commit_timestamp_ = ms; }

  /// Forgets the files removed before `ms`.
  void expire_tombstones(int64_t ms);

  /// Identity of a reference to a file: its name (path.h: file_name()) and the deletion vector's
  /// unique id.
  static std::string file_key(const std::string& path,
                              const std::optional<DeletionVectorDescriptor>& deletion_vector);

 private:
  void take(Action&& action);

  int64_t version_ = -1;
  std::optional<Protocol> protocol_;
  std::optional<Metadata> metadata_;
  Schema schema_;
  std::string parsed_schema_;  ///< The text that schema_ was parsed from.
  std::unordered_map<std::string, AddFile> files_;
  std::unordered_map<std::string, RemoveFile> tombstones_;
  std::map<std::string, Transaction> transactions_;
  std::map<std::string, DomainMetadata> domains_;
  std::optional<int64_t> in_commit_timestamp_;
};

/// kInvalid, saying which rule, unless `actions` may be one commit on `state`: at most one add and
/// one remove per path, one txn per application, one protocol, metadata and commitInfo, removes
/// name what is live with its deletion vector, what is added is not live already under another one,
/// nothing but appends if the table is append-only.
Status check_commit(const TableState& state, const std::vector<Action>& actions);

}  // namespace tide::deltalog
