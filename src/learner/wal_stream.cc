#include "learner/wal_stream.h"

#include <algorithm>
#include <chrono>

namespace tide::learner {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

WalStream::WalStream(WalSource& source, Lsn start) : source_(source), position_(normalize(start)) {}

Result<bool> WalStream::take_record() {
  if (!reader_) return false;
  auto record = reader_->next();
  Status bad = record.ok() ? Status() : record.status();
  if (bad.ok() && reader_->ended()) {
    bad = Status(Code::kCorrupt, fmt::format("WAL at {} is empty", position_))
              .with_detail(fmt::format("It should reach to {}.", reader_->fed_end()));
  }
  if (!bad.ok()) {
    reader_.reset();  // the next call reads it again
    return bad;
  }
  record_ = *record;
  if (record_) position_ = record_->end;
  return record_.has_value();
}

Result<bool> WalStream::take_piece(int wait_ms, bool* new_writer) {
  // Behind a record that ends its segment, the rest of the segment is of no interest.
  if (reader_ && reader_->valid_end() > reader_->fed_end()) {
    reader_->seek(reader_->valid_end(), reader_->last_record());
  }
  WalSource::Request request;
  request.from = reader_ ? reader_->fed_end() : position_;
  request.boundary = position_;
  if (reader_) {
    request.epoch = writer_.epoch;
    request.log_timeline = writer_.timeline;
  }
  request.wait_ms = wait_ms;
  WalSource::Piece piece = TIDE_TRY(source_.read_wal(request));
  flushed_ = piece.flushed;
  if (piece.epoch.value == 0) return false;

  Writer writer{piece.log_timeline, piece.epoch, piece.epoch_start};
  *new_writer = writer != writer_;
  if (*new_writer && writer_.epoch.value != 0 && writer.start < position_) {
    return Status(Code::kConflict, fmt::format("WAL read up to {} is void", position_))
        .with_detail(fmt::format("{} of {} begins at {} already: the storage was restored to an "
                                 "older state.",
                                 writer.epoch, writer.timeline, writer.start));
  }
  bool goes_on = reader_ && !*new_writer;
  if (piece.begin != (goes_on ? request.from : std::max(position_, piece.begin))) {
    return Status(Code::kCorrupt,
                  fmt::format("asked for WAL at {}, got it from {}", request.from, piece.begin));
  }
  if (!goes_on) {
    // Of its predecessor's last record the epoch's first one says something only if that is known.
    pgformat::WalReader::Options options;
    options.start = piece.begin;
    reader_.emplace(options);
    position_ = normalize(piece.begin);
    writer_ = writer;
  }
  reader_->feed(piece.bytes);
  return !piece.bytes.empty();
}

Result<WalStream::Event> WalStream::next(int wait_ms) {
  auto deadline = Clock::now() + milliseconds(std::max(0, wait_ms));
  while (true) {
    if (TIDE_TRY(take_record())) return Event::kRecord;
    auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    bool new_writer = false;
    bool moved =
        TIDE_TRY(take_piece(static_cast<int>(std::max<int64_t>(0, left.count())), &new_writer));
    if (new_writer) return Event::kWriter;
    if (!moved && left.count() <= 0) return Event::kNothing;
  }
}

}  // namespace tide::learner
