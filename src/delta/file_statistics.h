#pragma once

#include <string>
#include <vector>

#include "columns/type.h"
#include "duck/parquet_writer.h"

namespace tide::delta {

/// The `stats` of an add action for a file that DuckDB wrote (a merge), from what the writer knows.
/// `fields`: the table's columns with physical names; columns of the file beside them are passed
/// over. The same text that deltalog::StatisticsBuilder makes of the rows, but that bounds may be
/// missing where the writer does not know them.
std::string statistics_of(const duck::WrittenFile& file, const std::vector<columns::Field>& fields);

}  // namespace tide::delta
