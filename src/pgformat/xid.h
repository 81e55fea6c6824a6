#pragma once

#include <cstdint>

namespace tide::pgformat {

/// Transaction ids are 32-bit numbers on a circle; 0 to 2 are special and older than all others.
inline constexpr uint32_t kInvalidXid = 0;
inline constexpr uint32_t kFirstNormalXid = 3;
inline constexpr uint32_t kFirstMultiXact = 1;

constexpr bool is_normal_xid(uint32_t xid) { return xid >= kFirstNormalXid; }

/// True if `a` is older than `b` (PostgreSQL's TransactionIdPrecedes).
constexpr bool xid_precedes(uint32_t a, uint32_t b) {
  if (!is_normal_xid(a) || !is_normal_xid(b)) return a < b;
  return static_cast<int32_t>(a - b) < 0;
}

/// The id assigned after `xid`; skips the special ones.
constexpr uint32_t xid_after(uint32_t xid) {
  return xid + 1 < kFirstNormalXid ? kFirstNormalXid : xid + 1;
}

/// The newer of two ids, where 0 means none.
constexpr uint32_t newer_xid(uint32_t a, uint32_t b) {
  if (a == kInvalidXid) return b;
  if (b == kInvalidXid) return a;
  return xid_precedes(a, b) ? b : a;
}

/// Multixact ids and member offsets are on a circle too; a multixact id is never 0.
constexpr bool multixact_precedes(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) < 0;
}
constexpr uint32_t multixact_after(uint32_t multi) {
  return multi + 1 < kFirstMultiXact ? kFirstMultiXact : multi + 1;
}

/// The 64-bit counter `next` moved so that it lies behind `xid`; unchanged if it does already.
/// `xid` must be within 2^31 of `next`. Special ids (0 to 2) change nothing.
constexpr uint64_t advance_full_xid(uint64_t next, uint32_t xid) {
  if (!is_normal_xid(xid)) return next;
  auto low = static_cast<uint32_t>(next);
  if (xid_precedes(xid, low)) return next;
  uint32_t after = xid_after(xid);
  uint64_t epoch = next >> 32;
  if (after < low) ++epoch;  // passed 2^32
  return epoch << 32 | after;
}

}  // namespace tide::pgformat
