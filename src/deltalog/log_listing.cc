#include "deltalog/log_listing.h"

#include <fmt/format.h>

#include <algorithm>

namespace tide::deltalog {
namespace {

constexpr size_t kVersionDigits = 20;
constexpr size_t kPartDigits = 10;

/// Takes exactly `digits` digits from the front.
std::optional<int64_t> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int64_t value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text[i] - '0', &value)) {
      return std::nullopt;
    }
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

}  // namespace

std::optional<LogFile> parse_log_file(std::string_view name) {
  std::string_view rest = name;
  std::optional<int64_t> version = take_number(rest, kVersionDigits);
  if (!version || !take(rest, ".")) return std::nullopt;
  LogFile file{std::string(name), LogFileKind::kCommit, *version, *version};
  if (rest == "json") return file;
  if (rest == "crc") {
    file.kind = LogFileKind::kChecksum;
    return file;
  }
  if (rest == "checkpoint.parquet") {
    file.kind = LogFileKind::kClassicCheckpoint;
    return file;
  }
  if (take(rest, "checkpoint.")) {
    std::string_view numbers = rest;
    std::optional<int64_t> part = take_number(numbers, kPartDigits);
    if (part && take(numbers, ".")) {
      std::optional<int64_t> parts = take_number(numbers, kPartDigits);
      if (parts && numbers == ".parquet" && *part >= 1 && *part <= *parts && *parts <= 1'000'000) {
        file.kind = LogFileKind::kCheckpointPart;
        file.part = static_cast<int>(*part);
        file.parts = static_cast<int>(*parts);
        return file;
      }
    }
    size_t dot = rest.find('.');
    std::string_view suffix = dot == std::string_view::npos ? "" : rest.substr(dot);
    if (dot == 36 && (suffix == ".parquet" || suffix == ".json")) {
      file.kind = LogFileKind::kUuidCheckpoint;
      return file;
    }
    return std::nullopt;
  }
  std::optional<int64_t> end = take_number(rest, kVersionDigits);
  if (end && rest == ".compacted.json" && *end > *version) {
    file.kind = LogFileKind::kCompactedCommit;
    file.end_version = *end;
    return file;
  }
  return std::nullopt;
}

std::string commit_name(int64_t version) { return fmt::format("{:020}.json", version); }
std::string checkpoint_name(int64_t version) {
  return fmt::format("{:020}.checkpoint.parquet", version);
}

std::vector<std::string> LogListing::Checkpoints::best() const {
  if (!classic.empty()) return {classic};
  if (!uuids.empty()) return {uuids.front()};
  for (const auto& [count, named] : parts) {
    if (static_cast<int>(named.size()) != count) continue;
    std::vector<std::string> names;
    for (const auto& [part, name] : named) names.push_back(name);
    return names;
  }
  return {};
}

LogListing::LogListing(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::optional<LogFile> file = parse_log_file(name);
    if (!file) continue;
    switch (file->kind) {
      case LogFileKind::kCommit:
        commits_.emplace(file->version, name);
        break;
      case LogFileKind::kCompactedCommit:
        compacted_[file->version].emplace(file->end_version, name);
        break;
      case LogFileKind::kClassicCheckpoint:
        checkpoints_[file->version].classic = name;
        break;
      case LogFileKind::kUuidCheckpoint:
        checkpoints_[file->version].uuids.push_back(name);
        break;
      case LogFileKind::kCheckpointPart:
        checkpoints_[file->version].parts[file->parts].emplace(file->part, name);
        break;
      case LogFileKind::kChecksum:
        break;
    }
    files_.push_back(*std::move(file));
  }
  std::sort(files_.begin(), files_.end(), [](const LogFile& a, const LogFile& b) {
    return std::tie(a.version, a.name) < std::tie(b.version, b.name);
  });
  for (auto& [version, checkpoints] : checkpoints_) {
    std::sort(checkpoints.uuids.begin(), checkpoints.uuids.end());
  }
  std::erase_if(checkpoints_, [](const auto& entry) { return entry.second.best().empty(); });
  if (!commits_.empty()) latest_ = commits_.rbegin()->first;
  if (!checkpoints_.empty()) latest_ = std::max(latest_, checkpoints_.rbegin()->first);
}

std::vector<int64_t> LogListing::commit_versions() const {
  std::vector<int64_t> versions;
  for (const auto& [version, name] : commits_) versions.push_back(version);
  return versions;
}

std::vector<int64_t> LogListing::checkpoint_versions() const {
  std::vector<int64_t> versions;
  for (const auto& [version, checkpoints] : checkpoints_) versions.push_back(version);
  return versions;
}

Result<LogSegment> LogListing::segment(std::optional<int64_t> wanted,
                                       int64_t checkpoint_below) const {
  if (latest_ < 0) return Status(Code::kNotFound, "there is no Delta table: its log is empty");
  LogSegment segment;
  segment.version = wanted.value_or(latest_);
  if (segment.version < 0 || segment.version > latest_) {
    return Status(Code::kNotFound, fmt::format("version {} does not exist, the latest is {}",
                                               segment.version, latest_));
  }
  auto above = checkpoints_.upper_bound(std::min(segment.version, checkpoint_below - 1));
  if (above != checkpoints_.begin()) {
    --above;
    segment.checkpoint_version = above->first;
    segment.checkpoint = above->second.best();
  }
  int64_t next = segment.checkpoint_version + 1;
  while (next <= segment.version) {
    // The longest compacted commit that does not overshoot saves the most reading.
    if (auto from = compacted_.find(next); from != compacted_.end()) {
      auto end = from->second.upper_bound(segment.version);
      if (end != from->second.begin()) {
        --end;
        segment.commits.push_back({end->second, end->first});
        next = end->first + 1;
        continue;
      }
    }
    auto commit = commits_.find(next);
    if (commit == commits_.end()) {
      if (segment.checkpoint_version < 0 && segment.commits.empty()) {
        return Status(Code::kNotFound,
                      fmt::format("version {} cannot be read any more: commit {} and every "
                                  "checkpoint before it are gone",
                                  segment.version, next));
      }
      return Status(Code::kCorrupt, fmt::format("commit {} is missing from the log", next));
    }
    segment.commits.push_back({commit->second, next});
    ++next;
  }
  return segment;
}

std::string write_last_checkpoint(int64_t version, int64_t actions, int64_t bytes,
                                  int64_t add_files) {
  return fmt::format("{{\"version\":{},\"size\":{},\"sizeInBytes\":{},\"numOfAddFiles\":{}}}",
                     version, actions, bytes, add_files);
}

}  // namespace tide::deltalog
