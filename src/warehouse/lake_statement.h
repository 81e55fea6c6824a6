#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "warehouse/outcome.h"
#include "warehouse/pg_statement.h"

namespace tide::warehouse {

/// A query for the engine, taken apart by the engine's own parser: what it reads, and where in the
/// text. Only what is on the allow-lists gets here: one SELECT (VALUES, FROM ...), tables, joins,
/// subqueries, and functions of allowed_functions.h.
class LakeStatement {
 public:
  struct Table {
    QualifiedName name;
    size_t begin = 0;  ///< of the name in the text
    size_t end = 0;
    bool aliased = false;
    bool bare = false;     ///< behind DESCRIBE and its like, where no alias can stand
    bool command = false;  ///< "TABLE name" as a query: `begin` is at TABLE
  };
  /// Values of functions that ask about the session, for the query's text.
  struct Session {
    std::string user;
    std::string session_user;
    std::string database;
    std::string schema;
    std::string version;
    int32_t backend = 0;
  };
  /// Asks the engine for json_serialize_sql() of a text.
  using Parser = std::function<Outcome<std::string>(std::string_view sql)>;

  /// 42601 with a position for bad syntax, 42501 for what is not allowed.
  static Outcome<LakeStatement> analyze(std::string_view sql, const Parser& parser);

  const std::vector<Table>& tables() const { return tables_; }
  /// Numbers of parameters: the highest $n.
  int parameters() const { return parameters_; }

  /// The text for the engine. `table_name`: what stands for tables()[i], an identifier or a query
  /// in parentheses; `parameter`: SQL that stands for $n.
  std::string rewrite(const Session& session, const std::function<std::string(size_t)>& table_name,
                      const std::function<std::string(int)>& parameter) const;

  /// Names that PostgreSQL would give to the columns: by position from the front, and from the back
  /// where a star makes the count unknown; empty where the engine's own name is right.
  std::vector<std::string> column_names(const std::vector<std::string>& engine_names) const;

 private:
  friend class LakeWalker;
  struct Edit {
    size_t begin = 0;
    size_t end = 0;
    std::string text;
    std::string session_value;  ///< "user", ...: filled in by rewrite()
    std::string alias;
    bool as_text = true;
  };
  struct Output {
    bool star = false;
    std::string name;
  };

  std::string sql_;
  std::vector<Table> tables_;
  std::vector<Edit> edits_;
  std::vector<Output> outputs_;
  int parameters_ = 0;
};

}  // namespace tide::warehouse
