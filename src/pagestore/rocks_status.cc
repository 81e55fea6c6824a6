#include "pagestore/rocks_status.h"

#include <string>

namespace tide::pagestore {

Status status_of(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return {};
  Code code = Code::kIo;
  if (status.IsNotFound()) code = Code::kNotFound;
  if (status.IsCorruption()) code = Code::kCorrupt;
  if (status.IsNoSpace()) code = Code::kNoSpace;
  if (status.IsTimedOut() || status.IsBusy() || status.IsTryAgain()) code = Code::kRetry;
  return {code, std::string(what) + ": page store database: " + status.ToString()};
}

}  // namespace tide::pagestore
