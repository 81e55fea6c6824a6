#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "base/result.h"
#include "pgformat/page.h"

/// What a learner can ask of a timeline, without saying over which way.
namespace tide::learner {

/// The state of one timeline at any LSN of its history window. Every call waits until the storage
/// has ingested `lsn` (kRetry if that takes very long) and answers for exactly it; kOutOfRange if
/// it is older than the history that is kept.
class PageSource {
 public:
  virtual ~PageSource() = default;

  /// `count` blocks of 8,192 bytes from `first` on, any number. Blocks behind the fork's end are
  /// zeros.
  virtual Result<std::string> pages(const RelFork& rel, uint32_t first, uint32_t count,
                                    Lsn lsn) = 0;
  /// Blocks of the fork; nothing if it does not exist.
  virtual Result<std::optional<uint32_t>> rel_size(const RelFork& rel, Lsn lsn) = 0;
  /// 8,192 bytes; nothing if the page does not exist (never written, or truncated away).
  virtual Result<std::optional<std::string>> slru_page(pgformat::Slru slru, uint32_t page,
                                                       Lsn lsn) = 0;
  /// The 512 bytes of pg_filenode.map of a database in its tablespace (1664, 0: the shared one).
  virtual Result<std::optional<std::string>> relation_map(uint32_t spc, uint32_t db, Lsn lsn) = 0;

  struct Database {
    uint32_t spc = 0;
    uint32_t db = 0;
  };
  virtual Result<std::vector<Database>> databases(Lsn lsn) = 0;
  struct Relation {
    RelFork rel;
    uint32_t blocks = 0;
  };
  /// Main forks of a database's relations in all tablespaces (0: the shared ones).
  virtual Result<std::vector<Relation>> relations(uint32_t db, Lsn lsn) = 0;
};

/// The durable WAL of one timeline and, below where it branches off, of its ancestors. What is
/// durable may end inside a record that is never finished; see TidePsReadWal in
/// contracts/page_service.h for how readers and source agree on what counts.
class WalSource {
 public:
  virtual ~WalSource() = default;

  struct Request {
    Lsn from;                 ///< first byte wanted
    Lsn boundary;             ///< end of the last whole record below `from`; at first: `from`
    Epoch epoch;              ///< that the bytes below `from` are of; 0: none were read
    TimelineId log_timeline;  ///< whose epoch that is
    uint32_t bytes_max = 1 << 20;
    int wait_ms = 0;  ///< for at least one byte
  };
  struct Piece {
    Epoch epoch;              ///< whose bytes these are; 0: nobody has written there yet
    TimelineId log_timeline;  ///< the timeline itself or an ancestor
    Lsn epoch_start;          ///< first LSN of that epoch
    Lsn begin;                ///< of the first byte: `from`, or where another epoch is taken up
    Lsn flushed;              ///< all WAL of the timeline below is durable
    BytesView bytes;          ///< may be empty; valid until the next call
  };
  /// kOutOfRange if the WAL is kept no more.
  virtual Result<Piece> read_wal(const Request& request) = 0;
};

}  // namespace tide::learner
