#include "mirror/cut_log.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/crc32c.h"
#include "deltalog/schema.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

using nlohmann::json;

constexpr uint64_t kCutsPerState = 64;
constexpr int kFormat = 1;

json descriptor_json(const deltalog::DeletionVectorDescriptor& vector) {
  json out = {{"type", std::string(1, vector.storage_type)},
              {"path", vector.path_or_inline},
              {"size", vector.size_in_bytes},
              {"cardinality", vector.cardinality}};
  if (vector.offset) out["offset"] = *vector.offset;
  return out;
}

deltalog::DeletionVectorDescriptor descriptor_from(const json& in) {
  deltalog::DeletionVectorDescriptor vector;
  vector.storage_type = in.at("type").get<std::string>().at(0);
  vector.path_or_inline = in.at("path");
  vector.size_in_bytes = in.at("size");
  vector.cardinality = in.at("cardinality");
  if (in.contains("offset")) vector.offset = in.at("offset").get<int64_t>();
  return vector;
}

json file_json(const LakeFile& file) {
  json out = {{"name", file.name},
              {"size", file.size},
              {"rows", file.rows},
              {"modified_ms", file.modified_ms},
              {"stats", file.stats}};
  if (file.deletion_vector) out["deletion_vector"] = descriptor_json(*file.deletion_vector);
  return out;
}

LakeFile file_from(const json& in) {
  LakeFile file;
  file.name = in.at("name");
  file.size = in.at("size");
  file.rows = in.at("rows");
  file.modified_ms = in.at("modified_ms");
  file.stats = in.at("stats");
  if (in.contains("deletion_vector"))
    file.deletion_vector = descriptor_from(in.at("deletion_vector"));
  return file;
}

json columns_json(const std::vector<LakeColumn>& columns) {
  json out = json::array();
  for (const LakeColumn& column : columns) {
    out.push_back({{"name", column.name},
                   {"physical", column.physical},
                   {"id", column.id},
                   {"number", column.number},
                   {"type", json::parse(deltalog::write_type(deltalog::from_columns(column.type)))},
                   {"nullable", column.nullable},
                   {"pg_type", column.pg_type},
                   {"text_of", column.text_of}});
  }
  return out;
}

Result<std::vector<LakeColumn>> columns_from(const json& in) {
  std::vector<LakeColumn> columns;
  for (const json& each : in) {
    LakeColumn column;
    column.name = each.at("name");
    column.physical = each.at("physical");
    column.id = each.at("id");
    column.number = each.at("number");
    deltalog::DataType type = TIDE_TRY(deltalog::parse_type(each.at("type").dump()));
    column.type = TIDE_TRY(deltalog::to_columns(type));
    column.nullable = each.at("nullable");
    column.pg_type = each.at("pg_type");
    column.text_of = each.value("text_of", int16_t{0});
    columns.push_back(std::move(column));
  }
  return columns;
}

json publication_json(const Publication& publication) {
  return {{"directory", publication.directory},
          {"id", publication.id},
          {"version", publication.version},
          {"created_ms", publication.created_ms}};
}

json rel_json(const RelFork& rel) { return {rel.spc, rel.db, rel.rel}; }
RelFork rel_from(const json& in) { return {in.at(0), in.at(1), in.at(2), Fork::kMain}; }

/// What both a table in a state and a table in a cut say of themselves.
template <typename Table>
json head_json(const Table& table) {
  return {{"database", table.database},
          {"oid", table.oid},
          {"schema", table.schema},
          {"name", table.name},
          {"kind", std::string(1, table.kind)},
          {"columns", columns_json(table.columns)},
          {"next_column_id", table.next_column_id},
          {"used_names", table.used_names},
          {"publication", publication_json(table.publication)}};
}

template <typename Table>
Status read_head(const json& in, Table& table) {
  table.database = in.at("database");
  table.oid = in.at("oid");
  table.schema = in.at("schema");
  table.name = in.at("name");
  table.kind = in.at("kind").template get<std::string>().at(0);
  table.columns = TIDE_TRY(columns_from(in.at("columns")));
  table.next_column_id = in.at("next_column_id");
  table.used_names = in.at("used_names").template get<std::set<std::string>>();
  const json& publication = in.at("publication");
  table.publication.directory = publication.at("directory");
  table.publication.id = publication.at("id");
  table.publication.version = publication.at("version");
  table.publication.created_ms = publication.at("created_ms");
  table.publication.schema_changed = false;
  return {};
}

json state_json(const CutState& state) {
  json tables = json::array();
  for (const auto& [key, table] : state.tables) {
    json out = head_json(table);
    out["heaps"] = json::array();
    for (const auto& [relation, heap] : table.heaps) {
      json files = json::array();
      for (const auto& [name, file] : heap.files) files.push_back(file_json(file));
      out["heaps"].push_back(
          {{"relation", relation}, {"file", rel_json(heap.file)}, {"files", files}});
    }
    tables.push_back(std::move(out));
  }
  return {{"format", kFormat},
          {"number", state.number},
          {"lsn", state.lsn.to_string()},
          {"restart_lsn", state.restart_lsn.to_string()},
          {"timestamp_ms", state.timestamp_ms},
          {"tables", tables}};
}

