#pragma once

#include <optional>
#include <unordered_map>
#include <utility>

#include "pgformat/heap_record.h"

namespace tide::mirror {

/// Rows of a catalog with a unique key, found by key and, because that is how the WAL names them,
/// by their place in the heap. An update enters the new version before it removes the old one, or
/// the other way round; both end the same.
template <typename Key, typename Row>
class KeyedRows {
 public:
  void insert(pgformat::TupleId id, Key key, Row row) {
    keys_[id.value] = key;
    rows_.insert_or_assign(key, Entry{id.value, std::move(row)});
  }
  /// The row whose newest version lay at `id`, taken out; nothing if the row has a newer one.
  std::optional<Row> remove(pgformat::TupleId id) {
    auto key = keys_.find(id.value);
    if (key == keys_.end()) return std::nullopt;
    auto entry = rows_.find(key->second);
    keys_.erase(key);
    if (entry == rows_.end() || entry->second.id != id.value) return std::nullopt;
    Row row = std::move(entry->second.row);
    rows_.erase(entry);
    return row;
  }
  void clear() {
    keys_.clear();
    rows_.clear();
  }
  const Row* find(const Key& key) const {
    auto entry = rows_.find(key);
    return entry == rows_.end() ? nullptr : &entry->second.row;
  }
  /// The key of the row at `id`.
  std::optional<Key> key_at(pgformat::TupleId id) const {
    auto key = keys_.find(id.value);
    return key == keys_.end() ? std::nullopt : std::optional<Key>(key->second);
  }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const auto& [key, entry] : rows_) visit(key, entry.row);
  }
  size_t size() const { return rows_.size(); }

 private:
  struct Entry {
    uint64_t id;
    Row row;
  };
  std::unordered_map<uint64_t, Key> keys_;
  std::unordered_map<Key, Entry> rows_;
};

}  // namespace tide::mirror
