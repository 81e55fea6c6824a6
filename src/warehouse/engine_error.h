#pragma once

#include "warehouse/outcome.h"

namespace tide::warehouse {

/// An error of the engine as PostgreSQL would have reported it: SQLSTATE by what the message says,
/// the message without the engine's prefix and picture, its suggestions as HINT.
SqlError engine_error(const Status& status);

}  // namespace tide::warehouse
