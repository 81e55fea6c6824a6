#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace rocksdb {
class CompactionFilterFactory;
}

namespace tide::pagestore {

/// Which versions somebody may still ask for.
///
/// On a timeline, readers ask at LSNs above its cutoff and at the LSNs where its children branch
/// off. A version at L, with the next newer base of the same thing at B, is visible in [L, B). It
/// is needed if that range holds an LSN that may be asked for.
class HistoryPolicy {
 public:
  struct Timeline {
    Lsn cutoff;                      ///< every LSN >= cutoff may be asked for
    std::vector<Lsn> branch_points;  ///< ascending
  };
  using Table = std::map<TimelineId, Timeline>;

  void replace(Table table);
  std::shared_ptr<const Table> table() const;

  /// True if a version visible in [begin, end) may still be asked for.
  static bool is_needed(const Timeline& timeline, Lsn begin, Lsn end);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Table> table_ = std::make_shared<Table>();
};

/// Drops versions nobody may ask for, as part of compactions.
std::shared_ptr<rocksdb::CompactionFilterFactory> make_history_filter(
    std::shared_ptr<HistoryPolicy> policy);

}  // namespace tide::pagestore
