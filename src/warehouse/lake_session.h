#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "duck/connection.h"
#include "duck/engine.h"
#include "warehouse/lake.h"
#include "warehouse/lake_statement.h"
#include "warehouse/parameters.h"
#include "warehouse/postgres_link.h"
#include "warehouse/result_encoder.h"

namespace tide::warehouse {

/// A query of the lake that runs: its rows come as they are taken. Holds its snapshot.
struct LakeCursor {
  std::shared_ptr<Lake::Snapshot> snapshot;
  std::unique_ptr<duck::Connection> connection;
  std::unique_ptr<duck::QueryResult> result;
  std::unique_ptr<ResultEncoder> encoder;
  std::optional<columns::Batch> batch;  ///< what was taken and not sent yet
  size_t position = 0;
  bool done = false;
  uint64_t sent = 0;

  ~LakeCursor() {
    result.reset();
    connection.reset();
  }
};

/// The lake's side of one session: snapshots, grants, settings, running queries. One thread at a
/// time, but interrupt().
class LakeSession {
 public:
  struct Options {
    std::string lake_socket;
    uint32_t timeline = 0;
    std::string database;
    std::chrono::milliseconds statement_timeout{0};  ///< where the session sets none
    std::chrono::milliseconds freshness_wait{10'000};
  };
  LakeSession(Options options, duck::Engine& engine, SegmentCache& segments,
              PostgresLink& postgres);

  Freshness freshness;

  /// PostgreSQL ran something: settings may have changed.
  void note_settings_changed() { stale_ = true; }
  /// The next snapshot serves all statements until end_transaction().
  void begin_transaction() { in_transaction_ = true; }
  void end_transaction();
  bool in_transaction() const { return in_transaction_; }
  bool is_pinned() const { return pinned_ != nullptr; }

  Outcome<LakeStatement> analyze(std::string_view sql);
  /// Columns of the result, without reading rows.
  Outcome<std::unique_ptr<ResultEncoder>> describe(const LakeStatement& statement,
                                                   const std::vector<uint32_t>& types);
  /// `prefix`: EXPLAIN and its options, or nothing.
  Outcome<std::unique_ptr<LakeCursor>> run(const LakeStatement& statement,
                                           const std::vector<ParameterValue>& parameters,
                                           std::string_view prefix = "");
  /// More rows in cursor.batch from cursor.position on; false at the end.
  Outcome<bool> fetch(LakeCursor& cursor);

  /// LSN and commit time (microseconds, 0 if unknown) of the transaction's snapshot, or of one
  /// taken now.
  struct Moment {
    std::string lsn;
    int64_t microseconds = 0;
  };
  Outcome<Moment> moment();
  /// Relations of pg_catalog.
  Outcome<bool> is_catalog_relation(const std::string& name);
  /// Whether PostgreSQL has all these functions.
  Outcome<bool> postgres_has(const std::vector<QualifiedName>& functions);

  std::chrono::milliseconds statement_timeout() const { return statement_timeout_; }
  Outcome<void> refresh_settings();

  /// Ends what runs, from any thread.
  void interrupt();
  /// What arrives beside the answers to our own questions to PostgreSQL.
  PostgresLink::Aside aside;

 private:
  struct Role {
    std::string oid;  ///< empty: the current user
  };
  Outcome<std::shared_ptr<Lake::Snapshot>> snapshot();
  Outcome<std::vector<std::string>> bind_tables(const LakeStatement& statement,
                                                Lake::Snapshot& snapshot, bool rows,
                                                const Role& role, int depth);
  Outcome<std::string> bind_view(const QualifiedName& name, size_t position,
                                 Lake::Snapshot& snapshot, bool rows, const Role& role, int depth);
  const LakeTable* find_table(const LakeCatalog& catalog, const QualifiedName& name) const;
  Outcome<std::unique_ptr<duck::Connection>> connect(std::map<std::string, std::string> tables);

  const Options options_;
  duck::Engine& engine_;
  PostgresLink& postgres_;
  Lake lake_;
  std::unique_ptr<duck::Connection> parser_;
  bool stale_ = true;
  bool in_transaction_ = false;
  std::shared_ptr<Lake::Snapshot> pinned_;
  LakeStatement::Session facts_;
  std::vector<std::string> search_path_;
  std::string time_zone_ = "UTC";
  pgwire::TimeZone zone_ = pgwire::TimeZone::utc();
  std::string client_encoding_;
  std::chrono::milliseconds statement_timeout_{0};
  std::vector<std::string> catalog_relations_;
  std::map<std::string, bool> functions_;

  std::mutex running_mutex_;  ///< guards what follows, for interrupt()
  duck::Connection* running_ = nullptr;
  bool waiting_ = false;
};

}  // namespace tide::warehouse
