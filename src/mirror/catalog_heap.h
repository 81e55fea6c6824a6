#pragma once

#include <string>
#include <unordered_map>

#include "base/page_tag.h"
#include "base/result.h"
#include "pgformat/heap_record.h"

namespace tide::mirror {

/// Every row version that lies in a catalog's heap, committed or not. Catalogs are not logged for
/// logical decoding: an update's record may name only what differs from the old version, so that
/// must be at hand.
class CatalogHeap {
 public:
  RelFork file;

  void put(pgformat::TupleId id, const pgformat::HeapTuple& tuple) {
    Stored& stored = tuples_[id.value];
    stored.tuple = tuple;
    stored.body.assign(as_chars(tuple.body));
  }
  /// kCorrupt if nothing lies there.
  Result<pgformat::HeapTuple> find(pgformat::TupleId id) const {
    auto stored = tuples_.find(id.value);
    if (stored == tuples_.end()) {
      return Status(Code::kCorrupt,
                    fmt::format("no row version at ({},{}) of {}", id.block(), id.offset(), file));
    }
    pgformat::HeapTuple tuple = stored->second.tuple;
    tuple.body = as_bytes(stored->second.body);
    return tuple;
  }
  /// An in-place update: the data part changes, its length does not.
  void overwrite(pgformat::TupleId id, BytesView data) {
    auto stored = tuples_.find(id.value);
    if (stored == tuples_.end()) return;
    size_t begin = stored->second.tuple.hoff - pgformat::kHeapTupleHeaderSize;
    std::string& body = stored->second.body;
    if (begin <= body.size()) body.replace(begin, std::string::npos, as_chars(data));
  }
  void clear() { tuples_.clear(); }

 private:
  struct Stored {
    pgformat::HeapTuple tuple;  ///< its body is the string beside it
    std::string body;
  };
  std::unordered_map<uint64_t, Stored> tuples_;
};

}  // namespace tide::mirror
