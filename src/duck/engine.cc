#include "duck/engine.h"

#include <fmt/format.h>

#include <utility>

#include "duck/connection.h"
#include "duck/internal/connection_state.h"
#include "duck/internal/engine_state.h"
#include "duck/internal/name_scope.h"
#include "duck/internal/user_policy.h"
#include "duck/internal/vector_writer.h"
#include "duck/sql_text.h"

namespace tide::duck {
namespace {

Status check_segment(const RowSegment& segment, const std::vector<columns::Field>& fields) {
  if (segment.batch == nullptr || segment.batch->columns.size() != fields.size()) {
    return {Code::kInvalid, "a batch has other columns than said"};
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    const columns::Column& column = segment.batch->columns[i];
    if (!(column.type() == fields[i].type) || column.size() != segment.batch->rows()) {
      return {Code::kInvalid,
              fmt::format("column {} of a batch is not what was said ({}, not {})", fields[i].name,
                          columns::to_string(column.type()), columns::to_string(fields[i].type))};
    }
    if (Status checked = check_utf8(column); !checked.ok()) {
      return std::move(checked).with_context(fmt::format("column {}", fields[i].name));
    }
  }
  return {};
}

std::string path_list(const std::vector<std::string>& paths) {
  std::string out;
  for (const std::string& path : paths) out += (out.empty() ? "" : ", ") + quote_literal(path);
  return "[" + out + "]";
}

/// What every engine of ours is set to, and what a locked one is.
std::string settings(const EngineOptions& options) {
  std::string sql = fmt::format(
      "SET GLOBAL TimeZone = 'UTC';"
      "SET GLOBAL temp_directory = {};"
      "SET GLOBAL parquet_metadata_cache = true;",
      quote_literal(options.temp_directory));
  if (options.temp_bytes_max > 0 && !options.temp_directory.empty()) {
    sql += fmt::format("SET GLOBAL max_temp_directory_size = '{}B';", options.temp_bytes_max);
  }
  if (options.postgres_semantics) {
    sql += "SET GLOBAL default_null_order = 'nulls_last_on_asc_first_on_desc';";
  }
  if (options.lock_down) {
    sql += fmt::format(
        "SET GLOBAL allow_community_extensions = false;"
        "SET GLOBAL allowed_directories = {};"
        "SET GLOBAL allowed_configs = ['TimeZone'{}];"
        "SET GLOBAL enable_external_access = false;"
        "SET GLOBAL lock_configuration = true;",
        path_list(options.readable_directories),
        options.postgres_semantics ? ", 'integer_division', 'preserve_identifier_case'" : "");
  }
  return sql;
}

}  // namespace

Registration::Registration(int64_t id, std::function<void()> release)
    : id_(id), release_(std::move(release)) {}
Registration::Registration(Registration&& other) noexcept
    : id_(std::exchange(other.id_, 0)), release_(std::exchange(other.release_, nullptr)) {}
Registration& Registration::operator=(Registration&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(release_, other.release_);
  return *this;
}
Registration::~Registration() {
  if (release_) release_();
}

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options) {
  TIDE_TRY(load_library());
  const capi::Functions& duckdb = api();
  auto state = std::make_shared<EngineState>();
  state->locked_down = options.lock_down;
  OwnedConfig config;
  if (duckdb.create_config(config.out()) != capi::State::kSuccess) {
    return Status(Code::kBug, "DuckDB gives no configuration");
  }
  const std::pair<const char*, std::string> values[] = {
      {"threads", std::to_string(options.threads)},
      {"memory_limit", fmt::format("{}B", options.memory_limit_bytes)},
      {"autoload_known_extensions", "false"},
      {"autoinstall_known_extensions", "false"},
      {"allow_persistent_secrets", "false"},
  };
  for (const auto& [name, value] : values) {
    if (duckdb.set_config(config.get(), name, value.c_str()) != capi::State::kSuccess) {
      return Status(Code::kInvalid, fmt::format("DuckDB refuses {} = {}", name, value));
    }
  }
  char* error = nullptr;
  if (duckdb.open_ext(nullptr, state->database.out(), config.get(), &error) !=
      capi::State::kSuccess) {
    return Status(Code::kUnavailable, "open the analytical engine: " + take_text(error));
  }
  duckdb.add_replacement_scan(state->database.get(), replace_missing_table, nullptr, nullptr);

  std::unique_ptr<Engine> engine(new Engine(state));
  const std::unique_ptr<Connection> connection = TIDE_TRY(engine->connect());
  OwnedConnection raw;
  if (duckdb.connect(state->database.get(), raw.out()) != capi::State::kSuccess) {
    return Status(Code::kUnavailable, "connect to the analytical engine");
  }
  TIDE_TRY(register_rows_function(raw.get(), *state));
  TIDE_TRY(register_live_function(raw.get(), *state));
  state->denied_functions = TIDE_TRY(functions_users_may_not_call(*connection));
  TIDE_TRY(connection->execute(settings(options)));
  return engine;
}

Engine::~Engine() = default;

Result<std::unique_ptr<Connection>> Engine::connect() { return connect(ConnectionOptions{}); }

Result<std::unique_ptr<Connection>> Engine::connect(ConnectionOptions options) {
  if (options.user && !state_->locked_down) {
    return Status(Code::kInvalid, "only an engine with lock_down may run SQL of users");
  }
  auto state = std::make_shared<ConnectionState>();
  state->engine = state_;
  state->user = options.user;
  if (options.resolver) {
    state->resolver = std::make_shared<const TableResolver>(std::move(options.resolver));
  }
  if (api().connect(state_->database.get(), state->connection.out()) != capi::State::kSuccess) {
    return Status(Code::kUnavailable, "connect to the analytical engine");
  }
  return std::make_unique<Connection>(std::move(state));
}

Result<Registration> Engine::register_rows(std::vector<RowSegment> segments,
                                           std::vector<columns::Field> fields) {
  auto source = std::make_shared<RowSource>();
  for (const RowSegment& segment : segments) {
    TIDE_TRY(check_segment(segment, fields));
    const uint64_t deleted = segment.deleted == nullptr ? 0 : segment.deleted->count();
    source->rows += segment.batch->rows() - std::min<uint64_t>(segment.batch->rows(), deleted);
  }
  source->fields = std::move(fields);
  source->segments = std::move(segments);
  const int64_t id = state_->rows.add(std::move(source));
  return Registration(id, [state = state_, id] { state->rows.remove(id); });
}

Registration Engine::register_deletions(std::vector<std::shared_ptr<const DeletedRows>> files) {
  auto deletions = std::make_shared<FileDeletions>();
  deletions->files = std::move(files);
  const int64_t id = state_->deletions.add(std::move(deletions));
  return {id, [state = state_, id] { state->deletions.remove(id); }};
}

}  // namespace tide::duck
