#include "warehouse/statement_api.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

#include "net/api_error.h"
#include "pgwire/frontend.h"
#include "pgwire/scram.h"
#include "pgwire/type_oids.h"
#include "pgwire/value_text.h"
#include "warehouse/login.h"
#include "warehouse/postgres_link.h"
#include "warehouse/session.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {

using net::HttpRequest;
using net::HttpResponse;
using nlohmann::json;
namespace oid = pgwire::oid;
using Clock = std::chrono::steady_clock;

namespace {

constexpr size_t kRunningMax = 16;
constexpr size_t kKeptMax = 100;
constexpr std::chrono::minutes kKeptFor{60};
/// Databricks' limit for inline results.
constexpr size_t kResultBytesMax = size_t{25} << 20;
constexpr size_t kChunkBytes = size_t{2} << 20;
constexpr std::string_view kPath = "/api/2.0/sql/statements";

HttpResponse api_error(int status, std::string_view code, std::string message) {
  return net::json_response({{"error_code", code}, {"message", std::move(message)}}, status);
}

struct TypeName {
  std::string_view name;
  std::string_view text;
};

TypeName type_name(uint32_t type) {
  switch (type) {
    case oid::kBool:
      return {"BOOLEAN", "BOOLEAN"};
    case oid::kInt2:
      return {"SHORT", "SMALLINT"};
    case oid::kInt4:
      return {"INT", "INT"};
    case oid::kInt8:
    case oid::kOid:
      return {"LONG", "BIGINT"};
    case oid::kFloat4:
      return {"FLOAT", "FLOAT"};
    case oid::kFloat8:
      return {"DOUBLE", "DOUBLE"};
    case oid::kNumeric:
      return {"DECIMAL", "DECIMAL"};
    case oid::kDate:
      return {"DATE", "DATE"};
    case oid::kTimestamp:
      return {"TIMESTAMP", "TIMESTAMP_NTZ"};
    case oid::kTimestamptz:
      return {"TIMESTAMP", "TIMESTAMP"};
    case oid::kBytea:
      return {"BINARY", "BINARY"};
    case oid::kInterval:
      return {"INTERVAL", "INTERVAL"};
    default:
      return {"STRING", "STRING"};
  }
}

uint32_t parameter_type(std::string name) {
  for (char& c : name) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  if (name == "BOOLEAN") return oid::kBool;
  if (name == "SMALLINT" || name == "SHORT" || name == "TINYINT" || name == "BYTE")
    return oid::kInt2;
  if (name == "INT" || name == "INTEGER") return oid::kInt4;
  if (name == "BIGINT" || name == "LONG") return oid::kInt8;
  if (name == "FLOAT" || name == "REAL") return oid::kFloat4;
  if (name == "DOUBLE") return oid::kFloat8;
  if (name == "DATE") return oid::kDate;
  if (name == "TIMESTAMP") return oid::kTimestamptz;
  if (name == "TIMESTAMP_NTZ") return oid::kTimestamp;
  if (name.starts_with("DECIMAL") || name.starts_with("NUMERIC")) return oid::kNumeric;
  return name.empty() ? 0 : oid::kText;
}

/// PostgreSQL's text as the API writes it.
json value_of(const std::optional<std::string>& text, uint32_t type) {
  if (!text) return nullptr;
  if (type == oid::kBool) return *text == "t" ? "true" : "false";
  if (type == oid::kTimestamp || type == oid::kTimestamptz) {
    std::string value = *text;
    if (size_t space = value.find(' '); space != value.npos) value[space] = 'T';
    bool zone = value.ends_with("+00");
    if (zone) value.resize(value.size() - 3);
    if (value.find('.') == value.npos && value.find('T') != value.npos) value += ".000";
    return zone ? value + "Z" : value;
  }
  return *text;
}

}  // namespace

class StatementApi::Impl : public std::enable_shared_from_this<StatementApi::Impl> {
 public:
  explicit Impl(Shared& shared) : shared_(shared) {}

