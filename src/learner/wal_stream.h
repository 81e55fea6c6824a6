#pragma once

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "learner/source.h"
#include "pgformat/wal_reader.h"

namespace tide::learner {

/// A timeline's WAL records in order from an LSN on, across segments, epochs and the points where
/// it and its ancestors branch off. One thread.
///
/// Only what is durable is handed out, and nothing that is handed out is ever taken back: a record
/// that a crash left unfinished is dropped when its epoch's successor appears.
class WalStream {
 public:
  /// `start`: a record's end (or a timeline's first LSN). `source` outlives the stream.
  WalStream(WalSource& source, Lsn start);

  enum class Event {
    kNothing,  ///< no whole record came in time
    kRecord,   ///< record()
    kWriter,   ///< what follows was written by another epoch: writer()
  };
  /// The next event. If there is none yet, waits up to `wait_ms` for it, woken when WAL becomes
  /// durable.
  ///
  /// Errors: those of the source, after which the call may be repeated; kOutOfRange: the WAL is
  /// kept no more; kCorrupt: durable WAL is damaged; kConflict: the storage was restored to a point
  /// before position(), so what was handed out above is void.
  Result<Event> next(int wait_ms);

  /// Of the last kRecord; its bytes are valid until the next call of next().
  const pgformat::WalRecordView& record() const { return *record_; }

  struct Writer {
    TimelineId timeline;  ///< the stream's own or an ancestor
    Epoch epoch;          ///< 0: not known yet
    Lsn start;            ///< the epoch's first LSN
    friend bool operator==(const Writer&, const Writer&) = default;
  };
  /// Who writes at position(). Told by kWriter before the first record, too. Where it begins at
  /// position(), every transaction that was in progress there, unless prepared, has ended: its
  /// compute died, or lives on on another branch.
  const Writer& writer() const { return writer_; }

  /// End of the last record handed out; until then the start. Normalized.
  Lsn position() const { return position_; }
  /// All WAL of the timeline below is durable, as of the newest answer; invalid before the first.
  Lsn flushed() const { return flushed_; }

 private:
  /// The next whole record among the bytes that are here.
  Result<bool> take_record();
  Result<bool> take_piece(int wait_ms, bool* new_writer);

  WalSource& source_;
  Lsn position_;
  Lsn flushed_;
  Writer writer_;
  std::optional<pgformat::WalReader> reader_;  ///< has been fed WAL of writer_ only
  std::optional<pgformat::WalRecordView> record_;
};

}  // namespace tide::learner
