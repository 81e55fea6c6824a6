#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "columns/type.h"

namespace tide::warehouse {

/// A type as Delta's schema JSON has it ("long", {"type": "array", ...}); kCorrupt else.
Result<columns::Type> type_of_json(const nlohmann::json& json);

/// An expression that makes of a stored column, of which `column` is the quoted name, what the
/// engine calculates with: intervals, times, uuids and JSON are stored as text.
std::string typed_expression(const std::string& column, const columns::Type& stored,
                             const std::string& pg_type);

}  // namespace tide::warehouse
