#include "pgformat/wal_reader.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "pgformat/wal_format.h"

namespace tide::pgformat {
namespace {

constexpr size_t kFirstCapacity = 64 * 1024;

bool all_zero(const std::byte* data, size_t size) {
  return std::all_of(data, data + size, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

WalReader::WalReader(const Options& options) : options_(options) {
  seek(options.start, options.prev);
  skipping_continued_ = options.skip_continued_record;
}

void WalReader::seek(Lsn start, Lsn prev) {
  buffer_begin_ = buffer_end_ = 0;
  buffer_lsn_ = start;
  skip_until_ = Lsn();
  assembling_ = false;
  overwritten_ = Lsn();
  skipping_continued_ = false;
  page_info_ = 0;
  page_remaining_ = 0;
  prev_ = prev;
  valid_end_ = normalize(start);
  ended_ = false;
  error_ = Status();
}

void WalReader::consume(size_t bytes) {
  buffer_begin_ += bytes;
  buffer_lsn_ = buffer_lsn_ + bytes;
  if (buffer_begin_ == buffer_end_) buffer_begin_ = buffer_end_ = 0;
}

void WalReader::feed(BytesView bytes) {
  if (buffer_lsn_ < skip_until_) {
    consume(std::min<uint64_t>(skip_until_ - buffer_lsn_, available()));
    // What is skipped is not worth a copy.
    size_t skipped = std::min<uint64_t>(skip_until_ - buffer_lsn_, bytes.size());
    buffer_lsn_ = buffer_lsn_ + skipped;
    bytes = bytes.subspan(skipped);
  }
  if (bytes.empty()) return;
  if (buffer_capacity_ - buffer_end_ < bytes.size()) {
    size_t needed = available() + bytes.size();
    if (needed <= buffer_capacity_ && buffer_begin_ >= buffer_capacity_ / 2) {
      std::memmove(buffer_.get(), data(), available());
    } else {
      size_t capacity = std::max({kFirstCapacity, buffer_capacity_, needed + needed / 2});
      std::unique_ptr<std::byte[]> larger(new std::byte[capacity]);
      if (available() > 0) std::memcpy(larger.get(), data(), available());
      buffer_ = std::move(larger);
      buffer_capacity_ = capacity;
    }
    buffer_end_ = available();
    buffer_begin_ = 0;
  }
  std::memcpy(buffer_.get() + buffer_end_, bytes.data(), bytes.size());
  buffer_end_ += bytes.size();
}

Status WalReader::corrupt(Lsn at, std::string reason) {
  error_ = Status(Code::kCorrupt, fmt::format("invalid WAL at {}: {}", at, reason))
               .with_detail(fmt::format("The last valid record ends at {}.", valid_end_));
  return error_;
}

Result<WalReader::Step> WalReader::read_page_header() {
  Lsn at = buffer_lsn_;
  bool is_long = at.value() % kWalSegmentSize == 0;
  size_t size = is_long ? kWalLongHeaderSize : kWalShortHeaderSize;
  if (available() < size) return Step::kNeedMore;
  auto header = load<WalPageHeader>(data());
  if (header.magic != kWalPageMagic) {
    if (all_zero(data(), size)) {
      ended_ = true;
      return Step::kEnded;
    }
    return corrupt(at,
                   fmt::format("page magic is {:04X}, not {:04X}", header.magic, kWalPageMagic));
  }
  if ((header.info & ~kPageAllFlags) != 0 || ((header.info & kPageLongHeader) != 0) != is_long) {
    return corrupt(at, fmt::format("page flags are {:04X}", header.info));
  }
  if (header.page_address != at.value()) {
    return corrupt(at, fmt::format("the page is from {}", Lsn(header.page_address)));
  }
  if (header.tli != kTimelineId) {
    return corrupt(at, fmt::format("the page is of timeline {}, not {}", header.tli, kTimelineId));
  }
  if (is_long) {
    auto long_header = load<WalLongPageHeader>(data());
    if (options_.system_id != 0 && long_header.system_id != options_.system_id) {
      return corrupt(at, fmt::format("the segment is of database system {}, not {}",
                                     long_header.system_id, options_.system_id));
    }
    if (long_header.segment_size != kWalSegmentSize || long_header.page_size != kWalPageSize) {
      return corrupt(at, fmt::format("segment size is {}, page size {}", long_header.segment_size,
                                     long_header.page_size));
    }
  }
  page_info_ = header.info;
  page_remaining_ = header.remaining_length;
  consume(size);
  return Step::kDone;
}

Result<WalReader::Step> WalReader::skip_continued() {
  while (true) {
    if (buffer_lsn_.value() % kWalPageSize == 0) {
      Step step = TIDE_TRY(read_page_header());
      if (step != Step::kDone) return step;
    }
    if ((page_info_ & kPageFirstIsContrecord) == 0) break;
    uint64_t on_page = kWalPageSize - buffer_lsn_.value() % kWalPageSize;
    if (page_remaining_ < on_page) {
      skip_until_ = buffer_lsn_ + max_align(page_remaining_);
      break;
    }
    // The record fills this page; if it goes on, the next header says how far.
    skip_until_ = buffer_lsn_ + on_page;
    uint64_t skipped = std::min<uint64_t>(available(), on_page);
    consume(skipped);
    if (skipped < on_page) return Step::kNeedMore;
  }
  skipping_continued_ = false;
  valid_end_ = normalize(std::max(buffer_lsn_, skip_until_));
  return Step::kDone;
}

Status WalReader::check_header(const std::byte* bytes, Lsn at) const {
  auto header = load<WalRecordHeader>(bytes);
  auto invalid = [&](std::string reason) { return Status(Code::kCorrupt, std::move(reason)); };
  if (header.total_length < kRecordHeaderSize || header.total_length > kRecordLengthMax) {
    return invalid(fmt::format("record length is {}", header.total_length));
  }
  if (header.rmgr >= kRmgrCount && header.rmgr < kFirstCustomRmgr) {
    return invalid(fmt::format("resource manager is {}", header.rmgr));
  }
  Lsn prev(header.prev);
  bool strict = options_.prev_check == PrevCheck::kStrict && prev_.is_valid();
  if (strict ? prev != prev_ : prev >= at) {
    return invalid(fmt::format("the record's previous record is {}{}", prev,
                               strict ? fmt::format(", not {}", prev_) : std::string()));
  }
  return {};
}

Result<WalReader::Step> WalReader::assemble() {
  while (assembled_.size() < record_length_) {
    if (buffer_lsn_.value() % kWalPageSize == 0) {
      Lsn page = buffer_lsn_;
      Step step = TIDE_TRY(read_page_header());
      if (step == Step::kEnded) {
        // The record was torn off: its first part is there, the next page was never written.
        return step;
      }
      if (step != Step::kDone) return step;
      if ((page_info_ & kPageFirstIsOverwriteContrecord) != 0) {
        overwritten_ = record_start_;
        assembling_ = false;
        return Step::kDone;
      }
      if ((page_info_ & kPageFirstIsContrecord) == 0) {
        return corrupt(page, fmt::format("the record at {} is not continued here", record_start_));
      }
      if (page_remaining_ != record_length_ - assembled_.size()) {
        return corrupt(
            page, fmt::format("{} bytes of the record at {} remain, the page says {}",
                              record_length_ - assembled_.size(), record_start_, page_remaining_));
      }
    }
    uint64_t on_page = kWalPageSize - buffer_lsn_.value() % kWalPageSize;
    size_t fragment = std::min<uint64_t>(on_page, record_length_ - assembled_.size());
    if (available() < fragment) return Step::kNeedMore;
    assembled_.insert(assembled_.end(), data(), data() + fragment);
    consume(fragment);
    if (!header_checked_ && assembled_.size() >= kRecordHeaderSize) {
      if (Status header = check_header(assembled_.data(), record_start_); !header.ok()) {
        return corrupt(record_start_, header.message());
      }
      header_checked_ = true;
    }
  }
  return Step::kDone;
}

Result<std::optional<WalRecordView>> WalReader::finish(BytesView bytes) {
  auto header = load<WalRecordHeader>(bytes.data());
  uint32_t crc = crc32c_extend(kCrc32cInit, bytes.subspan(kRecordHeaderSize));
  crc = crc32c_finish(crc32c_extend(crc, bytes.first(offsetof(WalRecordHeader, crc))));
  if (crc != header.crc) return corrupt(record_start_, "the record's checksum is wrong");

  bool is_xlog = header.rmgr == static_cast<uint8_t>(Rmgr::kXlog);
  uint8_t op = header.info & 0xF0;
  if (overwritten_.is_valid()) {
    // {header, main data header, overwritten_lsn, time}
    if (!is_xlog || op != xlog::kOverwriteContrecord || bytes.size() < kRecordHeaderSize + 2 + 16 ||
        load<uint64_t>(bytes.data() + kRecordHeaderSize + 2) != overwritten_.value()) {
      return corrupt(
          record_start_,
          fmt::format("expected the note that overwrites the record at {}", overwritten_));
    }
    overwritten_ = Lsn();
  }

  // `skip_until_` is still the record's unaligned end; the next record begins aligned.
  Lsn end(max_align(skip_until_.value()));
  if (is_xlog && op == xlog::kSwitch) {
    uint64_t in_segment = end.value() % kWalSegmentSize;
    if (in_segment != 0) end = end + (kWalSegmentSize - in_segment);
  }
  skip_until_ = end;
  prev_ = record_start_;
  valid_end_ = end;
  return std::optional(WalRecordView{record_start_, end, Lsn(header.prev), bytes});
}

Result<std::optional<WalRecordView>> WalReader::next() {
  using Nothing = std::optional<WalRecordView>;
  if (!error_.ok()) return error_;
  if (ended_) return Nothing();
  if (buffer_lsn_ < skip_until_) {
    consume(std::min<uint64_t>(skip_until_ - buffer_lsn_, available()));
    if (buffer_lsn_ < skip_until_) return Nothing();
  }
  if (skipping_continued_) {
    if (TIDE_TRY(skip_continued()) != Step::kDone) return Nothing();
    if (buffer_lsn_ < skip_until_) {
      consume(std::min<uint64_t>(skip_until_ - buffer_lsn_, available()));
      if (buffer_lsn_ < skip_until_) return Nothing();
    }
  }

  while (true) {
    if (!assembling_) {
      if (buffer_lsn_.value() % kWalPageSize == 0) {
        if (TIDE_TRY(read_page_header()) != Step::kDone) return Nothing();
        if ((page_info_ & kPageFirstIsContrecord) != 0) {
          return corrupt(buffer_lsn_, "the page continues a record, none was expected");
        }
      }
      if (buffer_lsn_.value() % 8 != 0) return corrupt(buffer_lsn_, "a record cannot begin here");
      if (available() < sizeof(uint32_t)) return Nothing();
      record_length_ = load<uint32_t>(data());
      record_start_ = buffer_lsn_;
      if (record_length_ == 0) {
        ended_ = true;
        return Nothing();
      }
      if (record_length_ < kRecordHeaderSize || record_length_ > kRecordLengthMax) {
        return corrupt(record_start_, fmt::format("record length is {}", record_length_));
      }
      uint64_t on_page = kWalPageSize - buffer_lsn_.value() % kWalPageSize;
      if (record_length_ <= on_page) {
        if (available() < record_length_) return Nothing();
        if (Status header = check_header(data(), record_start_); !header.ok()) {
          return corrupt(record_start_, header.message());
        }
        // The bytes stay in the buffer, as the view's, until the next call skips them.
        skip_until_ = buffer_lsn_ + record_length_;
        return finish({data(), record_length_});
      }
      assembling_ = true;
      header_checked_ = false;
      assembled_.clear();
    }
    Step step = TIDE_TRY(assemble());
    if (step != Step::kDone) return Nothing();
    if (!assembling_) continue;  // overwritten: another record begins on this page
    assembling_ = false;
    skip_until_ = buffer_lsn_;
    return finish(assembled_);
  }
}

}  // namespace tide::pgformat
