#include "delta/file_statistics.h"

#include <algorithm>
#include <map>

#include "deltalog/statistics.h"

namespace tide::delta {

std::string statistics_of(const duck::WrittenFile& file,
                          const std::vector<columns::Field>& fields) {
  deltalog::StatisticsBuilder builder(fields);
  for (const duck::ColumnStatistics& column : file.columns) {
    // Leaves inside lists have statistics of elements, which Delta's do not speak of.
    builder.set_leaf(column.path, column.null_count, column.bounds);
  }
  builder.set_rows(file.rows);
  return builder.json();
}

}  // namespace tide::delta
