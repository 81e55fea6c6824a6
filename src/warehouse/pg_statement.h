#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "warehouse/outcome.h"

namespace tide::warehouse {

/// A relation or function as a statement names it, folded as PostgreSQL folds.
struct QualifiedName {
  std::string catalog;
  std::string schema;
  std::string name;
  friend bool operator==(const QualifiedName&, const QualifiedName&) = default;
  friend auto operator<=>(const QualifiedName&, const QualifiedName&) = default;
  std::string to_string() const;
};

/// What must be known of a statement to decide who answers it.
struct PgStatement {
  enum class Kind {
    kEmpty,
    kSelect,       ///< SELECT, VALUES, TABLE, WITH
    kTransaction,  ///< BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ...
    kSet,          ///< SET, RESET
    kShow,
    kDeclare,
    kFetch,
    kClose,
    kCopyOut,
    kExplain,
    kPrepare,
    kExecute,
    kDeallocate,
    kDiscard,
    kSession,  ///< LISTEN, NOTIFY, LOCK, ...: nothing but PostgreSQL's
    kWrite,    ///< changes something, or might
  };
  Kind kind = Kind::kEmpty;
  std::string text;   ///< without comments and blanks around it, and without the semicolon
  size_t offset = 0;  ///< of `text` in the script, in bytes
  std::string verb;   ///< for messages: "INSERT", "CREATE TABLE"

  std::vector<QualifiedName> relations;  ///< not those that are CTEs of the statement
  std::vector<QualifiedName> functions;
  std::vector<size_t> names;  ///< where names of columns and relations begin, in the script's bytes

  /// kTransaction: libpg_query's name, e.g. "TRANS_STMT_BEGIN".
  std::string transaction;
  /// kSet, kShow
  std::string setting;
  std::optional<std::string> value;  ///< nothing: RESET, TO DEFAULT, FROM CURRENT
  bool local = false;
  bool reset_all = false;
  /// kDeclare, kFetch, kClose, kPrepare, kExecute, kDeallocate; empty with CLOSE ALL, DEALLOCATE
  /// ALL
  std::string name;
  /// kDeclare, kCopyOut (unless it names a relation), kExplain, kPrepare: the query inside.
  std::string query;
  size_t query_offset = 0;  ///< in `text`
  bool hold = false;        ///< kDeclare ... WITH HOLD
  bool binary = false;      ///< kDeclare BINARY
  bool scroll = false;      ///< kDeclare SCROLL
  /// kFetch
  bool forward = true;  ///< false: any other direction
  int64_t count = 1;    ///< INT64_MAX: ALL
  bool move = false;
  /// kCopyOut
  struct Copy {
    bool csv = false;
    bool binary = false;
    bool header = false;
    std::string delimiter;
    std::string null_text;
    bool null_given = false;
    char quote = '"';
    char escape = '"';
    bool force_quote_all = false;
    std::vector<std::string> columns;  ///< of COPY table (a, b)
    std::string unsupported;           ///< an option that we do not have
  };
  Copy copy;
  /// kExplain
  bool analyze = false;
  /// kExecute: argument texts; kPrepare: types as given.
  std::vector<std::string> arguments;
};

/// Parses a script with PostgreSQL 15's own grammar. The error is PostgreSQL's, with its position.
Outcome<std::vector<PgStatement>> parse_pg(std::string_view sql);

/// `sql`, which begins at `offset` of the script, with all plain words that the statement uses as
/// names of columns and relations in quotes: for a parser that reserves other words.
std::string with_quoted_names(std::string_view sql, size_t offset,
                              const std::vector<size_t>& names);

/// Cuts a script at its semicolons, whatever the pieces are; offsets are those of the pieces.
struct Piece {
  std::string text;
  size_t offset = 0;
};
std::vector<Piece> split_script(std::string_view sql);

}  // namespace tide::warehouse
