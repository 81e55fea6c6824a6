#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "columns/type.h"

namespace tide::duck {

/// "name" with quotes, whatever it contains.
std::string quote_identifier(std::string_view name);
/// 'text' with quotes.
std::string quote_literal(std::string_view text);
/// A list of files for read_parquet() and its like: no character of a name is taken for a pattern.
std::string quote_files(const std::vector<std::string>& files);
/// DuckDB's spelling of a type: "DECIMAL(10,2)", "STRUCT(\"a\" BIGINT)", "TIMESTAMP WITH TIME
/// ZONE".
std::string to_sql(const columns::Type& type);

}  // namespace tide::duck
