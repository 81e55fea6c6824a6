#include "pagestore/versions.h"

#include <rocksdb/db.h>

#include <map>
#include <vector>

#include "pagestore/rocks_status.h"

namespace tide::pagestore {
namespace {

std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

std::unique_ptr<rocksdb::Iterator> prefix_iterator(rocksdb::DB& db) {
  rocksdb::ReadOptions options;
  options.prefix_same_as_start = true;
  return std::unique_ptr<rocksdb::Iterator>(db.NewIterator(options));
}

Lsn lsn_of(std::string_view key) { return split_key(key)->lsn; }

}  // namespace

Result<std::optional<Versions::Version>> Versions::newest(TimelineId timeline, Kind kind,
                                                          std::string_view body, Lsn at) const {
  std::optional<Version> found;
  TIDE_TRY(walk(timeline, kind, body, at, [&](Lsn lsn, std::string_view value) {
    found = Version{lsn, std::string(value)};
    return false;
  }));
  return found;
}

Status Versions::walk(TimelineId timeline, Kind kind, std::string_view body, Lsn at,
                      const Visit& visit) const {
  for (const TimelineTree::Level& level : tree_.levels(timeline, at)) {
    auto iterator = prefix_iterator(db_);
    for (iterator->Seek(version_key(kind, level.timeline, body, level.limit)); iterator->Valid();
         iterator->Next()) {
      if (!visit(lsn_of(view(iterator->key())), view(iterator->value()))) return {};
    }
    TIDE_TRY(status_of(iterator->status(), "read versions"));
  }
  return {};
}

Status Versions::walk_many(TimelineId timeline, Kind kind, std::span<const std::string> bodies,
                           Lsn at, const VisitMany& visit) const {
  std::vector<size_t> open(bodies.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = i;
  for (const TimelineTree::Level& level : tree_.levels(timeline, at)) {
    if (open.empty()) break;
    auto iterator = prefix_iterator(db_);
    std::vector<size_t> still_open;
    for (size_t index : open) {
      bool more = true;
      for (iterator->Seek(version_key(kind, level.timeline, bodies[index], level.limit));
           iterator->Valid(); iterator->Next()) {
        more = visit(index, lsn_of(view(iterator->key())), view(iterator->value()));
        if (!more) break;
      }
      TIDE_TRY(status_of(iterator->status(), "read versions"));
      if (more) still_open.push_back(index);
    }
    open = std::move(still_open);
  }
  return {};
}

Status Versions::list(TimelineId timeline, Kind kind, std::string_view prefix, Lsn at,
                      const VisitNewest& visit) const {
  std::map<std::string, Version, std::less<>> newest;
  for (const TimelineTree::Level& level : tree_.levels(timeline, at)) {
    rocksdb::ReadOptions options;
    options.total_order_seek = true;
    std::unique_ptr<rocksdb::Iterator> iterator(db_.NewIterator(options));
    std::string start = version_prefix(kind, level.timeline, prefix);
    iterator->Seek(start);
    while (iterator->Valid() && iterator->key().starts_with(start)) {
      std::string_view key = view(iterator->key());
      KeyParts parts = *split_key(key);
      std::string body(parts.body);
      if (parts.lsn > level.limit) {  // too new: go to the first version that is visible
        std::string visible = version_key(kind, level.timeline, body, level.limit);
        if (view(iterator->key()) < visible) {
          iterator->Seek(visible);
          continue;
        }
      }
      if (!newest.contains(body)) newest[body] = {parts.lsn, std::string(view(iterator->value()))};
      iterator->Seek(version_key(kind, level.timeline, body, Lsn(0)));  // the oldest possible
      if (iterator->Valid() && view(iterator->key()) == std::string_view(version_key(
                                                            kind, level.timeline, body, Lsn(0)))) {
        iterator->Next();
      }
    }
    TIDE_TRY(status_of(iterator->status(), "list versions"));
  }
  for (const auto& [body, version] : newest) TIDE_TRY(visit(body, version.lsn, version.value));
  return {};
}

}  // namespace tide::pagestore
