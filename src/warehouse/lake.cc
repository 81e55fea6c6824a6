#include "warehouse/lake.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "duck/deleted_rows.h"
#include "duck/sql_text.h"
#include "env/process.h"
#include "net/api_error.h"
#include "warehouse/lake_types.h"

namespace tide::warehouse {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

/// Beyond what the mirror itself waits for WAL.
constexpr milliseconds kAnswerGrace{20'000};

/// Which life of the mirror a process is: numbers of processes come again.
Result<std::string> identity_of(Result<pid_t> peer) {
  env::ProcessIdentity identity = TIDE_TRY(env::process_identity(TIDE_TRY(std::move(peer))));
  return fmt::format("{}.{}", identity.pid, identity.start_ticks);
}

Result<LakeCatalog> parse_catalog(const json& object, uint64_t version) {
  LakeCatalog catalog;
  catalog.version = version;
  auto tables = object.find("tables");
  if (tables == object.end() || !tables->is_array())
    return Status(Code::kCorrupt, "the mirror's catalog has no tables");
  for (const json& item : *tables) {
    if (!item.is_object()) return Status(Code::kCorrupt, "the mirror's catalog is malformed");
    LakeTable table;
    table.oid = static_cast<uint32_t>(TIDE_TRY(net::number_member(item, "oid")));
    table.schema = TIDE_TRY(net::string_member(item, "schema"));
    table.name = TIDE_TRY(net::string_member(item, "name"));
    table.kind = TIDE_TRY(net::string_member(item, "kind", "table"));
    table.not_mirrored = TIDE_TRY(net::string_member(item, "not_mirrored", ""));
    for (const json& child : item.value("children", json::array())) {
      if (child.is_number_unsigned()) table.children.push_back(child.get<uint32_t>());
    }
    for (const json& entry : item.value("columns", json::array())) {
      LakeColumn column;
      column.name = TIDE_TRY(net::string_member(entry, "name"));
      column.pg_type = TIDE_TRY(net::string_member(entry, "pg_type", ""));
      auto type = entry.find("type_json");
      if (type == entry.end()) return Status(Code::kCorrupt, "a column without a type");
      column.type = TIDE_TRY(type_of_json(*type));
      table.columns.push_back(std::move(column));
    }
    catalog.tables.push_back(std::move(table));
  }
  return catalog;
}

Result<const std::string*> blob_of(const net::BlobMessage& message, const json& item,
                                   const char* name) {
  auto found = item.find(name);
  if (found == item.end() || found->is_null()) return static_cast<const std::string*>(nullptr);
  if (!found->is_number_unsigned() || found->get<uint64_t>() >= message.blobs.size())
    return Status(Code::kCorrupt, "the mirror names a blob that it did not send");
  return &message.blobs[found->get<uint64_t>()];
}

Result<std::shared_ptr<const duck::DeletedRows>> deleted_of(const net::BlobMessage& message,
                                                            const json& item) {
  const std::string* blob = TIDE_TRY(blob_of(message, item, "deleted"));
  if (blob == nullptr) return std::shared_ptr<const duck::DeletedRows>();
  return std::make_shared<const duck::DeletedRows>(
      TIDE_TRY(columns::RowSet::decode(as_bytes(*blob))));
}

}  // namespace

const LakeTable* LakeCatalog::find(const std::string& schema, const std::string& name) const {
  for (const LakeTable& table : tables) {
    if (table.name == name && table.schema == schema) return &table;
  }
  return nullptr;
}

const LakeTable* LakeCatalog::find(uint32_t oid) const {
  for (const LakeTable& table : tables) {
    if (table.oid == oid) return &table;
  }
  return nullptr;
}

SegmentCache::Rows SegmentCache::find(const Key& key) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  ages_.splice(ages_.begin(), ages_, found->second.age);
  return found->second.rows;
}

void SegmentCache::add(const Key& key, Rows rows) {
  std::lock_guard lock(mutex_);
  if (entries_.contains(key)) return;
  bytes_ += rows->bytes();
  ages_.push_front(key);
  entries_[key] = {std::move(rows), ages_.begin()};
  while (bytes_ > bytes_max_ && ages_.size() > 1) {
    auto oldest = entries_.find(ages_.back());
    bytes_ -= oldest->second.rows->bytes();
    entries_.erase(oldest);
    ages_.pop_back();
  }
}

std::map<uint64_t, SegmentCache::Rows> SegmentCache::of(const std::string& scope) {
  std::lock_guard lock(mutex_);
  std::map<uint64_t, Rows> rows;
  for (auto at = entries_.lower_bound({scope, 0}); at != entries_.end() && at->first.first == scope;
       ++at) {
    rows[at->first.second] = at->second.rows;
  }
  return rows;
}

