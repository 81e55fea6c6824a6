#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

/// Answers of roles as text for people.
namespace tide::cli {

/// Text of a member, "-" if it is missing or null.
std::string text_of(const nlohmann::json& object, const char* name);
/// A member that counts bytes, in the unit that reads best; "-" if it is none.
std::string bytes_of(const nlohmann::json& object, const char* name);

/// To standard output, columns aligned; the first row is the heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tide::cli
