#include "deltalog/table_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "deltalog/path.h"
#include "deltalog/protocol.h"

namespace tide::deltalog {

std::string TableState::file_key(const std::string& path,
                                 const std::optional<DeletionVectorDescriptor>& deletion_vector) {
  std::string key = file_name(path);
  if (deletion_vector) {
    key += '\0';
    key += deletion_vector->unique_id();
  }
  return key;
}

void TableState::take(Action&& action) {
  if (auto* add = std::get_if<AddFile>(&action)) {
    std::string key = file_key(add->path, add->deletion_vector);
    tombstones_.erase(key);
    files_.insert_or_assign(std::move(key), std::move(*add));
  } else if (auto* remove = std::get_if<RemoveFile>(&action)) {
    std::string key = file_key(remove->path, remove->deletion_vector);
    files_.erase(key);
    tombstones_.insert_or_assign(std::move(key), std::move(*remove));
  } else if (auto* metadata = std::get_if<Metadata>(&action)) {
    metadata_ = std::move(*metadata);
  } else if (auto* protocol = std::get_if<Protocol>(&action)) {
    protocol_ = std::move(*protocol);
  } else if (auto* txn = std::get_if<Transaction>(&action)) {
    std::string app_id = txn->app_id;
    transactions_.insert_or_assign(std::move(app_id), std::move(*txn));
  } else if (auto* domain = std::get_if<DomainMetadata>(&action)) {
    if (domain->removed) {
      domains_.erase(domain->domain);
    } else {
      std::string name = domain->domain;
      domains_.insert_or_assign(std::move(name), std::move(*domain));
    }
  } else if (auto* info = std::get_if<CommitInfo>(&action)) {
    if (info->in_commit_timestamp) in_commit_timestamp_ = info->in_commit_timestamp;
  }
}

void TableState::load(std::vector<Action> actions) {
  for (Action& action : actions) take(std::move(action));
}

void TableState::apply(int64_t version, std::vector<Action> actions) {
  // The order of lines has no meaning: a file removed and added again (with another deletion
  // vector, or new statistics) in one commit is live after it.
  for (Action& action : actions) {
    if (std::holds_alternative<RemoveFile>(action)) take(std::move(action));
  }
  for (Action& action : actions) {
    if (!std::holds_alternative<RemoveFile>(action)) take(std::move(action));
  }
  version_ = version;
}

Status TableState::finish() {
  if (!protocol_) return Status(Code::kCorrupt, "the table's log has no protocol");
  if (!metadata_) return Status(Code::kCorrupt, "the table's log has no metadata");
  if (metadata_->schema_string.empty()) {
    return Status(Code::kCorrupt, "the table's metadata has no schema");
  }
  if (metadata_->schema_string != parsed_schema_) {
    schema_ = TIDE_TRY(parse_schema(metadata_->schema_string));
    parsed_schema_ = metadata_->schema_string;
  }
  return {};
}

std::vector<const AddFile*> TableState::sorted_files() const {
  std::vector<const AddFile*> sorted;
  sorted.reserve(files_.size());
  for (const auto& [key, add] : files_) sorted.push_back(&add);
  std::sort(sorted.begin(), sorted.end(),
            [](const AddFile* a, const AddFile* b) { return a->path < b->path; });
  return sorted;
}

std::optional<int64_t> TableState::transaction(const std::string& app_id) const {
  auto found = transactions_.find(app_id);
  if (found == transactions_.end()) return std::nullopt;
  return found->second.version;
}

std::optional<std::string> TableState::domain(const std::string& name) const {
  auto found = domains_.find(name);
  if (found == domains_.end()) return std::nullopt;
  return found->second.configuration;
}

void TableState::expire_tombstones(int64_t ms) {
  std::erase_if(tombstones_, [ms](const auto& entry) {
    return entry.second.deletion_timestamp.value_or(0) < ms;
  });
}

Status check_commit(const TableState& state, const std::vector<Action>& actions) {
  auto broken = [](std::string what) {
    return Status(Code::kInvalid, "commit: " + std::move(what));
  };
  std::set<std::string> added;
  std::set<std::string> removed;
  std::set<std::string> removed_keys;
  std::set<std::string> applications;
  std::set<std::string> domains;
  int protocols = 0;
  int metadatas = 0;
  int infos = 0;
  bool append_only = state.version() >= 0 && is_on(state.metadata(), "delta.appendOnly");
  for (const Action& action : actions) {
    if (const auto* remove = std::get_if<RemoveFile>(&action)) {
      std::string key = TableState::file_key(remove->path, remove->deletion_vector);
      if (!removed.insert(file_name(remove->path)).second) {
        return broken(fmt::format("removes {} twice", remove->path));
      }
      if (!state.files().contains(key)) {
        return broken(
            fmt::format("removes {}, which is not live with that deletion vector", remove->path));
      }
      if (append_only && remove->data_change) {
        return broken("removes rows of a table with delta.appendOnly");
      }
      removed_keys.insert(std::move(key));
    } else if (const auto* txn = std::get_if<Transaction>(&action)) {
      if (!applications.insert(txn->app_id).second) {
        return broken(fmt::format("has two txn of {}", txn->app_id));
      }
    } else if (const auto* domain = std::get_if<DomainMetadata>(&action)) {
      if (!domains.insert(domain->domain).second) {
        return broken(fmt::format("has domain {} twice", domain->domain));
      }
    }
    protocols += std::holds_alternative<Protocol>(action) ? 1 : 0;
    metadatas += std::holds_alternative<Metadata>(action) ? 1 : 0;
    infos += std::holds_alternative<CommitInfo>(action) ? 1 : 0;
    if (std::holds_alternative<SidecarFile>(action) ||
        std::holds_alternative<CheckpointMetadata>(action)) {
      return broken("has actions of a checkpoint");
    }
  }
  if (protocols > 1 || metadatas > 1 || infos > 1) {
    return broken("has two protocols, metadatas or commitInfos");
  }
  if (state.version() < 0 && (protocols == 0 || metadatas == 0)) {
    return broken("version 0 without protocol or metadata");
  }
  for (const Action& action : actions) {
    const auto* add = std::get_if<AddFile>(&action);
    if (add == nullptr) continue;
    if (!added.insert(file_name(add->path)).second) {
      return broken(fmt::format("adds {} twice", add->path));
    }
    std::string key = TableState::file_key(add->path, add->deletion_vector);
    if (removed_keys.contains(key)) {
      return broken(fmt::format("adds and removes {} with the same deletion vector", add->path));
    }
    // A file that is live without a vector is replaced only together with its remove. Vectors other
    // than those named here cannot be looked up by path alone; our writers keep one per file.
    if (add->deletion_vector) {
      std::string plain = TableState::file_key(add->path, std::nullopt);
      if (state.files().contains(plain) && !removed_keys.contains(plain)) {
        return broken(
            fmt::format("adds {} with a deletion vector beside the file without one", add->path));
      }
      if (!add->stats || add->stats->find("\"numRecords\"") == std::string::npos) {
        return broken(
            fmt::format("adds {} with a deletion vector but without numRecords", add->path));
      }
    }
  }
  return {};
}

}  // namespace tide::deltalog
