#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pgformat/control_file.h"

namespace tide::pgformat {

/// Number of the segment file that holds the byte at `lsn`.
constexpr uint64_t segment_number(Lsn lsn) { return lsn.value() / kWalSegmentSize; }
constexpr Lsn segment_start(uint64_t number) { return Lsn(number * kWalSegmentSize); }
/// The file's name on PostgreSQL's timeline 1: "000000010000000000000001".
std::string segment_file_name(uint64_t number);
/// The number, or kInvalid if the name is not that of a segment of timeline 1.
Result<uint64_t> parse_segment_file_name(std::string_view name);

/// A shutdown-checkpoint record that begins at record_start(`at`), where `redo` of the checkpoint
/// is put: kRecordHeaderSize + 90 bytes, not padded.
std::string make_checkpoint_record(const CheckPoint& checkpoint, Lsn at, Lsn prev);
inline constexpr uint64_t kCheckpointRecordSize = 24 + 2 + 88;

/// Where the record laid at `at` ends, normalized: the first LSN the new compute writes.
Lsn checkpoint_record_end(Lsn at);

/// Bytes for one place in a segment file. What no piece covers stays as it is (in a new file:
/// zeros).
struct SegmentPiece {
  uint64_t segment = 0;
  uint64_t offset = 0;
  std::string bytes;
};

struct StartRecord {
  CheckPoint checkpoint;  ///< its redo, tli and oldest_active_xid are set here
  Lsn at;                 ///< a record's end, normalized or not; 8-byte aligned
  Lsn prev;               ///< start of the record that ends at `at`
  uint64_t system_id = 0;
};

/// Lays the synthetic checkpoint that lets stock PostgreSQL start at `at` into segment files. With
/// a pg_control that is shut_down_at() the same place, PostgreSQL starts at once, and the record
/// becomes part of history.
///
/// `page_before`: the WAL of the page of `at` that lies before `at`, at % 8192 bytes; the segment's
/// pages before are the caller's. Without it the bytes before are made up: from the segment's start
/// every page gets a header that says it continues a record which ends at `at`, so readers that
/// start at the segment skip to the new record.
///
/// The page of the record's end is whole, zeros behind the record, so an old tail does not show
/// through; the caller must see to it that the pages behind are zeros too. kInvalid if `at` is not
/// aligned, points into a page header, or `page_before` has another size or no valid page header.
Result<std::vector<SegmentPiece>> lay_start_record(const StartRecord& start,
                                                   std::optional<BytesView> page_before);

/// `control` as after a clean shutdown whose checkpoint record is the one laid at `start.at`.
ControlFile shut_down_at(const ControlFile& control, const StartRecord& start);

}  // namespace tide::pgformat
