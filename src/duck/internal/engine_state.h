#pragma once

#include <set>
#include <string>
#include <vector>

#include "columns/column.h"
#include "duck/deleted_rows.h"
#include "duck/engine.h"
#include "duck/internal/handles.h"
#include "duck/internal/registry.h"

namespace tide::duck {

/// Rows that tide_rows() scans.
struct RowSource {
  std::vector<columns::Field> fields;
  std::vector<RowSegment> segments;
  uint64_t rows = 0;  ///< Without the deleted ones.
};

/// What tide_live() looks into: deletions by file_index, null where a file has none.
struct FileDeletions {
  std::vector<std::shared_ptr<const DeletedRows>> files;
};

/// What engine, connections and registrations share; it goes with the last of them.
struct EngineState {
  bool locked_down = false;
  Registry<RowSource> rows;
  Registry<FileDeletions> deletions;
  /// Lower-case names of functions that users' SQL may not call.
  std::set<std::string, std::less<>> denied_functions;
  /// Last member: closed first, while what its functions point to is there.
  OwnedDatabase database;
};

/// Adds tide_rows(id BIGINT) and tide_live(id BIGINT, file_index UBIGINT, file_row_number BIGINT).
Status register_rows_function(capi::Connection connection, EngineState& state);
Status register_live_function(capi::Connection connection, EngineState& state);

}  // namespace tide::duck
