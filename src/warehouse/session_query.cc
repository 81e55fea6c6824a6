#include <fmt/format.h>

#include <charconv>

#include "pgwire/backend.h"
#include "pgwire/type_oids.h"
#include "warehouse/session.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using Kind = PgStatement::Kind;

namespace {

/// Characters, as positions are counted, in the first `bytes` bytes.
int characters(std::string_view text, size_t bytes) {
  int count = 0;
  for (size_t i = 0; i < bytes && i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++count;
  }
  return count;
}

/// The report with its position moved by `shift` characters.
pgwire::Message shifted(const pgwire::Message& message, int shift) {
  pgwire::Message moved;
  moved.type = message.type;
  pgwire::BodyReader reader(message.body);
  while (true) {
    char code = static_cast<char>(reader.byte());
    if (code == '\0' || reader.failed()) break;
    std::string value(reader.string());
    if (code == 'P') {
      int position = 0;
      std::from_chars(value.data(), value.data() + value.size(), position);
      value = fmt::format("{}", position + shift);
    }
    moved.body += code;
    moved.body += value;
    moved.body += '\0';
  }
  moved.body += '\0';
  return moved;
}

}  // namespace

void Session::report(SqlError error, const std::string& script, size_t offset) {
  if (error.position > 0) {
    size_t bytes = static_cast<size_t>(error.position) - 1 + offset;
    error.position = characters(script, bytes) + 1;
  }
  pgwire::append_error(out_, error);
  fail_transaction();
}

/// What failed here must have failed for the link's transaction too: its state is the one that
/// counts.
void Session::fail_transaction() {
  if (link_->transaction() != 'T') return;
  link_->query("ROLLBACK TO SAVEPOINT \"a statement of the lake failed\"")
      .ok();  // fails on purpose
}

void Session::note_transaction() {
  lake_->note_settings_changed();
  if (link_->transaction() == 'I') {
    if (!lake_->in_transaction()) return;
    lake_->end_transaction();
    std::erase_if(cursors_, [](const auto& item) { return !item.second.hold; });
  } else if (!lake_->in_transaction()) {
    lake_->begin_transaction();
    saved_freshness_ = lake_->freshness;
  }
}

/// Follows what PostgreSQL did for a statement that concerns our own things too.
void Session::after_postgres(const PgStatement& parsed) {
  lake_->note_settings_changed();
  if (parsed.kind == Kind::kTransaction && parsed.transaction == "TRANS_STMT_ROLLBACK") {
    if (lake_->in_transaction()) lake_->freshness = saved_freshness_;
  } else if (parsed.kind == Kind::kClose && parsed.name.empty()) {
    cursors_.clear();
  } else if (parsed.kind == Kind::kDeallocate && parsed.name.empty()) {
    std::erase_if(statements_, [](const auto& item) { return !item.first.empty(); });
  } else if (parsed.kind == Kind::kDiscard || parsed.reset_all) {
    lake_->freshness = Freshness();
    if (parsed.kind == Kind::kDiscard) {
      statements_.clear();
      cursors_.clear();
    }
  }
}

bool Session::relay_simple(const std::string& sql, int shift, bool& failed) {
  std::string bytes;
  pgwire::append_query(bytes, sql);
  if (Status sent = link_->send(bytes); !sent.ok()) return link_lost(sent);
  Watchdog::Watch watched =
      shared_.watchdog.watch(std::chrono::milliseconds(0), stream_.fd(), [this](Watchdog::Reason) {
        std::lock_guard lock(cancel_mutex_);
        if (cancel_link_ != nullptr) cancel_link_->cancel();
      });
  while (true) {
    Result<pgwire::Message> message = link_->receive();
    if (!message.ok()) return link_lost(message.status());
    if (message->type == 'Z') break;
    if (message->type == 'E') {
      failed = true;
      pgwire::append_message(out_, shift == 0 ? *message : shifted(*message, shift));
    } else if (message->type == 'G') {
      // Statements that wait for data do not get here; an end for one that did all the same.
      std::string fail;
      pgwire::MessageWriter(fail, 'f').string("COPY FROM is not possible here");
      if (Status sent = link_->send(fail); !sent.ok()) return link_lost(sent);
    } else {
      pass_on(*message);
    }
    if (!flush_if_large()) return false;
  }
  note_transaction();
  return true;
}

