#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "columns/column.h"

namespace tide::duck {

struct EngineState;
class ConnectionState;

/// A table's name as the SQL has it; parts that are not there are empty.
struct TableName {
  std::string catalog;
  std::string schema;
  std::string table;
};

/// Answers what stands for a table that DuckDB's own catalog does not have: the text of a SELECT,
/// or nothing if there is no such table. Called on the thread that prepares, while the connection
/// is busy: it must not use that connection. The SELECT may use what users may not (read_parquet
/// ...); DuckDB plans it as if it had been written in place, so filters and columns reach its
/// files.
using TableResolver = std::function<Result<std::optional<std::string>>(const TableName&)>;

struct ConnectionOptions {
  /// SQL comes from users: only statements that read, and no function that reads files or settings.
  bool user = false;
  TableResolver resolver;
};

enum class StatementKind {
  kNone,    ///< No statement: only blanks and comments.
  kSelect,  ///< Also VALUES, SHOW, DESCRIBE, SUMMARIZE, PIVOT.
  kExplain,
  kSet,     ///< SET, RESET, USE
  kChange,  ///< INSERT, UPDATE, DELETE
  kCreate,  ///< CREATE, ALTER, DROP
  kCopy,
  kTransaction,
  kOther,
};

struct ResultColumn {
  std::string name;
  columns::Type type;    ///< How values are given.
  std::string sql_type;  ///< DuckDB's spelling: "HUGEINT", "DECIMAL(10,2)", "ENUM('a', 'b')".
};

/// What a parameter is given: nothing is NULL; text takes whatever type the place wants by
/// DuckDB's cast, if the statement says `$1::TYPE` or the place knows its type.
struct Blob {
  std::string bytes;
};
using Parameter = std::variant<std::monostate, bool, int64_t, double, std::string, Blob>;

/// Rows of a query, produced while they are taken. Ends, or go away, before the connection does
/// anything else.
class QueryResult {
 public:
  struct State;
  explicit QueryResult(std::unique_ptr<State> state);
  ~QueryResult();

  StatementKind kind() const;
  const std::vector<ResultColumn>& columns() const;
  /// The next rows, never zero of them; nothing at the end. Batches have up to some thousand rows,
  /// fewer if they are large.
  Result<std::optional<columns::Batch>> next();
  /// All that remains as one batch. kOutOfRange beyond `max_bytes`.
  Result<columns::Batch> all(uint64_t max_bytes = uint64_t{1} << 30);
  /// Rows changed by a statement of kind kChange or kCopy, known at once.
  uint64_t rows_changed() const;

 private:
  std::unique_ptr<State> state_;
};

/// A statement with places for parameters, to be executed any number of times. Keeps what the
/// resolver answered when it was prepared (parameters of new types may have it asked again): the
/// files must stay as long.
class Prepared {
 public:
  struct State;
  explicit Prepared(std::unique_ptr<State> state);
  ~Prepared();

  StatementKind kind() const;
  size_t parameter_count() const;
  /// Empty where DuckDB does not know before it knows the parameters.
  Result<std::vector<ResultColumn>> columns() const;
  Result<std::unique_ptr<QueryResult>> execute(std::span<const Parameter> parameters = {});

 private:
  std::unique_ptr<State> state_;
};

/// A session. One thread at a time, but for interrupt() and progress().
class Connection {
 public:
  explicit Connection(std::shared_ptr<ConnectionState> state);
  ~Connection();

  /// One statement. Errors have DuckDB's message; their codes: kInvalid for the SQL or its values,
  /// kNotFound for names, kDenied, kIo, kRetry for interrupted, kUnavailable for lack of memory.
  /// Rarely kRetry hides another error: a worker stopped because of it reported first.
  Result<std::unique_ptr<QueryResult>> query(std::string_view sql);
  Result<std::unique_ptr<QueryResult>> query(std::string_view sql,
                                             std::span<const Parameter> parameters);
  /// Any number of statements, to their ends, without their rows.
  Status execute(std::string_view sql);
  Result<std::unique_ptr<Prepared>> prepare(std::string_view sql);

  /// Replaces the resolver; what is prepared keeps the one it has.
  void set_table_resolver(TableResolver resolver);

  /// Ends what runs, from any thread; its caller gets kRetry.
  void interrupt();
  /// Of what runs: percent done, negative if unknown.
  double progress() const;

 private:
  std::shared_ptr<ConnectionState> state_;
};

/// The statements of a text, without the semicolons between them; empty ones are left out.
std::vector<std::string> split_statements(std::string_view sql);

}  // namespace tide::duck
