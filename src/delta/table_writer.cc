#include "delta/table_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "delta/checkpoint_file.h"
#include "deltalog/protocol.h"

namespace tide::delta {
namespace {

using deltalog::Action;
using deltalog::CommitInfo;

std::string commit_path(int64_t version) { return "_delta_log/" + deltalog::commit_name(version); }

}  // namespace

Result<std::unique_ptr<TableWriter>> TableWriter::open(TableDirectory& directory,
                                                       duck::Engine& engine,
                                                       const WriterOptions& options) {
  std::unique_ptr<TableWriter> writer(new TableWriter(directory, engine, options));
  writer->state_ = TIDE_TRY(writer->table_.state());
  const deltalog::TableState& state = writer->state_;
  TIDE_TRY(deltalog::check_writable(state.protocol(), state.metadata(), state.schema()));
  std::vector<std::string> names;
  for (TableDirectory::Entry& entry : TIDE_TRY(list_log(directory))) {
    names.push_back(std::move(entry.name));
  }
  std::vector<int64_t> checkpoints = deltalog::LogListing(names).checkpoint_versions();
  if (!checkpoints.empty()) writer->checkpoint_version_ = checkpoints.back();
  return writer;
}

std::vector<Action> TableWriter::creation(NewTable table, int64_t now_ms) {
  int32_t max_column_id = 0;
  deltalog::assign_column_mapping(table.schema, max_column_id);
  deltalog::Metadata metadata;
  metadata.id = std::move(table.id);
  metadata.name = std::move(table.name);
  metadata.schema_string = deltalog::write_schema(table.schema);
  metadata.partition_columns = std::move(table.partition_columns);
  metadata.configuration = deltalog::lake_properties(max_column_id);
  metadata.configuration.merge(table.properties);
  metadata.created_time = now_ms;
  return {deltalog::lake_protocol(table.schema), std::move(metadata)};
}

Result<std::unique_ptr<TableWriter>> TableWriter::create(TableDirectory& directory,
                                                         duck::Engine& engine, NewTable table,
                                                         std::vector<Action> more, int64_t now_ms,
                                                         const WriterOptions& options) {
  std::unique_ptr<TableWriter> writer(new TableWriter(directory, engine, options));
  std::vector<Action> actions = creation(std::move(table), now_ms);
  std::move(more.begin(), more.end(), std::back_inserter(actions));
  std::string text = TIDE_TRY(writer->prepare(std::move(actions), now_ms));
  if (!TIDE_TRY(directory.put_if_absent(commit_path(0), as_bytes(text)))) {
    return Status(Code::kExists,
                  fmt::format("there is a Delta table already: {}", directory.describe()));
  }
  writer->state_.apply(0, TIDE_TRY(deltalog::parse_actions(text)));
  TIDE_TRY(writer->state_.finish());
  return writer;
}

Result<std::string> TableWriter::prepare(std::vector<Action> actions, int64_t now_ms) const {
  TIDE_TRY(deltalog::check_commit(state_, actions));
  CommitInfo* info = nullptr;
  const deltalog::Protocol* protocol = state_.version() < 0 ? nullptr : &state_.protocol();
  for (Action& action : actions) {
    if (auto* found = std::get_if<CommitInfo>(&action)) info = found;
    if (const auto* found = std::get_if<deltalog::Protocol>(&action)) protocol = found;
  }
  if (info == nullptr) {
    actions.emplace_back(CommitInfo());
    info = &std::get<CommitInfo>(actions.back());
    // The pointer may have moved with the vector.
    for (const Action& action : actions) {
      if (const auto* found = std::get_if<deltalog::Protocol>(&action)) protocol = found;
    }
  }
  if (!info->timestamp) info->timestamp = now_ms;
  if (!info->operation) info->operation = "WRITE";
  if (!info->engine_info) info->engine_info = "Tidewater";
  if (deltalog::writer_has(*protocol, deltalog::feature::kInCommitTimestamp)) {
    int64_t above = state_.in_commit_timestamp().value_or(INT64_MIN + 1) + 1;
    info->in_commit_timestamp = std::max(info->in_commit_timestamp.value_or(now_ms), above);
  }
  return deltalog::write_actions(actions);
}

Result<CommitOutcome> TableWriter::publish(int64_t version, const std::string& text) {
  if (version > next_version()) {
    return Status(Code::kInvalid,
                  fmt::format("commit {} would leave a gap behind {}", version, state_.version()));
  }
  bool written = version == next_version() &&
                 TIDE_TRY(directory_.put_if_absent(commit_path(version), as_bytes(text)));
  if (written) {
    state_.apply(version, TIDE_TRY(deltalog::parse_actions(text)));
    TIDE_TRY(state_.finish());
    return CommitOutcome{true, version};
  }
  Result<std::string> there = directory_.read(commit_path(version));
  TIDE_TRY(refresh());
  if (there.ok() && *there == text) return CommitOutcome{true, version};
  return CommitOutcome{false, state_.version()};
}

Result<CommitOutcome> TableWriter::commit(int64_t expected_version, std::vector<Action> actions,
                                          int64_t now_ms) {
  if (expected_version != next_version()) {
    if (expected_version > next_version()) TIDE_TRY(refresh());
    if (expected_version != next_version()) return CommitOutcome{false, state_.version()};
  }
  std::string text = TIDE_TRY(prepare(std::move(actions), now_ms));
  return publish(expected_version, text);
}

Status TableWriter::refresh() {
  if (TIDE_TRY(table_.refresh(state_))) {
    TIDE_TRY(deltalog::check_writable(state_.protocol(), state_.metadata(), state_.schema()));
  }
  return {};
}

bool TableWriter::checkpoint_due() const {
  return state_.version() - checkpoint_version_ >= options_.checkpoint_interval;
}

Status TableWriter::checkpoint(int64_t now_ms) {
  state_.expire_tombstones(now_ms - deleted_file_retention_ms());
  TIDE_TRY(write_checkpoint(directory_, engine_, state_));
  checkpoint_version_ = state_.version();
  return {};
}

int64_t TableWriter::log_retention_ms() const {
  return deltalog::interval_ms(state_.metadata(), "delta.logRetentionDuration",
                               options_.log_retention_ms);
}

int64_t TableWriter::deleted_file_retention_ms() const {
  return deltalog::interval_ms(state_.metadata(), "delta.deletedFileRetentionDuration",
                               options_.deleted_file_retention_ms);
}

Result<size_t> TableWriter::clean_log(int64_t now_ms) {
  Result<int64_t> oldest = table_.version_at(now_ms - log_retention_ms());
  if (!oldest.ok()) {
    if (oldest.status().code() == Code::kOutOfRange) return size_t{0};
    return std::move(oldest).status();
  }
  std::vector<std::string> names;
  for (TableDirectory::Entry& entry : TIDE_TRY(list_log(directory_))) {
    names.push_back(std::move(entry.name));
  }
  deltalog::LogListing listing(names);
  int64_t keep = -1;
  for (int64_t version : listing.checkpoint_versions()) {
    if (version <= *oldest) keep = version;
  }
  size_t removed = 0;
  // Ascending, so that what is left after a crash has no gap behind its first commit.
  for (const deltalog::LogFile& file : listing.files()) {
    if (file.end_version >= keep) continue;
    TIDE_TRY(directory_.remove("_delta_log/" + file.name));
    ++removed;
  }
  return removed;
}

}  // namespace tide::delta
