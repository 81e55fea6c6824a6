#include "control/store.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

#include "control/database.h"

namespace tide::control {

namespace {

const std::vector<std::string> kMigrations = {R"sql(
CREATE TABLE project (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL,
  system_id TEXT NOT NULL DEFAULT '',
  role TEXT NOT NULL,
  password TEXT NOT NULL,
  database TEXT NOT NULL,
  provisioned INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL
) STRICT;
CREATE TABLE numbers (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT INTO numbers VALUES ('timeline', 1);
CREATE TABLE branches (
  timeline INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  parent INTEGER REFERENCES branches (timeline),
  branch_lsn INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
  protected INTEGER NOT NULL DEFAULT 0,
  backup_of TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX branches_parent ON branches (parent);
CREATE TABLE endpoints (
  timeline INTEGER PRIMARY KEY REFERENCES branches (timeline),
  port INTEGER NOT NULL UNIQUE,
  wanted INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,
  lock_file TEXT NOT NULL DEFAULT '',
  pid INTEGER NOT NULL DEFAULT 0,
  last_start TEXT NOT NULL DEFAULT '',
  last_stop TEXT NOT NULL DEFAULT '',
  auto_conf TEXT NOT NULL DEFAULT '',
  stop_lsn INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE statistics (
  timeline INTEGER NOT NULL REFERENCES endpoints (timeline) ON DELETE CASCADE,
  name TEXT NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (timeline, name)
) STRICT;
CREATE TABLE operations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  branch TEXT NOT NULL,
  timeline INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
  step TEXT NOT NULL DEFAULT '',
  parameters TEXT NOT NULL DEFAULT '{}',
  error TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX operations_running ON operations (id) WHERE state = 'running';
)sql",
                                              R"sql(
CREATE TABLE recovered_settings (
  timeline INTEGER PRIMARY KEY REFERENCES branches (timeline) ON DELETE CASCADE,
  auto_conf TEXT NOT NULL
) STRICT;
)sql"};

/// Ended operations that are kept for `tide status` and the API.
constexpr int64_t kOperationsKept = 1000;

int64_t id_of(TimelineId timeline) { return timeline.value; }

constexpr const char* kBranchColumns =
    "timeline, name, parent, branch_lsn, state, protected, backup_of, created_at, epoch";

Branch branch_from(const Row& row) {
  Branch branch;
  branch.timeline = TimelineId{static_cast<uint32_t>(row.number(0))};
  branch.name = row.text(1);
  if (!row.is_null(2)) branch.parent = TimelineId{static_cast<uint32_t>(row.number(2))};
  branch.branch_lsn = Lsn(static_cast<uint64_t>(row.number(3)));
  std::string state = row.text(4);
  branch.state = state == "ready"      ? Branch::State::kReady
                 : state == "deleting" ? Branch::State::kDeleting
                                       : Branch::State::kCreating;
  branch.is_protected = row.number(5) != 0;
  branch.backup_of = row.text(6);
  branch.created_at = row.text(7);
  branch.epoch = Epoch{static_cast<uint64_t>(row.number(8))};
  return branch;
}

constexpr const char* kEndpointColumns =
    "timeline, port, wanted, epoch, lock_file, pid, last_start, last_stop";

Endpoint endpoint_from(const Row& row) {
  Endpoint endpoint;
  endpoint.timeline = TimelineId{static_cast<uint32_t>(row.number(0))};
  endpoint.port = static_cast<int>(row.number(1));
  endpoint.wanted = row.number(2) != 0;
  endpoint.epoch = Epoch{static_cast<uint64_t>(row.number(3))};
  endpoint.lock_file = row.text(4);
  endpoint.pid = row.number(5);
  endpoint.last_start = row.text(6);
  endpoint.last_stop = row.text(7);
  return endpoint;
}

constexpr const char* kOperationColumns =
    "id, kind, branch, timeline, state, step, parameters, error, created_at, updated_at";

Operation operation_from(const Row& row) {
  Operation operation;
  operation.id = row.number(0);
  operation.kind = row.text(1);
  operation.branch = row.text(2);
  operation.timeline = TimelineId{static_cast<uint32_t>(row.number(3))};
  std::string state = row.text(4);
  operation.state = state == "running" ? Operation::State::kRunning
                    : state == "done"  ? Operation::State::kDone
                                       : Operation::State::kFailed;
  operation.step = row.text(5);
  operation.parameters = row.text(6);
  operation.error = row.text(7);
  operation.created_at = row.text(8);
  operation.updated_at = row.text(9);
  return operation;
}

}  // namespace

std::string_view state_name(Branch::State state) {
  switch (state) {
    case Branch::State::kCreating:
      return "creating";
    case Branch::State::kReady:
      return "ready";
    case Branch::State::kDeleting:
      return "deleting";
  }
  return "unknown";
}

std::string_view state_name(Operation::State state) {
  switch (state) {
    case Operation::State::kRunning:
      return "running";
    case Operation::State::kDone:
      return "done";
    case Operation::State::kFailed:
      return "failed";
  }
  return "unknown";
}

std::string now_text() {
  auto now = std::chrono::system_clock::now();
  auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(milliseconds / 1000),
                     milliseconds % 1000);
}

Store::Store(std::unique_ptr<Database> database) : database_(std::move(database)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::string& path) {
  std::unique_ptr<Database> database = TIDE_TRY(Database::open(path));
  TIDE_TRY(database->migrate(kMigrations));
  return std::unique_ptr<Store>(new Store(std::move(database)));
}

Status Store::transaction(const std::function<Status()>& body) {
  return database_->transaction(body);
}
Status Store::check_integrity() { return database_->check_integrity(); }

Result<std::optional<Project>> Store::project() {
  std::optional<Project> found;
  TIDE_TRY(database_->query(
      "SELECT name, system_id, role, password, database, provisioned, created_at FROM project", {},
      [&](const Row& row) {
        found = Project{row.text(0), row.text(1),        row.text(2), row.text(3),
                        row.text(4), row.number(5) != 0, row.text(6)};
      }));
  return found;
}

Status Store::insert_project(const Project& project) {
  return database_->run(
      "INSERT INTO project (id, name, role, password, database, created_at) VALUES (1, ?, ?, ?, ?, "
      "?)",
      {project.name, project.role, project.password, project.database, now_text()});
}

Status Store::set_system_id(const std::string& system_id) {
  return database_->run("UPDATE project SET system_id = ?", {system_id});
}

Status Store::set_provisioned() { return database_->run("UPDATE project SET provisioned = 1"); }

Result<TimelineId> Store::next_timeline() {
  int64_t next = 0;
  TIDE_TRY(database_->query(
      "UPDATE numbers SET next = next + 1 WHERE name = 'timeline' RETURNING next - 1", {},
      [&](const Row& row) { next = row.number(0); }));
  TIDE_CHECK(next > 0);
  return TimelineId{static_cast<uint32_t>(next)};
}

Result<TimelineId> Store::peek_next_timeline() {
  int64_t next = 0;
  TIDE_TRY(database_->query("SELECT next FROM numbers WHERE name = 'timeline'", {},
                            [&](const Row& row) { next = row.number(0); }));
  return TimelineId{static_cast<uint32_t>(next)};
}

Status Store::set_next_timeline(TimelineId next) {
  return database_->run("UPDATE numbers SET next = max(next, ?) WHERE name = 'timeline'",
                        {id_of(next)});
}

Result<Epoch> Store::next_epoch(TimelineId timeline) {
  int64_t next = 0;
  TIDE_TRY(
      database_->query("UPDATE branches SET epoch = epoch + 1 WHERE timeline = ? RETURNING epoch",
                       {id_of(timeline)}, [&](const Row& row) { next = row.number(0); }));
  if (next == 0) return Status(Code::kNotFound, fmt::format("there is no timeline {}", timeline));
  return Epoch{static_cast<uint64_t>(next)};
}

Status Store::raise_epoch(TimelineId timeline, Epoch at_least) {
  return database_->run("UPDATE branches SET epoch = max(epoch, ?) WHERE timeline = ?",
                        {static_cast<int64_t>(at_least.value), id_of(timeline)});
}

Result<std::vector<Branch>> Store::branches() {
  std::vector<Branch> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM branches ORDER BY timeline", kBranchColumns), {},
                       [&](const Row& row) { found.push_back(branch_from(row)); }));
  return found;
}

