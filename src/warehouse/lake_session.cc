#include "warehouse/lake_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "duck/sql_text.h"
#include "env/file.h"
#include "warehouse/engine_error.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

namespace {

constexpr int kViewDepthMax = 16;
constexpr std::string_view kZoneDirectory = "/usr/share/zoneinfo/";

/// PostgreSQL has checked the name: it is one of its own or a fixed offset.
pgwire::TimeZone load_zone(const std::string& name) {
  Result<pgwire::TimeZone> fixed = pgwire::TimeZone::from_text(name);
  if (fixed.ok()) return *fixed;
  if (name.find("..") != name.npos || name.starts_with('/')) return pgwire::TimeZone::utc();
  Result<std::string> bytes = env::read_file(std::string(kZoneDirectory) + name);
  if (!bytes.ok()) return pgwire::TimeZone::utc();
  Result<pgwire::TimeZone> zone = pgwire::TimeZone::parse(*bytes);
  return zone.ok() ? *zone : pgwire::TimeZone::utc();
}

std::string text_or_empty(const std::optional<std::string>& text) { return text ? *text : ""; }

SqlError missing(const QualifiedName& name, size_t position) {
  SqlError error =
      sql_error("42P01", fmt::format("relation \"{}\" does not exist", name.to_string()));
  error.position = static_cast<int>(position) + 1;
  return error;
}

/// Elements of current_schemas() and of name lists, joined by \x01 for us.
std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  size_t begin = 0;
  while (!text.empty()) {
    size_t end = text.find('\x01', begin);
    names.push_back(text.substr(begin, end == text.npos ? text.npos : end - begin));
    if (end == text.npos) break;
    begin = end + 1;
  }
  return names;
}

}  // namespace

LakeSession::LakeSession(Options options, duck::Engine& engine, SegmentCache& segments,
                         PostgresLink& postgres)
    : options_(std::move(options)),
      engine_(engine),
      postgres_(postgres),
      lake_({options_.lake_socket, options_.timeline, options_.database}, engine, segments) {}

void LakeSession::end_transaction() {
  in_transaction_ = false;
  pinned_.reset();
}

Outcome<void> LakeSession::refresh_settings() {
  if (!stale_) return {};
  PostgresLink::Rows rows = TIDE_TRY(postgres_.query(
      "SELECT pg_catalog.array_to_string(pg_catalog.current_schemas(true), E'\\x01'), "
      "current_user, session_user, pg_catalog.current_database(), "
      "coalesce(pg_catalog.current_schema(), ''), pg_catalog.version(), "
      "pg_catalog.pg_backend_pid(), "
      "pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('client_encoding'), "
      "(SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')",
      aside));
  if (rows.rows.size() != 1 || rows.rows[0].size() != 10)
    return sql_error("XX000", "PostgreSQL does not tell the session's settings");
  const auto& row = rows.rows[0];
  search_path_ = split_names(text_or_empty(row[0]));
  facts_.user = text_or_empty(row[1]);
  facts_.session_user = text_or_empty(row[2]);
  facts_.database = text_or_empty(row[3]);
  facts_.schema = text_or_empty(row[4]);
  facts_.version = text_or_empty(row[5]);
  std::string pid = text_or_empty(row[6]);
  std::from_chars(pid.data(), pid.data() + pid.size(), facts_.backend);
  if (std::string zone = text_or_empty(row[7]); zone != time_zone_) {
    time_zone_ = zone;
    zone_ = load_zone(zone);
  }
  client_encoding_ = text_or_empty(row[8]);
  int64_t timeout = 0;
  std::string timeout_text = text_or_empty(row[9]);
  std::from_chars(timeout_text.data(), timeout_text.data() + timeout_text.size(), timeout);
  statement_timeout_ = std::chrono::milliseconds(timeout);
  if (timeout == 0) statement_timeout_ = options_.statement_timeout;
  stale_ = false;
  return {};
}

Outcome<bool> LakeSession::is_catalog_relation(const std::string& name) {
  if (!name.starts_with("pg_")) return false;
  if (catalog_relations_.empty()) {
    PostgresLink::Rows rows =
        TIDE_TRY(postgres_.query("SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = "
                                 "'pg_catalog'::pg_catalog.regnamespace",
                                 aside));
    for (const auto& row : rows.rows) catalog_relations_.push_back(text_or_empty(row[0]));
    std::sort(catalog_relations_.begin(), catalog_relations_.end());
  }
  return std::binary_search(catalog_relations_.begin(), catalog_relations_.end(), name);
}

