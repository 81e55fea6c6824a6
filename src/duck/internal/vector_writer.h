#pragma once

#include "columns/column.h"
#include "duck/internal/handles.h"

namespace tide::duck {

/// DuckDB's type for a type of ours.
OwnedType logical_type(const columns::Type& type);

/// Writes rows [begin, begin + count) of a column to a flat vector of its type from row `at` on.
/// Text is not copied: the vector points into the column, which must outlive the query.
void write_rows(const columns::Column& column, size_t begin, size_t count, capi::Vector vector,
                capi::idx_t at);

/// kInvalid unless all text in the column, at any depth, is UTF-8: DuckDB takes that for granted.
Status check_utf8(const columns::Column& column);

}  // namespace tide::duck