Result<Freshness> Freshness::parse(std::string_view text) {
  Status wrong =
      Status(Code::kInvalid,
             fmt::format("invalid value for parameter \"tidewater.freshness\": \"{}\"", text))
          .with_hint("Available values: strict, lake, bounded 5s (or 500ms, 2min).");
  Freshness freshness;
  if (text == "strict") return freshness;
  if (text == "lake") {
    freshness.kind = Kind::kLake;
    return freshness;
  }
  if (!text.starts_with("bounded")) return wrong;
  freshness.kind = Kind::kBounded;
  text.remove_prefix(7);
  while (text.starts_with(' ')) text.remove_prefix(1);
  if (text.empty()) return freshness;
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || number > 86'400'000) return wrong;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  if (unit == "ms") {
    freshness.bound = milliseconds(number);
  } else if (unit == "s" || unit.empty()) {
    freshness.bound = std::chrono::seconds(number);
  } else if (unit == "min") {
    freshness.bound = std::chrono::minutes(number);
  } else {
    return wrong;
  }
  return freshness;
}

std::string Freshness::to_string() const {
  switch (kind) {
    case Kind::kStrict:
      return "strict";
    case Kind::kLake:
      return "lake";
    case Kind::kBounded:
      return bound.count() % 1000 == 0 ? fmt::format("bounded {}s", bound.count() / 1000)
                                       : fmt::format("bounded {}ms", bound.count());
  }
  return "strict";
}

Lake::Lake(Options options, duck::Engine& engine, SegmentCache& segments)
    : options_(std::move(options)), engine_(engine), segments_(segments) {}

Lake::~Lake() = default;

void Lake::shut_down() {
  std::lock_guard lock(channel_mutex_);
  if (channel_) channel_->shut_down();
}

Result<net::BlobMessage> Lake::call(const json& request, milliseconds timeout) {
  if (channel_ == nullptr) return Status(Code::kUnavailable, "the mirror hung up");
  Result<net::BlobMessage> answer = [&]() -> Result<net::BlobMessage> {
    TIDE_TRY(channel_->send(request));
    return channel_->receive(timeout);
  }();
  if (!answer.ok()) {
    // No answer, or one that makes no sense: what comes later would be taken for the next one.
    std::lock_guard lock(channel_mutex_);
    channel_.reset();
    if (answer.status().code() == Code::kRetry)
      return Status(Code::kUnavailable, "the mirror did not answer in time");
    return answer;
  }
  json body = json::parse(answer->json, nullptr, false);
  if (!body.is_object()) return Status(Code::kCorrupt, "the mirror's answer is malformed");
  if (body.contains("error")) return net::status_from_reply(500, answer->json);
  return answer;
}

Outcome<std::unique_ptr<Lake::Snapshot>> Lake::snapshot(const Freshness& freshness,
                                                        milliseconds wait) {
  for (int attempt = 0;; ++attempt) {
    bool fresh = channel_ == nullptr;
    if (fresh) {
      Result<std::unique_ptr<net::BlobChannel>> channel =
          net::BlobChannel::connect(options_.socket);
      if (!channel.ok()) {
        SqlError error = sql_error("57P03", "the lake's mirror does not answer");
        error.detail = channel.status().message();
        error.hint = "tide status shows the roles; the branch's own endpoint works without it.";
        return error;
      }
      mirror_ = TIDE_TRY(identity_of((*channel)->peer()));
      std::lock_guard lock(channel_mutex_);
      channel_ = std::move(*channel);
      ++connection_;
    }
    json request = {{"op", "snapshot"},
                    {"timeline", options_.timeline},
                    {"database", options_.database},
                    {"wait_ms", wait.count()}};
    request["freshness"] = freshness.kind == Freshness::Kind::kStrict    ? "strict"
                           : freshness.kind == Freshness::Kind::kBounded ? "bounded"
                                                                         : "lake";
    if (freshness.kind == Freshness::Kind::kBounded) request["bound_ms"] = freshness.bound.count();
    if (!freshness.as_of_lsn.empty()) request["at_lsn"] = freshness.as_of_lsn;
    if (freshness.as_of_microseconds) request["at_time_us"] = *freshness.as_of_microseconds;
    if (catalog_) request["catalog_version"] = catalog_->version;
    Result<net::BlobMessage> answer = call(request, wait + kAnswerGrace);
    if (!answer.ok()) {
      // A connection that had been idle may have ended with the mirror's last life.
      if (channel_ == nullptr && !fresh && attempt == 0) continue;
      SqlError error = to_sql_error(answer.status());
      if (answer.status().code() == Code::kRetry) error.code = "57P03";
      return error;
    }
    json body = json::parse(answer->json, nullptr, false);
    if (!body.is_object()) return Status(Code::kCorrupt, "the mirror's answer is malformed");
    auto snapshot = std::make_unique<Snapshot>();
    snapshot->lake_ = this;
    snapshot->connection_ = connection_;
    snapshot->id_ = TIDE_TRY(net::number_member(body, "snapshot"));
    snapshot->lsn_ = TIDE_TRY(net::string_member(body, "lsn"));
    if (auto time = body.find("commit_time_us"); time != body.end() && time->is_number_integer())
      snapshot->commit_microseconds_ = time->get<int64_t>();
    uint64_t version = TIDE_TRY(net::number_member(body, "catalog_version"));
    if (auto catalog = body.find("catalog"); catalog != body.end() && catalog->is_object()) {
      catalog_ = std::make_shared<const LakeCatalog>(TIDE_TRY(parse_catalog(*catalog, version)));
    }
    if (!catalog_ || catalog_->version != version)
      return Status(Code::kCorrupt, "the mirror sent no catalog of the version it names");
    snapshot->catalog_ = catalog_;
    return snapshot;
  }
}

