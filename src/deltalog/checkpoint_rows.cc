#include "deltalog/checkpoint_rows.h"

#include <fmt/format.h>

#include <bitset>
#include <string_view>
#include <utility>

namespace tide::deltalog {
namespace {

using columns::Column;
using columns::Kind;
using columns::Type;
using C = CheckpointColumn;

constexpr size_t kColumns = static_cast<size_t>(C::kCount);

/// Fills one row: what is not set by the end is null.
class RowWriter {
 public:
  explicit RowWriter(columns::Batch& batch) : batch_(batch) {}

  void begin(CheckpointKind kind) {
    set_.reset();
    at(C::kKind).append<int16_t>(static_cast<int16_t>(kind));
  }
  void text(C column, std::string_view value) { at(column).append_bytes(value); }
  void text(C column, const std::optional<std::string>& value, std::nullptr_t) {
    if (value) at(column).append_bytes(*value);
  }
  void number(C column, std::optional<int64_t> value) {
    if (value) at(column).append<int64_t>(*value);
  }
  void flag(C column, bool value) { at(column).append<uint8_t>(value ? 1 : 0); }
  void strings(C column, const std::vector<std::string>& values) {
    Column& to = at(column);
    for (const std::string& value : values) to.child(0).append_bytes(value);
    to.end_list();
  }
  template <typename Map>
  void map(C keys, C values, const Map& map) {
    Column& key_column = at(keys);
    Column& value_column = at(values);
    for (const auto& [key, value] : map) {
      key_column.child(0).append_bytes(key);
      if constexpr (std::is_same_v<Map, PartitionValues>) {
        if (value) {
          value_column.child(0).append_bytes(*value);
        } else {
          value_column.child(0).append_null();
        }
      } else {
        value_column.child(0).append_bytes(value);
      }
    }
    key_column.end_list();
    value_column.end_list();
  }
  void vector(const std::optional<DeletionVectorDescriptor>& vector) {
    if (!vector) return;
    text(C::kVectorType, std::string_view(&vector->storage_type, 1));
    text(C::kVectorPath, vector->path_or_inline);
    number(C::kVectorOffset, vector->offset);
    number(C::kVectorSize, vector->size_in_bytes);
    number(C::kVectorCardinality, vector->cardinality);
  }
  void end() {
    for (size_t i = 0; i < kColumns; ++i) {
      if (!set_[i]) batch_.columns[i].append_null();
    }
  }

 private:
  Column& at(C column) {
    set_.set(static_cast<size_t>(column));
    return batch_.columns[static_cast<size_t>(column)];
  }
  columns::Batch& batch_;
  std::bitset<kColumns> set_;
};

class RowReader {
 public:
  RowReader(const columns::Batch& batch, size_t row) : batch_(batch), row_(row) {}

