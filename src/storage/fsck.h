#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/object_mirror.h"
#include "storage/project.h"

namespace tide::storage {

struct FsckReport {
  struct Problem {
    std::string what;
    std::string where;
    std::string detail;
  };
  std::map<std::string, uint64_t> checked;  ///< by kind: how many
  std::vector<Problem> problems;
};

/// Looks at everything stored and only reports. WAL records by CRC, page-store files by their
/// checksums, objects by presence and size; `deep`: objects by content too, and every page of every
/// branch's head is made.
Result<FsckReport> check(Project& project, ObjectMirror* mirror, bool deep);

}  // namespace tide::storage
