#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "delta/table_directory.h"
#include "deltalog/table_state.h"
#include "duck/engine.h"

namespace tide::delta {

/// The actions of the checkpoint whose files in `_delta_log` are `names` (one, or all parts):
/// classic, multi-part, or V2 in Parquet or JSON with its sidecars. kCorrupt if it cannot be read.
Result<std::vector<deltalog::Action>> read_checkpoint(TableDirectory& directory,
                                                      duck::Engine& engine,
                                                      const std::vector<std::string>& names);

struct WrittenCheckpoint {
  int64_t actions = 0;
  int64_t bytes = 0;
};
/// Writes the classic checkpoint of the state's version and points `_last_checkpoint` at it. A
/// checkpoint of that version that exists already is replaced by an equal one.
Result<WrittenCheckpoint> write_checkpoint(TableDirectory& directory, duck::Engine& engine,
                                           const deltalog::TableState& state);

}  // namespace tide::delta
