#include "pagestore/history_policy.h"

#include <rocksdb/compaction_filter.h>

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "pagestore/keys.h"
#include "pagestore/page_version.h"

namespace tide::pagestore {
namespace {

bool value_is_base(Kind kind, std::string_view value) {
  // Other kinds hold whole values: each version stands alone.
  return (kind != Kind::kPage && kind != Kind::kSlru) || value.empty() || is_base(value);
}

bool is_versioned(Kind kind) {
  return kind != Kind::kIngested && kind != Kind::kTimeline && kind != Kind::kCommitTime &&
         kind != Kind::kMetadata;
}

/// Sees the keys of one compaction in order: all versions of a thing together, newest first. It may
/// not see versions that lie in other files; that only makes it keep more.
class HistoryFilter : public rocksdb::CompactionFilter {
 public:
  explicit HistoryFilter(std::shared_ptr<const HistoryPolicy::Table> table)
      : table_(std::move(table)) {}

  const char* Name() const override { return "tide.history"; }

  /// Large values lie in blob files: most versions are decided without reading theirs.
  Decision FilterBlobByKey(int /*level*/, const rocksdb::Slice& key_slice,
                           std::string* /*new_value*/, std::string* /*skip_until*/) const override {
    std::string_view key(key_slice.data(), key_slice.size());
    auto parts = split_key(key);
    if (!parts || !is_versioned(parts->kind)) return Decision::kKeep;
    auto timeline = table_->find(parts->timeline);
    // Above the cutoff all is kept, and whether it is a base decides nothing about what lies below.
    bool above = timeline == table_->end() || parts->lsn > timeline->second.cutoff;
    return above ? Decision::kKeep : Decision::kUndetermined;
  }

  Decision FilterV2(int /*level*/, const rocksdb::Slice& key_slice, ValueType type,
                    const rocksdb::Slice& value, std::string* /*new_value*/,
                    std::string* /*skip_until*/) const override {
    if (type != ValueType::kValue)
      return Decision::kKeep;  // blob indexes are decided with their value
    std::string_view key(key_slice.data(), key_slice.size());
    auto parts = split_key(key);
    if (!parts) return Decision::kKeep;
    auto timeline = table_->find(parts->timeline);
    if (timeline == table_->end()) return Decision::kKeep;
    if (parts->kind == Kind::kCommitTime) {
      Lsn commit(load_be64(key.data() + key.size() - 8));
      return HistoryPolicy::is_needed(timeline->second, commit, Lsn::max()) ? Decision::kKeep
                                                                            : Decision::kRemove;
    }
    if (!is_versioned(parts->kind)) return Decision::kKeep;
    std::string_view thing = key.substr(0, key.size() - kKeyLsnSize);
    if (thing != current_) {
      current_ = thing;
      newer_base_ = Lsn::max();
    }
    bool needed = HistoryPolicy::is_needed(timeline->second, parts->lsn, newer_base_);
    if (value_is_base(parts->kind, {value.data(), value.size()})) newer_base_ = parts->lsn;
    return needed ? Decision::kKeep : Decision::kRemove;
  }

 private:
  std::shared_ptr<const HistoryPolicy::Table> table_;
  mutable std::string current_;
  mutable Lsn newer_base_;
};

class HistoryFilterFactory : public rocksdb::CompactionFilterFactory {
 public:
  explicit HistoryFilterFactory(std::shared_ptr<HistoryPolicy> policy)
      : policy_(std::move(policy)) {}

  const char* Name() const override { return "tide.history"; }

  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& /*context*/) override {
    return std::make_unique<HistoryFilter>(policy_->table());
  }

 private:
  std::shared_ptr<HistoryPolicy> policy_;
};

}  // namespace

void HistoryPolicy::replace(Table table) {
  auto fresh = std::make_shared<const Table>(std::move(table));
  std::lock_guard lock(mutex_);
  table_ = std::move(fresh);
}

std::shared_ptr<const HistoryPolicy::Table> HistoryPolicy::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

bool HistoryPolicy::is_needed(const Timeline& timeline, Lsn begin, Lsn end) {
  if (end > timeline.cutoff) return true;
  auto point =
      std::lower_bound(timeline.branch_points.begin(), timeline.branch_points.end(), begin);
  return point != timeline.branch_points.end() && *point < end;
}

std::shared_ptr<rocksdb::CompactionFilterFactory> make_history_filter(
    std::shared_ptr<HistoryPolicy> policy) {
  return std::make_shared<HistoryFilterFactory>(std::move(policy));
}

}  // namespace tide::pagestore
