#pragma once

#include <string_view>

namespace tide::warehouse {

/// Whether users' queries may call a function of the engine (lower case). Everything that is not on
/// the list is refused, so a new function of a new engine is refused until somebody has looked at
/// it.
bool is_allowed_function(std::string_view name);
/// The same for functions in FROM.
bool is_allowed_table_function(std::string_view name);

}  // namespace tide::warehouse
