#pragma once

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/page_store.h"

namespace tide::storage {

/// The LSN at which a read is answered: the newest ingested one not above `request_lsn`, once
/// `min_lsn` is ingested. Waits for that for up to 10 s, then kRetry. kOutOfRange if the history
/// that is kept begins later, kInvalid if request_lsn < min_lsn.
Result<Lsn> read_position(const pagestore::PageStore& store, TimelineId timeline, Lsn request_lsn,
                          Lsn min_lsn);

}  // namespace tide::storage