Lake::Snapshot::~Snapshot() {
  registrations_.clear();
  if (lake_ == nullptr || lake_->channel_ == nullptr || lake_->connection_ != connection_) return;
  lake_->call({{"op", "release"}, {"snapshot", id_}}, milliseconds(10'000))
      .status()
      .ignore("a connection that breaks ends its snapshots too");
}

Outcome<std::string> Lake::Snapshot::select(const LakeTable& table,
                                            const std::vector<size_t>& wanted) {
  return select_tree(table, wanted, 0);
}

/// The table's own rows and those of the tables that inherit from it.
Outcome<std::string> Lake::Snapshot::select_tree(const LakeTable& table,
                                                 const std::vector<size_t>& wanted, int depth) {
  constexpr int kDepthMax = 32;
  std::string sql = TIDE_TRY(select_own(table, wanted));
  if (depth >= kDepthMax) return sql;
  for (uint32_t oid : table.children) {
    const LakeTable* child = catalog_->find(oid);
    if (child == nullptr) continue;
    if (!child->not_mirrored.empty()) {
      SqlError error = sql_error(
          "55000", fmt::format("table \"{}\", which inherits from \"{}\", is not in the lake",
                               child->name, table.name));
      error.detail = child->not_mirrored;
      return error;
    }
    std::vector<size_t> inherited;
    for (size_t index : wanted) {
      for (size_t i = 0; i < child->columns.size(); ++i) {
        if (child->columns[i].name == table.columns[index].name) inherited.push_back(i);
      }
    }
    if (inherited.size() != wanted.size())
      return Status(Code::kCorrupt,
                    fmt::format("table {} lacks columns of its parent", child->name));
    sql += " UNION ALL " + TIDE_TRY(select_tree(*child, inherited, depth + 1));
  }
  return sql;
}

Outcome<std::string> Lake::Snapshot::select_own(const LakeTable& table,
                                                const std::vector<size_t>& wanted) {
  if (lake_->channel_ == nullptr || lake_->connection_ != connection_) {
    SqlError error = sql_error("57P03", "the lake's snapshot is gone: the mirror was restarted");
    error.hint = "Begin the transaction again.";
    return error;
  }
  // Segment numbers mean something to one life of the mirror only.
  std::string scope = fmt::format("{}/{}/{}/{}", lake_->mirror_, lake_->options_.timeline,
                                  lake_->options_.database, table.oid);
  std::map<uint64_t, SegmentCache::Rows> known = lake_->segments_.of(scope);
  json request = {
      {"op", "table"}, {"snapshot", id_}, {"oid", table.oid}, {"known_segments", json::array()}};
  for (const auto& [id, rows] : known) request["known_segments"].push_back(id);
  net::BlobMessage answer = TIDE_TRY(lake_->call(request, milliseconds(60'000)));
  json body = json::parse(answer.json, nullptr, false);
  if (!body.is_object()) return Status(Code::kCorrupt, "the mirror's answer is malformed");

  // The columns as they are stored, by name.
  std::vector<columns::Field> stored;
  std::map<std::string, size_t> by_name;
  bool has_ids = true;
  std::vector<uint64_t> ids;
  for (const json& item : body.value("columns", json::array())) {
    columns::Field field;
    field.name = TIDE_TRY(net::string_member(item, "physical"));
    auto type = item.find("type_json");
    if (type == item.end()) return Status(Code::kCorrupt, "a column without a type");
    field.type = TIDE_TRY(type_of_json(*type));
    by_name[TIDE_TRY(net::string_member(item, "name"))] = stored.size();
    has_ids = has_ids && item.contains("id") && item["id"].is_number_unsigned();
    ids.push_back(has_ids ? item["id"].get<uint64_t>() : 0);
    stored.push_back(std::move(field));
  }
  std::string expressions;
  for (size_t index : wanted) {
    const LakeColumn& column = table.columns[index];
    auto found = by_name.find(column.name);
    if (found == by_name.end())
      return Status(Code::kCorrupt, fmt::format("the mirror sends no column {}", column.name));
    const columns::Field& field = stored[found->second];
    if (!expressions.empty()) expressions += ", ";
    expressions +=
        typed_expression(duck::quote_identifier(field.name), field.type, column.pg_type) + " AS " +
        duck::quote_identifier(column.name);
  }
  if (expressions.empty())
    return sql_error("0A000", fmt::format("table \"{}\" has no columns here", table.name));

  std::vector<std::string> parts;
  std::vector<std::shared_ptr<const duck::DeletedRows>> deleted;
  bool any_deleted = false;
  std::string paths;
  size_t file_count = 0;
  for (const json& file : body.value("files", json::array())) {
    if (!paths.empty()) paths += ", ";
    paths += duck::quote_literal(TIDE_TRY(net::string_member(file, "path")));
    deleted.push_back(TIDE_TRY(deleted_of(answer, file)));
    any_deleted = any_deleted || (deleted.back() != nullptr && !deleted.back()->empty());
    ++file_count;
  }
  if (file_count > 0) {
    std::string live;
    if (any_deleted) {
      registrations_.push_back(lake_->engine_.register_deletions(std::move(deleted)));
      live = fmt::format(" WHERE tide_live({}, file_index, file_row_number)",
                         registrations_.back().id());
    }
    if (has_ids) {
      // By field id: files of before a column came or was renamed are read right.
      std::string schema;
      for (size_t i = 0; i < stored.size(); ++i) {
        if (!schema.empty()) schema += ", ";
        schema += fmt::format("{}: {{name: {}, type: {}, default_value: NULL}}", ids[i],
                              duck::quote_literal(stored[i].name),
                              duck::quote_literal(duck::to_sql(stored[i].type)));
      }
      // file_row_number is there by itself; asked for, it would have to be in the schema.
      parts.push_back(fmt::format("SELECT {} FROM read_parquet([{}], schema = MAP {{{}}}){}",
                                  expressions, paths, schema, live));
    } else {
      std::string row_number = any_deleted ? ", file_row_number = true" : "";
      // Columns that no file has come from an empty relation with the right types.
      std::string nulls;
      for (const columns::Field& field : stored) {
        if (!nulls.empty()) nulls += ", ";
        nulls += fmt::format("CAST(NULL AS {}) AS {}", duck::to_sql(field.type),
                             duck::quote_identifier(field.name));
      }
      parts.push_back(
          fmt::format("SELECT {} FROM (SELECT {} WHERE false UNION ALL BY NAME SELECT * FROM "
                      "read_parquet([{}], union_by_name = true{}){})",
                      expressions, nulls, paths, row_number, live));
    }
  }

  std::vector<columns::Field> tail = stored;
  tail.push_back({"__tide_ctid", columns::Kind::kInt64, true});
  std::vector<duck::RowSegment> segments;
  for (const json& item : body.value("segments", json::array())) {
    uint64_t id = TIDE_TRY(net::number_member(item, "id"));
    duck::RowSegment segment;
    segment.deleted = TIDE_TRY(deleted_of(answer, item));
    const std::string* data = TIDE_TRY(blob_of(answer, item, "data"));
    if (data != nullptr) {
      segment.batch =
          std::make_shared<const columns::Batch>(TIDE_TRY(columns::decode(as_bytes(*data), tail)));
      lake_->segments_.add({scope, id}, segment.batch);
    } else {
      auto found = known.find(id);
      if (found == known.end())
        return Status(Code::kCorrupt, "the mirror names a segment that it did not send");
      segment.batch = found->second;
    }
    if (segment.batch->rows() > 0) segments.push_back(std::move(segment));
  }
  if (!segments.empty()) {
    registrations_.push_back(
        TIDE_TRY(lake_->engine_.register_rows(std::move(segments), std::move(tail))));
    parts.push_back(
        fmt::format("SELECT {} FROM tide_rows({})", expressions, registrations_.back().id()));
  }
  if (parts.empty()) return empty_select(table, wanted);
  std::string sql = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) sql += " UNION ALL " + parts[i];
  return sql;
}

std::string Lake::empty_select(const LakeTable& table, const std::vector<size_t>& wanted) {
  std::string expressions;
  for (size_t index : wanted) {
    const LakeColumn& column = table.columns[index];
    if (!expressions.empty()) expressions += ", ";
    expressions += typed_expression(fmt::format("CAST(NULL AS {})", duck::to_sql(column.type)),
                                    column.type, column.pg_type) +
                   " AS " + duck::quote_identifier(column.name);
  }
  return "SELECT " + (expressions.empty() ? "NULL" : expressions) + " WHERE false";
}

}  // namespace tide::warehouse
