#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tide::redo_oracle {

/// What a page holds, as PostgreSQL's catalog names it.
enum class PageKind {
  kHeap,
  kBtree,
  kHash,
  kGin,
  kGist,
  kSpgist,
  kBrin,
  kBloom,
  kSequence,
  kVisibilityMap
};

/// Access method name ("heap", "btree", ...) or "sequence".
bool parse_page_kind(std::string_view name, PageKind* kind);

/// Clears what a page may differ in without any WAL record: hint bits, unused space, the LSN. The
/// same rules as PostgreSQL's wal_consistency_checking has (the resource managers' rm_mask).
void mask_page(PageKind kind, uint32_t block, std::byte* page);

}  // namespace tide::redo_oracle
