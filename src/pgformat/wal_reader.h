#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"

namespace tide::pgformat {

/// One complete record whose CRC is right.
struct WalRecordView {
  Lsn start;        ///< the record's first byte: always behind a page header
  Lsn end;          ///< PostgreSQL's EndRecPtr, the LSN of the record's changes; normalized
  Lsn prev;         ///< xl_prev: start of the record before
  BytesView bytes;  ///< xl_tot_len bytes in one piece; valid until the reader's next call
};

/// Cuts a stream of WAL bytes into records, with all checks that PostgreSQL itself makes.
///
/// Bytes come in by feed() in pieces of any size, contiguous from `start`; records come out by
/// next(). No I/O, one thread. After an error or ended() only seek() helps.
class WalReader {
 public:
  enum class PrevCheck {
    kStrict,   ///< xl_prev is the start of the record before
    kOrdered,  ///< xl_prev only lies before the record
  };

  struct Options {
    /// LSN of the first byte that will be fed: a record's first byte, or the page boundary in front
    /// of it (a normalized LSN; then the page's header comes first).
    Lsn start;
    /// Start of the record before `start`; 0 if unknown: the first record is then checked as
    /// kOrdered.
    Lsn prev;
    PrevCheck prev_check = PrevCheck::kStrict;
    /// Compared with the system id in long page headers unless 0.
    uint64_t system_id = 0;
    /// `start` is a page boundary at which a record may be continued: skips to the first record.
    bool skip_continued_record = false;
  };

  explicit WalReader(const Options& options);
  WalReader(const WalReader&) = delete;
  WalReader& operator=(const WalReader&) = delete;

  /// Forgets everything and begins anew at `start`, see Options.
  void seek(Lsn start, Lsn prev = Lsn());

  /// Appends bytes that follow those fed before. Invalidates the last view.
  void feed(BytesView bytes);

  /// The next complete record. Nothing: feed more, or ended(). kCorrupt: the bytes at the named
  /// position are no WAL (for a caller that adopts the WAL of a dead compute just the end:
  /// PostgreSQL leaves torn records and, in recycled segments, old pages behind; take valid_end()).
  Result<std::optional<WalRecordView>> next();

  /// True once next() met zeros where a record or page should begin: nothing was ever written
  /// there.
  bool ended() const { return ended_; }
  /// End of the last record that next() returned (before the first: the start), normalized. Behind
  /// an XLOG_SWITCH this is the next segment's start, even if the padding has not been fed.
  Lsn valid_end() const { return valid_end_; }
  /// Start of that record, the xl_prev of whatever follows; 0 if unknown.
  Lsn last_record() const { return prev_; }
  /// LSN behind the last byte fed.
  Lsn fed_end() const { return buffer_lsn_ + (buffer_end_ - buffer_begin_); }

 private:
  enum class Step { kDone, kNeedMore, kEnded };

  size_t available() const { return buffer_end_ - buffer_begin_; }
  const std::byte* data() const { return buffer_.get() + buffer_begin_; }
  void consume(size_t bytes);
  Result<Step> read_page_header();
  Result<Step> skip_continued();
  Result<Step> assemble();
  Status check_header(const std::byte* header, Lsn at) const;
  Result<std::optional<WalRecordView>> finish(BytesView bytes);
  Status corrupt(Lsn at, std::string reason);

  Options options_;
  /// Bytes [buffer_begin_, buffer_end_) of buffer_ are those at buffer_lsn_ that were not yet used.
  std::unique_ptr<std::byte[]> buffer_;
  size_t buffer_capacity_ = 0;
  size_t buffer_begin_ = 0;
  size_t buffer_end_ = 0;
  Lsn buffer_lsn_;
  /// Bytes below are thrown away unread (padding behind a switch, the view handed out last).
  Lsn skip_until_;

  /// A record that does not lie on one page is put together here.
  Bytes assembled_;
  bool assembling_ = false;
  uint32_t record_length_ = 0;
  Lsn record_start_;
  bool header_checked_ = false;
  /// Start of a record whose rest was overwritten, until its OVERWRITE_CONTRECORD was seen.
  Lsn overwritten_;

  uint16_t page_info_ = 0;       ///< flags of the page header read last
  uint32_t page_remaining_ = 0;  ///< its xlp_rem_len
  bool skipping_continued_ = false;

  Lsn prev_;
  Lsn valid_end_;
  bool ended_ = false;
  Status error_;
};

}  // namespace tide::pgformat
