#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tide::control {

/// Bytes that SQLite stores as BLOB, not TEXT.
struct Blob {
  std::string bytes;
};
using Value = std::variant<std::nullptr_t, int64_t, std::string, Blob>;

/// One row of an answer; columns count from 0.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  bool is_null(int column) const;
  int64_t number(int column) const;
  std::string text(int column) const;  ///< Of TEXT and BLOB alike; empty for NULL.

 private:
  sqlite3_stmt* statement_;
};

/// A SQLite file that survives power loss: WAL mode, synchronous FULL, foreign keys on.
/// Thread-safe; one thread at a time is inside.
class Database {
 public:
  static Result<std::unique_ptr<Database>> open(const std::string& path);
  ~Database();

  /// Brings the schema to `migrations.size()`, running those that are missing, each in a
  /// transaction. kInvalid if the file is of a later version of the program.
  Status migrate(const std::vector<std::string>& migrations);

  Status run(const std::string& sql, const std::vector<Value>& values = {});
  Status query(const std::string& sql, const std::vector<Value>& values,
               const std::function<void(const Row&)>& take);
  int64_t last_insert_id();
  /// Rows that the last run() changed.
  int64_t changes();

  /// All of `body` or nothing: rolls back if it returns an error. May be nested, then the outermost
  /// one counts. Nobody else is inside meanwhile.
  Status transaction(const std::function<Status()>& body);

  /// Commits of `body` may be lost in a power failure, not otherwise, until another commit follows:
  /// for what means nothing then, on paths that users wait for. Inside a transaction it makes no
  /// difference.
  Status unsynced(const std::function<Status()>& body);

  /// kCorrupt with what SQLite found.
  Status check_integrity();

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  Result<sqlite3_stmt*> prepare(const std::string& sql, const std::vector<Value>& values);
  Status error(const std::string& what);

  sqlite3* handle_;
  std::recursive_mutex mutex_;
  int depth_ = 0;
};

}  // namespace tide::control