Outcome<bool> LakeSession::postgres_has(const std::vector<QualifiedName>& functions) {
  std::set<std::string> unknown;
  for (const QualifiedName& function : functions) {
    auto known = functions_.find(function.name);
    if (known == functions_.end()) {
      unknown.insert(function.name);
    } else if (!known->second) {
      return false;
    }
  }
  if (unknown.empty()) return true;
  std::string list;
  for (const std::string& name : unknown) {
    if (!list.empty()) list += ", ";
    list += quoted_literal(name);
  }
  PostgresLink::Rows rows = TIDE_TRY(postgres_.query(
      fmt::format("SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE proname IN ({})", list),
      aside));
  std::set<std::string> found;
  for (const auto& row : rows.rows) found.insert(text_or_empty(row[0]));
  bool all = true;
  for (const std::string& name : unknown) {
    // What is missing today may be created tomorrow: only hits are kept.
    if (found.contains(name)) functions_[name] = true;
    all = all && found.contains(name);
  }
  return all;
}

Outcome<LakeStatement> LakeSession::analyze(std::string_view sql) {
  if (parser_ == nullptr) parser_ = TIDE_TRY(engine_.connect());
  return LakeStatement::analyze(sql, [this](std::string_view text) -> Outcome<std::string> {
    Result<std::unique_ptr<duck::QueryResult>> result = parser_->query(
        fmt::format("SELECT CAST(json_serialize_sql({}, skip_null := true, skip_empty := true, "
                    "skip_default := true) AS VARCHAR)",
                    duck::quote_literal(text)));
    if (!result.ok()) return engine_error(result.status());
    Result<columns::Batch> batch = (*result)->all();
    if (!batch.ok()) return engine_error(batch.status());
    if (batch->rows() != 1 || batch->columns[0].is_null(0))
      return sql_error("XX000", "the engine does not parse");
    return std::string(batch->columns[0].bytes_at(0));
  });
}

Outcome<std::shared_ptr<Lake::Snapshot>> LakeSession::snapshot() {
  if (pinned_) return pinned_;
  {
    std::lock_guard lock(running_mutex_);
    waiting_ = true;
  }
  Outcome<std::unique_ptr<Lake::Snapshot>> taken =
      lake_.snapshot(freshness, options_.freshness_wait);
  {
    std::lock_guard lock(running_mutex_);
    waiting_ = false;
  }
  std::shared_ptr<Lake::Snapshot> shared = TIDE_TRY(std::move(taken));
  if (in_transaction_) pinned_ = shared;
  return shared;
}

const LakeTable* LakeSession::find_table(const LakeCatalog& catalog,
                                         const QualifiedName& name) const {
  if (!name.catalog.empty() && name.catalog != facts_.database) return nullptr;
  if (!name.schema.empty()) return catalog.find(name.schema, name.name);
  for (const std::string& schema : search_path_) {
    if (const LakeTable* table = catalog.find(schema, name.name)) return table;
  }
  return nullptr;
}

