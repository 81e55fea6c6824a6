#include "storage/read_position.h"

#include <algorithm>
#include <optional>

namespace tide::storage {
namespace {

constexpr int kWaitForWalMs = 10000;

}  // namespace

Result<Lsn> read_position(const pagestore::PageStore& store, TimelineId timeline, Lsn request_lsn,
                          Lsn min_lsn) {
  if (request_lsn < min_lsn) {
    return Status(Code::kInvalid, fmt::format("asked for the state at {}, but not before {}",
                                              request_lsn, min_lsn));
  }
  TIDE_TRY(store.wait_for(timeline, min_lsn, kWaitForWalMs));
  Lsn at = std::min(request_lsn, store.ingested(timeline));
  // Below a branch point it is the parent's history that counts, and so on.
  for (std::optional<TimelineId> id = timeline; id;) {
    auto info = store.tree().find(*id);
    if (!info) return Status(Code::kNotFound, fmt::format("no timeline {}", *id));
    if (at < info->history_cutoff || (!info->parent && at < normalize(info->branch_lsn))) {
      return Status(Code::kOutOfRange, fmt::format("no history of {} at {}", *id, at));
    }
    id = at < info->branch_lsn ? info->parent : std::nullopt;
  }
  return at;
}

}  // namespace tide::storage