Result<Branch> Store::branch(const std::string& name) {
  std::optional<Branch> found;
  TIDE_TRY(database_->query(fmt::format("SELECT {} FROM branches WHERE name = ?", kBranchColumns),
                            {name}, [&](const Row& row) { found = branch_from(row); }));
  if (found) return std::move(*found);
  std::string names;
  TIDE_TRY(database_->query(
      "SELECT name FROM branches WHERE state = 'ready' ORDER BY timeline LIMIT 20", {},
      [&](const Row& row) { names += (names.empty() ? "" : ", ") + row.text(0); }));
  return Status(Code::kNotFound, fmt::format("there is no branch {}", name))
      .with_detail(names.empty() ? "There are no branches yet."
                                 : fmt::format("Branches: {}.", names))
      .with_hint("List them with: tide branch list");
}

Result<Branch> Store::branch(TimelineId timeline) {
  std::optional<Branch> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM branches WHERE timeline = ?", kBranchColumns),
                       {id_of(timeline)}, [&](const Row& row) { found = branch_from(row); }));
  if (!found) return Status(Code::kNotFound, fmt::format("there is no timeline {}", timeline));
  return std::move(*found);
}

Result<std::vector<std::string>> Store::children(TimelineId timeline) {
  std::vector<std::string> names;
  TIDE_TRY(database_->query("SELECT name FROM branches WHERE parent = ? ORDER BY timeline",
                            {id_of(timeline)},
                            [&](const Row& row) { names.push_back(row.text(0)); }));
  return names;
}

