#include "deltalog/action.h"

#include <fmt/format.h>

#include <utility>

#include "deltalog/internal/json.h"

namespace tide::deltalog {
namespace {

using json::Json;

Status lacks(std::string_view action, std::string_view what) {
  return Status(Code::kCorrupt, fmt::format("{} without {}", action, what));
}

Properties properties_of(const Json& from, const char* key) {
  Properties result;
  if (const Json* map = json::object(from, key)) {
    for (const auto& [name, value] : map->items()) {
      if (value.is_string()) {
        result.emplace(name, value.get_ref<const std::string&>());
      } else if (!value.is_null()) {
        result.emplace(name, json::dump(value));
      }
    }
  }
  return result;
}

PartitionValues partition_values_of(const Json& from) {
  PartitionValues result;
  if (const Json* map = json::object(from, "partitionValues")) {
    for (const auto& [name, value] : map->items()) {
      if (value.is_null()) {
        result.emplace(name, std::nullopt);
      } else {
        result.emplace(name,
                       value.is_string() ? value.get_ref<const std::string&>() : json::dump(value));
      }
    }
  }
  return result;
}

std::vector<std::string> strings_of(const Json& array) {
  std::vector<std::string> result;
  if (array.is_array()) {
    for (const Json& value : array) {
      if (value.is_string()) result.push_back(value.get_ref<const std::string&>());
    }
  }
  return result;
}

Result<std::optional<DeletionVectorDescriptor>> deletion_vector_of(const Json& from) {
  const Json* value = json::object(from, "deletionVector");
  if (value == nullptr) return std::optional<DeletionVectorDescriptor>();
  std::optional<std::string> type = json::text(*value, "storageType");
  // Some writers send a struct of nulls for "none".
  if (!type) return std::optional<DeletionVectorDescriptor>();
  std::optional<std::string> where = json::text(*value, "pathOrInlineDv");
  std::optional<int64_t> size = json::integer(*value, "sizeInBytes");
  std::optional<int64_t> cardinality = json::integer(*value, "cardinality");
  if (type->size() != 1 || !where || !size || !cardinality) {
    return lacks("deletionVector", "storageType, pathOrInlineDv, sizeInBytes or cardinality");
  }
  DeletionVectorDescriptor descriptor;
  descriptor.storage_type = (*type)[0];
  descriptor.path_or_inline = std::move(*where);
  descriptor.offset = json::integer(*value, "offset");
  descriptor.size_in_bytes = *size;
  descriptor.cardinality = *cardinality;
  return std::optional<DeletionVectorDescriptor>(std::move(descriptor));
}

Result<AddFile> add_of(const Json& from) {
  AddFile add;
  std::optional<std::string> path = json::text(from, "path");
  std::optional<int64_t> size = json::integer(from, "size");
  if (!path || path->empty()) return lacks("add", "path");
  if (!size) return lacks("add", "size");
  add.path = std::move(*path);
  add.size = *size;
  add.partition_values = partition_values_of(from);
  add.modification_time = json::integer(from, "modificationTime").value_or(0);
  add.data_change = json::boolean(from, "dataChange").value_or(true);
  add.stats = json::text(from, "stats");
  add.tags = properties_of(from, "tags");
  add.deletion_vector = TIDE_TRY(deletion_vector_of(from));
  add.base_row_id = json::integer(from, "baseRowId");
  add.default_row_commit_version = json::integer(from, "defaultRowCommitVersion");
  add.clustering_provider = json::text(from, "clusteringProvider");
  return add;
}

Result<RemoveFile> remove_of_json(const Json& from) {
  RemoveFile remove;
  std::optional<std::string> path = json::text(from, "path");
  if (!path || path->empty()) return lacks("remove", "path");
  remove.path = std::move(*path);
  remove.deletion_timestamp = json::integer(from, "deletionTimestamp");
  remove.data_change = json::boolean(from, "dataChange").value_or(true);
  remove.extended_file_metadata = json::boolean(from, "extendedFileMetadata").value_or(false);
  remove.partition_values = partition_values_of(from);
  remove.size = json::integer(from, "size");
  remove.deletion_vector = TIDE_TRY(deletion_vector_of(from));
  remove.base_row_id = json::integer(from, "baseRowId");
  remove.default_row_commit_version = json::integer(from, "defaultRowCommitVersion");
  return remove;
}

Metadata metadata_of(const Json& from) {
  Metadata metadata;
  metadata.id = json::text(from, "id").value_or("");
  metadata.name = json::text(from, "name");
  metadata.description = json::text(from, "description");
  if (const Json* format = json::object(from, "format")) {
    metadata.provider = json::text(*format, "provider").value_or("parquet");
    metadata.format_options = properties_of(*format, "options");
  }
  metadata.schema_string = json::text(from, "schemaString").value_or("");
  if (const Json* columns = json::member(from, "partitionColumns")) {
    metadata.partition_columns = strings_of(*columns);
  }
  metadata.configuration = properties_of(from, "configuration");
  metadata.created_time = json::integer(from, "createdTime");
  return metadata;
}

Result<Protocol> protocol_of(const Json& from) {
  Protocol protocol;
  std::optional<int64_t> reader = json::integer(from, "minReaderVersion");
  std::optional<int64_t> writer = json::integer(from, "minWriterVersion");
  if (!reader || !writer) return lacks("protocol", "minReaderVersion or minWriterVersion");
  protocol.min_reader_version = static_cast<int32_t>(*reader);
  protocol.min_writer_version = static_cast<int32_t>(*writer);
  if (const Json* features = json::member(from, "readerFeatures")) {
    protocol.reader_features = strings_of(*features);
  }
  if (const Json* features = json::member(from, "writerFeatures")) {
    protocol.writer_features = strings_of(*features);
  }
  return protocol;
}

CommitInfo commit_info_of(const Json& from) {
  CommitInfo info;
  info.timestamp = json::integer(from, "timestamp");
  info.in_commit_timestamp = json::integer(from, "inCommitTimestamp");
  info.operation = json::text(from, "operation");
  info.engine_info = json::text(from, "engineInfo");
  info.txn_id = json::text(from, "txnId");
  Json others = from;
  for (const char* known : {"timestamp", "inCommitTimestamp", "operation", "engineInfo", "txnId"}) {
    others.erase(known);
  }
  info.others = json::dump(others);
  return info;
}

/// Appends the action of one line, if it is one we know.
Status parse_line(std::string_view line, std::vector<Action>& actions) {
  Json value = json::parse(line);
  if (!value.is_object()) return Status(Code::kCorrupt, "not a JSON object");
  if (const Json* add = json::object(value, "add")) {
    actions.emplace_back(TIDE_TRY(add_of(*add)));
  } else if (const Json* remove = json::object(value, "remove")) {
    actions.emplace_back(TIDE_TRY(remove_of_json(*remove)));
  } else if (const Json* info = json::object(value, "commitInfo")) {
    actions.emplace_back(commit_info_of(*info));
  } else if (const Json* metadata = json::object(value, "metaData")) {
    actions.emplace_back(metadata_of(*metadata));
  } else if (const Json* protocol = json::object(value, "protocol")) {
    actions.emplace_back(TIDE_TRY(protocol_of(*protocol)));
  } else if (const Json* txn = json::object(value, "txn")) {
    std::optional<std::string> app = json::text(*txn, "appId");
    std::optional<int64_t> version = json::integer(*txn, "version");
    if (!app || !version) return lacks("txn", "appId or version");
    actions.emplace_back(
        Transaction{std::move(*app), *version, json::integer(*txn, "lastUpdated")});
  } else if (const Json* domain = json::object(value, "domainMetadata")) {
    std::optional<std::string> name = json::text(*domain, "domain");
    if (!name) return lacks("domainMetadata", "domain");
    actions.emplace_back(DomainMetadata{std::move(*name),
                                        json::text(*domain, "configuration").value_or(""),
                                        json::boolean(*domain, "removed").value_or(false)});
  } else if (const Json* cdc = json::object(value, "cdc")) {
    std::optional<std::string> path = json::text(*cdc, "path");
    if (!path) return lacks("cdc", "path");
    actions.emplace_back(CdcFile{std::move(*path), partition_values_of(*cdc),
                                 json::integer(*cdc, "size").value_or(0),
                                 properties_of(*cdc, "tags")});
  } else if (const Json* sidecar = json::object(value, "sidecar")) {
    std::optional<std::string> path = json::text(*sidecar, "path");
    if (!path) return lacks("sidecar", "path");
    actions.emplace_back(SidecarFile{std::move(*path),
                                     json::integer(*sidecar, "sizeInBytes").value_or(0),
                                     json::integer(*sidecar, "modificationTime").value_or(0)});
  } else if (const Json* checkpoint = json::object(value, "checkpointMetadata")) {
    std::optional<int64_t> version = json::integer(*checkpoint, "version");
    if (!version) return lacks("checkpointMetadata", "version");
    actions.emplace_back(CheckpointMetadata{*version});
  }
  return {};
}

/// Writes the members of one action: `{"add":{` ... `}}` and a newline.
class Line {
 public:
  Line(std::string& to, std::string_view action) : to_(to) {
    to_ += fmt::format("{{\"{}\":{{", action);
  }
  ~Line() { to_ += "}}\n"; }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void text(std::string_view name, std::string_view value) {
    begin(name);
    json::append_quoted(to_, value);
  }
  void optional_text(std::string_view name, const std::optional<std::string>& value) {
    if (value) text(name, std::string_view(*value));
  }
  void number(std::string_view name, int64_t value) {
    begin(name);
    fmt::format_to(std::back_inserter(to_), "{}", value);
  }
  void number(std::string_view name, std::optional<int64_t> value) {
    if (value) number(name, *value);
  }
  void boolean(std::string_view name, bool value) {
    begin(name);
    to_ += value ? "true" : "false";
  }
  void properties(std::string_view name, const Properties& values) {
    begin(name);
    to_ += '{';
    bool first = true;
    for (const auto& [key, value] : values) {
      if (!std::exchange(first, false)) to_ += ',';
      json::append_quoted(to_, key);
      to_ += ':';
      json::append_quoted(to_, value);
    }
    to_ += '}';
  }
  void partition_values(const PartitionValues& values) {
    begin("partitionValues");
    to_ += '{';
    bool first = true;
    for (const auto& [key, value] : values) {
      if (!std::exchange(first, false)) to_ += ',';
      json::append_quoted(to_, key);
      to_ += ':';
      if (value) {
        json::append_quoted(to_, *value);
      } else {
        to_ += "null";
      }
    }
    to_ += '}';
  }
  void strings(std::string_view name, const std::vector<std::string>& values) {
    begin(name);
    to_ += '[';
    for (size_t i = 0; i < values.size(); ++i) {
      if (i != 0) to_ += ',';
      json::append_quoted(to_, values[i]);
    }
    to_ += ']';
  }
  void deletion_vector(const std::optional<DeletionVectorDescriptor>& value) {
    if (!value) return;
    begin("deletionVector");
    to_ += fmt::format("{{\"storageType\":\"{}\",\"pathOrInlineDv\":", value->storage_type);
    json::append_quoted(to_, value->path_or_inline);
    if (value->offset) to_ += fmt::format(",\"offset\":{}", *value->offset);
    to_ += fmt::format(",\"sizeInBytes\":{},\"cardinality\":{}}}", value->size_in_bytes,
                       value->cardinality);
  }
  /// The members of a JSON object's text, as they are.
  void members(const std::string& object) {
    if (object.size() <= 2) return;
    if (!std::exchange(first_, false)) to_ += ',';
    to_.append(object, 1, object.size() - 2);
  }
  void raw(std::string_view name, std::string_view value) {
    begin(name);
    to_ += value;
  }

