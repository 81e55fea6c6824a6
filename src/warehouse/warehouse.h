#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace tide::warehouse {

struct WarehouseOptions {
  std::string data_directory;  ///< DIR; sockets lie in its runtime directory
  std::string host = "127.0.0.1";
  int port = 0;  ///< TCP, PostgreSQL protocol; 0: any free one, -1: none
  int http_port =
      -1;  ///< TCP, /api/2.0/sql/statements; it is always on DIR/run/warehouse-http.sock
  /// Where the mirror's files lie; empty: DIR/objects and DIR/lake.
  std::vector<std::string> lake_directories;
  int sessions_max = 64;
  int threads = 0;                ///< of the engine; 0: one per core
  uint64_t memory_bytes_max = 0;  ///< of all queries together; 0: a quarter of the machine's
  uint64_t spill_bytes_max = uint64_t{32} << 30;  ///< on disk, below DIR/warehouse/spill
  /// Statements that ask for no limit of their own end after this; 0: no limit.
  std::chrono::milliseconds statement_timeout{0};
};

/// DIR/run/warehouse.sock: PostgreSQL's protocol, for whoever may enter the directory; a login
/// needs the role's password all the same.
std::string warehouse_socket(const std::string& data_directory);
/// DIR/run/warehouse-http.sock
std::string warehouse_http_socket(const std::string& data_directory);

/// The warehouse role: analytical SQL over the lake's tables behind PostgreSQL's protocol and
/// HTTP. Asks control for branches, the mirror for snapshots and each branch's PostgreSQL for
/// everything that concerns its catalogs, roles and settings; none of them needs to be up when it
/// starts. Serves until SIGTERM or SIGINT, then cancels what runs and ends.
Status run_warehouse(const WarehouseOptions& options);

}  // namespace tide::warehouse
