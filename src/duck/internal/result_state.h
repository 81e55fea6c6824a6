#pragma once

#include <memory>
#include <vector>

#include "duck/connection.h"
#include "duck/internal/connection_state.h"
#include "duck/internal/vector_reader.h"

namespace tide::duck {

struct QueryResult::State {
  /// Kept while rows come.
  std::shared_ptr<ConnectionState> connection;
  StatementKind kind = StatementKind::kNone;
  capi::ResultHandle result;
  std::vector<ResultColumn> columns;
  std::vector<VectorReader> readers;
  OwnedChunk chunk;  ///< Rows not yet given, from `given` on.
  capi::idx_t given = 0;
  uint64_t rows_changed = 0;
  bool done = false;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  /// Reads the columns; and all of a statement that is no query, so that it has run to its end.
  Status describe();
  /// The next chunk, null at the end.
  Status fetch();
  Status error();
};

}  // namespace tide::duck
