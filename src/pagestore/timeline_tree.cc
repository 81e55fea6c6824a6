#include "pagestore/timeline_tree.h"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

namespace tide::pagestore {

std::string TimelineInfo::to_json() const {
  nlohmann::json json = {{"id", id.value},
                         {"branch_lsn", branch_lsn.to_string()},
                         {"created_us", created_us},
                         {"history_cutoff", history_cutoff.to_string()}};
  if (confirmed_lsn.is_valid()) json["confirmed_lsn"] = confirmed_lsn.to_string();
  if (parent) json["parent"] = parent->value;
  return json.dump();
}

Result<TimelineInfo> TimelineInfo::from_json(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("id") || !json.contains("branch_lsn")) {
    return Status(Code::kCorrupt, fmt::format("stored timeline is not valid: {}", text));
  }
  TimelineInfo info;
  try {
    info.id = TimelineId{json["id"].get<uint32_t>()};
    info.branch_lsn = TIDE_TRY(Lsn::parse(json["branch_lsn"].get<std::string>()));
    info.created_us = json.value("created_us", int64_t{0});
    info.history_cutoff = TIDE_TRY(Lsn::parse(json.value("history_cutoff", "0/0")));
    info.confirmed_lsn = TIDE_TRY(Lsn::parse(json.value("confirmed_lsn", "0/0")));
    if (json.contains("parent")) info.parent = TimelineId{json["parent"].get<uint32_t>()};
  } catch (const nlohmann::json::exception& error) {
    return Status(Code::kCorrupt, fmt::format("stored timeline is not valid: {}", text))
        .with_detail(error.what());
  }
  return info;
}

void TimelineTree::put(const TimelineInfo& info) {
  std::unique_lock lock(mutex_);
  timelines_[info.id] = info;
}

void TimelineTree::remove(TimelineId id) {
  std::unique_lock lock(mutex_);
  timelines_.erase(id);
}

std::optional<TimelineInfo> TimelineTree::find(TimelineId id) const {
  std::shared_lock lock(mutex_);
  auto found = timelines_.find(id);
  if (found == timelines_.end()) return std::nullopt;
  return found->second;
}

std::vector<TimelineInfo> TimelineTree::all() const {
  std::shared_lock lock(mutex_);
  std::vector<TimelineInfo> infos;
  for (const auto& [id, info] : timelines_) infos.push_back(info);
  return infos;
}

std::vector<Lsn> TimelineTree::branch_points(TimelineId id) const {
  std::shared_lock lock(mutex_);
  std::vector<Lsn> points;
  for (const auto& [child, info] : timelines_) {
    if (info.parent == id) points.push_back(info.branch_lsn);
  }
  std::sort(points.begin(), points.end());
  return points;
}

bool TimelineTree::has_children(TimelineId id) const { return !branch_points(id).empty(); }

Lsn TimelineTree::learners_need(TimelineId id) const {
  std::shared_lock lock(mutex_);
  auto own = timelines_.find(id);
  if (own == timelines_.end()) return Lsn::max();
  Lsn needed = Lsn::max();
  for (const auto& [other, info] : timelines_) {
    if (!info.confirmed_lsn.is_valid()) continue;
    // Up from the learner's timeline as long as it still reads below where that branches off.
    auto at = timelines_.find(other);
    while (at->first != id && at->second.parent && info.confirmed_lsn < at->second.branch_lsn) {
      auto parent = timelines_.find(*at->second.parent);
      if (parent == timelines_.end()) break;
      at = parent;
    }
    if (at->first == id) needed = std::min(needed, info.confirmed_lsn);
  }
  return needed == Lsn::max() ? needed : std::max(needed, own->second.history_cutoff);
}

std::vector<TimelineTree::Level> TimelineTree::levels(TimelineId id, Lsn at) const {
  std::shared_lock lock(mutex_);
  std::vector<Level> levels;
  auto found = timelines_.find(id);
  while (found != timelines_.end()) {
    levels.push_back({found->first, at});
    if (!found->second.parent) break;
    at = std::min(at, found->second.branch_lsn);
    found = timelines_.find(*found->second.parent);
  }
  return levels;
}

}  // namespace tide::pagestore
