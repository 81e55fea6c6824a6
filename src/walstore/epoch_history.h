#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"

namespace tide::walstore {

/// How a commit of an epoch became durable.
enum class Durability {
  kLocal,     ///< the compute's own fsync, in a directory of the WAL store
  kAcceptor,  ///< acceptors pulled it as synchronous standbys
};

std::string_view durability_name(Durability durability);
Result<Durability> parse_durability(std::string_view name);

/// Which epoch wrote which part of a timeline's WAL.
///
/// Never simplified to one number: which of two logs is newer is decided by the epoch of its last
/// entry and then by its length (reference: Neon's RFC 013; Raft's log matching).
struct EpochHistory {
  struct Entry {
    Epoch epoch;
    Lsn start;               ///< first LSN the epoch may have written
    Lsn prev;                ///< start of the record before; invalid if unknown
    std::optional<Lsn> end;  ///< set when the epoch is over
    Lsn last_record;         ///< start of the record that ends there; invalid if unknown
    bool clean = false;      ///< that record is a shutdown checkpoint
    Durability durability = Durability::kLocal;
  };

  Epoch promised;  ///< no epoch below this is served any more
  std::vector<Entry> entries;

  /// The entry whose epoch wrote the byte at `lsn`; null if nobody has yet.
  const Entry* writer_of(Lsn lsn) const;
  const Entry* last() const { return entries.empty() ? nullptr : &entries.back(); }

  std::string to_json() const;
  /// kCorrupt unless the epochs ascend and each begins where the one before ended.
  static Result<EpochHistory> from_json(std::string_view text);

 private:
  static Result<EpochHistory> read_json(std::string_view text);
};

}  // namespace tide::walstore
