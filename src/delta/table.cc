#include "delta/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "delta/checkpoint_file.h"
#include "deltalog/protocol.h"

namespace tide::delta {
namespace {

using deltalog::LogListing;
using deltalog::LogSegment;
using deltalog::TableState;

constexpr char kLog[] = "_delta_log";

std::vector<std::string> names_of(const std::vector<TableDirectory::Entry>& entries) {
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const TableDirectory::Entry& entry : entries) names.push_back(entry.name);
  return names;
}

std::string in_log(const std::string& name) { return std::string(kLog) + "/" + name; }

}  // namespace

Result<std::vector<TableDirectory::Entry>> list_log(TableDirectory& directory) {
  return directory.list(kLog, false);
}

Status Table::apply_commit(TableState& state, const std::string& name, int64_t version) {
  std::string text = TIDE_TRY(directory_.read(in_log(name)));
  Result<std::vector<deltalog::Action>> actions = deltalog::parse_actions(text);
  if (!actions.ok()) {
    return std::move(actions).status().with_context(fmt::format("{}/{}", kLog, name));
  }
  state.apply(version, std::move(actions).value());
  return {};
}

Result<TableState> Table::load(const LogListing& listing, std::optional<int64_t> version) {
  int64_t checkpoint_below = INT64_MAX;
  Status unreadable;
  while (true) {
    Result<LogSegment> found = listing.segment(version, checkpoint_below);
    if (!found.ok()) return unreadable.ok() ? std::move(found).status() : unreadable;
    LogSegment segment = std::move(found).value();
    TableState state;
    if (segment.checkpoint_version >= 0) {
      Result<std::vector<deltalog::Action>> actions =
          read_checkpoint(directory_, engine_, segment.checkpoint);
      if (!actions.ok()) {
        if (unreadable.ok()) unreadable = std::move(actions).status();
        checkpoint_below = segment.checkpoint_version;
        continue;
      }
      state.load(std::move(actions).value());
      state.loaded(segment.checkpoint_version);
    }
    for (const LogSegment::Commit& commit : segment.commits) {
      TIDE_TRY(apply_commit(state, commit.name, commit.version));
    }
    TIDE_TRY(state.finish());
    TIDE_TRY(deltalog::check_readable(state.protocol()));
    // Checkpoints and compacted commits do not tell the last commit's time.
    bool from_commit = !segment.commits.empty() &&
                       segment.commits.back().name == deltalog::commit_name(segment.version);
    if (!from_commit &&
        deltalog::writer_has(state.protocol(), deltalog::feature::kInCommitTimestamp) &&
        listing.has_commit(segment.version)) {
      std::string text = TIDE_TRY(directory_.read(in_log(deltalog::commit_name(segment.version))));
      std::optional<deltalog::CommitInfo> info = deltalog::parse_commit_info(text);
      if (info && info->in_commit_timestamp) {
        state.set_in_commit_timestamp(*info->in_commit_timestamp);
      }
    }
    return state;
  }
}

Result<TableState> Table::state(std::optional<int64_t> version) {
  // The log may be cleaned up between listing and reading: then what was listed is gone, and the
  // next listing shows what replaced it.
  constexpr int kAttempts = 3;
  Status last;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    LogListing listing(names_of(TIDE_TRY(list_log(directory_))));
    Result<TableState> state = load(listing, version);
    if (state.ok() || state.status().code() != Code::kNotFound || listing.latest_version() < 0) {
      if (state.ok()) return state;
      return std::move(state).status().with_context("Delta table " + directory_.describe());
    }
    last = std::move(state).status();
  }
  return std::move(last).with_context("Delta table " + directory_.describe());
}

Result<bool> Table::refresh(TableState& state) {
  bool any = false;
  // Reading the next name is cheaper than listing; a writer makes no gaps.
  while (true) {
    int64_t next = state.version() + 1;
    Result<std::string> text = directory_.read(in_log(deltalog::commit_name(next)));
    if (!text.ok()) {
      if (text.status().code() != Code::kNotFound) return std::move(text).status();
      break;
    }
    Result<std::vector<deltalog::Action>> actions = deltalog::parse_actions(*text);
    if (!actions.ok()) {
      return std::move(actions).status().with_context(deltalog::commit_name(next));
    }
    state.apply(next, std::move(actions).value());
    any = true;
  }
  if (!any) {
    LogListing listing(names_of(TIDE_TRY(list_log(directory_))));
    if (listing.latest_version() <= state.version()) return false;
    state = TIDE_TRY(load(listing, std::nullopt));
    return true;
  }
  TIDE_TRY(state.finish());
  TIDE_TRY(deltalog::check_readable(state.protocol()));
  return true;
}

Result<int64_t> Table::version_at(int64_t ms) {
  std::vector<TableDirectory::Entry> entries = TIDE_TRY(list_log(directory_));
  LogListing listing(names_of(entries));
  std::vector<int64_t> versions = listing.commit_versions();
  if (versions.empty()) return Status(Code::kNotFound, "the log has no commits left");
  std::map<std::string, std::optional<int64_t>> modified;
  for (const TableDirectory::Entry& entry : entries) modified[entry.name] = entry.modified_ms;

  struct Time {
    int64_t ms;
    bool in_commit;
  };
  auto time_of = [&](int64_t version) -> Result<Time> {
    std::string name = deltalog::commit_name(version);
    std::string text = TIDE_TRY(directory_.read(in_log(name)));
    std::optional<deltalog::CommitInfo> info = deltalog::parse_commit_info(text);
    if (!info) {
      // Old writers put it anywhere.
      std::vector<deltalog::Action> actions = TIDE_TRY(deltalog::parse_actions(text));
      for (const deltalog::Action& action : actions) {
        if (const auto* other = std::get_if<deltalog::CommitInfo>(&action)) info = *other;
      }
    }
    if (info && info->in_commit_timestamp) return Time{*info->in_commit_timestamp, true};
    if (info && info->timestamp) return Time{*info->timestamp, false};
    return Time{modified[name].value_or(0), false};
  };
  Time first = TIDE_TRY(time_of(versions.front()));
  Time last = TIDE_TRY(time_of(versions.back()));
  auto too_early = [&] {
    return Status(Code::kOutOfRange,
                  fmt::format("the oldest version that is left, {}, is younger than that time",
                              versions.front()));
  };
  if (first.in_commit && last.in_commit) {
    // They rise strictly: halve.
    if (first.ms > ms) return too_early();
    size_t low = 0;  // its time is not after ms
    size_t high = versions.size();
    while (high - low > 1) {
      size_t middle = (low + high) / 2;
      Time time = TIDE_TRY(time_of(versions[middle]));
      (time.ms <= ms ? low : high) = middle;
    }
    return versions[low];
  }
  std::optional<int64_t> found;
  int64_t previous = INT64_MIN;
  for (int64_t version : versions) {
    Time time = TIDE_TRY(time_of(version));
    previous = previous == INT64_MIN ? time.ms : std::max(time.ms, previous + 1);
    if (previous > ms) break;
    found = version;
  }
  if (!found) return too_early();
  return *found;
}

}  // namespace tide::delta
