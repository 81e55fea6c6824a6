#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "delta/scan.h"
#include "delta/table_directory.h"
#include "deltalog/log_listing.h"
#include "deltalog/table_state.h"
#include "duck/engine.h"

namespace tide::delta {

/// Reads a Delta table. Holds no state: every call looks at the log as it is now. Thread-safe;
/// directory and engine outlive it.
class Table {
 public:
  Table(TableDirectory& directory, duck::Engine& engine) : directory_(directory), engine_(engine) {}

  /// The table at `version`, or as it is now. A checkpoint that cannot be read is passed over for
  /// an older one. kNotFound: no table, or no such version (any more); kInvalid: a protocol that we
  /// do not read; kCorrupt: the log contradicts itself.
  Result<deltalog::TableState> state(std::optional<int64_t> version = std::nullopt);

  /// Brings a state up to the newest version by the commits behind it; true if there were any.
  /// Falls back to reading anew where those commits are gone.
  Result<bool> refresh(deltalog::TableState& state);

  /// The newest version whose time is not after `ms`: the in-commit timestamp where commits have
  /// one, else commitInfo's timestamp, else the file's modification time; made never to fall from
  /// one version to the next. kOutOfRange if every commit that is left is younger.
  Result<int64_t> version_at(int64_t ms);

  Result<Scan> scan(const deltalog::TableState& state, const ScanOptions& options = {}) {
    return scan_table(directory_, engine_, state, options);
  }

  TableDirectory& directory() { return directory_; }
  duck::Engine& engine() { return engine_; }

 private:
  Result<deltalog::TableState> load(const deltalog::LogListing& listing,
                                    std::optional<int64_t> version);
  Status apply_commit(deltalog::TableState& state, const std::string& name, int64_t version);

  TableDirectory& directory_;
  duck::Engine& engine_;
};

/// The names in `_delta_log`, with their sizes and times.
Result<std::vector<TableDirectory::Entry>> list_log(TableDirectory& directory);

}  // namespace tide::delta
