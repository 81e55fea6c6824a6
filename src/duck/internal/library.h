#pragma once

#include "base/result.h"
#include "duck/internal/duckdb_c.h"

namespace tide::duck {

/// Loads libduckdb.so (from lib/ beside the program) unless that was done, and checks its version.
/// kUnavailable if it is not there or is not the one we were built for: only what needs DuckDB
/// stops working then.
Status load_library();

/// The library's functions. Only after load_library() has succeeded.
const capi::Functions& api();

}  // namespace tide::duck