  struct Job {
    std::string id;
    std::string role;
    std::string authorization;  ///< over TCP: the header, which later requests must repeat
    std::string database;
    std::string schema;
    std::string sql;
    std::vector<uint32_t> types;
    std::vector<std::optional<std::string>> values;
    uint64_t row_limit = UINT64_MAX;

    // Guarded by Impl::mutex_.
    std::string state = "PENDING";
    json error;
    json columns = json::array();
    struct Chunk {
      json rows = json::array();
      uint64_t offset = 0;
    };
    std::vector<Chunk> chunks;
    uint64_t rows = 0;
    bool truncated = false;
    bool cancel = false;
    Session* session = nullptr;
    Clock::time_point ended{};
    std::thread thread;

    bool done() const { return state != "PENDING" && state != "RUNNING"; }
  };

  HttpResponse post(const HttpRequest& request);
  HttpResponse get(const HttpRequest& request);
  HttpResponse chunk(const HttpRequest& request);
  HttpResponse cancel(const HttpRequest& request);
  void stop();

 private:
  /// The role that asks, or the answer that ends the request.
  std::optional<HttpResponse> who(const HttpRequest& request, const Branch& branch,
                                  std::string& role);
  void run(const std::shared_ptr<Job>& job);
  Outcome<void> execute(const std::shared_ptr<Job>& job, PostgresLink& link);
  json answer(const Job& job, bool with_result) const;
  json result_json(const Job& job, size_t chunk) const;
  std::shared_ptr<Job> find(const HttpRequest& request);
  void forget_old();

  Shared& shared_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<std::shared_ptr<Job>> jobs_;
  bool stopping_ = false;
};

namespace {

/// Named parameters (:name) as $n, in the order of `names`.
Outcome<std::string> number_parameters(const std::string& sql,
                                       const std::vector<std::string>& names) {
  std::vector<Token> tokens = tokenize(sql);
  std::string out;
  size_t at = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    bool marker =
        is_symbol(sql, tokens[i], ':') && tokens[i + 1].begin == tokens[i].end &&
        tokens[i + 1].kind == Token::Kind::kWord &&
        !(i > 0 && is_symbol(sql, tokens[i - 1], ':') && tokens[i - 1].end == tokens[i].begin) &&
        !(i > 0 &&
          (tokens[i - 1].kind == Token::Kind::kWord ||
           tokens[i - 1].kind == Token::Kind::kQuotedIdentifier ||
           tokens[i - 1].kind == Token::Kind::kString) &&
          tokens[i - 1].end == tokens[i].begin);
    if (!marker) continue;
    std::string_view name =
        std::string_view(sql).substr(tokens[i + 1].begin, tokens[i + 1].end - tokens[i + 1].begin);
    auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      return sql_error("42P02", fmt::format("no value for the parameter :{}", name));
    out += sql.substr(at, tokens[i].begin - at);
    out += fmt::format("${}", found - names.begin() + 1);
    at = tokens[i + 1].end;
  }
  return out + sql.substr(at);
}

}  // namespace

std::optional<HttpResponse> StatementApi::Impl::who(const HttpRequest& request,
                                                    const Branch& branch, std::string& role) {
  if (request.over_unix_socket) {
    role = request.header("x-tide-role");
    if (!role.empty()) return std::nullopt;
    Result<Branches::Defaults> defaults = shared_.branches.defaults();
    if (!defaults.ok())
      return api_error(503, "TEMPORARILY_UNAVAILABLE", defaults.status().message());
    role = defaults->role;
    return std::nullopt;
  }
  auto refuse = [] {
    HttpResponse refused = api_error(401, "UNAUTHENTICATED", "a role and its password are needed");
    refused.headers.emplace_back("WWW-Authenticate", "Basic realm=\"tidewater\"");
    return refused;
  };
  std::string header = request.header("authorization");
  constexpr std::string_view kScheme = "Basic ";
  if (!header.starts_with(kScheme)) return refuse();
  Result<std::string> pair = pgwire::decode_base64(std::string_view(header).substr(kScheme.size()));
  size_t colon = pair.ok() ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos) return refuse();
  role = pair->substr(0, colon);
  Outcome<StoredRole> stored = find_role(shared_.postgres_sockets, branch, role, shared_.secret);
  if (!stored.ok()) return api_error(503, "TEMPORARILY_UNAVAILABLE", stored.error().message);
  Outcome<bool> fits = check_password(*stored, pair->substr(colon + 1));
  if (!fits.ok() || !*fits) return refuse();
  return std::nullopt;
}

