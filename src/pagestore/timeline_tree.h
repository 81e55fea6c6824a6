#pragma once

#include <map>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"

namespace tide::pagestore {

/// A branch's line of history: its own WAL from `branch_lsn` on, its parent's before.
struct TimelineInfo {
  TimelineId id;
  std::optional<TimelineId> parent;
  Lsn branch_lsn;          ///< first LSN of its own; for the root, where its template was imported
  int64_t created_us = 0;  ///< microseconds since 1970
  Lsn history_cutoff;      ///< no reads below, but at the branch points of children
  Lsn confirmed_lsn;       ///< its learner needs no WAL below; 0: it never had one

  std::string to_json() const;
  static Result<TimelineInfo> from_json(std::string_view text);
};

/// All timelines of a project and who descends from whom. Thread-safe.
class TimelineTree {
 public:
  /// One step of a read that falls through: versions of `timeline` not above `limit`.
  struct Level {
    TimelineId timeline;
    Lsn limit;
  };

  void put(const TimelineInfo& info);
  void remove(TimelineId id);

  std::optional<TimelineInfo> find(TimelineId id) const;
  std::vector<TimelineInfo> all() const;
  /// LSNs at which children of `id` branch off, ascending.
  std::vector<Lsn> branch_points(TimelineId id) const;
  bool has_children(TimelineId id) const;

  /// No learner needs WAL of `id` below: neither its own, nor one that follows a descendant from a
  /// point before it branches off; and what is older than the history window nobody may ask for.
  /// max() where no learner has confirmed anything.
  Lsn learners_need(TimelineId id) const;

  /// Where to look for the state of `id` at `at`, nearest first; empty if `id` is unknown.
  std::vector<Level> levels(TimelineId id, Lsn at) const;

 private:
  mutable std::shared_mutex mutex_;
  std::map<TimelineId, TimelineInfo> timelines_;
};

}  // namespace tide::pagestore