 private:
  void begin(std::string_view name) {
    if (!std::exchange(first_, false)) to_ += ',';
    to_ += '"';
    to_ += name;
    to_ += "\":";
  }

  std::string& to_;
  bool first_ = true;
};

struct Writer {
  std::string& to;

  void operator()(const CommitInfo& info) {
    Line line(to, "commitInfo");
    line.number("inCommitTimestamp", info.in_commit_timestamp);
    line.number("timestamp", info.timestamp);
    line.optional_text("operation", info.operation);
    line.optional_text("engineInfo", info.engine_info);
    line.optional_text("txnId", info.txn_id);
    line.members(info.others);
  }
  void operator()(const Protocol& protocol) {
    Line line(to, "protocol");
    line.number("minReaderVersion", protocol.min_reader_version);
    line.number("minWriterVersion", protocol.min_writer_version);
    if (protocol.reader_features) line.strings("readerFeatures", *protocol.reader_features);
    if (protocol.writer_features) line.strings("writerFeatures", *protocol.writer_features);
  }
  void operator()(const Metadata& metadata) {
    Line line(to, "metaData");
    line.text("id", metadata.id);
    line.optional_text("name", metadata.name);
    line.optional_text("description", metadata.description);
    std::string format = "{\"provider\":";
    json::append_quoted(format, metadata.provider);
    format += ",\"options\":" + json::dump(Json(metadata.format_options)) + "}";
    if (metadata.format_options.empty()) {
      format = "{\"provider\":\"" + metadata.provider + "\",\"options\":{}}";
    }
    line.raw("format", format);
    line.text("schemaString", metadata.schema_string);
    line.strings("partitionColumns", metadata.partition_columns);
    line.properties("configuration", metadata.configuration);
    line.number("createdTime", metadata.created_time);
  }
  void operator()(const AddFile& add) {
    Line line(to, "add");
    line.text("path", add.path);
    line.partition_values(add.partition_values);
    line.number("size", add.size);
    line.number("modificationTime", add.modification_time);
    line.boolean("dataChange", add.data_change);
    line.optional_text("stats", add.stats);
    if (!add.tags.empty()) line.properties("tags", add.tags);
    line.deletion_vector(add.deletion_vector);
    line.number("baseRowId", add.base_row_id);
    line.number("defaultRowCommitVersion", add.default_row_commit_version);
    line.optional_text("clusteringProvider", add.clustering_provider);
  }
  void operator()(const RemoveFile& remove) {
    Line line(to, "remove");
    line.text("path", remove.path);
    line.number("deletionTimestamp", remove.deletion_timestamp);
    line.boolean("dataChange", remove.data_change);
    if (remove.extended_file_metadata && remove.size) {
      line.boolean("extendedFileMetadata", true);
      line.partition_values(remove.partition_values);
      line.number("size", remove.size);
    }
    line.deletion_vector(remove.deletion_vector);
    line.number("baseRowId", remove.base_row_id);
    line.number("defaultRowCommitVersion", remove.default_row_commit_version);
  }
  void operator()(const CdcFile& cdc) {
    Line line(to, "cdc");
    line.text("path", cdc.path);
    line.partition_values(cdc.partition_values);
    line.number("size", cdc.size);
    if (!cdc.tags.empty()) line.properties("tags", cdc.tags);
    line.boolean("dataChange", false);
  }
  void operator()(const Transaction& txn) {
    Line line(to, "txn");
    line.text("appId", txn.app_id);
    line.number("version", txn.version);
    line.number("lastUpdated", txn.last_updated);
  }
  void operator()(const DomainMetadata& domain) {
    Line line(to, "domainMetadata");
    line.text("domain", domain.domain);
    line.text("configuration", domain.configuration);
    line.boolean("removed", domain.removed);
  }
  void operator()(const SidecarFile& sidecar) {
    Line line(to, "sidecar");
    line.text("path", sidecar.path);
    line.number("sizeInBytes", sidecar.size_in_bytes);
    line.number("modificationTime", sidecar.modification_time);
  }
  void operator()(const CheckpointMetadata& checkpoint) {
    Line line(to, "checkpointMetadata");
    line.number("version", checkpoint.version);
  }
};

std::string_view trimmed(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) {
    line.remove_suffix(1);
  }
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  return line;
}

}  // namespace

