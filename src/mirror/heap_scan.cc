#include "mirror/heap_scan.h"

#include <algorithm>

#include "pgformat/xid.h"

namespace tide::mirror {
namespace {

using pgformat::XidStatus;

constexpr uint32_t kPagesPerRead = 128;

// t_infomask, htup_details.h.
constexpr uint16_t kXmaxExclusiveLock = 0x0040;
constexpr uint16_t kXmaxLockOnly = 0x0080;
constexpr uint16_t kLockMask = 0x0050;
constexpr uint16_t kXminCommitted = 0x0100;
constexpr uint16_t kXminInvalid = 0x0200;
constexpr uint16_t kXmaxInvalid = 0x0800;
constexpr uint16_t kXmaxIsMulti = 0x1000;
constexpr uint32_t kUpdatingMember = 4;  ///< MultiXactStatusNoKeyUpdate and above

class HeapScan {
 public:
  HeapScan(TransactionStatus& transactions, const std::function<Status(const ScannedTuple&)>& visit,
           const std::function<Status(const ScannedTuple&)>& dead)
      : transactions_(transactions), visit_(visit), dead_(dead) {}

  Status page(const std::byte* page, uint32_t block) {
    if (pgformat::page_is_new(page)) return {};
    if (!pgformat::page_is_valid(page)) {
      return {Code::kCorrupt, fmt::format("block {} is no valid page", block)};
    }
    size_t pointers = (pgformat::page_lower(page) - pgformat::kPageHeaderSize) / 4;
    for (size_t i = 1; i <= pointers; ++i) {
      auto offset = static_cast<uint16_t>(i);
      Result<pgformat::HeapTuple> tuple = pgformat::tuple_on_page(page, offset);
      if (!tuple.ok()) {
        if (tuple.status().code() == Code::kNotFound) continue;  // unused, dead or redirected
        return std::move(tuple).status();
      }
      const std::byte* raw = tuple->body.data() - pgformat::kHeapTupleHeaderSize;
      ScannedTuple found{pgformat::TupleId(block, offset), *tuple, 0, 0};
      if (TIDE_TRY(may_be_seen(load<uint32_t>(raw), load<uint32_t>(raw + 4), found))) {
        TIDE_TRY(visit_(found));
      } else if (dead_) {
        TIDE_TRY(dead_(found));
      }
    }
    return {};
  }

 private:
  Result<bool> may_be_seen(uint32_t xmin, uint32_t xmax, ScannedTuple& found) {
    uint16_t infomask = found.tuple.infomask;
    bool frozen = (infomask & (kXminCommitted | kXminInvalid)) == (kXminCommitted | kXminInvalid);
    if (!frozen && pgformat::is_normal_xid(xmin)) {
      if ((infomask & kXminInvalid) != 0) return false;
      XidStatus status = TIDE_TRY(transactions_.status(xmin));
      if (status == XidStatus::kAborted) return false;
      if (status != XidStatus::kCommitted) found.inserter = xmin;
    }
    if ((infomask & kXmaxInvalid) != 0 || xmax == pgformat::kInvalidXid) return true;
    if ((infomask & kXmaxLockOnly) != 0 ||
        (infomask & (kXmaxIsMulti | kLockMask)) == kXmaxExclusiveLock) {
      return true;
    }
    if ((infomask & kXmaxIsMulti) != 0) xmax = TIDE_TRY(transactions_.updater(xmax));
    if (xmax == pgformat::kInvalidXid) return true;
    XidStatus status = TIDE_TRY(transactions_.status(xmax));
    if (status == XidStatus::kCommitted) return false;
    if (status != XidStatus::kAborted) found.deleter = xmax;
    return true;
  }

  TransactionStatus& transactions_;
  const std::function<Status(const ScannedTuple&)>& visit_;
  const std::function<Status(const ScannedTuple&)>& dead_;
};

}  // namespace

Result<const std::byte*> TransactionStatus::page(pgformat::Slru slru, uint32_t page) {
  uint64_t key = uint64_t{static_cast<uint8_t>(slru)} << 32 | page;
  auto [entry, is_new] = pages_.try_emplace(key);
  if (is_new) {
    auto bytes = source_.slru_page(slru, page, at_);
    if (!bytes.ok()) {
      pages_.erase(entry);
      return std::move(bytes).status();
    }
    entry->second = bytes->value_or(std::string(kPageSize, '\0'));
  }
  return reinterpret_cast<const std::byte*>(entry->second.data());
}

Result<XidStatus> TransactionStatus::status(uint32_t xid) {
  if (!pgformat::is_normal_xid(xid)) return XidStatus::kCommitted;
  const std::byte* clog = TIDE_TRY(page(pgformat::Slru::kClog, pgformat::clog_page(xid)));
  return pgformat::clog_status(clog, xid);
}

Result<uint32_t> TransactionStatus::updater(uint32_t multixact) {
  using pgformat::Slru;
  auto offset_of = [&](uint32_t multi) -> Result<uint32_t> {
    const std::byte* offsets =
        TIDE_TRY(page(Slru::kMultixactOffsets, pgformat::multixact_offsets_page(multi)));
    return pgformat::multixact_offset(offsets, multi);
  };
  uint32_t begin = TIDE_TRY(offset_of(multixact));
  uint32_t end = TIDE_TRY(offset_of(pgformat::multixact_after(multixact)));
  // The newest multixact has no successor yet: its members end where their page is empty.
  constexpr uint32_t kMostMembers = 1000;
  for (uint32_t i = 0; (end != 0 ? begin + i != end : true) && i < kMostMembers; ++i) {
    uint32_t offset = begin + i;
    const std::byte* members =
        TIDE_TRY(page(Slru::kMultixactMembers, pgformat::multixact_members_page(offset)));
    pgformat::MultixactMember member = pgformat::multixact_member(members, offset);
    if (member.xid == pgformat::kInvalidXid) break;
    if (member.status >= kUpdatingMember) return member.xid;
  }
  return pgformat::kInvalidXid;
}

Status scan_heap(learner::PageSource& source, const RelFork& rel, Lsn at,
                 TransactionStatus& transactions,
                 const std::function<Status(const ScannedTuple&)>& visit,
                 const std::function<Status(const ScannedTuple&)>& dead) {
  uint32_t blocks = TIDE_TRY(source.rel_size(rel, at)).value_or(0);
  HeapScan scan(transactions, visit, dead);
  for (uint32_t first = 0; first < blocks; first += kPagesPerRead) {
    uint32_t count = std::min(kPagesPerRead, blocks - first);
    std::string pages = TIDE_TRY(source.pages(rel, first, count, at));
    for (uint32_t i = 0; i < count; ++i) {
      Status read = scan.page(as_bytes(pages).data() + size_t{i} * kPageSize, first + i);
      if (!read.ok()) return std::move(read).with_context(fmt::format("scan {}", rel));
    }
  }
  return {};
}

}  // namespace tide::mirror