HttpResponse StatementApi::Impl::post(const HttpRequest& request) {
  auto invalid = [](std::string message) {
    return api_error(400, "INVALID_PARAMETER_VALUE", std::move(message));
  };
  Result<json> parsed = net::parse_json(request.body);
  if (!parsed.ok() || !parsed->is_object())
    return api_error(400, "MALFORMED_REQUEST", "the body is no JSON object");
  const json& body = *parsed;
  auto text = [&body](const char* name, std::string fallback) {
    auto found = body.find(name);
    return found != body.end() && found->is_string() ? found->get<std::string>() : fallback;
  };
  auto job = std::make_shared<Job>();
  job->sql = text("statement", "");
  if (trimmed(job->sql).empty()) return invalid("\"statement\" is missing");
  if (text("disposition", "INLINE") != "INLINE")
    return invalid("only disposition INLINE is supported");
  if (text("format", "JSON_ARRAY") != "JSON_ARRAY")
    return invalid("only format JSON_ARRAY is supported");
  std::string on_timeout = text("on_wait_timeout", "CONTINUE");
  if (on_timeout != "CONTINUE" && on_timeout != "CANCEL")
    return invalid("on_wait_timeout is CONTINUE or CANCEL");
  std::string wait = text("wait_timeout", "10s");
  int seconds = -1;
  auto [end, error] = std::from_chars(wait.data(), wait.data() + wait.size(), seconds);
  if (error != std::errc() ||
      std::string_view(end, static_cast<size_t>(wait.data() + wait.size() - end)) != "s" ||
      !(seconds == 0 || (seconds >= 5 && seconds <= 50))) {
    return invalid("wait_timeout is 0s, or 5s to 50s");
  }
  if (auto limit = body.find("row_limit"); limit != body.end()) {
    if (!limit->is_number_unsigned() || limit->get<uint64_t>() == 0)
      return invalid("row_limit is a positive number");
    job->row_limit = limit->get<uint64_t>();
  }
  std::vector<std::string> names;
  for (const json& item : body.value("parameters", json::array())) {
    if (!item.is_object() || !item.contains("name") || !item["name"].is_string())
      return invalid("each of \"parameters\" needs a \"name\"");
    names.push_back(item["name"]);
    std::string type = item.contains("type") && item["type"].is_string()
                           ? item["type"].get<std::string>()
                           : "STRING";
    job->types.push_back(parameter_type(type));
    auto value = item.find("value");
    if (value == item.end() || value->is_null()) {
      job->values.emplace_back(std::nullopt);
    } else {
      job->values.emplace_back(value->is_string() ? value->get<std::string>() : value->dump());
    }
  }
  Outcome<std::string> numbered = number_parameters(job->sql, names);
  if (!numbered.ok()) return invalid(numbered.error().message);
  job->sql = *numbered;

  std::string catalog = text("catalog", "");
  if (catalog.empty()) {
    Result<Branches::Defaults> defaults = shared_.branches.defaults();
    if (!defaults.ok())
      return api_error(503, "TEMPORARILY_UNAVAILABLE", defaults.status().message());
    catalog = defaults->database;
  }
  job->database = catalog;
  job->schema = text("schema", "");
  Result<Branch> branch = shared_.branches.awake(DatabaseName::parse(catalog).branch);
  if (!branch.ok()) {
    bool missing = branch.status().code() == Code::kNotFound;
    return api_error(missing ? 404 : 503,
                     missing ? "RESOURCE_DOES_NOT_EXIST" : "TEMPORARILY_UNAVAILABLE",
                     branch.status().message());
  }
  if (std::optional<HttpResponse> refused = who(request, *branch, job->role)) return *refused;
  if (!request.over_unix_socket) job->authorization = request.header("authorization");
  Result<std::string> random = pgwire::random_bytes(16);
  if (!random.ok()) return api_error(500, "INTERNAL_ERROR", random.status().message());
  pgwire::append_text_uuid(job->id, *random);

  std::unique_lock lock(mutex_);
  forget_old();
  size_t running = 0;
  for (const auto& other : jobs_) running += other->done() ? 0 : 1;
  if (stopping_ || running >= kRunningMax)
    return api_error(429, "RESOURCE_EXHAUSTED", fmt::format("{} statements run already", running));
  jobs_.push_back(job);
  job->thread = std::thread([self = shared_from_this(), job] { self->run(job); });
  changed_.wait_for(lock, std::chrono::seconds(seconds), [&] { return job->done(); });
  if (!job->done() && on_timeout == "CANCEL" && seconds > 0) {
    job->cancel = true;
    if (job->session != nullptr) job->session->cancel();
    changed_.wait_for(lock, std::chrono::seconds(5), [&] { return job->done(); });
  }
  return net::json_response(answer(*job, true));
}

