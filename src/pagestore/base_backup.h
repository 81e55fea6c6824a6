#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "pagestore/page_store.h"
#include "pagestore/tar_writer.h"

namespace tide::pagestore {

/// The checkpoint that a compute starts from at `start`, for pg_control and for the synthetic
/// record.
Result<pgformat::CheckPoint> start_checkpoint(const PageStore& store, TimelineId timeline,
                                              Lsn start);

/// Writes a data directory in the state of `at` from which PostgreSQL starts as after a clean
/// shutdown: pg_control, relation maps, SLRUs, prepared transactions, replication origins, unlogged
/// relations from their init forks. No other relation files (the extension fetches pages) but those
/// of `relations` that exist and are small, so that the first backends find them; no configuration.
/// `wal_files`: name and content of files in pg_wal; if empty, there is no pg_wal at all.
Status write_base_backup(const PageStore& store, TimelineId timeline, Lsn at,
                         const std::vector<std::pair<std::string, std::string>>& wal_files,
                         TarWriter& tar, std::span<const RelFork> relations = {});

/// Reads the control file of a timeline as the template or the last parameter change left it.
Result<pgformat::ControlFile> stored_control_file(const PageStore& store, TimelineId timeline,
                                                  Lsn at);

}  // namespace tide::pagestore
