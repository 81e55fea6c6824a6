#pragma once

#include <set>
#include <string>

namespace tide::delta {

/// The SELECT that gives deltalog::checkpoint_fields() from a Parquet checkpoint or sidecar.
/// `paths`: which columns the file has, nested ones with dots ("add.deletionVector.offset"); others
/// are null.
std::string checkpoint_read_sql(const std::string& file, const std::set<std::string>& paths);

/// The SELECT that gives a checkpoint's nested columns from rows of deltalog::checkpoint_fields()
/// which `source` (a table function call) yields.
std::string checkpoint_write_sql(const std::string& source);

}  // namespace tide::delta
