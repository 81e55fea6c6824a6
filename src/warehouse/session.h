#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgwire/frontend.h"
#include "warehouse/client_stream.h"
#include "warehouse/lake_session.h"
#include "warehouse/outcome.h"
#include "warehouse/pg_statement.h"
#include "warehouse/shared.h"

namespace tide::warehouse {

/// One client of the PostgreSQL protocol, from its first byte to its last, on one thread.
///
/// Two engines stand behind it. A PostgreSQL session of the same role on the same branch (the
/// "link") answers what concerns catalogs, settings and transactions, message for message; the lake
/// answers what reads tables. The transaction's state is the link's: a statement that fails on the
/// lake makes the link's transaction fail too.
class Session : public Cancellable {
 public:
  /// `trusted`: whoever is at the other end has checked the role already.
  Session(Shared& shared, env::FileDescriptor socket, bool trusted = false);
  ~Session() override;

  /// Serves until the client or the server ends it.
  void run();
  void cancel() override;
  /// The server ends; any thread.
  void shut_down();

 private:
  /// Who answers a statement.
  enum class Target { kPostgres, kLake, kLocal };

  /// A statement, classified.
  struct Statement {
    Target target = Target::kPostgres;
    PgStatement parsed;
    std::optional<LakeStatement> lake;  ///< kLake, and what kLocal has inside
    std::vector<uint32_t> types;        ///< of parameters, as the client gave them
    size_t offset = 0;                  ///< of the lake's text in what the client sent, in bytes
    std::string script;                 ///< what the client sent
  };
  using StatementPtr = std::shared_ptr<Statement>;

  struct Portal {
    StatementPtr statement;
    std::vector<ParameterValue> parameters;
    std::vector<int16_t> formats;
    std::unique_ptr<LakeCursor> cursor;
    bool announce = false;  ///< RowDescription goes before the rows (simple protocol)
    bool ended = false;
  };
  struct Cursor {
    StatementPtr statement;
    std::unique_ptr<LakeCursor> running;
    bool hold = false;
    bool binary = false;
  };

  // session.cc: the connection's life.
  bool start();
  bool authenticate(const pgwire::StartupPacket& packet);
  bool log_in(const std::string& role, const Branch& branch);
  bool open_link(const pgwire::StartupPacket& packet);
  void serve();
  bool handle(const pgwire::Message& message);
  std::optional<pgwire::Message> next_message();
  std::optional<pgwire::Message> password_message();
  Status flush();
  bool flush_if_large();
  void fatal(SqlError error);

  // session_route.cc: who answers.
  /// A statement of a script that is not classified yet.
  struct Unrouted {
    std::optional<PgStatement> parsed;
    Piece foreign;                      ///< what only the engine may understand
    std::optional<SqlError> complaint;  ///< PostgreSQL's, about `foreign`
  };
  Outcome<std::vector<Unrouted>> split(const std::string& script);
  Outcome<Statement> route(const Unrouted& unrouted, const std::string& script);
  Outcome<Statement> classify(PgStatement parsed, const std::string& script);
  Outcome<bool> is_for_postgres(const PgStatement& parsed);
  Outcome<void> attach_lake(Statement& statement, std::string_view sql, size_t offset);
  SqlError refuse_write(const PgStatement& parsed) const;

  // session_execute.cc: the lake's and the local statements.
  using Fields = std::optional<std::vector<pgwire::FieldDescription>>;
  Outcome<Fields> describe(const Statement& statement);
  Outcome<void> begin(Portal& portal);
  /// `limit` 0: all rows. Appends everything but RowDescription.
  Outcome<void> execute(Portal& portal, int64_t limit);
  Outcome<void> execute_local(Portal& portal);
  Outcome<void> execute_query(Portal& portal, int64_t limit);
  Outcome<void> execute_copy(Portal& portal);
  Outcome<void> execute_explain(Portal& portal);
  Outcome<void> execute_fetch(Portal& portal);
  Outcome<void> execute_set(const PgStatement& parsed);
  Outcome<std::string> show(const std::string& setting);
  Outcome<uint64_t> send_rows(LakeCursor& cursor, uint64_t limit);
  Outcome<void> check_canceled();
  SqlError cancel_error() const;
  SqlError with_reason(SqlError error) const;
  Outcome<StatementPtr> prepared_statement(const std::string& name);
  Outcome<std::vector<ParameterValue>> execute_arguments(const PgStatement& parsed);
  Watchdog::Watch watch();
  void forget_cancel();
  Outcome<std::unique_ptr<LakeCursor>> start_query(const Statement& statement,
                                                   const std::vector<ParameterValue>& parameters,
                                                   std::string_view prefix = "");

  // session_query.cc: the protocol's two ways to ask.
  bool simple_query(const pgwire::Message& message);
  Outcome<void> run_simple(StatementPtr statement);
  bool relay_simple(const std::string& sql, int shift, bool& failed);
  bool extended(const pgwire::Message& message);
  Outcome<void> on_parse(const pgwire::ParseMessage& parse, const pgwire::Message& message);
  Outcome<void> on_bind(const pgwire::BindMessage& bind, const pgwire::Message& message);
  Outcome<void> on_describe(const pgwire::NamedMessage& named, const pgwire::Message& message);
  Outcome<void> on_execute(const pgwire::ExecuteMessage& execute, const pgwire::Message& message);
  Outcome<void> on_close(const pgwire::NamedMessage& named, const pgwire::Message& message);
  bool on_sync();
  Outcome<void> forward(const pgwire::Message& message, std::string_view ends);
  Outcome<void> infer_types(Statement& statement);
  void after_postgres(const PgStatement& parsed);
  void pass_on(const pgwire::Message& message);
  void note_transaction();
  void fail_transaction();
  void report(SqlError error, const std::string& script, size_t offset = 0);
  bool link_lost(const Status& status);

  Shared& shared_;
  const bool trusted_;
  ClientStream stream_;
  pgwire::MessageDecoder decoder_;
  std::string out_;
  DatabaseName database_;
  std::string role_;
  Branch branch_;
  std::unique_ptr<PostgresLink> link_;
  std::unique_ptr<LakeSession> lake_;
  std::optional<CancelKeys::Key> key_;

  std::map<std::string, StatementPtr> statements_;
  std::map<std::string, Portal> portals_;
  std::map<std::string, Cursor> cursors_;
  bool skipping_ = false;      ///< an error in the extended protocol: until Sync
  bool link_open_ = false;     ///< the link was sent extended messages since its last Sync
  Freshness saved_freshness_;  ///< of before the transaction
  LakeSession::Moment last_moment_;
  bool dead_ = false;  ///< the client or the link is gone

  std::mutex cancel_mutex_;
  PostgresLink* cancel_link_ = nullptr;
  LakeSession* cancel_lake_ = nullptr;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> timed_out_{false};
  std::atomic<bool> canceled_{false};
  std::atomic<uint64_t> watch_{0};  ///< of the lake's statement that runs
};

}  // namespace tide::warehouse
