#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "duck/connection.h"

namespace tide::duck {

/// Lower-case names of all table functions, pragmas and table macros but those known to read
/// neither files nor settings, and of ours. Denied unless known harmless: a newer DuckDB's
/// functions are denied.
Result<std::set<std::string, std::less<>>> functions_users_may_not_call(Connection& connection);

/// kDenied if a user's statement calls such a function, in whatever spelling, or names a file where
/// a table belongs. Refuses a little too much rather than too little.
Status check_user_sql(std::string_view sql, const std::set<std::string, std::less<>>& denied);

/// kDenied for what a user may not name as a table: what DuckDB would take for a file.
Status check_user_table(const TableName& name);

/// kDenied if any string in the statement looks like a file's name: for statements whose tables
/// cannot be told.
Status check_user_strings(std::string_view sql);

/// kDenied unless the kind of statement only reads.
Status check_user_statement(StatementKind kind);

}  // namespace tide::duck
