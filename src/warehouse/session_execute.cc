#include <fmt/format.h>

#include <charconv>

#include "base/lsn.h"
#include "pgwire/backend.h"
#include "pgwire/type_oids.h"
#include "pgwire/value_text.h"
#include "warehouse/session.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using Kind = PgStatement::Kind;

namespace {

constexpr size_t kFlushAbove = 64 * 1024;

std::vector<pgwire::FieldDescription> one_text_column(std::string name) {
  pgwire::FieldDescription field;
  field.name = std::move(name);
  field.type = pgwire::oid::kText;
  return {field};
}

void append_text_row(std::string& out, std::string_view text) {
  pgwire::MessageWriter row(out, 'D');
  row.int16(1);
  row.counted(text);
}

}  // namespace

SqlError Session::cancel_error() const {
  if (stopping_) {
    return sql_error("57P01", "terminating connection due to administrator command");
  }
  return sql_error("57014", timed_out_ ? "canceling statement due to statement timeout"
                                       : "canceling statement due to user request");
}

SqlError Session::with_reason(SqlError error) const {
  return canceled_ || timed_out_ || error.code == "57014" ? cancel_error() : error;
}

Outcome<void> Session::check_canceled() {
  if (canceled_ || timed_out_ || stopping_) return cancel_error();
  return {};
}

/// A cancel that came between statements is not for the next one; a session of one statement only
/// has no between.
void Session::forget_cancel() {
  timed_out_ = false;
  if (!trusted_) canceled_ = false;
}

Watchdog::Watch Session::watch() {
  return shared_.watchdog.watch(lake_->statement_timeout(), stream_.fd(),
                                [this](Watchdog::Reason reason) {
                                  if (reason == Watchdog::Reason::kClientGone) {
                                    canceled_ = true;
                                  } else if (!canceled_ && !stopping_) {
                                    timed_out_ = true;
                                  }
                                  lake_->interrupt();
                                });
}

Outcome<std::unique_ptr<LakeCursor>> Session::start_query(
    const Statement& statement, const std::vector<ParameterValue>& parameters,
    std::string_view prefix) {
  Outcome<std::unique_ptr<LakeCursor>> cursor = lake_->run(*statement.lake, parameters, prefix);
  if (!cursor.ok()) return with_reason(cursor.error());
  last_moment_ = {(*cursor)->snapshot->lsn(), (*cursor)->snapshot->commit_microseconds()};
  TIDE_TRY(check_canceled());
  return cursor;
}

/// Appends up to `limit` rows of the cursor.
Outcome<uint64_t> Session::send_rows(LakeCursor& cursor, uint64_t limit) {
  uint64_t sent = 0;
  while (sent < limit) {
    TIDE_TRY(check_canceled());
    Outcome<bool> more = lake_->fetch(cursor);
    if (!more.ok()) return with_reason(more.error());
    if (!*more) break;
    for (; cursor.position < cursor.batch->rows() && sent < limit; ++cursor.position, ++sent) {
      cursor.encoder->append_data_row(*cursor.batch, cursor.position, out_);
      if (out_.size() >= kFlushAbove) TIDE_TRY(flush());
    }
  }
  return sent;
}

Outcome<Session::Fields> Session::describe(const Statement& statement) {
  const PgStatement& parsed = statement.parsed;
  if (statement.target == Target::kLake)
    return Fields(TIDE_TRY(lake_->describe(*statement.lake, statement.types))->fields());
  switch (parsed.kind) {
    case Kind::kShow:
      return Fields(one_text_column(parsed.setting));
    case Kind::kExplain:
      return Fields(one_text_column("QUERY PLAN"));
    case Kind::kFetch: {
      if (parsed.move) return Fields();
      auto cursor = cursors_.find(parsed.name);
      if (cursor == cursors_.end()) return Fields();
      if (cursor->second.running) return Fields(cursor->second.running->encoder->fields());
      return describe(*cursor->second.statement);
    }
    case Kind::kExecute: {
      StatementPtr prepared = TIDE_TRY(prepared_statement(parsed.name));
      return describe(*prepared);
    }
    default:
      return Fields();
  }
}

/// Starts the query of a portal, so that its columns are known.
Outcome<void> Session::begin(Portal& portal) {
  if (portal.cursor || portal.statement->target != Target::kLake) return {};
  portal.cursor = TIDE_TRY(start_query(*portal.statement, portal.parameters));
  portal.cursor->encoder->set_formats(portal.formats);
  return {};
}