  std::optional<std::string> text(C column) const {
    const Column& from = at(column);
    if (from.is_null(row_)) return std::nullopt;
    return std::string(from.bytes_at(row_));
  }
  std::optional<int64_t> number(C column) const {
    const Column& from = at(column);
    if (from.is_null(row_)) return std::nullopt;
    return from.value<int64_t>(row_);
  }
  std::optional<bool> flag(C column) const {
    const Column& from = at(column);
    if (from.is_null(row_)) return std::nullopt;
    return from.value<uint8_t>(row_) != 0;
  }
  std::optional<std::vector<std::string>> strings(C column) const {
    const Column& from = at(column);
    if (from.is_null(row_)) return std::nullopt;
    std::vector<std::string> values;
    for (uint32_t i = from.offsets()[row_]; i < from.offsets()[row_ + 1]; ++i) {
      if (!from.child(0).is_null(i)) values.emplace_back(from.child(0).bytes_at(i));
    }
    return values;
  }
  template <typename Map>
  Map map(C keys, C values) const {
    Map result;
    const Column& key_column = at(keys);
    const Column& value_column = at(values);
    if (key_column.is_null(row_) || value_column.is_null(row_)) return result;
    uint32_t key_begin = key_column.offsets()[row_];
    uint32_t value_begin = value_column.offsets()[row_];
    uint32_t count = std::min(key_column.offsets()[row_ + 1] - key_begin,
                              value_column.offsets()[row_ + 1] - value_begin);
    const Column& key = key_column.child(0);
    const Column& value = value_column.child(0);
    for (uint32_t i = 0; i < count; ++i) {
      if (key.is_null(key_begin + i)) continue;
      bool null = value.is_null(value_begin + i);
      std::string name(key.bytes_at(key_begin + i));
      if constexpr (std::is_same_v<Map, PartitionValues>) {
        if (null) {
          result.emplace(std::move(name), std::nullopt);
          continue;
        }
      }
      if (!null) result.emplace(std::move(name), std::string(value.bytes_at(value_begin + i)));
    }
    return result;
  }
  Result<std::optional<DeletionVectorDescriptor>> vector() const {
    std::optional<std::string> type = text(C::kVectorType);
    if (!type) return std::optional<DeletionVectorDescriptor>();
    std::optional<std::string> path = text(C::kVectorPath);
    std::optional<int64_t> size = number(C::kVectorSize);
    std::optional<int64_t> cardinality = number(C::kVectorCardinality);
    if (type->size() != 1 || !path || !size || !cardinality) {
      return Status(Code::kCorrupt, "deletion vector without all its members");
    }
    return std::optional<DeletionVectorDescriptor>(DeletionVectorDescriptor{
        (*type)[0], std::move(*path), number(C::kVectorOffset), *size, *cardinality});
  }

