#include "control/database.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

namespace tide::control {

bool Row::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
int64_t Row::number(int column) const { return sqlite3_column_int64(statement_, column); }
std::string Row::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  return bytes == nullptr
             ? std::string()
             : std::string(static_cast<const char*>(bytes),
                           static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  sqlite3* handle = nullptr;
  mode_t previous = ::umask(0077);
  int opened =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  ::umask(previous);
  std::unique_ptr<Database> database(new Database(handle));
  if (opened != SQLITE_OK) return database->error(fmt::format("open {}", path));
  sqlite3_busy_timeout(handle, 5000);
  for (const char* pragma :
       {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"}) {
    Status set = database->query(pragma, {}, [](const Row&) {});
    if (!set.ok()) return std::move(set).with_context(fmt::format("open {}", path));
  }
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Status Database::error(const std::string& what) {
  int code = handle_ == nullptr ? SQLITE_NOMEM : sqlite3_errcode(handle_);
  std::string message =
      fmt::format("{}: {}", what, handle_ == nullptr ? "out of memory" : sqlite3_errmsg(handle_));
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return {Code::kNoSpace, message};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {Code::kCorrupt, message};
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return {Code::kDenied, message};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::kRetry, message};
    case SQLITE_CONSTRAINT:
      return {Code::kConflict, message};
    case SQLITE_IOERR:
      return {Code::kIo, message};
    default:
      return {Code::kBug, message};
  }
}

Result<sqlite3_stmt*> Database::prepare(const std::string& sql, const std::vector<Value>& values) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(handle_, sql.c_str(), static_cast<int>(sql.size()), &statement, nullptr) !=
      SQLITE_OK) {
    return error("control.db");
  }
  int index = 0;
  for (const Value& value : values) {
    ++index;
    if (const auto* number = std::get_if<int64_t>(&value)) {
      sqlite3_bind_int64(statement, index, *number);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      sqlite3_bind_text(statement, index, text->data(), static_cast<int>(text->size()),
                        SQLITE_TRANSIENT);
    } else if (const auto* blob = std::get_if<Blob>(&value)) {
      sqlite3_bind_blob(statement, index, blob->bytes.data(), static_cast<int>(blob->bytes.size()),
                        SQLITE_TRANSIENT);
    } else {
      sqlite3_bind_null(statement, index);
    }
  }
  return statement;
}

Status Database::query(const std::string& sql, const std::vector<Value>& values,
                       const std::function<void(const Row&)>& take) {
  std::lock_guard lock(mutex_);
  sqlite3_stmt* statement = TIDE_TRY(prepare(sql, values));
  int stepped = sqlite3_step(statement);
  while (stepped == SQLITE_ROW) {
    take(Row(statement));
    stepped = sqlite3_step(statement);
  }
  Status outcome;
  if (stepped != SQLITE_DONE) outcome = error("control.db");
  sqlite3_finalize(statement);
  return outcome;
}

Status Database::run(const std::string& sql, const std::vector<Value>& values) {
  return query(sql, values, [](const Row&) {});
}

Status Database::unsynced(const std::function<Status()>& body) {
  std::lock_guard lock(mutex_);
  if (depth_ > 0) return body();
  TIDE_TRY(run("PRAGMA synchronous = NORMAL"));
  Status outcome = body();
  TIDE_TRY(run("PRAGMA synchronous = FULL"));
  return outcome;
}

int64_t Database::last_insert_id() {
  std::lock_guard lock(mutex_);
  return sqlite3_last_insert_rowid(handle_);
}

int64_t Database::changes() {
  std::lock_guard lock(mutex_);
  return sqlite3_changes64(handle_);
}

Status Database::transaction(const std::function<Status()>& body) {
  std::lock_guard lock(mutex_);
  if (depth_ > 0) return body();
  TIDE_TRY(run("BEGIN IMMEDIATE"));
  ++depth_;
  Status outcome = body();
  --depth_;
  if (outcome.ok()) outcome = run("COMMIT");
  if (!outcome.ok() && sqlite3_get_autocommit(handle_) == 0) {
    run("ROLLBACK").ignore("the first error counts");
  }
  return outcome;
}

Status Database::migrate(const std::vector<std::string>& migrations) {
  int64_t version = 0;
  TIDE_TRY(query("PRAGMA user_version", {}, [&](const Row& row) { version = row.number(0); }));
  if (version > static_cast<int64_t>(migrations.size())) {
    return Status(Code::kInvalid,
                  fmt::format("control.db has schema version {}, this program knows {}", version,
                              migrations.size()))
        .with_hint("It was written by a later tide: run that one.");
  }
  for (size_t next = static_cast<size_t>(version); next < migrations.size(); ++next) {
    TIDE_TRY(transaction([&]() -> Status {
      char* message = nullptr;
      if (sqlite3_exec(handle_, migrations[next].c_str(), nullptr, nullptr, &message) !=
          SQLITE_OK) {
        sqlite3_free(message);
        return error(fmt::format("migrate control.db to version {}", next + 1));
      }
      return run(fmt::format("PRAGMA user_version = {}", next + 1));
    }));
  }
  return {};
}

Status Database::check_integrity() {
  std::string found;
  TIDE_TRY(query("PRAGMA integrity_check", {}, [&](const Row& row) {
    if (row.text(0) != "ok") found += row.text(0) + "; ";
  }));
  TIDE_TRY(query("PRAGMA foreign_key_check", {}, [&](const Row& row) {
    found += fmt::format("row {} of {} refers to nothing; ", row.number(1), row.text(0));
  }));
  if (found.empty()) return {};
  return Status(Code::kCorrupt, "control.db is damaged").with_detail(found);
}

}  // namespace tide::control
