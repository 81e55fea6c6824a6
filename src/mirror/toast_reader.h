#pragma once

#include <cstdint>
#include <string>

#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "learner/source.h"
#include "pgformat/heap_record.h"
#include "pgtypes/varlena.h"

namespace tide::mirror {

/// Reads a value out of a TOAST table as of `at`: down its B-tree to the chunks (nbtree.h,
/// toast_internals.h). For values that an UPDATE left where they were; fresh ones are in the WAL.
/// kCorrupt if chunks are missing.
Result<std::string> read_toasted(learner::PageSource& source, const RelFork& heap,
                                 const RelFork& index, const pgtypes::ToastPointer& pointer,
                                 Lsn at);

/// chunk_id, chunk_seq and chunk_data of a TOAST table's row.
struct ToastChunk {
  uint32_t value_id = 0;
  int32_t number = 0;
  std::string_view data;
};
Result<ToastChunk> read_toast_chunk(const pgformat::HeapTuple& tuple, std::string& scratch);

}  // namespace tide::mirror