Status Store::insert_branch(const Branch& branch) {
  return database_->run(
      "INSERT INTO branches (timeline, name, parent, branch_lsn, state, protected, backup_of, "
      "created_at) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      {id_of(branch.timeline), branch.name,
       branch.parent ? Value(id_of(*branch.parent)) : Value(nullptr),
       static_cast<int64_t>(branch.branch_lsn.value()), std::string(state_name(branch.state)),
       int64_t{branch.is_protected}, branch.backup_of, now_text()});
}

Status Store::set_branch_ready(TimelineId timeline, Lsn branch_lsn) {
  return database_->run("UPDATE branches SET state = 'ready', branch_lsn = ? WHERE timeline = ?",
                        {static_cast<int64_t>(branch_lsn.value()), id_of(timeline)});
}

Status Store::set_branch_state(TimelineId timeline, Branch::State state) {
  return database_->run("UPDATE branches SET state = ? WHERE timeline = ?",
                        {std::string(state_name(state)), id_of(timeline)});
}

Status Store::rename_branch(TimelineId timeline, const std::string& name,
                            const std::string& backup_of) {
  return database_->run("UPDATE branches SET name = ?, backup_of = ? WHERE timeline = ?",
                        {name, backup_of, id_of(timeline)});
}

Status Store::set_protected(TimelineId timeline, bool is_protected) {
  return database_->run("UPDATE branches SET protected = ? WHERE timeline = ?",
                        {int64_t{is_protected}, id_of(timeline)});
}

Status Store::remove_branch(TimelineId timeline) {
  return transaction([&]() -> Status {
    TIDE_TRY(database_->run("DELETE FROM endpoints WHERE timeline = ?", {id_of(timeline)}));
    return database_->run("DELETE FROM branches WHERE timeline = ?", {id_of(timeline)});
  });
}

