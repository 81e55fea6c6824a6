#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "env/file.h"
#include "pgformat/wal_reader.h"
#include "pgformat/wal_segment.h"
#include "walstore/epoch_history.h"
#include "walstore/feed_file.h"
#include "walstore/spare_segments.h"

namespace tide::walstore {

/// The WAL of one timeline: a directory per epoch with PostgreSQL's own segment files.
///
///   DIR/history.json            epochs and the promise; replaced atomically
///   DIR/e<N>/<segment>          16 MiB each, named as in pg_wal
///   DIR/e<N>/feed, lock         local form: how far the compute is; who still lives (flock)
///
/// In local form the directory is the compute's pg_wal, so WAL is written once; what is durable is
/// read from the feed. In acceptor form the acceptor writes the segments and says what it has
/// synced. Thread-safe.
class TimelineLog {
 public:
  /// `spares`: where begin_epoch() takes what its compute would have to write at once; may be null.
  static Result<std::unique_ptr<TimelineLog>> open(const std::string& directory, TimelineId id,
                                                   SpareSegments* spares = nullptr);

  TimelineId id() const { return id_; }
  EpochHistory history() const;
  std::string epoch_directory(Epoch epoch) const;

  /// All WAL below is durable and belongs to the timeline for ever. Normalized only at epoch ends.
  Lsn flushed() const;
  /// True while an epoch is open: its compute may be writing.
  bool has_open_epoch() const;

  /// Refuses all epochs below `epoch` from now on, durably. kStaleEpoch if a higher one was
  /// promised.
  Status promise(Epoch epoch);
  Epoch promised() const;

  /// Ends the open epoch, if any: proves its compute dead (local form; kConflict, DETAIL naming the
  /// processes that still hold the lock, if not), finds the last valid record from `known_boundary`
  /// (a record boundary at or below the end) on, syncs and records the end. kCorrupt if WAL that
  /// was durable is damaged: that is no end. A repeated call gives the same answer.
  struct End {
    Lsn end;
    Lsn prev;            ///< start of the last record; invalid if it cannot be found any more
    bool clean = false;  ///< the last record is a shutdown checkpoint
  };
  Result<End> close_epoch(Lsn known_boundary);

  /// Opens `epoch` at `start`, durably. `pieces` are laid into its first segments: the
  /// synthetic checkpoint record, which ends at `first_end`, and what must stand before it.
  Status begin_epoch(Epoch epoch, Durability durability, Lsn start, Lsn prev, Lsn first_end,
                     const std::vector<pgformat::SegmentPiece>& pieces);

  /// Reads WAL bytes [from, from + out.size()) as far as they are below `limit` and written by one
  /// epoch. 0 bytes: nothing there yet. kOutOfRange if the segment was trimmed.
  Result<size_t> read(Lsn from, Lsn limit, std::span<std::byte> out);

  /// Who writes at an LSN, and how far the WAL is durable, of one moment.
  struct View {
    std::optional<EpochHistory::Entry> writer;
    Lsn flushed;
  };
  View view(Lsn at) const;
  /// Reads bytes [from, from + out.size()) of an epoch as far as they are below `limit`, whoever
  /// wrote them: for those that know the epoch from view(). Fewer at a segment's end. kOutOfRange
  /// if the segment was trimmed.
  Result<size_t> read_epoch(Epoch epoch, Lsn from, Lsn limit, std::span<std::byte> out) const;

  /// Acceptor form, in a new process: finds the whole records of the open epoch that are here, from
  /// `known_boundary` on, and syncs them: all that the old process may have acknowledged is among
  /// them.
  Status recover_accepted(Lsn known_boundary);
  /// Acceptor form: all below is synced in the open epoch's directory. Never goes back.
  void set_accepted(Lsn lsn);
  /// Local form: the open epoch's feed; null otherwise.
  std::shared_ptr<FeedFile> feed() const;
  /// Wakes every FlushWatch.
  void wake() const;

  /// Removes local segments that lie wholly below `lsn`; returns how many.
  Result<int> trim(Lsn lsn);
  uint64_t disk_bytes() const;

 private:
  friend class FlushWatch;
  TimelineLog(std::string directory, TimelineId id, SpareSegments* spares)
      : directory_(std::move(directory)), id_(id), spares_(spares) {}
  Lsn flushed_locked() const;
  void wake_locked() const;
  /// Lays a spare segment behind the one the epoch begins in, if PostgreSQL would make one.
  void lay_next_segment(const std::string& directory, Lsn first_end);
  Status save_history();
  /// `durable`: what is known to be durable; no WAL below may be missing or damaged.
  Result<End> scan_end(const EpochHistory::Entry& entry, Lsn from, Lsn durable) const;
  /// Feeds what the epoch wrote behind reader.fed_end(), one piece; false if there is nothing more.
  Result<bool> feed_reader(const EpochHistory::Entry& entry, pgformat::WalReader& reader,
                           Lsn limit) const;
  /// About the epoch's record that ends at `end`; prev is invalid if its segment is not there any
  /// more.
  Result<End> find_last_record(const EpochHistory::Entry& entry, Lsn end) const;
  /// The lock of the dead compute, none in acceptor form: while it is held, no compute begins in
  /// its place.
  Result<env::FileDescriptor> prove_dead(const EpochHistory::Entry& entry) const;
  /// After a power failure the feed may be lost: it is not synced while the compute runs.
  Result<std::unique_ptr<FeedFile>> open_feed(const EpochHistory::Entry& entry) const;
  Status sync_segments(const EpochHistory::Entry& entry, Lsn from, Lsn to) const;

  std::string directory_;
  TimelineId id_;
  SpareSegments* spares_;
  mutable std::mutex mutex_;  // guards history_, feed_, open segment
  EpochHistory history_;
  std::shared_ptr<FeedFile> feed_;  // shared: a reader may hold it while its epoch ends
  std::atomic<uint64_t> accepted_{0};
  mutable uint32_t signal_ = 0;  ///< futex of those that wait while there is no feed
  struct OpenSegment {
    std::string path;
    env::FileDescriptor file;
  } open_segment_;
};

}  // namespace tide::walstore