Outcome<void> Session::execute(Portal& portal, int64_t limit) {
  forget_cancel();
  TIDE_TRY(lake_->refresh_settings());
  Watchdog::Watch watched = watch();
  watch_ = watched.id();
  TIDE_TRY(check_canceled());
  if (portal.statement->target == Target::kLake) return execute_query(portal, limit);
  return execute_local(portal);
}

Outcome<void> Session::execute_query(Portal& portal, int64_t limit) {
  if (portal.ended) {
    pgwire::append_command_complete(out_, "SELECT 0");
    return {};
  }
  TIDE_TRY(begin(portal));
  if (portal.announce) pgwire::append_row_description(out_, portal.cursor->encoder->fields());
  uint64_t sent =
      TIDE_TRY(send_rows(*portal.cursor, limit > 0 ? static_cast<uint64_t>(limit) : UINT64_MAX));
  if (limit > 0 && sent == static_cast<uint64_t>(limit)) {
    pgwire::append_simple(out_, 's');
    return {};
  }
  portal.ended = true;
  portal.cursor.reset();
  pgwire::append_command_complete(out_, fmt::format("SELECT {}", sent));
  return {};
}

Outcome<void> Session::execute_copy(Portal& portal) {
  const PgStatement::Copy& copy = portal.statement->parsed.copy;
  std::unique_ptr<LakeCursor> cursor = TIDE_TRY(start_query(*portal.statement, {}));
  pgwire::append_copy_out(out_, cursor->encoder->columns(), copy.binary ? 1 : 0);
  std::string data;
  if (copy.binary) {
    data.assign("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    pgwire::append_copy_data(out_, data);
  } else if (copy.header) {
    cursor->encoder->append_copy_header(copy, data);
    pgwire::append_copy_data(out_, data);
  }
  uint64_t rows = 0;
  while (true) {
    TIDE_TRY(check_canceled());
    Outcome<bool> more = lake_->fetch(*cursor);
    if (!more.ok()) return with_reason(more.error());
    if (!*more) break;
    for (; cursor->position < cursor->batch->rows(); ++cursor->position, ++rows) {
      data.clear();
      if (copy.binary) {
        cursor->encoder->append_copy_binary(*cursor->batch, cursor->position, data);
      } else {
        cursor->encoder->append_copy_line(*cursor->batch, cursor->position, copy, data);
      }
      pgwire::append_copy_data(out_, data);
      if (out_.size() >= kFlushAbove) TIDE_TRY(flush());
    }
  }
  if (copy.binary) pgwire::append_copy_data(out_, "\377\377");
  pgwire::append_simple(out_, 'c');
  pgwire::append_command_complete(out_, fmt::format("COPY {}", rows));
  return {};
}

Outcome<void> Session::execute_explain(Portal& portal) {
  std::unique_ptr<LakeCursor> cursor = TIDE_TRY(start_query(
      *portal.statement, {}, portal.statement->parsed.analyze ? "EXPLAIN ANALYZE " : "EXPLAIN "));
  if (portal.announce) pgwire::append_row_description(out_, one_text_column("QUERY PLAN"));
  while (true) {
    Outcome<bool> more = lake_->fetch(*cursor);
    if (!more.ok()) return with_reason(more.error());
    if (!*more) break;
    for (; cursor->position < cursor->batch->rows(); ++cursor->position) {
      std::string plan =
          cursor->encoder->text(*cursor->batch, cursor->position, cursor->encoder->columns() - 1);
      std::string_view rest = plan;
      while (!rest.empty()) {
        size_t end = rest.find('\n');
        append_text_row(out_, rest.substr(0, end));
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
      }
    }
  }
  pgwire::append_command_complete(out_, "EXPLAIN");
  return {};
}

Outcome<void> Session::execute_fetch(Portal& portal) {
  const PgStatement& parsed = portal.statement->parsed;
  auto found = cursors_.find(parsed.name);
  if (found == cursors_.end())
    return sql_error("34000", fmt::format("cursor \"{}\" does not exist", parsed.name));
  Cursor& cursor = found->second;
  if (!parsed.forward || parsed.count < 0) {
    SqlError error = sql_error("55000", "cursor can only scan forward");
    error.hint = "Cursors of the lake have NO SCROLL.";
    return error;
  }
  if (!cursor.running) cursor.running = TIDE_TRY(start_query(*cursor.statement, {}));
  std::vector<int16_t> formats = portal.formats;
  if (cursor.binary) formats = {1};
  cursor.running->encoder->set_formats(formats);
  uint64_t count = static_cast<uint64_t>(parsed.count);
  if (parsed.move) {
    uint64_t moved = 0;
    while (moved < count) {
      Outcome<bool> more = lake_->fetch(*cursor.running);
      if (!more.ok()) return with_reason(more.error());
      if (!*more) break;
      uint64_t step = std::min<uint64_t>(count - moved,
                                         cursor.running->batch->rows() - cursor.running->position);
      cursor.running->position += step;
      moved += step;
    }
    pgwire::append_command_complete(out_, fmt::format("MOVE {}", moved));
    return {};
  }
  if (portal.announce) pgwire::append_row_description(out_, cursor.running->encoder->fields());
  uint64_t sent = TIDE_TRY(send_rows(*cursor.running, count));
  pgwire::append_command_complete(out_, fmt::format("FETCH {}", sent));
  return {};
}

Outcome<Session::StatementPtr> Session::prepared_statement(const std::string& name) {
  auto found = statements_.find(name);
  if (found == statements_.end())
    return sql_error("26000", fmt::format("prepared statement \"{}\" does not exist", name));
  return found->second;
}

/// Values of EXECUTE's arguments: PostgreSQL evaluates them.
Outcome<std::vector<ParameterValue>> Session::execute_arguments(const PgStatement& parsed) {
  std::vector<ParameterValue> values;
  if (parsed.arguments.empty()) return values;
  std::string list;
  for (const std::string& argument : parsed.arguments)
    list += (list.empty() ? "(" : ", (") + argument + ")::pg_catalog.text";
  PostgresLink::Rows rows = TIDE_TRY(link_->query("SELECT " + list, lake_->aside));
  if (rows.rows.size() != 1)
    return sql_error("42601", "arguments of EXECUTE must be single values");
  for (std::optional<std::string>& text : rows.rows[0]) {
    ParameterValue value;
    value.text = std::move(text);
    values.push_back(std::move(value));
  }
  return values;
}

Outcome<void> Session::execute_local(Portal& portal) {
  const PgStatement& parsed = portal.statement->parsed;
  switch (parsed.kind) {
    case Kind::kSet:
      TIDE_TRY(execute_set(parsed));
      pgwire::append_command_complete(out_, parsed.value ? "SET" : "RESET");
      return {};
    case Kind::kShow: {
      std::string value = TIDE_TRY(show(parsed.setting));
      if (portal.announce) pgwire::append_row_description(out_, one_text_column(parsed.setting));
      append_text_row(out_, value);
      pgwire::append_command_complete(out_, "SHOW");
      return {};
    }
    case Kind::kDeclare: {
      if (link_->transaction() == 'I' && !parsed.hold)
        return sql_error("25P01", "DECLARE CURSOR can only be used in transaction blocks");
      if (cursors_.contains(parsed.name))
        return sql_error("42P03", fmt::format("cursor \"{}\" already exists", parsed.name));
      if (parsed.scroll)
        return sql_error("0A000", "scrollable cursors are not supported on the lake endpoint");
      Cursor cursor;
      cursor.statement = portal.statement;
      cursor.hold = parsed.hold;
      cursor.binary = parsed.binary;
      // Begun at once: it sees the state of now.
      cursor.running = TIDE_TRY(start_query(*portal.statement, {}));
      cursors_[parsed.name] = std::move(cursor);
      pgwire::append_command_complete(out_, "DECLARE CURSOR");
      return {};
    }
    case Kind::kFetch:
      return execute_fetch(portal);
    case Kind::kClose:
      cursors_.erase(parsed.name);
      pgwire::append_command_complete(out_, "CLOSE CURSOR");
      return {};
    case Kind::kCopyOut:
      return execute_copy(portal);
    case Kind::kExplain:
      return execute_explain(portal);
    case Kind::kPrepare: {
      if (statements_.contains(parsed.name)) {
        return sql_error("42P05",
                         fmt::format("prepared statement \"{}\" already exists", parsed.name));
      }
      auto prepared = std::make_shared<Statement>(*portal.statement);
      prepared->target = Target::kLake;
      prepared->types.clear();
      for (const std::string& type : parsed.arguments) {
        PostgresLink::Rows rows = TIDE_TRY(link_->query(
            fmt::format("SELECT {}::pg_catalog.regtype::pg_catalog.oid", quoted_literal(type)),
            lake_->aside));
        std::string number = rows.rows.empty() || !rows.rows[0][0] ? "" : *rows.rows[0][0];
        uint32_t oid = 0;
        std::from_chars(number.data(), number.data() + number.size(), oid);
        prepared->types.push_back(oid);
      }
      statements_[parsed.name] = std::move(prepared);
      pgwire::append_command_complete(out_, "PREPARE");
      return {};
    }
    case Kind::kExecute: {
      if (!portal.cursor) {
        StatementPtr prepared = TIDE_TRY(prepared_statement(parsed.name));
        std::vector<ParameterValue> values = TIDE_TRY(execute_arguments(parsed));
        if (values.size() != static_cast<size_t>(prepared->lake->parameters())) {
          SqlError error = sql_error(
              "42601",
              fmt::format("wrong number of parameters for prepared statement \"{}\"", parsed.name));
          error.detail = fmt::format("Expected {} parameters but got {}.",
                                     prepared->lake->parameters(), values.size());
          return error;
        }
        for (size_t i = 0; i < values.size() && i < prepared->types.size(); ++i)
          values[i].type = prepared->types[i];
        portal.cursor = TIDE_TRY(start_query(*prepared, values));
        portal.cursor->encoder->set_formats(portal.formats);
      }
      return execute_query(portal, 0);
    }
    case Kind::kDeallocate:
      statements_.erase(parsed.name);
      pgwire::append_command_complete(out_, "DEALLOCATE");
      return {};
    default:
      return sql_error("XX000", "a statement that nobody answers");
  }
}

Outcome<void> Session::execute_set(const PgStatement& parsed) {
  const std::string& name = parsed.setting;
  if (lake_->is_pinned()) {
    SqlError error = sql_error(
        "25001",
        fmt::format("{} must be set before the transaction's first query of the lake", name));
    return error;
  }
  if (name == "tidewater.as_of_lsn" || name == "tidewater.as_of_time") {
    SqlError error = sql_error("55P02", fmt::format("parameter \"{}\" cannot be changed", name));
    error.hint = "SET tidewater.as_of = 'LSN or timestamp' reads an older state.";
    return error;
  }
  if (name == "tidewater.freshness") {
    Freshness wanted = TIDE_TRY(Freshness::parse(parsed.value.value_or("strict")));
    lake_->freshness.kind = wanted.kind;
    lake_->freshness.bound = wanted.bound;
    return {};
  }
  std::string value = parsed.value.value_or("");
  lake_->freshness.as_of_lsn.clear();
  lake_->freshness.as_of_microseconds.reset();
  if (value.empty()) return {};
  if (Result<Lsn> lsn = Lsn::parse(value); lsn.ok()) {
    lake_->freshness.as_of_lsn = lsn->to_string();
    return {};
  }
  PostgresLink::Rows rows = TIDE_TRY(link_->query(
      fmt::format(
          "SELECT (extract(epoch FROM {}::pg_catalog.timestamptz) * 1000000)::pg_catalog.int8",
          quoted_literal(value)),
      lake_->aside));
  std::string number = rows.rows.empty() || !rows.rows[0][0] ? "" : *rows.rows[0][0];
  int64_t micros = 0;
  std::from_chars(number.data(), number.data() + number.size(), micros);
  lake_->freshness.as_of_microseconds = micros;
  return {};
}

Outcome<std::string> Session::show(const std::string& setting) {
  if (setting == "tidewater.freshness") return lake_->freshness.to_string();
  if (setting == "tidewater.as_of") {
    if (!lake_->freshness.as_of_lsn.empty()) return lake_->freshness.as_of_lsn;
    if (!lake_->freshness.as_of_microseconds) return std::string();
    std::string text;
    pgwire::append_text_timestamptz(text, *lake_->freshness.as_of_microseconds, 0);
    return text;
  }
  // What the last query saw; before the first one, what it would see now.
  if (last_moment_.lsn.empty() || (lake_->in_transaction() && lake_->is_pinned())) {
    last_moment_ = TIDE_TRY(lake_->moment());
  }
  if (setting == "tidewater.as_of_lsn") return last_moment_.lsn;
  std::string text;
  if (last_moment_.microseconds != 0)
    pgwire::append_text_timestamptz(text, last_moment_.microseconds, 0);
  return text;
}

}  // namespace tide::warehouse