Result<std::vector<Endpoint>> Store::endpoints() {
  std::vector<Endpoint> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM endpoints ORDER BY timeline", kEndpointColumns),
                       {}, [&](const Row& row) { found.push_back(endpoint_from(row)); }));
  return found;
}

Result<std::optional<Endpoint>> Store::endpoint(TimelineId timeline) {
  std::optional<Endpoint> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM endpoints WHERE timeline = ?", kEndpointColumns),
                       {id_of(timeline)}, [&](const Row& row) { found = endpoint_from(row); }));
  return found;
}

Status Store::insert_endpoint(TimelineId timeline, int port) {
  return transaction([&]() -> Status {
    TIDE_TRY(database_->run(
        "INSERT INTO endpoints (timeline, port, auto_conf) VALUES "
        "(?1, ?2, coalesce((SELECT auto_conf FROM recovered_settings WHERE timeline = ?1), ''))",
        {id_of(timeline), int64_t{port}}));
    return database_->run("DELETE FROM recovered_settings WHERE timeline = ?", {id_of(timeline)});
  });
}

Status Store::set_endpoint_port(TimelineId timeline, int port) {
  return database_->run("UPDATE endpoints SET port = ? WHERE timeline = ?",
                        {int64_t{port}, id_of(timeline)});
}

Status Store::set_endpoint_wanted(TimelineId timeline, bool wanted) {
  return database_->run("UPDATE endpoints SET wanted = ? WHERE timeline = ?",
                        {int64_t{wanted}, id_of(timeline)});
}

Status Store::set_endpoint_begun(TimelineId timeline, Epoch epoch, const std::string& lock_file) {
  // After a power failure no process is left to be found.
  return database_->unsynced([&] {
    return database_->run(
        "UPDATE endpoints SET epoch = ?, lock_file = ?, pid = 0 WHERE timeline = ?",
        {static_cast<int64_t>(epoch.value), lock_file, id_of(timeline)});
  });
}

Status Store::set_endpoint_started(TimelineId timeline, int64_t pid) {
  return database_->unsynced([&] {
    return database_->run("UPDATE endpoints SET pid = ?, last_start = ? WHERE timeline = ?",
                          {pid, now_text(), id_of(timeline)});
  });
}

Status Store::set_endpoint_stopped(TimelineId timeline) {
  return database_->run("UPDATE endpoints SET pid = 0, last_stop = ? WHERE timeline = ?",
                        {now_text(), id_of(timeline)});
}

Status Store::move_endpoint(TimelineId from, TimelineId to) {
  return transaction([&]() -> Status {
    TIDE_TRY(database_->run("DELETE FROM statistics WHERE timeline = ?", {id_of(from)}));
    return database_->run(
        "UPDATE endpoints SET timeline = ?, epoch = 0, lock_file = '', pid = 0, stop_lsn = 0 WHERE "
        "timeline = ?",
        {id_of(to), id_of(from)});
  });
}

Result<compute::PreservedState> Store::preserved(TimelineId timeline) {
  compute::PreservedState state;
  TIDE_TRY(transaction([&]() -> Status {
    TIDE_TRY(database_->query("SELECT auto_conf, stop_lsn FROM endpoints WHERE timeline = ?",
                              {id_of(timeline)}, [&](const Row& row) {
                                state.auto_conf = row.text(0);
                                state.stop_lsn = Lsn(static_cast<uint64_t>(row.number(1)));
                              }));
    TIDE_TRY(database_->query("SELECT auto_conf FROM recovered_settings WHERE timeline = ?",
                              {id_of(timeline)},
                              [&](const Row& row) { state.auto_conf = row.text(0); }));
    return database_->query("SELECT name, content FROM statistics WHERE timeline = ?",
                            {id_of(timeline)},
                            [&](const Row& row) { state.statistics[row.text(0)] = row.text(1); });
  }));
  return state;
}

