#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "warehouse/outcome.h"

namespace tide::warehouse {

/// A value for $n: its text (absent: NULL) and PostgreSQL type, 0 if nobody said.
struct ParameterValue {
  std::optional<std::string> text;
  uint32_t type = 0;
};

/// From what a Bind message carries. `format`: 0 text, 1 binary.
Outcome<ParameterValue> decode_parameter(const std::optional<std::string>& bytes, int16_t format,
                                         uint32_t type);

/// SQL of the engine that stands for the value: a literal, cast to its type. Whatever the text is,
/// it stays one value.
Outcome<std::string> parameter_sql(const ParameterValue& value);

}  // namespace tide::warehouse
