#include "pgformat/wal_segment.h"

#include <algorithm>
#include <charconv>

#include "base/crc32c.h"
#include "pgformat/wal_format.h"

namespace tide::pgformat {
namespace {

constexpr uint64_t kSegmentsPerXlogId = 0x100000000 / kWalSegmentSize;
constexpr uint8_t kMainDataShort = 255;

uint64_t header_size(Lsn page) {
  return page.value() % kWalSegmentSize == 0 ? kWalLongHeaderSize : kWalShortHeaderSize;
}

/// The header of the page at `page`, on which a record is continued for `remaining` bytes (0:
/// none).
std::string make_page_header(Lsn page, uint64_t remaining, uint64_t system_id) {
  WalPageHeader header;
  header.page_address = page.value();
  if (remaining > 0) {
    header.info |= kPageFirstIsContrecord;
    header.remaining_length = static_cast<uint32_t>(remaining);
  }
  std::string bytes;
  if (header_size(page) == kWalShortHeaderSize) {
    append(bytes, header);
    return bytes;
  }
  header.info |= kPageLongHeader;
  append(bytes, WalLongPageHeader{header, system_id, kWalSegmentSize, kWalPageSize});
  return bytes;
}

Lsn page_of(Lsn lsn) { return lsn - lsn.value() % kWalPageSize; }

/// Bytes of record content between the headers of pages, from page start `page` up to `end`.
uint64_t content_between(Lsn page, Lsn end) {
  uint64_t content = 0;
  for (; page < end; page = page + kWalPageSize) {
    content += std::min(end, page + kWalPageSize) - page - header_size(page);
  }
  return content;
}

CheckPoint start_checkpoint(const StartRecord& start) {
  CheckPoint checkpoint = start.checkpoint;
  checkpoint.redo = record_start(start.at).value();
  checkpoint.tli = kTimelineId;
  checkpoint.prev_tli = kTimelineId;
  checkpoint.oldest_active_xid = 0;
  return checkpoint;
}

}  // namespace

std::string segment_file_name(uint64_t number) {
  return fmt::format("{:08X}{:08X}{:08X}", kTimelineId, number / kSegmentsPerXlogId,
                     number % kSegmentsPerXlogId);
}

Result<uint64_t> parse_segment_file_name(std::string_view name) {
  uint32_t parts[3] = {};
  bool valid = name.size() == 24;
  for (size_t i = 0; valid && i < 3; ++i) {
    const char* begin = name.data() + i * 8;
    auto [end, error] = std::from_chars(begin, begin + 8, parts[i], 16);
    valid = error == std::errc() && end == begin + 8;
  }
  uint64_t number = uint64_t{parts[1]} * kSegmentsPerXlogId + parts[2];
  if (!valid || parts[0] != kTimelineId || segment_file_name(number) != name) {
    return Status(Code::kInvalid, fmt::format("not a WAL segment of timeline 1: \"{}\"", name));
  }
  return number;
}

std::string make_checkpoint_record(const CheckPoint& checkpoint, Lsn at, Lsn prev) {
  std::string body;
  append(body, kMainDataShort);
  append(body, static_cast<uint8_t>(sizeof(CheckPoint)));
  CheckPoint with_redo = checkpoint;
  with_redo.redo = record_start(at).value();
  append(body, with_redo);

  WalRecordHeader header;
  header.total_length = static_cast<uint32_t>(kRecordHeaderSize + body.size());
  header.prev = prev.value();
  header.info = xlog::kCheckpointShutdown;
  header.rmgr = static_cast<uint8_t>(Rmgr::kXlog);
  uint32_t crc = crc32c_extend(kCrc32cInit, as_bytes(body));
  header.crc = crc32c_finish(crc32c_extend(
      crc, {reinterpret_cast<const std::byte*>(&header), offsetof(WalRecordHeader, crc)}));
  std::string record;
  append(record, header);
  return record + body;
}

Lsn checkpoint_record_end(Lsn at) {
  Lsn position = record_start(at);
  uint64_t left = kCheckpointRecordSize;
  while (true) {
    uint64_t on_page = kWalPageSize - position.value() % kWalPageSize;
    if (left <= on_page) return Lsn(max_align((position + left).value()));
    left -= on_page;
    position = record_start(position + on_page);
  }
}

Result<std::vector<SegmentPiece>> lay_start_record(const StartRecord& start,
                                                   std::optional<BytesView> page_before) {
  auto invalid = [&](std::string reason) {
    return Status(Code::kInvalid, fmt::format("no record can begin at {}: {}", start.at, reason));
  };
  Lsn at = normalize(start.at);
  Lsn page = page_of(at);
  uint64_t in_page = at - page;
  if (at.value() % 8 != 0) return invalid("it is not a multiple of 8");
  if (!at.is_valid()) return invalid("it is 0");
  if (in_page != 0 && in_page < header_size(page)) return invalid("it lies in a page header");

  std::vector<SegmentPiece> pieces;
  auto piece_at = [&](Lsn lsn) -> std::string& {
    pieces.push_back({segment_number(lsn), lsn.value() % kWalSegmentSize, {}});
    return pieces.back().bytes;
  };
  std::string first;  // of the page that holds `at`
  if (page_before.has_value()) {
    if (page_before->size() != in_page) {
      return invalid(fmt::format("{} bytes of its page were given", page_before->size()));
    }
    if (in_page != 0) {
      auto header = load<WalPageHeader>(page_before->data());
      if (header.magic != kWalPageMagic || header.page_address != page.value()) {
        return invalid("the bytes before it are not those of its page");
      }
    }
    first = as_chars(*page_before);
  } else if (at.value() % kWalSegmentSize != 0) {
    Lsn begin = segment_start(segment_number(at));
    uint64_t remaining = content_between(begin, at);
    for (Lsn before = begin; before < page; before = before + kWalPageSize) {
      piece_at(before) = make_page_header(before, remaining, start.system_id);
      remaining -= kWalPageSize - header_size(before);
    }
    if (in_page != 0) {
      first = make_page_header(page, remaining, start.system_id);
      first.resize(in_page, '\0');
    }
  }
  if (in_page == 0) first = make_page_header(page, 0, start.system_id);

  std::string record = make_checkpoint_record(start_checkpoint(start), at, start.prev);
  std::string_view left = record;
  while (true) {
    std::string_view here = left.substr(0, kWalPageSize - first.size());
    first += here;
    left.remove_prefix(here.size());
    first.resize(kWalPageSize, '\0');
    piece_at(page) = std::move(first);
    if (left.empty()) break;
    page = page + kWalPageSize;
    first = make_page_header(page, left.size(), start.system_id);
  }
  return pieces;
}

ControlFile shut_down_at(const ControlFile& control, const StartRecord& start) {
  ControlFile result = control;
  result.system_id = start.system_id;
  result.state = ClusterState::kShutDown;
  result.checkpoint = start_checkpoint(start);
  result.checkpoint_lsn = result.checkpoint.redo;
  result.min_recovery_point = 0;
  result.min_recovery_point_tli = 0;
  result.backup_start_point = 0;
  result.backup_end_point = 0;
  result.backup_end_required = 0;
  return result;
}

}  // namespace tide::pgformat
