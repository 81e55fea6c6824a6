#pragma once

#include <string>

#include "base/result.h"

namespace tide::mirror {

struct MirrorOptions {
  std::string data_directory;
  std::string object_store;  ///< URL; the lake lies below lake/ in it
  std::string version;       ///< of the program, named in Delta commits
};

/// The mirror role: keeps every branch's tables as Delta tables, from the WAL, and answers on
/// DIR/run/lake.sock. Returns after SIGTERM or SIGINT, having made a last cut of each branch.
Status run_mirror(const MirrorOptions& options);

}  // namespace tide::mirror
