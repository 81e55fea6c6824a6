#include "lake_double.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "columns/row_set.h"
#include "duck/sql_text.h"
#include "env/file.h"
#include "net/api_error.h"

namespace tide::tests {

using nlohmann::json;

namespace {

std::string text(const std::optional<std::string>& value) { return value ? *value : ""; }

/// A field of CSV; nulls are unquoted.
void append_csv(std::string& out, const std::optional<std::string>& value) {
  if (!value) return;
  out += '"';
  for (char c : *value) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

}  // namespace

LakeDouble::LakeDouble(Options options) : options_(std::move(options)) {}

LakeDouble::~LakeDouble() {
  if (listener_.is_open()) ::shutdown(listener_.get(), SHUT_RDWR);
  if (accepting_.joinable()) accepting_.join();
  for (auto& channel : channels_) channel->shut_down();
  for (std::thread& thread : threads_) thread.join();
}

Status LakeDouble::start() {
  duck::EngineOptions engine;
  engine.threads = 1;
  engine_ = TIDE_TRY(duck::Engine::open(engine));
  listener_ = TIDE_TRY(net::listen_unix(options_.socket));
  accepting_ = std::thread([this] {
    while (true) {
      env::FileDescriptor client(::accept(listener_.get(), nullptr, nullptr));
      if (!client.is_open()) return;
      auto channel = std::make_shared<net::BlobChannel>(std::move(client));
      channels_.push_back(channel);
      threads_.emplace_back([this, channel] { serve(channel); });
    }
  });
  return {};
}

void LakeDouble::serve(std::shared_ptr<net::BlobChannel> channel) {
  std::map<uint64_t, std::shared_ptr<const State>> snapshots;
  uint64_t next_snapshot = 1;
  while (true) {
    Result<net::BlobMessage> request = channel->receive();
    if (!request.ok()) return;
    json asked = json::parse(request->json);
    std::vector<std::string> blobs;
    auto answer = [&]() -> Result<json> {
      std::string op = asked["op"];
      if (op == "release") {
        snapshots.erase(asked["snapshot"].get<uint64_t>());
        return json::object();
      }
      if (op == "snapshot") {
        auto state = TIDE_TRY(this->state(asked["database"]));
        snapshots[next_snapshot] = state;
        json reply = {{"snapshot", next_snapshot++},
                      {"lsn", state->lsn},
                      {"commit_time_us", 1'700'000'000'000'000},
                      {"catalog_version", state->version}};
        if (asked.value("catalog_version", uint64_t{0}) == state->version) return reply;
        json tables = json::array();
        for (const Table& table : state->tables) {
          json item = {{"oid", table.oid},
                       {"schema", table.schema},
                       {"name", table.name},
                       {"kind", "table"},
                       {"columns", json::array()}};
          if (!table.not_mirrored.empty()) item["not_mirrored"] = table.not_mirrored;
          for (const Column& column : table.columns) {
            item["columns"].push_back({{"name", column.name},
                                       {"pg_type", column.pg_type},
                                       {"nullable", true},
                                       {"type_json", json::parse(column.json)}});
          }
          tables.push_back(std::move(item));
        }
        reply["catalog"] = {{"tables", std::move(tables)}};
        return reply;
      }
      if (op != "table") return Status(Code::kInvalid, "no such request");
      auto state = snapshots[asked["snapshot"].get<uint64_t>()];
      if (state == nullptr) return Status(Code::kNotFound, "no such snapshot");
      for (const Table& table : state->tables) {
        if (table.oid != asked["oid"].get<uint32_t>()) continue;
        json reply = {
            {"files", json::array()}, {"segments", json::array()}, {"columns", json::array()}};
        uint64_t id = 1;
        for (const Column& column : table.columns) {
          json item = {{"name", column.name},
                       {"physical", "c" + std::to_string(id)},
                       {"type_json", json::parse(column.json)}};
          // Some tables come without ids: files are read by name then.
          if (table.oid % 2 == 0) item["id"] = id;
          ++id;
          reply["columns"].push_back(std::move(item));
        }
        if (table.file_rows > 0) {
          reply["files"].push_back(
              {{"path", table.file}, {"rows", table.file_rows}, {"deleted", blobs.size()}});
          blobs.push_back(table.file_deleted);
        }
        if (table.segment_rows > 0) {
          json segment = {
              {"id", table.segment}, {"rows", table.segment_rows}, {"deleted", blobs.size()}};
          blobs.push_back(table.segment_deleted);
          json known = asked["known_segments"];
          if (std::find(known.begin(), known.end(), json(table.segment)) == known.end()) {
            segment["data"] = blobs.size();
            blobs.push_back(table.segment_data);
          }
          reply["segments"].push_back(std::move(segment));
        }
        return reply;
      }
      return Status(Code::kNotFound, "no such table");
    }();
    Status sent = answer.ok() ? channel->send(*answer, blobs)
                              : channel->send(net::error_json(answer.status()), {});
    if (!sent.ok()) return;
  }
}

Result<std::shared_ptr<const LakeDouble::State>> LakeDouble::state(const std::string& database) {
  std::lock_guard lock(mutex_);
  auto opened = warehouse::PostgresLink::open(
      {.socket_directory = options_.postgres_sockets,
       .port = options_.postgres_port,
       .parameters = {{"user", options_.user},
                      {"database", database},
                      {"options", "-c intervalstyle=iso_8601 -c timezone=UTC"}}});
  if (!opened.ok()) return Status(Code::kUnavailable, opened.error().message);
  auto link = std::move(opened).value();
  auto query = [&](const std::string& sql) -> Result<warehouse::PostgresLink::Rows> {
    auto rows = link->query(sql);
    if (!rows.ok()) return Status(Code::kUnavailable, sql + ": " + rows.error().message);
    return *rows;
  };
  auto lsn = TIDE_TRY(query("SELECT pg_current_wal_insert_lsn()"));
  auto& known = states_[database];
  if (known != nullptr && known->lsn == text(lsn.rows[0][0])) return known;
  auto state = std::make_shared<State>();
  state->lsn = text(lsn.rows[0][0]);
  state->version = next_++;
  auto tables = TIDE_TRY(
      query("SELECT c.oid, n.nspname, c.relname, c.relpersistence FROM pg_class c JOIN "
            "pg_namespace n ON n.oid = "
            "c.relnamespace WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> "
            "'information_schema' ORDER BY 1"));
  for (const auto& row : tables.rows) {
    Table table;
    table.oid = static_cast<uint32_t>(std::stoul(text(row[0])));
    table.schema = text(row[1]);
    table.name = text(row[2]);
    if (row[3] == "u") table.not_mirrored = "an unlogged table writes no WAL";
    auto columns = TIDE_TRY(
        query(fmt::format("SELECT attname, format_type(atttypid, atttypmod), quote_ident(attname) "
                          "FROM pg_attribute WHERE "
                          "attrelid = {} AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                          table.oid)));
    for (const auto& item : columns.rows) {
      Column column;
      column.name = text(item[0]);
      column.pg_type = text(item[1]);
      std::string quoted = text(item[2]);
      column.expression = quoted + "::text";
      column.cast = "CAST({} AS VARCHAR)";
      column.json = "\"string\"";
      auto plain = [&](columns::Kind kind, std::string json_name, std::string sql) {
        column.type = kind;
        column.json = "\"" + json_name + "\"";
        column.cast = "CAST({} AS " + sql + ")";
      };
      const std::string& type = column.pg_type;
      if (type == "boolean") plain(columns::Kind::kBool, "boolean", "BOOLEAN");
      if (type == "smallint") plain(columns::Kind::kInt16, "short", "SMALLINT");
      if (type == "integer") plain(columns::Kind::kInt32, "integer", "INTEGER");
      if (type == "bigint") plain(columns::Kind::kInt64, "long", "BIGINT");
      if (type == "real") plain(columns::Kind::kFloat, "float", "FLOAT");
      if (type == "double precision") plain(columns::Kind::kDouble, "double", "DOUBLE");
      if (type == "date") plain(columns::Kind::kDate, "date", "DATE");
      if (type == "timestamp without time zone")
        plain(columns::Kind::kTimestampNtz, "timestamp_ntz", "TIMESTAMP");
      if (type == "timestamp with time zone")
        plain(columns::Kind::kTimestamp, "timestamp", "TIMESTAMPTZ");
      if (type.starts_with("numeric(")) {
        int precision = 0;
        int scale = 0;
        if (sscanf(type.c_str(), "numeric(%d,%d)", &precision, &scale) == 2) {
          column.type = columns::Type::decimal(precision, scale);
          column.json = fmt::format("\"decimal({},{})\"", precision, scale);
          column.cast = "CAST({} AS " + duck::to_sql(column.type) + ")";
        }
      }
      // The engine writes years before Christ with the mark in parentheses.
      if (type == "date" || type.starts_with("timestamp"))
        column.expression = "regexp_replace(" + quoted + "::text, ' BC$', ' (BC)')";
      if (type == "bytea") {
        plain(columns::Kind::kBinary, "binary", "");
        column.expression = "encode(" + quoted + ", 'hex')";
        column.cast = "from_hex({})";
      }
      if (type == "integer[]" || type == "text[]") {
        bool numbers = type == "integer[]";
        column.type = columns::Type::list(numbers ? columns::Kind::kInt32 : columns::Kind::kString);
        column.json = fmt::format(R"({{"type":"array","elementType":"{}","containsNull":true}})",
                                  numbers ? "integer" : "string");
        column.expression = "to_json(" + quoted + ")::text";
        column.cast =
            std::string("CAST(CAST({} AS JSON) AS ") + (numbers ? "INTEGER[])" : "VARCHAR[])");
      }
      table.columns.push_back(std::move(column));
    }
    if (table.not_mirrored.empty() && !table.columns.empty())
      TIDE_TRY(load(*link, table).with_context("load " + table.name));
    state->tables.push_back(std::move(table));
  }
  known = state;
  return std::shared_ptr<const State>(state);
}

Status LakeDouble::load(warehouse::PostgresLink& link, Table& table) {
  std::string list;
  for (const Column& column : table.columns) list += (list.empty() ? "" : ", ") + column.expression;
  auto answer =
      link.query(fmt::format("SELECT {} FROM \"{}\".\"{}\"", list, table.schema, table.name));
  if (!answer.ok()) return {Code::kUnavailable, answer.error().message};
  // Lines for the file and for the segment, every fifth row twice: once as if it had been deleted.
  std::string lines[2];
  uint32_t counts[2] = {0, 0};
  columns::RowSet deleted[2];
  for (size_t i = 0; i < answer->rows.size(); ++i) {
    int part = i % 3 == 2 ? 1 : 0;
    for (int copy = i % 5 == 0 ? 0 : 1; copy < 2; ++copy) {
      if (copy == 0) deleted[part].add(counts[part]);
      for (size_t column = 0; column < table.columns.size(); ++column) {
        if (column > 0) lines[part] += ',';
        append_csv(lines[part], answer->rows[i][column]);
      }
      lines[part] += '\n';
      ++counts[part];
    }
  }
  std::string names;
  for (size_t i = 0; i < table.columns.size(); ++i)
    names += fmt::format("{}'c{}': 'VARCHAR'", i == 0 ? "" : ", ", i + 1);
  auto connection = TIDE_TRY(engine_->connect());
  uint64_t number = next_++;
  for (int part = 0; part < 2; ++part) {
    if (counts[part] == 0) continue;
    std::string csv = fmt::format("{}/{}.{}.csv", options_.directory, number, part);
    TIDE_TRY(env::write_file(csv, lines[part], 0644));
    std::string select;
    std::string ids;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      std::string physical = fmt::format("c{}", i + 1);
      select += (i == 0 ? "" : ", ") + fmt::format(fmt::runtime(table.columns[i].cast), physical) +
                " AS " + physical;
      ids += fmt::format("{}{}: {}", i == 0 ? "" : ", ", physical, i + 1);
    }
    std::string from = fmt::format(
        " FROM read_csv({}, header = false, columns = {{{}}}, delim = ',', quote = '\"', escape = "
        "'\"', "
        "nullstr = '', allow_quoted_nulls = false, parallel = false, max_line_size = 20000000)",
        duck::quote_literal(csv), names);
    if (part == 0) {
      table.file = fmt::format("{}/{}.parquet", options_.directory, number);
      table.file_rows = counts[0];
      table.file_deleted = deleted[0].encode();
      std::string field_ids;
      for (size_t i = 0; i < table.columns.size(); ++i)
        field_ids += fmt::format("{}c{}: {}", i == 0 ? "" : ", ", i + 1,
                                 table.columns[i].type.kind == columns::Kind::kList
                                     ? fmt::format("{{__duckdb_field_id: {}}}", i + 1)
                                     : fmt::format("{}", i + 1));
      TIDE_TRY(connection->execute(
          fmt::format("COPY (SELECT {}{}) TO {} (FORMAT parquet, FIELD_IDS {{{}}})", select, from,
                      duck::quote_literal(table.file), field_ids)));
    } else {
      auto result = TIDE_TRY(connection->query("SELECT " + select + ", 0::BIGINT AS ctid" + from));
      columns::Batch batch = TIDE_TRY(result->all());
      table.segment = number;
      table.segment_rows = counts[1];
      table.segment_data = columns::encode(batch);
      table.segment_deleted = deleted[1].encode();
    }
  }
  return {};
}

}  // namespace tide::tests
