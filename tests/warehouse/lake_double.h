#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "columns/column.h"
#include "duck/connection.h"
#include "duck/engine.h"
#include "net/blob_channel.h"
#include "warehouse/postgres_link.h"

namespace tide::tests {

/// Stands for the mirror in tests of the warehouse: speaks the lake's protocol over lake.sock, and
/// gets the rows by asking PostgreSQL. Of each table a part goes to a Parquet file, a part to a
/// segment, both with rows in between that are marked as deleted.
class LakeDouble {
 public:
  struct Options {
    std::string socket;
    std::string directory;  ///< for the files
    std::string postgres_sockets;
    int postgres_port = 0;
    std::string user;
  };
  explicit LakeDouble(Options options);
  ~LakeDouble();
  Status start();

 private:
  struct Column {
    std::string name;
    std::string pg_type;
    columns::Type type;
    std::string json;
    std::string expression;  ///< in PostgreSQL: the text that is copied
    std::string cast;        ///< in the engine: of the text
  };
  struct Table {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    std::string not_mirrored;
    std::vector<Column> columns;
    std::string file;
    uint64_t file_rows = 0;
    std::string file_deleted;
    uint64_t segment = 0;
    uint64_t segment_rows = 0;
    std::string segment_data;
    std::string segment_deleted;
  };
  struct State {
    std::string lsn;
    uint64_t version = 0;
    std::vector<Table> tables;
  };
  void serve(std::shared_ptr<net::BlobChannel> channel);
  Result<std::shared_ptr<const State>> state(const std::string& database);
  Status load(warehouse::PostgresLink& link, Table& table);

  const Options options_;
  env::FileDescriptor listener_;
  std::unique_ptr<duck::Engine> engine_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const State>> states_;
  uint64_t next_ = 1;
  std::vector<std::shared_ptr<net::BlobChannel>> channels_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

}  // namespace tide::tests