/// Under mutex_.
void StatementApi::Impl::forget_old() {
  auto now = Clock::now();
  size_t finished = 0;
  for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) finished += (*at)->done() ? 1 : 0;
  for (auto at = jobs_.begin(); at != jobs_.end();) {
    Job& job = **at;
    if (job.done() && (finished > kKeptMax || now - job.ended > kKeptFor)) {
      if (job.thread.joinable()) job.thread.join();  // it has nothing left to do
      at = jobs_.erase(at);
      --finished;
    } else {
      ++at;
    }
  }
}

void StatementApi::Impl::run(const std::shared_ptr<Job>& job) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    std::lock_guard lock(mutex_);
    job->state = "FAILED";
    job->error = {{"error_code", "INTERNAL_ERROR"}, {"message", "no socket to be had"}};
    job->ended = Clock::now();
    changed_.notify_all();
    return;
  }
  env::FileDescriptor ours(ends[0]);
  Session session(shared_, env::FileDescriptor(ends[1]), true);
  {
    std::lock_guard lock(mutex_);
    job->state = "RUNNING";
    job->session = &session;
    if (job->cancel || stopping_) session.cancel();
  }
  std::thread serving([&session] { session.run(); });
  Outcome<void> outcome = [&]() -> Outcome<void> {
    std::map<std::string, std::string> parameters = {{"user", job->role},
                                                     {"database", job->database},
                                                     {"client_encoding", "UTF8"},
                                                     {"TimeZone", "UTC"},
                                                     {"application_name", "sql/statements"}};
    if (!job->schema.empty()) parameters["search_path"] = quoted_identifier(job->schema);
    std::unique_ptr<PostgresLink> link = TIDE_TRY(PostgresLink::adopt(std::move(ours), parameters));
    return execute(job, *link);
  }();
  session.shut_down();
  serving.join();
  std::lock_guard lock(mutex_);
  job->session = nullptr;
  job->ended = Clock::now();
  if (outcome.ok()) {
    job->state = "SUCCEEDED";
  } else {
    job->chunks.clear();
    bool canceled =
        job->cancel && (outcome.error().code == "57014" || outcome.error().code == "57P01");
    job->state = canceled ? "CANCELED" : "FAILED";
    std::string message = "[" + outcome.error().code + "] " + outcome.error().message;
    for (const std::string& more : {outcome.error().detail, outcome.error().hint})
      if (!more.empty()) message += " " + more;
    if (!canceled) {
      std::string_view kind = outcome.error().code.starts_with("53") ? "RESOURCE_EXHAUSTED"
                              : outcome.error().code == "42501"      ? "PERMISSION_DENIED"
                                                                     : "BAD_REQUEST";
      job->error = {
          {"error_code", kind}, {"message", message}, {"sql_state", outcome.error().code}};
    }
  }
  changed_.notify_all();
}

