#include "pagestore/tracked_checkpoint.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace tide::pagestore {

bool see_xid(pgformat::CheckPoint* tracked, uint32_t xid) {
  uint64_t before = tracked->next_xid;
  pgformat::advance_next_xid(tracked, xid);
  if (tracked->next_xid == before) return false;
  tracked->next_xid = (tracked->next_xid + kXidStep - 1) / kXidStep * kXidStep;
  // The permanent ids at the begin of each xid epoch are never handed out.
  if (static_cast<uint32_t>(tracked->next_xid) == 0) tracked->next_xid += kXidStep;
  return true;
}

std::string encode_checkpoint(const pgformat::CheckPoint& checkpoint) {
  std::string bytes;
  append(bytes, checkpoint);
  return bytes;
}

Result<pgformat::CheckPoint> decode_checkpoint(std::string_view bytes) {
  if (bytes.size() != sizeof(pgformat::CheckPoint)) {
    return Status(Code::kCorrupt, fmt::format("stored checkpoint of {} bytes", bytes.size()));
  }
  return load<pgformat::CheckPoint>(bytes.data());
}

}  // namespace tide::pagestore
