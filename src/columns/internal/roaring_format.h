#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/result.h"

namespace tide::columns {

/// Length of the portable 32-bit Roaring bitmap at the front of `bytes`. kCorrupt unless it is
/// valid: known cookie, keys and values ascending, runs apart, counts as stated, all inside
/// `bytes`. The library reads without these checks, and damaged containers would break its
/// invariants.
Result<size_t> check_roaring(BytesView bytes);

}  // namespace tide::columns
