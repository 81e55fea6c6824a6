#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "duck/connection.h"
#include "duck/internal/handles.h"

namespace tide::duck {

struct Place;

/// Which table each name in a statement means.
///
/// DuckDB's hook for missing tables hands over the last part of a name only: "orders" for
/// public.orders and archive.orders alike. So the names are taken from the statement beforehand,
/// and where one last part could mean two tables, the statement itself is changed to say which.
class NameScope {
 public:
  /// Reads the names of a statement about to be prepared on `connection`. `remembered` are names
  /// that views of this session were created with; their bodies are bound later, without their
  /// text. Names are read only where there is a resolver or they are `wanted`.
  static Result<NameScope> of(std::string_view sql, capi::Connection connection,
                              std::shared_ptr<const TableResolver> resolver,
                              const std::vector<TableName>& remembered, bool wanted);

  /// The statement to prepare: as given, or with names changed.
  const std::string& sql() const { return sql_; }
  const std::vector<TableName>& names() const { return names_; }

  /// False if names() are all that could be a table's name by its form, and strings besides.
  bool sure() const { return sure_; }

  /// What stands for the table of this last part. Nothing if there is no such table.
  Result<std::optional<std::string>> resolve(std::string_view last_part) const;

  /// The scope of what this thread is preparing, with the error its resolver gave.
  struct Active {
    const NameScope* scope = nullptr;
    Status error;
  };
  static Active*& active();

 private:
  static Status separate_names(NameScope& scope, const std::vector<Place>& places);

  std::string sql_;
  std::vector<TableName> names_;
  bool sure_ = true;
  std::vector<TableName> remembered_;
  std::map<std::string, TableName> separated_;  ///< By what stands in sql_ for them.
  std::shared_ptr<const TableResolver> resolver_;
};

/// Makes a scope the active one of this thread for as long as this lives.
class ActiveScope {
 public:
  explicit ActiveScope(const NameScope& scope) : previous_(NameScope::active()) {
    active_.scope = &scope;
    NameScope::active() = &active_;
  }
  ~ActiveScope() { NameScope::active() = previous_; }
  ActiveScope(const ActiveScope&) = delete;
  ActiveScope& operator=(const ActiveScope&) = delete;
  const Status& error() const { return active_.error; }

 private:
  NameScope::Active active_;
  NameScope::Active* previous_;
};

/// DuckDB's hook: asks the active scope.
void replace_missing_table(capi::ReplacementInfo info, const char* table, void* unused);

}  // namespace tide::duck
