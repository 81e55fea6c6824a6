#include <fmt/format.h>

#include <algorithm>

#include "warehouse/session.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using Kind = PgStatement::Kind;

namespace {

bool is_ours(const std::string& setting) {
  return setting == "tidewater.freshness" || setting == "tidewater.as_of" ||
         setting == "tidewater.as_of_lsn" || setting == "tidewater.as_of_time";
}

}  // namespace

SqlError Session::refuse_write(const PgStatement& parsed) const {
  SqlError error =
      sql_error("25006", fmt::format("cannot execute {} on the lake endpoint: it is read-only",
                                     parsed.verb.empty() ? "this statement" : parsed.verb));
  error.hint = fmt::format("Use the branch's own endpoint: tide url {}@{}", database_.database,
                           database_.branch);
  return error;
}

Outcome<std::vector<Session::Unrouted>> Session::split(const std::string& script) {
  std::vector<Unrouted> statements;
  Outcome<std::vector<PgStatement>> parsed = parse_pg(script);
  if (parsed.ok()) {
    for (PgStatement& statement : *parsed) {
      Unrouted unrouted;
      unrouted.parsed = std::move(statement);
      statements.push_back(std::move(unrouted));
    }
    return statements;
  }
  // The engine's own dialect, perhaps in one of several statements.
  std::vector<Piece> pieces = split_script(script);
  for (const Piece& piece : pieces) {
    Outcome<std::vector<PgStatement>> one = parse_pg(piece.text);
    if (one.ok()) {
      for (PgStatement& statement : *one) {
        statement.offset += piece.offset;
        Unrouted unrouted;
        unrouted.parsed = std::move(statement);
        statements.push_back(std::move(unrouted));
      }
      continue;
    }
    Unrouted unrouted;
    unrouted.foreign = piece;
    unrouted.complaint = pieces.size() == 1 ? parsed.error() : one.error();
    if (pieces.size() > 1 && unrouted.complaint->position > 0)
      unrouted.complaint->position += static_cast<int>(piece.offset);
    statements.push_back(std::move(unrouted));
  }
  return statements;
}

Outcome<Session::Statement> Session::route(const Unrouted& unrouted, const std::string& script) {
  if (unrouted.parsed) return classify(*unrouted.parsed, script);
  Statement statement;
  statement.script = script;
  statement.target = Target::kLake;
  statement.parsed.kind = Kind::kSelect;
  statement.parsed.text = unrouted.foreign.text;
  statement.parsed.offset = unrouted.foreign.offset;
  // In a failed transaction PostgreSQL says so, whatever the text is.
  if (link_->transaction() == 'E') {
    statement.target = Target::kPostgres;
    return statement;
  }
  Outcome<void> attached = attach_lake(statement, unrouted.foreign.text, unrouted.foreign.offset);
  if (!attached.ok()) {
    // PostgreSQL's complaint is the one to show, unless the engine understood more.
    bool neither = attached.error().code == "42601" || attached.error().code == "0A000";
    return neither ? *unrouted.complaint : attached.error();
  }
  return statement;
}

Outcome<void> Session::attach_lake(Statement& statement, std::string_view sql, size_t offset) {
  Outcome<LakeStatement> lake = lake_->analyze(sql);
  if (!lake.ok() && lake.error().code == "42601" && !statement.parsed.names.empty()) {
    // The engine reserves words that PostgreSQL does not.
    Outcome<LakeStatement> again =
        lake_->analyze(with_quoted_names(sql, offset, statement.parsed.names));
    if (again.ok()) lake = std::move(again);
  }
  if (!lake.ok()) {
    SqlError error = lake.error();
    if (error.position > 0) error.position += static_cast<int>(offset);
    return error;
  }
  statement.lake = std::move(*lake);
  statement.offset = offset;
  return {};
}

/// True if nothing but catalogs and session functions is touched.
Outcome<bool> Session::is_for_postgres(const PgStatement& parsed) {
  bool catalog = false;
  bool user = false;
  std::string mixed;
  for (const QualifiedName& relation : parsed.relations) {
    bool is_catalog = relation.schema == "pg_catalog" || relation.schema == "information_schema" ||
                      relation.schema == "pg_toast";
    if (relation.schema.empty()) is_catalog = TIDE_TRY(lake_->is_catalog_relation(relation.name));
    (is_catalog ? catalog : user) = true;
    if (is_catalog) mixed = relation.to_string();
  }
  if (user && catalog) {
    SqlError error = sql_error(
        "0A000",
        fmt::format("a query of the lake cannot read the catalog \"{}\" beside tables", mixed));
    error.hint = "Ask the catalog in a statement of its own, or use the branch's own endpoint.";
    return error;
  }
  if (user) return false;
  if (catalog) return true;
  return lake_->postgres_has(parsed.functions);
}

Outcome<Session::Statement> Session::classify(PgStatement parsed, const std::string& script) {
  Statement statement;
  statement.script = script;
  // In a failed transaction PostgreSQL says what is possible; nothing may be asked beside that.
  bool failed = link_->transaction() == 'E';
  switch (parsed.kind) {
    case Kind::kEmpty:
    case Kind::kTransaction:
    case Kind::kSession:
    case Kind::kDiscard:
      break;
    case Kind::kWrite:
      if (!failed) {
        SqlError error = refuse_write(parsed);
        return error;
      }
      break;
    case Kind::kSet:
    case Kind::kShow:
      if (is_ours(parsed.setting) && !failed) statement.target = Target::kLocal;
      break;
    case Kind::kFetch:
    case Kind::kClose:
      if (cursors_.contains(parsed.name) && !failed) statement.target = Target::kLocal;
      break;
    case Kind::kExecute:
    case Kind::kDeallocate:
      if (statements_.contains(parsed.name) && !parsed.name.empty() &&
          statements_[parsed.name]->target != Target::kPostgres && !failed) {
        statement.target = Target::kLocal;
      }
      break;
    case Kind::kSelect:
    case Kind::kDeclare:
    case Kind::kCopyOut:
    case Kind::kExplain:
    case Kind::kPrepare: {
      if (failed || TIDE_TRY(is_for_postgres(parsed))) break;
      statement.target = parsed.kind == Kind::kSelect ? Target::kLake : Target::kLocal;
      std::string sql = parsed.kind == Kind::kSelect ? parsed.text : parsed.query;
      size_t offset = parsed.offset + (parsed.kind == Kind::kSelect ? 0 : parsed.query_offset);
      if (parsed.kind == Kind::kCopyOut) {
        if (!parsed.copy.unsupported.empty()) {
          return sql_error("0A000",
                           fmt::format("COPY option {} is not supported on the lake endpoint",
                                       parsed.copy.unsupported));
        }
        if (sql.empty() && !parsed.relations.empty()) {
          // COPY table (columns): the same as a query of it.
          const QualifiedName& table = parsed.relations[0];
          std::string columns;
          for (const std::string& column : parsed.copy.columns)
            columns += (columns.empty() ? "" : ", ") + quoted_identifier(column);
          sql = "SELECT " + (columns.empty() ? "*" : columns) + " FROM " +
                (table.schema.empty() ? "" : quoted_identifier(table.schema) + ".") +
                quoted_identifier(table.name);
        }
      }
      statement.parsed = std::move(parsed);
      TIDE_TRY(attach_lake(statement, sql, offset));
      return statement;
    }
  }
  statement.parsed = std::move(parsed);
  return statement;
}

}  // namespace tide::warehouse