Outcome<std::vector<std::string>> LakeSession::bind_tables(const LakeStatement& statement,
                                                           Lake::Snapshot& snapshot, bool rows,
                                                           const Role& role, int depth) {
  std::vector<const LakeTable*> tables;
  std::string oids;
  for (const LakeStatement::Table& reference : statement.tables()) {
    const LakeTable* table = find_table(snapshot.catalog(), reference.name);
    tables.push_back(table);
    if (table == nullptr) continue;
    if (!oids.empty()) oids += ", ";
    oids += fmt::format("{}", table->oid);
  }
  // What PostgreSQL says about the grants, now and for this role.
  struct Grant {
    bool schema = false;
    bool all = false;
    bool rows_guarded = false;
    std::set<std::string> columns;
  };
  std::map<std::string, Grant> grants;
  bool superuser = false;
  if (!oids.empty()) {
    std::string who = role.oid.empty()
                          ? "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
                          : role.oid + "::pg_catalog.oid";
    PostgresLink::Rows answer = TIDE_TRY(postgres_.query(
        fmt::format(
            "SELECT c.oid, pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE'), "
            "pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT'), "
            "c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls AND (c.relforcerowsecurity "
            "OR "
            "NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')), "
            "CASE WHEN pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT') THEN '' ELSE "
            "pg_catalog.array_to_string(ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute a "
            "WHERE "
            "a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND "
            "pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')), E'\\x01') END, "
            "r.rolsuper FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_class c ON c.oid IN "
            "({}) "
            "WHERE r.oid = {}",
            oids, who),
        aside));
    for (const auto& row : answer.rows) {
      superuser = row[5] == "t";
      if (!row[0]) continue;
      Grant& grant = grants[*row[0]];
      grant.schema = row[1] == "t";
      grant.all = row[2] == "t";
      grant.rows_guarded = row[3] == "t";
      for (std::string& name : split_names(text_or_empty(row[4]))) grant.columns.insert(name);
    }
  }

  std::vector<std::string> selects;
  std::map<uint32_t, std::string> done;
  for (size_t i = 0; i < tables.size(); ++i) {
    const LakeStatement::Table& reference = statement.tables()[i];
    if (tables[i] == nullptr) {
      selects.push_back(
          TIDE_TRY(bind_view(reference.name, reference.begin, snapshot, rows, role, depth)));
      continue;
    }
    const LakeTable& table = *tables[i];
    if (auto found = done.find(table.oid); found != done.end()) {
      selects.push_back(found->second);
      continue;
    }
    Grant grant = grants[fmt::format("{}", table.oid)];
    if (!superuser && !grant.schema) {
      return sql_error("42501", fmt::format("permission denied for schema {}", table.schema));
    }
    if (!superuser && !grant.all && grant.columns.empty()) {
      return sql_error("42501", fmt::format("permission denied for table {}", table.name));
    }
    if (grant.rows_guarded) {
      SqlError error = sql_error(
          "42501",
          fmt::format("table \"{}\" has row-level security, which the lake does not enforce "
                      "yet",
                      table.name));
      error.hint = "Read it on the branch's own endpoint, or as its owner.";
      return error;
    }
    if (!table.not_mirrored.empty()) {
      SqlError error =
          sql_error("55000", fmt::format("table \"{}\" is not in the lake", table.name));
      error.detail = table.not_mirrored;
      error.hint = "tide lake status lists what is not mirrored, and why.";
      return error;
    }
    std::vector<size_t> wanted;
    for (size_t column = 0; column < table.columns.size(); ++column) {
      if (superuser || grant.all || grant.columns.contains(table.columns[column].name))
        wanted.push_back(column);
    }
    std::string sql =
        rows ? TIDE_TRY(snapshot.select(table, wanted)) : Lake::empty_select(table, wanted);
    done[table.oid] = sql;
    selects.push_back(std::move(sql));
  }
  return selects;
}