Outcome<void> Session::run_simple(StatementPtr statement) {
  Portal portal;
  portal.statement = std::move(statement);
  portal.announce = true;
  return execute(portal, 0);
}

bool Session::simple_query(const pgwire::Message& message) {
  Result<std::string> sql = pgwire::decode_query(message);
  if (!sql.ok()) {
    fatal(sql_error("08P01", sql.status().message()));
    return false;
  }
  // As in PostgreSQL a simple query ends the unnamed ones.
  statements_.erase("");
  portals_.erase("");
  const std::string& script = *sql;
  auto finish = [&] {
    pgwire::append_ready(out_, link_->transaction());
    return true;
  };
  Outcome<std::vector<Unrouted>> statements = split(script);
  if (!statements.ok()) {
    report(statements.error(), script);
    return finish();
  }
  bool failed = false;
  // All of it PostgreSQL's: it goes there as it is, with the semantics of one script.
  bool all_postgres = statements->size() != 1;
  for (const Unrouted& unrouted : *statements) {
    if (!all_postgres) break;
    Outcome<Statement> routed = route(unrouted, script);
    all_postgres = routed.ok() && routed->target == Target::kPostgres;
  }
  if (all_postgres) {
    if (!relay_simple(script, 0, failed)) return false;
    for (const Unrouted& unrouted : *statements) {
      if (!failed && unrouted.parsed) after_postgres(*unrouted.parsed);
    }
    return finish();
  }
  for (const Unrouted& unrouted : *statements) {
    Outcome<Statement> routed = route(unrouted, script);
    if (!routed.ok()) {
      report(routed.error(), script);
      return finish();
    }
    auto statement = std::make_shared<Statement>(std::move(*routed));
    if (statement->target == Target::kPostgres) {
      bool whole = statements->size() == 1;
      if (statement->parsed.kind == Kind::kTransaction && !failed &&
          statement->parsed.transaction == "TRANS_STMT_COMMIT" && link_->transaction() == 'E') {
        lake_->freshness = saved_freshness_;
      }
      if (!relay_simple(whole ? script : statement->parsed.text,
                        whole ? 0 : characters(script, statement->parsed.offset), failed)) {
        return false;
      }
      if (failed) return finish();
      after_postgres(statement->parsed);
      continue;
    }
    Outcome<void> done = run_simple(statement);
    if (!done.ok()) {
      if (dead_) return false;
      report(done.error(), script, statement->offset);
      return finish();
    }
  }
  return finish();
}

bool Session::extended(const pgwire::Message& message) {
  std::string script;
  size_t offset = 0;
  Outcome<void> done = [&]() -> Outcome<void> {
    switch (message.type) {
      case 'P': {
        pgwire::ParseMessage parse = TIDE_TRY(pgwire::decode_parse(message));
        script = parse.sql;
        return on_parse(parse, message);
      }
      case 'B':
        return on_bind(TIDE_TRY(pgwire::decode_bind(message)), message);
      case 'D':
        return on_describe(TIDE_TRY(pgwire::decode_named(message)), message);
      case 'E': {
        pgwire::ExecuteMessage execute = TIDE_TRY(pgwire::decode_execute(message));
        if (auto found = portals_.find(execute.portal); found != portals_.end()) {
          script = found->second.statement->script;
          offset = found->second.statement->offset;
        }
        return on_execute(execute, message);
      }
      default:
        return on_close(TIDE_TRY(pgwire::decode_named(message)), message);
    }
  }();
  if (dead_) return false;
  if (!done.ok()) {
    report(done.error(), script, offset);
    skipping_ = true;
  }
  return true;
}

/// Sends a message to the link and passes its answer on, up to a message of one of these types.
Outcome<void> Session::forward(const pgwire::Message& message, std::string_view ends) {
  std::string bytes;
  pgwire::append_message(bytes, message);
  pgwire::append_empty(bytes, 'H');
  if (Status sent = link_->send(bytes); !sent.ok()) {
    link_lost(sent);
    return sent;
  }
  link_open_ = true;
  Watchdog::Watch watched =
      shared_.watchdog.watch(std::chrono::milliseconds(0), stream_.fd(), [this](Watchdog::Reason) {
        std::lock_guard lock(cancel_mutex_);
        if (cancel_link_ != nullptr) cancel_link_->cancel();
      });
  while (true) {
    Result<pgwire::Message> answer = link_->receive();
    if (!answer.ok()) {
      link_lost(answer.status());
      return answer.status();
    }
    pass_on(*answer);
    if (out_.size() > 64 * 1024) TIDE_TRY(flush());
    if (answer->type == 'E') {
      skipping_ = true;
      return {};
    }
    if (ends.find(answer->type) != ends.npos) return {};
  }
}