 private:
  const Column& at(C column) const { return batch_.columns[static_cast<size_t>(column)]; }
  const columns::Batch& batch_;
  size_t row_;
};

Status lacks(const char* action, const char* member) {
  return Status(Code::kCorrupt, fmt::format("{} without {}", action, member));
}

Result<Action> action_of(const RowReader& row, CheckpointKind kind) {
  switch (kind) {
    case CheckpointKind::kAdd: {
      AddFile add;
      std::optional<std::string> path = row.text(C::kPath);
      std::optional<int64_t> size = row.number(C::kSize);
      if (!path || path->empty() || !size) return lacks("add", "path or size");
      add.path = std::move(*path);
      add.size = *size;
      add.partition_values = row.map<PartitionValues>(C::kPartitionKeys, C::kPartitionValues);
      add.modification_time = row.number(C::kModificationTime).value_or(0);
      add.data_change = row.flag(C::kDataChange).value_or(false);
      add.stats = row.text(C::kStats);
      add.tags = row.map<Properties>(C::kTagKeys, C::kTagValues);
      add.deletion_vector = TIDE_TRY(row.vector());
      add.base_row_id = row.number(C::kBaseRowId);
      add.default_row_commit_version = row.number(C::kDefaultRowCommitVersion);
      add.clustering_provider = row.text(C::kClusteringProvider);
      return Action(std::move(add));
    }
    case CheckpointKind::kRemove: {
      RemoveFile remove;
      std::optional<std::string> path = row.text(C::kPath);
      if (!path || path->empty()) return lacks("remove", "path");
      remove.path = std::move(*path);
      remove.deletion_timestamp = row.number(C::kDeletionTimestamp);
      remove.data_change = row.flag(C::kDataChange).value_or(false);
      remove.extended_file_metadata = row.flag(C::kExtendedFileMetadata).value_or(false);
      remove.partition_values = row.map<PartitionValues>(C::kPartitionKeys, C::kPartitionValues);
      remove.size = row.number(C::kSize);
      remove.deletion_vector = TIDE_TRY(row.vector());
      remove.base_row_id = row.number(C::kBaseRowId);
      remove.default_row_commit_version = row.number(C::kDefaultRowCommitVersion);
      return Action(std::move(remove));
    }
    case CheckpointKind::kProtocol: {
      std::optional<int64_t> reader = row.number(C::kMinReaderVersion);
      std::optional<int64_t> writer = row.number(C::kMinWriterVersion);
      if (!reader || !writer) return lacks("protocol", "its versions");
      Protocol protocol;
      protocol.min_reader_version = static_cast<int32_t>(*reader);
      protocol.min_writer_version = static_cast<int32_t>(*writer);
      protocol.reader_features = row.strings(C::kReaderFeatures);
      protocol.writer_features = row.strings(C::kWriterFeatures);
      return Action(std::move(protocol));
    }
    case CheckpointKind::kMetadata: {
      Metadata metadata;
      metadata.id = row.text(C::kId).value_or("");
      metadata.name = row.text(C::kName);
      metadata.description = row.text(C::kDescription);
      metadata.provider = row.text(C::kProvider).value_or("parquet");
      metadata.format_options = row.map<Properties>(C::kFormatKeys, C::kFormatValues);
      metadata.schema_string = row.text(C::kSchemaString).value_or("");
      metadata.partition_columns =
          row.strings(C::kPartitionColumns).value_or(std::vector<std::string>());
      metadata.configuration = row.map<Properties>(C::kConfigurationKeys, C::kConfigurationValues);
      metadata.created_time = row.number(C::kCreatedTime);
      return Action(std::move(metadata));
    }
    case CheckpointKind::kTransaction: {
      std::optional<std::string> app = row.text(C::kAppId);
      std::optional<int64_t> version = row.number(C::kVersion);
      if (!app || !version) return lacks("txn", "appId or version");
      return Action(Transaction{std::move(*app), *version, row.number(C::kLastUpdated)});
    }
    case CheckpointKind::kDomain: {
      std::optional<std::string> domain = row.text(C::kDomain);
      if (!domain) return lacks("domainMetadata", "domain");
      return Action(DomainMetadata{std::move(*domain), row.text(C::kConfiguration).value_or(""),
                                   row.flag(C::kRemoved).value_or(false)});
    }
    case CheckpointKind::kSidecar: {
      std::optional<std::string> path = row.text(C::kPath);
      if (!path) return lacks("sidecar", "path");
      return Action(SidecarFile{std::move(*path), row.number(C::kSize).value_or(0),
                                row.number(C::kModificationTime).value_or(0)});
    }
    case CheckpointKind::kCheckpointMetadata:
      return Action(CheckpointMetadata{row.number(C::kVersion).value_or(0)});
  }
  return Status(Code::kCorrupt, "checkpoint row of an unknown kind");
}

}  // namespace

std::vector<columns::Field> checkpoint_fields() {
  const Type text = Kind::kString;
  const Type number = Kind::kInt64;
  const Type flag = Kind::kBool;
  const Type strings = Type::list(Kind::kString);
  return {
      {"kind", Kind::kInt16},
      {"path", text},
      {"partition_keys", strings},
      {"partition_values", strings},
      {"size", number},
      {"modification_time", number},
      {"data_change", flag},
      {"stats", text},
      {"tag_keys", strings},
      {"tag_values", strings},
      {"vector_type", text},
      {"vector_path", text},
      {"vector_offset", number},
      {"vector_size", number},
      {"vector_cardinality", number},
      {"base_row_id", number},
      {"default_row_commit_version", number},
      {"clustering_provider", text},
      {"deletion_timestamp", number},
      {"extended_file_metadata", flag},
      {"min_reader_version", number},
      {"min_writer_version", number},
      {"reader_features", strings},
      {"writer_features", strings},
      {"id", text},
      {"name", text},
      {"description", text},
      {"provider", text},
      {"format_keys", strings},
      {"format_values", strings},
      {"schema_string", text},
      {"partition_columns", strings},
      {"configuration_keys", strings},
      {"configuration_values", strings},
      {"created_time", number},
      {"app_id", text},
      {"version", number},
      {"last_updated", number},
      {"domain", text},
      {"configuration", text},
      {"removed", flag},
  };
}

columns::Batch checkpoint_rows(const TableState& state) {
  columns::Batch batch(checkpoint_fields());
  TIDE_CHECK(batch.columns.size() == kColumns);
  RowWriter row(batch);

  row.begin(CheckpointKind::kProtocol);
  row.number(C::kMinReaderVersion, state.protocol().min_reader_version);
  row.number(C::kMinWriterVersion, state.protocol().min_writer_version);
  if (state.protocol().reader_features) {
    row.strings(C::kReaderFeatures, *state.protocol().reader_features);
  }
  if (state.protocol().writer_features) {
    row.strings(C::kWriterFeatures, *state.protocol().writer_features);
  }
  row.end();

  const Metadata& metadata = state.metadata();
  row.begin(CheckpointKind::kMetadata);
  row.text(C::kId, metadata.id);
  row.text(C::kName, metadata.name, nullptr);
  row.text(C::kDescription, metadata.description, nullptr);
  row.text(C::kProvider, metadata.provider);
  row.map(C::kFormatKeys, C::kFormatValues, metadata.format_options);
  row.text(C::kSchemaString, metadata.schema_string);
  row.strings(C::kPartitionColumns, metadata.partition_columns);
  row.map(C::kConfigurationKeys, C::kConfigurationValues, metadata.configuration);
  row.number(C::kCreatedTime, metadata.created_time);
  row.end();

  for (const auto& [app, txn] : state.transactions()) {
    row.begin(CheckpointKind::kTransaction);
    row.text(C::kAppId, txn.app_id);
    row.number(C::kVersion, txn.version);
    row.number(C::kLastUpdated, txn.last_updated);
    row.end();
  }
  for (const auto& [name, domain] : state.domains()) {
    row.begin(CheckpointKind::kDomain);
    row.text(C::kDomain, domain.domain);
    row.text(C::kConfiguration, domain.configuration);
    row.flag(C::kRemoved, false);
    row.end();
  }
  for (const auto& [key, remove] : state.tombstones()) {
    row.begin(CheckpointKind::kRemove);
    row.text(C::kPath, remove.path);
    row.number(C::kDeletionTimestamp, remove.deletion_timestamp);
    row.flag(C::kDataChange, false);
    bool extended = remove.extended_file_metadata && remove.size.has_value();
    row.flag(C::kExtendedFileMetadata, extended);
    if (extended) {
      row.map(C::kPartitionKeys, C::kPartitionValues, remove.partition_values);
      row.number(C::kSize, remove.size);
    }
    row.vector(remove.deletion_vector);
    row.number(C::kBaseRowId, remove.base_row_id);
    row.number(C::kDefaultRowCommitVersion, remove.default_row_commit_version);
    row.end();
  }
  for (const AddFile* add : state.sorted_files()) {
    row.begin(CheckpointKind::kAdd);
    row.text(C::kPath, add->path);
    row.map(C::kPartitionKeys, C::kPartitionValues, add->partition_values);
    row.number(C::kSize, add->size);
    row.number(C::kModificationTime, add->modification_time);
    row.flag(C::kDataChange, false);
    row.text(C::kStats, add->stats, nullptr);
    if (!add->tags.empty()) row.map(C::kTagKeys, C::kTagValues, add->tags);
    row.vector(add->deletion_vector);
    row.number(C::kBaseRowId, add->base_row_id);
    row.number(C::kDefaultRowCommitVersion, add->default_row_commit_version);
    row.text(C::kClusteringProvider, add->clustering_provider, nullptr);
    row.end();
  }
  return batch;
}

Result<std::vector<Action>> actions_of_rows(const columns::Batch& rows) {
  std::vector<columns::Field> fields = checkpoint_fields();
  if (rows.columns.size() != kColumns) {
    return Status(Code::kCorrupt, "checkpoint rows with other columns");
  }
  for (size_t i = 0; i < kColumns; ++i) {
    const Type& type = rows.columns[i].type();
    if (type.kind != fields[i].type.kind ||
        (type.kind == Kind::kList && type.children.at(0).type.kind != Kind::kString)) {
      return Status(Code::kCorrupt,
                    fmt::format("checkpoint column {} is {}", fields[i].name, to_string(type)));
    }
  }
  std::vector<Action> actions;
  actions.reserve(rows.rows());
  const Column& kinds = rows.columns[static_cast<size_t>(C::kKind)];
  for (size_t row = 0; row < rows.rows(); ++row) {
    if (kinds.is_null(row)) continue;  // an action that we do not know
    actions.push_back(TIDE_TRY(
        action_of(RowReader(rows, row), static_cast<CheckpointKind>(kinds.value<int16_t>(row)))));
  }
  return actions;
}

}  // namespace tide::deltalog