Outcome<void> StatementApi::Impl::execute(const std::shared_ptr<Job>& job, PostgresLink& link) {
  std::string bytes;
  {
    pgwire::MessageWriter parse(bytes, 'P');
    parse.string("");
    parse.string(job->sql);
    parse.int16(static_cast<int>(job->types.size()));
    for (uint32_t type : job->types) parse.int32(static_cast<int32_t>(type));
  }
  {
    pgwire::MessageWriter bind(bytes, 'B');
    bind.string("");
    bind.string("");
    bind.int16(0);
    bind.int16(static_cast<int>(job->values.size()));
    for (const std::optional<std::string>& value : job->values) {
      if (value) {
        bind.counted(*value);
      } else {
        bind.int32(-1);
      }
    }
    bind.int16(0);
  }
  {
    pgwire::MessageWriter describe(bytes, 'D');
    describe.byte('P');
    describe.string("");
  }
  {
    pgwire::MessageWriter execute(bytes, 'E');
    execute.string("");
    // One more than is wanted tells whether there are more.
    execute.int32(job->row_limit < INT32_MAX ? static_cast<int32_t>(job->row_limit + 1) : 0);
  }
  pgwire::append_empty(bytes, 'S');
  {
    std::lock_guard lock(mutex_);
    if (job->cancel) return sql_error("57014", "canceling statement due to user request");
  }
  TIDE_TRY(link.send(bytes));
  std::vector<uint32_t> types;
  std::optional<SqlError> failed;
  size_t total = 0;
  size_t in_chunk = 0;
  while (true) {
    pgwire::Message message = TIDE_TRY(link.receive());
    if (message.type == 'Z') break;
    if (message.type == 'E') failed = pgwire::decode_error(message);
    if (message.type == 'T') {
      std::lock_guard lock(mutex_);
      for (const pgwire::FieldDescription& field :
           TIDE_TRY(pgwire::decode_row_description(message))) {
        TypeName name = type_name(field.type);
        json column = {{"name", field.name},
                       {"position", types.size()},
                       {"type_name", name.name},
                       {"type_text", name.text}};
        if (field.type == oid::kNumeric && field.type_modifier >= 4) {
          int precision = (field.type_modifier - 4) >> 16;
          int scale = (field.type_modifier - 4) & 0x7FF;
          column["type_text"] = fmt::format("DECIMAL({},{})", precision, scale);
          column["type_precision"] = precision;
          column["type_scale"] = scale;
        }
        job->columns.push_back(std::move(column));
        types.push_back(field.type);
      }
    }
    if (message.type == 'D') {
      std::lock_guard lock(mutex_);
      if (job->rows >= job->row_limit) {
        job->truncated = true;
        continue;
      }
      total += message.body.size();
      if (total > kResultBytesMax) {
        SqlError error =
            sql_error("54000", "the result is larger than 25 MiB, the limit of inline results");
        error.hint = "Ask for less, or use the PostgreSQL protocol.";
        return error;
      }
      if (job->chunks.empty() || in_chunk > kChunkBytes) {
        job->chunks.emplace_back();
        job->chunks.back().offset = job->rows;
        in_chunk = 0;
      }
      in_chunk += message.body.size();
      json row = json::array();
      std::vector<std::optional<std::string>> values = TIDE_TRY(pgwire::decode_data_row(message));
      for (size_t i = 0; i < values.size(); ++i)
        row.push_back(value_of(values[i], i < types.size() ? types[i] : oid::kText));
      job->chunks.back().rows.push_back(std::move(row));
      ++job->rows;
    }
  }
  std::lock_guard lock(mutex_);
  if (failed) return *failed;
  return {};
}

json StatementApi::Impl::result_json(const Job& job, size_t index) const {
  json result = {
      {"chunk_index", index}, {"row_offset", 0}, {"row_count", 0}, {"data_array", json::array()}};
  if (index < job.chunks.size()) {
    result["row_offset"] = job.chunks[index].offset;
    result["row_count"] = job.chunks[index].rows.size();
    result["data_array"] = job.chunks[index].rows;
    if (index + 1 < job.chunks.size()) {
      result["next_chunk_index"] = index + 1;
      result["next_chunk_internal_link"] =
          fmt::format("{}/{}/result/chunks/{}?row_offset={}", kPath, job.id, index + 1,
                      job.chunks[index + 1].offset);
    }
  }
  return result;
}