Result<CutState> state_from(const json& in) {
  CutState state;
  state.number = in.at("number");
  state.lsn = TIDE_TRY(Lsn::parse(in.at("lsn").get<std::string>()));
  state.restart_lsn = TIDE_TRY(Lsn::parse(in.at("restart_lsn").get<std::string>()));
  state.timestamp_ms = in.at("timestamp_ms");
  for (const json& each : in.at("tables")) {
    CutState::Table table;
    TIDE_TRY(read_head(each, table));
    for (const json& heap_in : each.at("heaps")) {
      CutState::Heap& heap = table.heaps[heap_in.at("relation")];
      heap.file = rel_from(heap_in.at("file"));
      for (const json& file : heap_in.at("files")) {
        LakeFile read = file_from(file);
        heap.files[read.name] = read;
      }
    }
    state.tables[{table.database, table.oid}] = std::move(table);
  }
  return state;
}

json cut_json(const Cut& cut) {
  json tables = json::array();
  for (const TableCut& table : cut.tables) {
    json out = head_json(table);
    out["dropped"] = table.dropped;
    out["commit"] = table.commit;
    out["heaps"] = json::array();
    for (const TableCut::Heap& heap : table.heaps) {
      json files = json::array();
      json gone = json::array();
      for (const LakeFile& file : heap.written) files.push_back(file_json(file));
      for (const HeapCut::DirtyFile& old : heap.merge.dirty_files) gone.push_back(old.file.name);
      if (heap.merged) files.push_back(file_json(*heap.merged));
      for (size_t i = 0; i < heap.rows.dirty_files.size(); ++i) {
        const HeapCut::DirtyFile& dirty = heap.rows.dirty_files[i];
        if (dirty.all_deleted()) {
          gone.push_back(dirty.file.name);
        } else {
          LakeFile file = dirty.file;
          file.deletion_vector = heap.vectors[i];
          files.push_back(file_json(file));
        }
      }
      for (const LakeFile& file : heap.rows.removed) gone.push_back(file.name);
      out["heaps"].push_back({{"relation", heap.relation},
                              {"file", rel_json(heap.file)},
                              {"files", files},
                              {"gone", gone}});
    }
    tables.push_back(std::move(out));
  }
  return {{"format", kFormat},
          {"number", cut.number},
          {"lsn", cut.lsn.to_string()},
          {"restart_lsn", cut.restart_lsn.to_string()},
          {"timestamp_ms", cut.timestamp_ms},
          {"tables", tables}};
}

/// `state` as after the cut that `in` is the record of; its commits go to `commits`.
Status advance_by(const json& in, CutState& state, std::vector<CutLog::Commit>& commits) {
  state.number = in.at("number");
  state.lsn = TIDE_TRY(Lsn::parse(in.at("lsn").get<std::string>()));
  state.restart_lsn = TIDE_TRY(Lsn::parse(in.at("restart_lsn").get<std::string>()));
  state.timestamp_ms = in.at("timestamp_ms");
  for (const json& each : in.at("tables")) {
    CutState::Table head;
    TIDE_TRY(read_head(each, head));
    std::string commit = each.at("commit");
    if (!commit.empty()) {
      ++head.publication.version;
      commits.push_back(
          {commit_key(head.publication, head.publication.version), std::move(commit)});
    }
    auto key = std::pair(head.database, head.oid);
    if (each.at("dropped").get<bool>()) {
      state.tables.erase(key);
      continue;
    }
    // Heaps that the cut does not name have left the table.
    std::map<uint32_t, CutState::Heap> before = std::move(state.tables[key].heaps);
    for (const json& heap_in : each.at("heaps")) {
      uint32_t relation = heap_in.at("relation");
      CutState::Heap& heap = head.heaps[relation];
      heap = std::move(before[relation]);
      heap.file = rel_from(heap_in.at("file"));
      for (const json& name : heap_in.at("gone")) heap.files.erase(name.get<std::string>());
      for (const json& file : heap_in.at("files")) {
        LakeFile read = file_from(file);
        heap.files[read.name] = read;
      }
    }
    state.tables[key] = std::move(head);
  }
  return {};
}

constexpr std::string_view kBefore = "{\"crc32c\":\"";
constexpr std::string_view kBetween = "\",\"body\":";

std::string frame_around(std::string_view body) {
  return fmt::format("{}{:08x}{}{}}}", kBefore, crc32c(as_bytes(body)), kBetween, body);
}

Result<std::string> framed(const json& body) {
  try {
    return frame_around(body.dump());
  } catch (const json::exception& e) {  // a name that is no UTF-8
    return Status(Code::kInvalid, fmt::format("a cut cannot be written as JSON: {}", e.what()));
  }
}

