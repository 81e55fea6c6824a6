#include "duck/connection.h"

#include <fmt/format.h>

#include "duck/internal/connection_state.h"
#include "duck/internal/name_scope.h"
#include "duck/internal/result_state.h"
#include "duck/internal/sql_lexer.h"
#include "duck/internal/user_policy.h"

namespace tide::duck {
namespace {

/// By the numbers of duckdb_statement_type.
StatementKind kind_of(capi::StatementId id) {
  switch (static_cast<int>(id)) {
    case 1:  // SELECT
      return StatementKind::kSelect;
    case 4:
      return StatementKind::kExplain;
    case 2:  // INSERT
    case 3:  // UPDATE
    case 5:  // DELETE
      return StatementKind::kChange;
    case 7:   // CREATE
    case 9:   // ALTER
    case 14:  // CREATE FUNCTION
    case 15:  // DROP
      return StatementKind::kCreate;
    case 10:
      return StatementKind::kTransaction;
    case 11:
      return StatementKind::kCopy;
    case 13:  // VARIABLE_SET
    case 20:  // SET
      return StatementKind::kSet;
    default:
      return StatementKind::kOther;
  }
}

OwnedValue value_of(const Parameter& parameter) {
  const capi::Functions& duckdb = api();
  struct Visitor {
    const capi::Functions& duckdb;
    capi::Value operator()(std::monostate) const { return duckdb.create_null_value(); }
    capi::Value operator()(bool value) const { return duckdb.create_bool(value); }
    capi::Value operator()(int64_t value) const { return duckdb.create_int64(value); }
    capi::Value operator()(double value) const { return duckdb.create_double(value); }
    capi::Value operator()(const std::string& text) const {
      return duckdb.create_varchar_length(text.data(), text.size());
    }
    capi::Value operator()(const Blob& blob) const {
      return duckdb.create_blob(reinterpret_cast<const uint8_t*>(blob.bytes.data()),
                                blob.bytes.size());
    }
  };
  return OwnedValue(std::visit(Visitor{duckdb}, parameter));
}

/// The statement behind EXPLAIN and its options.
std::string explained(std::string_view sql) {
  const std::vector<Token> tokens = tokenize(sql);
  size_t at = 0;
  if (at < tokens.size() && tokens[at].is_word("explain")) ++at;
  if (at < tokens.size() && (tokens[at].is_word("analyze") || tokens[at].is_word("analyse"))) ++at;
  const bool options = at + 1 < tokens.size() && tokens[at].is_symbol('(') &&
                       (tokens[at + 1].is_word("analyze") || tokens[at + 1].is_word("analyse") ||
                        tokens[at + 1].is_word("format"));
  if (options) {
    while (at < tokens.size() && !tokens[at].is_symbol(')')) ++at;
    ++at;
  }
  return at < tokens.size() ? std::string(sql.substr(tokens[at].begin)) : std::string();
}

/// The error of what was just prepared: the resolver's own, if it gave one.
Status prepare_error(const ActiveScope& active, const char* message) {
  if (!active.error().ok()) return active.error();
  return duckdb_error({}, message == nullptr ? "the statement cannot be prepared" : message);
}

}  // namespace

struct Prepared::State {
  std::shared_ptr<ConnectionState> connection;
  NameScope scope;  ///< For when DuckDB binds again.
  StatementKind kind = StatementKind::kNone;
  OwnedPrepared prepared;  ///< Null for kNone.