std::optional<std::string> Metadata::property(const std::string& key) const {
  auto found = configuration.find(key);
  if (found == configuration.end()) return std::nullopt;
  return found->second;
}

std::string DeletionVectorDescriptor::unique_id() const {
  std::string id = storage_type + path_or_inline;
  if (offset) id += fmt::format("@{}", *offset);
  return id;
}

RemoveFile remove_of(const AddFile& add, int64_t deletion_timestamp, bool data_change) {
  RemoveFile remove;
  remove.path = add.path;
  remove.deletion_timestamp = deletion_timestamp;
  remove.data_change = data_change;
  remove.extended_file_metadata = true;
  remove.partition_values = add.partition_values;
  remove.size = add.size;
  remove.deletion_vector = add.deletion_vector;
  remove.base_row_id = add.base_row_id;
  remove.default_row_commit_version = add.default_row_commit_version;
  return remove;
}

Result<std::vector<Action>> parse_actions(std::string_view lines) {
  std::vector<Action> actions;
  size_t number = 0;
  while (!lines.empty()) {
    size_t end = lines.find('\n');
    std::string_view line = trimmed(lines.substr(0, end));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    ++number;
    if (line.empty()) continue;
    if (Status parsed = parse_line(line, actions); !parsed.ok()) {
      return std::move(parsed).with_context(fmt::format("line {}", number));
    }
  }
  return actions;
}

std::string write_actions(const std::vector<Action>& actions) {
  std::string lines;
  Writer writer{lines};
  for (const Action& action : actions) {
    if (std::holds_alternative<CommitInfo>(action)) std::visit(writer, action);
  }
  for (const Action& action : actions) {
    if (!std::holds_alternative<CommitInfo>(action)) std::visit(writer, action);
  }
  return lines;
}

std::optional<CommitInfo> parse_commit_info(std::string_view lines) {
  std::string_view line = trimmed(lines.substr(0, lines.find('\n')));
  if (line.find("\"commitInfo\"") == std::string_view::npos) return std::nullopt;
  Json value = json::parse(line);
  if (value.is_discarded()) return std::nullopt;
  const Json* info = json::object(value, "commitInfo");
  if (info == nullptr) return std::nullopt;
  return commit_info_of(*info);
}

}  // namespace tide::deltalog