Result<json> unframed(const std::string& key, std::string_view bytes) {
  constexpr size_t kHead = kBefore.size() + 8 + kBetween.size();
  auto corrupt = [&] { return Status(Code::kCorrupt, fmt::format("{} is damaged", key)); };
  if (bytes.size() < kHead + 1) return corrupt();
  std::string_view body = bytes.substr(kHead, bytes.size() - kHead - 1);
  if (frame_around(body) != bytes) return corrupt();
  json parsed = json::parse(body, nullptr, false);
  if (parsed.is_discarded()) return corrupt();
  if (parsed.value("format", 0) != kFormat) {
    return Status(Code::kInvalid, fmt::format("{} has a format of another version", key));
  }
  return parsed;
}

}  // namespace

std::string commit_key(const Publication& publication, int64_t version) {
  return fmt::format("{}/_delta_log/{:020}.json", publication.directory, version);
}

void CutState::advance(const Cut& cut) {
  std::vector<CutLog::Commit> commits;
  Status done = advance_by(cut_json(cut), *this, commits);
  TIDE_CHECK(done.ok());
}

Result<std::unique_ptr<CutLog>> CutLog::open(objectstore::ObjectStore& store, std::string prefix) {
  std::unique_ptr<CutLog> log(new CutLog(store, std::move(prefix)));
  std::vector<objectstore::ObjectInfo> objects = TIDE_TRY(store.list(log->prefix_ + "/"));
  std::map<uint64_t, std::string> cuts;
  std::pair<uint64_t, std::string> newest_state{0, ""};
  for (const objectstore::ObjectInfo& object : objects) {
    std::string_view name = std::string_view(object.key).substr(log->prefix_.size() + 1);
    uint64_t number = 0;
    auto parsed = std::from_chars(name.data(), name.data() + name.size(), number, 16);
    std::string_view rest(parsed.ptr, name.data() + name.size());
    if (rest == ".cut") cuts[number] = object.key;
    if (rest == ".state" && number > newest_state.first) newest_state = {number, object.key};
  }
  try {
    CutState state;
    if (newest_state.first > 0) {
      std::string bytes = TIDE_TRY(store.get(newest_state.second));
      json body = TIDE_TRY(unframed(newest_state.second, bytes));
      state = TIDE_TRY(state_from(body));
      log->last_state_ = newest_state.first;
    }
    // The newest state's own cut may have been published only in part.
    for (const auto& [number, key] : cuts) {
      if (number < newest_state.first) continue;
      std::string bytes = TIDE_TRY(store.get(key));
      json body = TIDE_TRY(unframed(key, bytes));
      log->unpublished_.clear();
      if (number == newest_state.first) {
        CutState before;
        TIDE_TRY(advance_by(body, before, log->unpublished_));
        continue;
      }
      if (number != state.number + 1) {
        return Status(Code::kCorrupt,
                      fmt::format("cut {} is missing before {}", state.number + 1, key));
      }
      TIDE_TRY(advance_by(body, state, log->unpublished_));
    }
    if (state.number > 0) log->state_ = std::move(state);
  } catch (const json::exception& e) {
    return Status(Code::kCorrupt, fmt::format("{}: {}", log->prefix_, e.what()));
  }
  return log;
}

Status CutLog::append(const Cut& cut) {
  std::string key = fmt::format("{}/{:016x}.cut", prefix_, cut.number);
  std::string bytes = TIDE_TRY(framed(cut_json(cut)));
  // It may be there from an attempt whose answer was lost.
  bool written = TIDE_TRY(store_.put_if_absent(key, as_bytes(bytes)));
  if (!written && TIDE_TRY(store_.get(key)) != bytes) {
    return Status(Code::kConflict, fmt::format("{} exists already", key))
        .with_detail("Another mirror of this timeline has written it.");
  }
  if (!state_) state_.emplace();
  state_->advance(cut);
  if (cut.number - last_state_ >= kCutsPerState) {
    // The cut is durable whatever happens here; the next one tries again.
    if (Status state = write_state(); !state.ok()) {
      obs::warn("{}: the state of all tables was not written: {}", prefix_, state.to_string());
    }
  }
  return {};
}

Status CutLog::write_state() {
  std::string key = fmt::format("{}/{:016x}.state", prefix_, state_->number);
  std::string bytes = TIDE_TRY(framed(state_json(*state_)));
  TIDE_TRY(store_.put(key, as_bytes(bytes)));
  uint64_t before = last_state_;
  last_state_ = state_->number;
  for (uint64_t number = before; number < last_state_; ++number) {
    if (number == 0) continue;
    TIDE_TRY(store_.remove(fmt::format("{}/{:016x}.cut", prefix_, number)));
  }
  if (before > 0) TIDE_TRY(store_.remove(fmt::format("{}/{:016x}.state", prefix_, before)));
  return {};
}

}  // namespace tide::mirror
