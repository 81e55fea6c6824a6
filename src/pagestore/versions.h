#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/keys.h"
#include "pagestore/timeline_tree.h"

namespace rocksdb {
class DB;
}

namespace tide::pagestore {

/// Reads versioned keys of a branch and, where it has not diverged, of its ancestors.
///
/// A snapshot-free view: every read sees what has been written when it begins, which is right
/// because versions are only ever added above what readers ask for. Safe from any thread.
class Versions {
 public:
  Versions(rocksdb::DB& db, const TimelineTree& tree) : db_(db), tree_(tree) {}

  struct Version {
    Lsn lsn;
    std::string value;
  };

  /// The newest version not above `at`; nothing if there is none.
  Result<std::optional<Version>> newest(TimelineId timeline, Kind kind, std::string_view body,
                                        Lsn at) const;

  /// Calls `visit` with versions not above `at`, newest first, until it returns false.
  using Visit = std::function<bool(Lsn lsn, std::string_view value)>;
  Status walk(TimelineId timeline, Kind kind, std::string_view body, Lsn at,
              const Visit& visit) const;

  /// Walks many things of one kind in one go, with one iterator per ancestor. `bodies` must be
  /// sorted.
  using VisitMany = std::function<bool(size_t index, Lsn lsn, std::string_view value)>;
  Status walk_many(TimelineId timeline, Kind kind, std::span<const std::string> bodies, Lsn at,
                   const VisitMany& visit) const;

  /// Calls `visit` once for every thing of a kind whose body begins with `prefix`, with its newest
  /// version not above `at`, in order of body.
  using VisitNewest = std::function<Status(std::string_view body, Lsn lsn, std::string_view value)>;
  Status list(TimelineId timeline, Kind kind, std::string_view prefix, Lsn at,
              const VisitNewest& visit) const;

 private:
  rocksdb::DB& db_;
  const TimelineTree& tree_;
};

}  // namespace tide::pagestore
