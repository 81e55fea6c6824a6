#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pagestore/versions.h"

namespace tide::redo {
class RedoPool;
}

namespace tide::pagestore {

/// Makes pages out of their versions: newest image, then records in order, redone by PostgreSQL
/// (records) or by ourselves (our own small changes). Thread-safe.
class PageReader {
 public:
  PageReader(const Versions& versions, redo::RedoPool& redo) : versions_(versions), redo_(redo) {}

  /// Writes `tags.size()` pages as they are at `at` to `out`. A page that was never written is
  /// zeros. `tags` must be ascending. `chain_lsns`, where given, receives the LSN of each page's
  /// newest version (invalid if it has none): the place where an image of it may be stored.
  Status read(TimelineId timeline, std::span<const PageTag> tags, Lsn at, std::byte* out,
              std::vector<Lsn>* chain_lsns = nullptr) const;

  /// One SLRU page; false if it does not exist (never written, or truncated away).
  Result<bool> read_slru(TimelineId timeline, SlruPage page, Lsn at, std::byte* out,
                         Lsn* chain_lsn = nullptr) const;

 private:
  const Versions& versions_;
  redo::RedoPool& redo_;
};

}  // namespace tide::pagestore