Outcome<void> Session::on_parse(const pgwire::ParseMessage& parse, const pgwire::Message& message) {
  std::vector<Unrouted> statements = TIDE_TRY(split(parse.sql));
  auto statement = std::make_shared<Statement>();
  if (statements.size() == 1) *statement = TIDE_TRY(route(statements[0], parse.sql));
  statement->types = parse.parameter_types;
  statement->script = parse.sql;
  // No statement, or several: PostgreSQL says what is to be said.
  if (statement->target == Target::kPostgres) {
    TIDE_TRY(forward(message, "1"));
    if (!skipping_) statements_[parse.name] = std::move(statement);
    return {};
  }
  if (!parse.name.empty() && statements_.contains(parse.name)) {
    return sql_error("42P05", fmt::format("prepared statement \"{}\" already exists", parse.name));
  }
  statements_[parse.name] = std::move(statement);
  pgwire::append_simple(out_, '1');
  return {};
}

/// Finds types for parameters that the client left open: PostgreSQL has the same tables and knows.
Outcome<void> Session::infer_types(Statement& statement) {
  size_t count = statement.lake ? static_cast<size_t>(statement.lake->parameters()) : 0;
  bool open = statement.types.size() < count;
  for (uint32_t type : statement.types) open = open || type == 0;
  if (!open) return {};
  statement.types.resize(count, 0);
  bool in_transaction = link_->transaction() == 'T';
  if (link_open_) return {};  // in the middle of a pipeline nothing can be asked
  if (in_transaction) TIDE_TRY(link_->query("SAVEPOINT tide_types", lake_->aside));
  constexpr std::string_view kName = "tide types";
  std::string bytes;
  {
    pgwire::MessageWriter parse(bytes, 'P');
    parse.string(kName);
    parse.string(statement.script);
    parse.int16(static_cast<int>(count));
    for (uint32_t type : statement.types) parse.int32(static_cast<int32_t>(type));
  }
  for (char type : {'D', 'C'}) {
    pgwire::MessageWriter named(bytes, type);
    named.byte('S');
    named.string(kName);
  }
  pgwire::append_empty(bytes, 'S');
  TIDE_TRY(link_->send(bytes));
  while (true) {
    pgwire::Message answer = TIDE_TRY(link_->receive());
    if (answer.type == 'Z') break;
    if (answer.type != 't') continue;
    pgwire::BodyReader reader(answer.body);
    int types = reader.int16();
    for (int i = 0; i < types && static_cast<size_t>(i) < count; ++i) {
      uint32_t type = static_cast<uint32_t>(reader.int32());
      if (statement.types[static_cast<size_t>(i)] == 0)
        statement.types[static_cast<size_t>(i)] = type;
    }
  }
  if (in_transaction) {
    TIDE_TRY(link_->query("ROLLBACK TO SAVEPOINT tide_types; RELEASE SAVEPOINT tide_types",
                          lake_->aside));
  }
  // The engine's dialect, which PostgreSQL does not parse: text takes any type.
  for (uint32_t& type : statement.types) {
    if (type == 0) type = pgwire::oid::kText;
  }
  return {};
}

Outcome<void> Session::on_bind(const pgwire::BindMessage& bind, const pgwire::Message& message) {
  auto found = statements_.find(bind.statement);
  if (found == statements_.end() || found->second->target == Target::kPostgres) {
    TIDE_TRY(forward(message, "2"));
    if (!skipping_ && found != statements_.end()) portals_[bind.portal].statement = found->second;
    return {};
  }
  StatementPtr statement = found->second;
  size_t wanted =
      statement->target == Target::kLake ? static_cast<size_t>(statement->lake->parameters()) : 0;
  if (bind.parameters.size() != wanted && !(wanted == 0 && bind.parameters.empty())) {
    return sql_error(
        "08P01", fmt::format("bind message supplies {} parameters, but prepared statement \"{}\" "
                             "requires {}",
                             bind.parameters.size(), bind.statement, wanted));
  }
  if (!bind.portal.empty() && portals_.contains(bind.portal)) {
    return sql_error("42P03", fmt::format("portal \"{}\" already exists", bind.portal));
  }
  bool binary = false;
  for (int16_t format : bind.parameter_formats) binary = binary || format == 1;
  if (binary) TIDE_TRY(infer_types(*statement));
  Portal portal;
  portal.statement = statement;
  portal.formats = bind.result_formats;
  for (size_t i = 0; i < bind.parameters.size(); ++i) {
    uint32_t type = i < statement->types.size() ? statement->types[i] : 0;
    portal.parameters.push_back(TIDE_TRY(decode_parameter(
        bind.parameters[i], pgwire::BindMessage::format_of(bind.parameter_formats, i), type)));
  }
  portals_[bind.portal] = std::move(portal);
  pgwire::append_simple(out_, '2');
  return {};
}

