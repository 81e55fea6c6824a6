#pragma once

#include <string>

#include "base/result.h"

namespace tide::storage {

struct StorageOptions {
  std::string data_directory;
  std::string object_store;  ///< file:// or s3:// URL; empty: none
  std::string postgres;      ///< the server program, for redo helpers
  std::string library;       ///< tidewater.so
  std::string template_directory;
  int redo_helpers = 2;
};

/// The storage role: WAL store and page store of the instance's project. Serves until SIGTERM or
/// SIGINT, then ends in order: what was ingested is flushed. Errors are those of opening what is
/// stored.
Status run_storage(const StorageOptions& options);

}  // namespace tide::storage