Outcome<std::string> LakeSession::bind_view(const QualifiedName& name, size_t position,
                                            Lake::Snapshot& snapshot, bool rows, const Role& role,
                                            int depth) {
  if (!name.catalog.empty() && name.catalog != facts_.database) {
    SqlError error = sql_error(
        "0A000",
        fmt::format("cross-database references are not implemented: \"{}\"", name.to_string()));
    error.position = static_cast<int>(position) + 1;
    return error;
  }
  std::string regclass = name.schema.empty()
                             ? quoted_identifier(name.name)
                             : quoted_identifier(name.schema) + "." + quoted_identifier(name.name);
  std::string who = role.oid.empty()
                        ? "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
                        : role.oid + "::pg_catalog.oid";
  PostgresLink::Rows answer = TIDE_TRY(postgres_.query(
      fmt::format(
          "SELECT c.relkind, n.nspname, pg_catalog.has_table_privilege({1}, c.oid, 'SELECT'), "
          "pg_catalog.has_schema_privilege({1}, n.oid, 'USAGE'), "
          "CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END, c.relowner, "
          "coalesce(pg_catalog.array_to_string(c.reloptions, ','), ''), c.relpersistence "
          "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
          "WHERE c.oid = pg_catalog.to_regclass({0})",
          quoted_literal(regclass), who),
      aside));
  if (answer.rows.empty()) return missing(name, position);
  const auto& row = answer.rows[0];
  std::string kind = text_or_empty(row[0]);
  if (row[3] != "t") {
    return sql_error("42501",
                     fmt::format("permission denied for schema {}", text_or_empty(row[1])));
  }
  if (row[2] != "t") {
    return sql_error("42501", fmt::format("permission denied for {} {}",
                                          kind == "v" ? "view" : "table", name.name));
  }
  if (kind != "v") {
    std::string_view what = kind == "S"     ? "a sequence"
                            : kind == "f"   ? "a foreign table"
                            : kind == "c"   ? "a composite type"
                            : kind == "i"   ? "an index"
                            : row[7] == "t" ? "a temporary table"
                            : row[7] == "u" ? "an unlogged table"
                                            : "not mirrored at this moment of its history";
    SqlError error = sql_error("0A000", fmt::format("\"{}\" is not in the lake", name.to_string()));
    error.detail = fmt::format("It is {}.", what);
    error.hint = "Read it on the branch's own endpoint.";
    return error;
  }
  if (depth >= kViewDepthMax) return sql_error("54001", "views are nested too deeply");
  std::string text = text_or_empty(row[4]);
  std::string_view query = trimmed(text);
  if (query.ends_with(';')) query = trimmed(query.substr(0, query.size() - 1));
  Outcome<LakeStatement> statement = analyze(query);
  if (!statement.ok()) {
    SqlError error = statement.error();
    error.position = 0;
    error.detail = fmt::format("In the definition of view {}.", name.to_string());
    return error;
  }
  // A view reads with its owner's rights, unless it says otherwise.
  bool invoker = text_or_empty(row[6]).find("security_invoker=true") != std::string::npos ||
                 text_or_empty(row[6]).find("security_invoker=on") != std::string::npos;
  Role reader = invoker ? role : Role{text_or_empty(row[5])};
  Outcome<std::vector<std::string>> bound =
      bind_tables(*statement, snapshot, rows, reader, depth + 1);
  if (!bound.ok()) {
    SqlError error = bound.error();
    error.position = 0;
    if (error.detail.empty())
      error.detail = fmt::format("In the definition of view {}.", name.to_string());
    return error;
  }
  return statement->rewrite(
      facts_, [&](size_t i) { return "(" + (*bound)[i] + ")"; }, [](int) { return "NULL"; });
}

Outcome<std::unique_ptr<duck::Connection>> LakeSession::connect(
    std::map<std::string, std::string> tables) {
  duck::ConnectionOptions options;
  options.user = true;
  options.resolver = [tables = std::move(tables)](
                         const duck::TableName& name) -> Result<std::optional<std::string>> {
    auto found = tables.find(name.table);
    if (!name.schema.empty() || found == tables.end()) return std::optional<std::string>();
    return std::optional<std::string>(found->second);
  };
  std::unique_ptr<duck::Connection> connection = TIDE_TRY(engine_.connect(std::move(options)));
  // What a zone is called here the engine may not know (fixed offsets): it calculates in UTC then.
  if (time_zone_ != "UTC") {
    connection->execute("SET SESSION TimeZone = " + duck::quote_literal(time_zone_))
        .ignore("an unknown zone leaves UTC");
  }
  TIDE_TRY(connection->execute(
      "SET SESSION integer_division = true; SET SESSION preserve_identifier_case = false"));
  return connection;
}

Outcome<std::unique_ptr<ResultEncoder>> LakeSession::describe(const LakeStatement& statement,
                                                              const std::vector<uint32_t>& types) {
  TIDE_TRY(refresh_settings());
  std::shared_ptr<Lake::Snapshot> snapshot = TIDE_TRY(this->snapshot());
  std::vector<std::string> selects = TIDE_TRY(bind_tables(statement, *snapshot, false, {}, 0));
  std::map<std::string, std::string> tables;
  std::string sql = statement.rewrite(
      facts_,
      [&](size_t i) {
        std::string name = fmt::format("tide_table_{}", i);
        tables[name] = selects[i];
        return name;
      },
      [&](int n) {
        ParameterValue value;
        if (static_cast<size_t>(n) <= types.size() && n > 0)
          value.type = types[static_cast<size_t>(n) - 1];
        Outcome<std::string> text = parameter_sql(value);
        return text.ok() ? *text : std::string("NULL");
      });
  std::unique_ptr<duck::Connection> connection = TIDE_TRY(connect(std::move(tables)));
  Result<std::unique_ptr<duck::Prepared>> prepared = connection->prepare(sql);
  if (!prepared.ok()) return engine_error(prepared.status());
  Result<std::vector<duck::ResultColumn>> columns = (*prepared)->columns();
  if (!columns.ok()) return engine_error(columns.status());
  std::vector<std::string> names;
  for (const duck::ResultColumn& column : *columns) names.push_back(column.name);
  return std::make_unique<ResultEncoder>(*columns, statement.column_names(names),
                                         std::vector<int16_t>(), zone_);
}