Outcome<void> Session::on_describe(const pgwire::NamedMessage& named,
                                   const pgwire::Message& message) {
  auto append_fields = [this](const Fields& fields) {
    if (fields) {
      pgwire::append_row_description(out_, *fields);
    } else {
      pgwire::append_simple(out_, 'n');
    }
  };
  if (named.kind == 'S') {
    auto found = statements_.find(named.name);
    if (found == statements_.end() || found->second->target == Target::kPostgres)
      return forward(message, "Tn");
    Statement& statement = *found->second;
    if (statement.target == Target::kLake) TIDE_TRY(infer_types(statement));
    Fields fields = TIDE_TRY(describe(statement));
    std::vector<uint32_t> types = statement.types;
    types.resize(
        statement.target == Target::kLake ? static_cast<size_t>(statement.lake->parameters()) : 0);
    pgwire::append_parameter_description(out_, types);
    append_fields(fields);
    return {};
  }
  auto found = portals_.find(named.name);
  if (found == portals_.end() || found->second.statement->target == Target::kPostgres)
    return forward(message, "Tn");
  Portal& portal = found->second;
  if (portal.statement->target == Target::kLake) {
    // It runs from here on: what it yields is known best by itself, and planned once.
    forget_cancel();
    TIDE_TRY(lake_->refresh_settings());
    Watchdog::Watch watched = watch();
    watch_ = watched.id();
    TIDE_TRY(check_canceled());
    TIDE_TRY(begin(portal));
    append_fields(portal.cursor->encoder->fields());
    return {};
  }
  Fields fields = TIDE_TRY(describe(*portal.statement));
  if (fields) {
    for (size_t i = 0; i < fields->size(); ++i)
      (*fields)[i].format = pgwire::BindMessage::format_of(portal.formats, i);
  }
  append_fields(fields);
  return {};
}

Outcome<void> Session::on_execute(const pgwire::ExecuteMessage& execute_message,
                                  const pgwire::Message& message) {
  auto found = portals_.find(execute_message.portal);
  if (found == portals_.end() || found->second.statement->target == Target::kPostgres) {
    TIDE_TRY(forward(message, "CIs"));
    if (!skipping_ && found != portals_.end()) after_postgres(found->second.statement->parsed);
    return {};
  }
  return execute(found->second, execute_message.row_limit);
}

Outcome<void> Session::on_close(const pgwire::NamedMessage& named, const pgwire::Message& message) {
  bool ours = false;
  if (named.kind == 'S') {
    auto found = statements_.find(named.name);
    ours = found != statements_.end() && found->second->target != Target::kPostgres;
    if (found != statements_.end()) statements_.erase(found);
  } else {
    auto found = portals_.find(named.name);
    ours = found != portals_.end() && found->second.statement->target != Target::kPostgres;
    if (found != portals_.end()) portals_.erase(found);
  }
  if (!ours) return forward(message, "3");
  pgwire::append_simple(out_, '3');
  return {};
}

bool Session::on_sync() {
  skipping_ = false;
  if (link_open_) {
    std::string bytes;
    pgwire::append_empty(bytes, 'S');
    if (Status sent = link_->send(bytes); !sent.ok()) return link_lost(sent);
    while (true) {
      Result<pgwire::Message> message = link_->receive();
      if (!message.ok()) return link_lost(message.status());
      if (message->type == 'Z') break;
      pass_on(*message);
    }
    link_open_ = false;
    note_transaction();
  }
  if (link_->transaction() == 'I') portals_.clear();
  pgwire::append_ready(out_, link_->transaction());
  return true;
}

}  // namespace tide::warehouse
