#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tide {

/// CRC-32C (Castagnoli) in PostgreSQL's steps: start with kCrc32cInit, feed, then finish.
inline constexpr uint32_t kCrc32cInit = 0xFFFFFFFFU;
uint32_t crc32c_extend(uint32_t crc, BytesView bytes);
inline uint32_t crc32c_finish(uint32_t crc) { return crc ^ 0xFFFFFFFFU; }
inline uint32_t crc32c(BytesView bytes) { return crc32c_finish(crc32c_extend(kCrc32cInit, bytes)); }

}  // namespace tide
