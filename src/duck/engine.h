#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "columns/column.h"
#include "duck/deleted_rows.h"

/// DuckDB, the analytical engine.
namespace tide::duck {

class Connection;
struct ConnectionOptions;
struct EngineState;

struct EngineOptions {
  uint64_t memory_limit_bytes = uint64_t{1} << 30;
  int threads = 2;
  /// Where queries larger than the memory limit put what does not fit; empty: they fail instead.
  std::string temp_directory;
  /// Limit for `temp_directory`; 0: what the disk holds.
  uint64_t temp_bytes_max = 0;
  /// Nulls sort and integers divide as in PostgreSQL; a connection of a locked engine may then SET
  /// integer_division and preserve_identifier_case too.
  bool postgres_semantics = false;
  /// For an engine that runs SQL of users: no file outside `readable_directories` and
  /// `temp_directory` can be touched by any statement, no extension loaded, no setting changed but
  /// TimeZone. Users' connections (ConnectionOptions::user) cannot touch even those by themselves.
  bool lock_down = false;
  std::vector<std::string> readable_directories;
};

/// Rows for the table function tide_rows().
struct RowSegment {
  std::shared_ptr<const columns::Batch> batch;
  std::shared_ptr<const DeletedRows> deleted;  ///< Rows to leave out; null: none.
};

/// Something that SQL can name by its number, until this goes out of scope. Must be kept until the
/// last query that names it has ended.
class Registration {
 public:
  Registration() = default;
  Registration(int64_t id, std::function<void()> release);
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&& other) noexcept;
  ~Registration();
  int64_t id() const { return id_; }

 private:
  int64_t id_ = 0;
  std::function<void()> release_;
};

/// One DuckDB database in memory. Thread-safe.
class Engine {
 public:
  /// kUnavailable if libduckdb.so is missing or of another version.
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);
  ~Engine();

  Result<std::unique_ptr<Connection>> connect();
  Result<std::unique_ptr<Connection>> connect(ConnectionOptions options);

  /// Rows for `SELECT ... FROM tide_rows(ID)`, whose columns are `fields` and, last,
  /// `__tide_row` BIGINT: the row's place, counted over all segments and deleted rows too.
  /// Nothing is copied; scans run in parallel, and in order where the query asks for order by
  /// insertion (COPY does). kInvalid if a batch's columns are not the fields, or text is not UTF-8.
  Result<Registration> register_rows(std::vector<RowSegment> segments,
                                     std::vector<columns::Field> fields);
  /// For `tide_live(ID, file_index, file_row_number)`, the columns of read_parquet(): false where
  /// the row is in `files[file_index]`. Null or missing: nothing of that file is deleted.
  Registration register_deletions(std::vector<std::shared_ptr<const DeletedRows>> files);

 private:
  explicit Engine(std::shared_ptr<EngineState> state) : state_(std::move(state)) {}
  /// Shared with connections and registrations, whichever goes last.
  std::shared_ptr<EngineState> state_;
};

/// The name of tide_rows()' last column.
inline constexpr char kRowColumn[] = "__tide_row";

}  // namespace tide::duck
