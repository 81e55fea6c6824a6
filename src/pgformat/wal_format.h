#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

/// Names and numbers of PostgreSQL 15's WAL (xlog_internal.h, xlogrecord.h, rmgrlist.h).
namespace tide::pgformat {

inline constexpr uint16_t kWalPageMagic = 0xD110;
inline constexpr uint32_t kTimelineId = 1;  ///< PostgreSQL's own timeline id: always 1 here.

/// Flags of a WAL page header (xlp_info).
inline constexpr uint16_t kPageFirstIsContrecord = 0x0001;
inline constexpr uint16_t kPageLongHeader = 0x0002;
inline constexpr uint16_t kPageBackupRemovable = 0x0004;
inline constexpr uint16_t kPageFirstIsOverwriteContrecord = 0x0008;
inline constexpr uint16_t kPageAllFlags = 0x000F;

struct WalPageHeader {
  uint16_t magic = kWalPageMagic;
  uint16_t info = 0;
  uint32_t tli = kTimelineId;
  uint64_t page_address = 0;
  uint32_t remaining_length = 0;  ///< of a record continued from the page before
  uint32_t padding = 0;
};
static_assert(sizeof(WalPageHeader) == 24);

struct WalLongPageHeader {
  WalPageHeader page;
  uint64_t system_id = 0;
  uint32_t segment_size = 0;
  uint32_t page_size = 0;
};
static_assert(sizeof(WalLongPageHeader) == 40);

struct WalRecordHeader {
  uint32_t total_length = 0;
  uint32_t xid = 0;
  uint64_t prev = 0;
  uint8_t info = 0;
  uint8_t rmgr = 0;
  uint16_t padding = 0;
  uint32_t crc = 0;
};
static_assert(sizeof(WalRecordHeader) == 24 && offsetof(WalRecordHeader, crc) == 20);

inline constexpr size_t kRecordHeaderSize = 24;
/// The allocation limit that PostgreSQL 15 itself has for a record.
inline constexpr uint32_t kRecordLengthMax = 0x3FFFFFFF;

constexpr uint64_t max_align(uint64_t value) { return (value + 7) & ~uint64_t{7}; }

/// Resource managers.
enum class Rmgr : uint8_t {
  kXlog = 0,
  kXact = 1,
  kSmgr = 2,
  kClog = 3,
  kDatabase = 4,
  kTablespace = 5,
  kMultixact = 6,
  kRelmap = 7,
  kStandby = 8,
  kHeap2 = 9,
  kHeap = 10,
  kBtree = 11,
  kHash = 12,
  kGin = 13,
  kGist = 14,
  kSequence = 15,
  kSpgist = 16,
  kBrin = 17,
  kCommitTs = 18,
  kReplicationOrigin = 19,
  kGeneric = 20,
  kLogicalMessage = 21,
};
inline constexpr uint8_t kRmgrCount = 22;
inline constexpr uint8_t kFirstCustomRmgr = 128;

/// pg_waldump's name, "custom" for 128 to 255, "unknown" for what PostgreSQL 15 does not have.
std::string_view rmgr_name(uint8_t rmgr);

/// Operations by resource manager (the high four bits of a record's info).
namespace xlog {
enum Op : uint8_t {
  kCheckpointShutdown = 0x00,
  kCheckpointOnline = 0x10,
  kNoop = 0x20,
  kNextOid = 0x30,
  kSwitch = 0x40,
  kBackupEnd = 0x50,
  kParameterChange = 0x60,
  kRestorePoint = 0x70,
  kFpwChange = 0x80,
  kEndOfRecovery = 0x90,
  kFpiForHint = 0xA0,
  kFpi = 0xB0,
  kOverwriteContrecord = 0xD0,
};
}
namespace xact {
enum Op : uint8_t {
  kCommit = 0x00,
  kPrepare = 0x10,
  kAbort = 0x20,
  kCommitPrepared = 0x30,
  kAbortPrepared = 0x40,
  kAssignment = 0x50,
  kInvalidations = 0x60,
};
inline constexpr uint8_t kOpMask = 0x70;
inline constexpr uint8_t kHasInfo = 0x80;
}  // namespace xact
namespace smgr {
enum Op : uint8_t { kCreate = 0x10, kTruncate = 0x20 };
}
namespace clog {
enum Op : uint8_t { kZeroPage = 0x00, kTruncate = 0x10 };
}
namespace database {
enum Op : uint8_t { kCreateFileCopy = 0x00, kCreateWalLog = 0x10, kDrop = 0x20 };
}
namespace tablespace {
enum Op : uint8_t { kCreate = 0x00, kDrop = 0x10 };
}
namespace multixact {
enum Op : uint8_t {
  kZeroOffsetsPage = 0x00,
  kZeroMembersPage = 0x10,
  kCreate = 0x20,
  kTruncate = 0x30
};
}
namespace relmap {
enum Op : uint8_t { kUpdate = 0x00 };
}
namespace standby {
enum Op : uint8_t { kLock = 0x00, kRunningXacts = 0x10, kInvalidations = 0x20 };
}
namespace heap2 {
enum Op : uint8_t {
  kRewrite = 0x00,
  kPrune = 0x10,
  kVacuum = 0x20,
  kFreezePage = 0x30,
  kVisible = 0x40,
  kMultiInsert = 0x50,
  kLockUpdated = 0x60,
  kNewCid = 0x70,
};
}
namespace heap {
enum Op : uint8_t {
  kInsert = 0x00,
  kDelete = 0x10,
  kUpdate = 0x20,
  kTruncate = 0x30,
  kHotUpdate = 0x40,
  kConfirm = 0x50,
  kLock = 0x60,
  kInplace = 0x70,
};
inline constexpr uint8_t kOpMask = 0x70;  ///< also of heap2
inline constexpr uint8_t kInitPage = 0x80;
}  // namespace heap
namespace commit_ts {
enum Op : uint8_t { kZeroPage = 0x00, kTruncate = 0x10 };
}
namespace replication_origin {
enum Op : uint8_t { kSet = 0x00, kDrop = 0x10 };
}

/// PostgreSQL counts microseconds from 2000-01-01, we from 1970-01-01.
inline constexpr int64_t kPostgresEpochUs = 946'684'800'000'000;

}  // namespace tide::pgformat