/// Under mutex_.
json StatementApi::Impl::answer(const Job& job, bool with_result) const {
  json out = {{"statement_id", job.id}, {"status", {{"state", job.state}}}};
  if (!job.error.is_null()) out["status"]["error"] = job.error;
  if (job.state != "SUCCEEDED") return out;
  json chunks = json::array();
  for (size_t i = 0; i < job.chunks.size(); ++i) {
    chunks.push_back({{"chunk_index", i},
                      {"row_offset", job.chunks[i].offset},
                      {"row_count", job.chunks[i].rows.size()}});
  }
  out["manifest"] = {{"format", "JSON_ARRAY"},
                     {"schema", {{"column_count", job.columns.size()}, {"columns", job.columns}}},
                     {"total_chunk_count", job.chunks.size()},
                     {"chunks", chunks},
                     {"total_row_count", job.rows},
                     {"truncated", job.truncated}};
  if (with_result) out["result"] = result_json(job, 0);
  return out;
}

/// Under mutex_. A statement belongs to the role that began it.
std::shared_ptr<StatementApi::Impl::Job> StatementApi::Impl::find(const HttpRequest& request) {
  for (const auto& job : jobs_) {
    if (job->id != request.params.at("id")) continue;
    std::string role = request.header("x-tide-role");
    bool same = request.over_unix_socket ? role.empty() || role == job->role
                                         : request.header("authorization") == job->authorization &&
                                               !job->authorization.empty();
    return same ? job : nullptr;
  }
  return nullptr;
}

HttpResponse StatementApi::Impl::get(const HttpRequest& request) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Job> job = find(request);
  if (job == nullptr) return api_error(404, "RESOURCE_DOES_NOT_EXIST", "no such statement");
  return net::json_response(answer(*job, true));
}

HttpResponse StatementApi::Impl::chunk(const HttpRequest& request) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Job> job = find(request);
  const std::string& text = request.params.at("chunk");
  size_t index = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (job == nullptr || error != std::errc() || end != text.data() + text.size() ||
      index >= job->chunks.size() || job->state != "SUCCEEDED") {
    return api_error(404, "RESOURCE_DOES_NOT_EXIST", "no such chunk");
  }
  return net::json_response(result_json(*job, index));
}

HttpResponse StatementApi::Impl::cancel(const HttpRequest& request) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Job> job = find(request);
  if (job == nullptr) return api_error(404, "RESOURCE_DOES_NOT_EXIST", "no such statement");
  job->cancel = true;
  if (job->session != nullptr) job->session->cancel();
  return net::json_response(json::object());
}

void StatementApi::Impl::stop() {
  std::list<std::shared_ptr<Job>> jobs;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& job : jobs_) {
      job->cancel = true;
      if (job->session != nullptr) job->session->shut_down();
    }
    jobs = jobs_;
  }
  for (const auto& job : jobs) {
    if (job->thread.joinable()) job->thread.join();
  }
}

StatementApi::StatementApi(Shared& shared) : impl_(std::make_shared<Impl>(shared)) {}
StatementApi::~StatementApi() { impl_->stop(); }
void StatementApi::stop() { impl_->stop(); }

net::HttpRouter StatementApi::router() {
  net::HttpRouter router;
  std::string path(kPath);
  router.add("POST", path,
             [impl = impl_](const HttpRequest& request) { return impl->post(request); });
  router.add("GET", path + "/{id}",
             [impl = impl_](const HttpRequest& request) { return impl->get(request); });
  router.add("GET", path + "/{id}/result/chunks/{chunk}",
             [impl = impl_](const HttpRequest& request) { return impl->chunk(request); });
  router.add("POST", path + "/{id}/cancel",
             [impl = impl_](const HttpRequest& request) { return impl->cancel(request); });
  return router;
}

}  // namespace tide::warehouse
