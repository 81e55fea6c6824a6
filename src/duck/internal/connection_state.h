#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "duck/connection.h"
#include "duck/internal/engine_state.h"
#include "duck/internal/handles.h"

namespace tide::duck {

/// What a connection shares with its prepared statements and results.
class ConnectionState {
 public:
  std::shared_ptr<EngineState> engine;
  bool user = false;
  /// Null: none. Shared with what was prepared with it.
  std::shared_ptr<const TableResolver> resolver;
  /// Tables named by statements that may be bound again without their text (views, macros).
  std::vector<TableName> remembered;
  OwnedConnection connection;
};

/// A Status for an error of DuckDB's. Without a number the message's prefix tells the kind.
Status duckdb_error(capi::ErrorId id, std::string_view message);

}  // namespace tide::duck