Outcome<std::unique_ptr<LakeCursor>> LakeSession::run(const LakeStatement& statement,
                                                      const std::vector<ParameterValue>& parameters,
                                                      std::string_view prefix) {
  TIDE_TRY(refresh_settings());
  if (client_encoding_ != "UTF8" && client_encoding_ != "SQL_ASCII") {
    SqlError error =
        sql_error("0A000", fmt::format("the lake answers in UTF8, not in {}", client_encoding_));
    error.hint = "SET client_encoding = 'UTF8'";
    return error;
  }
  if (static_cast<size_t>(statement.parameters()) > parameters.size()) {
    return sql_error("42P02", fmt::format("there is no parameter ${}", parameters.size() + 1));
  }
  std::vector<std::string> values;
  for (const ParameterValue& parameter : parameters)
    values.push_back(TIDE_TRY(parameter_sql(parameter)));
  auto cursor = std::make_unique<LakeCursor>();
  cursor->snapshot = TIDE_TRY(snapshot());
  std::vector<std::string> selects =
      TIDE_TRY(bind_tables(statement, *cursor->snapshot, true, {}, 0));
  std::map<std::string, std::string> tables;
  std::string sql = statement.rewrite(
      facts_,
      [&](size_t i) {
        std::string name = fmt::format("tide_table_{}", i);
        tables[name] = selects[i];
        return name;
      },
      [&](int n) { return n > 0 ? values[static_cast<size_t>(n) - 1] : std::string("NULL"); });
  cursor->connection = TIDE_TRY(connect(std::move(tables)));
  {
    std::lock_guard lock(running_mutex_);
    running_ = cursor->connection.get();
  }
  Result<std::unique_ptr<duck::QueryResult>> result =
      cursor->connection->query(std::string(prefix) + sql);
  {
    std::lock_guard lock(running_mutex_);
    running_ = nullptr;
  }
  if (!result.ok()) return engine_error(result.status());
  cursor->result = std::move(*result);
  std::vector<std::string> names;
  for (const duck::ResultColumn& column : cursor->result->columns()) names.push_back(column.name);
  cursor->encoder = std::make_unique<ResultEncoder>(
      cursor->result->columns(), prefix.empty() ? statement.column_names(names) : names,
      std::vector<int16_t>(), zone_);
  return cursor;
}

Outcome<bool> LakeSession::fetch(LakeCursor& cursor) {
  if (cursor.batch && cursor.position < cursor.batch->rows()) return true;
  if (cursor.done) return false;
  {
    std::lock_guard lock(running_mutex_);
    running_ = cursor.connection.get();
  }
  Result<std::optional<columns::Batch>> next = cursor.result->next();
  {
    std::lock_guard lock(running_mutex_);
    running_ = nullptr;
  }
  if (!next.ok()) return engine_error(next.status());
  cursor.batch = std::move(*next);
  cursor.position = 0;
  cursor.done = !cursor.batch.has_value();
  return !cursor.done;
}

Outcome<LakeSession::Moment> LakeSession::moment() {
  TIDE_TRY(refresh_settings());
  std::shared_ptr<Lake::Snapshot> now = TIDE_TRY(snapshot());
  return Moment{now->lsn(), now->commit_microseconds()};
}

void LakeSession::interrupt() {
  std::lock_guard lock(running_mutex_);
  if (running_ != nullptr) running_->interrupt();
  if (waiting_) lake_.shut_down();
}

}  // namespace tide::warehouse