Status Store::set_preserved(TimelineId timeline, const compute::PreservedState& state) {
  return transaction([&]() -> Status {
    TIDE_TRY(database_->run(
        "UPDATE endpoints SET auto_conf = ?, stop_lsn = ? WHERE timeline = ?",
        {state.auto_conf, static_cast<int64_t>(state.stop_lsn.value()), id_of(timeline)}));
    TIDE_TRY(database_->run("DELETE FROM statistics WHERE timeline = ?", {id_of(timeline)}));
    for (const auto& [name, content] : state.statistics) {
      TIDE_TRY(database_->run("INSERT INTO statistics (timeline, name, content) VALUES (?, ?, ?)",
                              {id_of(timeline), name, Blob{content}}));
    }
    return {};
  });
}

Status Store::set_auto_conf(TimelineId timeline, const std::string& content) {
  return database_->run("UPDATE endpoints SET auto_conf = ? WHERE timeline = ?",
                        {content, id_of(timeline)});
}

Status Store::set_recovered_auto_conf(TimelineId timeline, const std::string& content) {
  return database_->run(
      "INSERT OR REPLACE INTO recovered_settings (timeline, auto_conf) VALUES (?, ?)",
      {id_of(timeline), content});
}

Result<Operation> Store::begin_operation(const std::string& kind, const std::string& branch,
                                         TimelineId timeline, const std::string& parameters) {
  std::optional<Operation> begun;
  std::string now = now_text();
  TIDE_TRY(database_->query(fmt::format("INSERT INTO operations (kind, branch, timeline, state, "
                                        "parameters, created_at, updated_at) "
                                        "VALUES (?, ?, ?, 'running', ?, ?, ?) RETURNING {}",
                                        kOperationColumns),
                            {kind, branch, id_of(timeline), parameters, now, now},
                            [&](const Row& row) { begun = operation_from(row); }));
  TIDE_CHECK(begun.has_value());
  return std::move(*begun);
}

Status Store::set_operation_step(int64_t id, const std::string& step) {
  return database_->run("UPDATE operations SET step = ?, updated_at = ? WHERE id = ?",
                        {step, now_text(), id});
}

Status Store::end_operation(int64_t id, const Status& outcome) {
  return transaction([&]() -> Status {
    TIDE_TRY(
        database_->run("UPDATE operations SET state = ?, error = ?, updated_at = ? WHERE id = ?",
                       {std::string(outcome.ok() ? "done" : "failed"),
                        outcome.ok() ? std::string() : outcome.to_string(), now_text(), id}));
    return database_->run("DELETE FROM operations WHERE state <> 'running' AND id <= ?",
                          {id - kOperationsKept});
  });
}

Status Store::end_started(int64_t id) {
  return database_->unsynced([&] { return end_operation(id, {}); });
}

Result<Operation> Store::operation(int64_t id) {
  std::optional<Operation> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM operations WHERE id = ?", kOperationColumns),
                       {id}, [&](const Row& row) { found = operation_from(row); }));
  if (!found) return Status(Code::kNotFound, fmt::format("there is no operation {}", id));
  return std::move(*found);
}

Result<std::vector<Operation>> Store::running_operations() {
  std::vector<Operation> found;
  TIDE_TRY(
      database_->query(fmt::format("SELECT {} FROM operations WHERE state = 'running' ORDER BY id",
                                   kOperationColumns),
                       {}, [&](const Row& row) { found.push_back(operation_from(row)); }));
  return found;
}

Result<std::vector<Operation>> Store::recent_operations(int limit) {
  std::vector<Operation> found;
  TIDE_TRY(database_->query(
      fmt::format("SELECT {} FROM operations ORDER BY id DESC LIMIT ?", kOperationColumns),
      {int64_t{limit}}, [&](const Row& row) { found.push_back(operation_from(row)); }));
  return found;
}

}  // namespace tide::control