  Result<std::unique_ptr<QueryResult>> run() {
    const ActiveScope active(scope);
    const capi::Functions& duckdb = api();
    auto result = std::make_unique<QueryResult::State>();
    result->connection = connection;
    result->kind = kind;
    OwnedPending pending;
    if (duckdb.pending_prepared_streaming(prepared.get(), pending.out()) != capi::State::kSuccess) {
      return prepare_error(active, duckdb.pending_error(pending.get()));
    }
    const capi::State done = duckdb.execute_pending(pending.get(), &result->result);
    if (done != capi::State::kSuccess) {
      if (!active.error().ok()) return active.error();
      return result->error();
    }
    TIDE_TRY(result->describe());
    return std::make_unique<QueryResult>(std::move(result));
  }
};

Prepared::Prepared(std::unique_ptr<State> state) : state_(std::move(state)) {}
Prepared::~Prepared() = default;

StatementKind Prepared::kind() const { return state_->kind; }

size_t Prepared::parameter_count() const {
  return state_->kind == StatementKind::kNone ? 0 : api().nparams(state_->prepared.get());
}

Result<std::vector<ResultColumn>> Prepared::columns() const {
  const capi::Functions& duckdb = api();
  std::vector<ResultColumn> columns;
  if (state_->kind == StatementKind::kNone) return columns;
  const capi::Prepared prepared = state_->prepared.get();
  for (capi::idx_t i = 0; i < duckdb.prepared_statement_column_count(prepared); ++i) {
    const OwnedType type(duckdb.prepared_statement_column_logical_type(prepared, i));
    const capi::TypeId id = duckdb.get_type_id(type.get());
    if (id == capi::TypeId::kInvalid || id == capi::TypeId::kAny) {
      return std::vector<ResultColumn>();  // depends on a parameter
    }
    const VectorReader reader = TIDE_TRY(VectorReader::of(type.get()));
    // The name is DuckDB's to keep only for results; here it is ours to free.
    std::string name =
        take_text(const_cast<char*>(duckdb.prepared_statement_column_name(prepared, i)));
    columns.push_back({std::move(name), reader.type(), reader.sql_type()});
  }
  return columns;
}

Result<std::unique_ptr<QueryResult>> Prepared::execute(std::span<const Parameter> parameters) {
  const capi::Functions& duckdb = api();
  if (parameters.size() != parameter_count()) {
    return Status(Code::kInvalid, fmt::format("the statement has {} parameters, {} were given",
                                              parameter_count(), parameters.size()));
  }
  if (state_->kind == StatementKind::kNone) {
    return std::make_unique<QueryResult>(std::make_unique<QueryResult::State>());
  }
  duckdb.clear_bindings(state_->prepared.get());
  for (size_t i = 0; i < parameters.size(); ++i) {
    const OwnedValue value = value_of(parameters[i]);
    if (value.get() == nullptr ||
        duckdb.bind_value(state_->prepared.get(), i + 1, value.get()) != capi::State::kSuccess) {
      return Status(Code::kInvalid, fmt::format("parameter {} is not a valid value", i + 1));
    }
  }
  return state_->run();
}

Connection::Connection(std::shared_ptr<ConnectionState> state) : state_(std::move(state)) {}
Connection::~Connection() = default;

Result<std::unique_ptr<Prepared>> Connection::prepare(std::string_view sql) {
  const capi::Functions& duckdb = api();
  if (sql.find('\0') != std::string_view::npos) {
    return Status(Code::kInvalid, "SQL with a zero byte in it");
  }
  const capi::Connection connection = state_->connection.get();
  if (state_->user) TIDE_TRY(check_user_sql(sql, state_->engine->denied_functions));
  auto state = std::make_unique<Prepared::State>();
  state->connection = state_;
  state->scope =
      TIDE_TRY(NameScope::of(sql, connection, state_->resolver, state_->remembered, state_->user));
  if (state_->user) {
    if (!state->scope.sure()) TIDE_TRY(check_user_strings(sql));
    for (const TableName& name : state->scope.names()) TIDE_TRY(check_user_table(name));
  }

  const ActiveScope active(state->scope);
  OwnedExtracted extracted;
  const capi::idx_t count =
      duckdb.extract_statements(connection, state->scope.sql().c_str(), extracted.out());
  if (count == 0) {
    const char* message = duckdb.extract_statements_error(extracted.get());
    if (message != nullptr && *message != '\0') return duckdb_error({}, message);
    return std::make_unique<Prepared>(std::move(state));
  }
  // DuckDB makes several statements of a PIVOT: a type of the values found, and the query.
  if (count > 1 && split_statements(sql).size() > 1) {
    return Status(Code::kInvalid, "several statements where one belongs");
  }
  for (capi::idx_t i = 0; i < count; ++i) {
    OwnedPrepared prepared;
    if (duckdb.prepare_extracted_statement(connection, extracted.get(), i, prepared.out()) !=
        capi::State::kSuccess) {
      return prepare_error(active, duckdb.prepare_error(prepared.get()));
    }
    std::swap(state->prepared, prepared);
    state->kind = kind_of(duckdb.prepared_statement_type(state->prepared.get()));
    if (i + 1 < count) {
      const std::unique_ptr<QueryResult> first = TIDE_TRY(state->run());
      TIDE_TRY(first->all());
    }
  }
  if (state_->user) {
    TIDE_TRY(check_user_statement(state->kind));
    if (state->kind == StatementKind::kExplain) {
      OwnedPrepared inner;
      const std::string rest = explained(state->scope.sql());
      TIDE_TRY(check_user_sql(rest, state_->engine->denied_functions));
      if (duckdb.prepare(connection, rest.c_str(), inner.out()) != capi::State::kSuccess ||
          kind_of(duckdb.prepared_statement_type(inner.get())) != StatementKind::kSelect) {
        return Status(Code::kDenied, "only queries can be explained here");
      }
    }
  }
  if (state->kind != StatementKind::kSelect && state->kind != StatementKind::kExplain) {
    const auto& names = state->scope.names();
    state_->remembered.insert(state_->remembered.end(), names.begin(), names.end());
  }
  return std::make_unique<Prepared>(std::move(state));
}

Result<std::unique_ptr<QueryResult>> Connection::query(std::string_view sql) {
  return query(sql, {});
}

Result<std::unique_ptr<QueryResult>> Connection::query(std::string_view sql,
                                                       std::span<const Parameter> parameters) {
  const std::unique_ptr<Prepared> prepared = TIDE_TRY(prepare(sql));
  return prepared->execute(parameters);
}

Status Connection::execute(std::string_view sql) {
  for (const std::string& statement : split_statements(sql)) {
    const std::unique_ptr<QueryResult> result = TIDE_TRY(query(statement));
    while (TIDE_TRY(result->next()).has_value()) {
    }
  }
  return {};
}

void Connection::set_table_resolver(TableResolver resolver) {
  state_->resolver =
      resolver ? std::make_shared<const TableResolver>(std::move(resolver)) : nullptr;
}

void Connection::interrupt() { api().interrupt(state_->connection.get()); }

double Connection::progress() const {
  return api().query_progress(state_->connection.get()).percentage;
}

std::vector<std::string> split_statements(std::string_view sql) {
  std::vector<std::string> statements;
  size_t begin = std::string_view::npos;
  size_t end = 0;
  for (const Token& token : tokenize(sql)) {
    if (token.is_symbol(';')) {
      if (begin != std::string_view::npos) {
        statements.emplace_back(sql.substr(begin, end - begin));
      }
      begin = std::string_view::npos;
      continue;
    }
    if (begin == std::string_view::npos) begin = token.begin;
    end = token.end;
  }
  if (begin != std::string_view::npos) statements.emplace_back(sql.substr(begin));
  return statements;
}

}  // namespace tide::duck
