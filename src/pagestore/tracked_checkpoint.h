#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "pgformat/control_file.h"

namespace tide::pagestore {

/// PostgreSQL's CheckPoint in motion: what a checkpoint at this LSN would say, kept up to date from
/// every record, so that a compute can start at any LSN.
///
/// The next xid is rounded up to a multiple of kXidStep, so that a new version is written once per
/// step and not per transaction; up to kXidStep - 1 transaction ids are skipped by a start.
/// kXidStep divides the transactions of a clog page, so no page of pg_xact is skipped.
inline constexpr uint64_t kXidStep = 1024;

/// Moves next_xid past `xid`. True if it changed.
bool see_xid(pgformat::CheckPoint* tracked, uint32_t xid);

std::string encode_checkpoint(const pgformat::CheckPoint& checkpoint);
Result<pgformat::CheckPoint> decode_checkpoint(std::string_view bytes);

}  // namespace tide::pagestore
