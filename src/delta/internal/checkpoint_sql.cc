#include "delta/internal/checkpoint_sql.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <initializer_list>
#include <vector>

#include "duck/sql_text.h"

namespace tide::delta {
namespace {

using duck::quote_identifier;
using duck::quote_literal;

/// Expressions over a file of which only some columns exist.
class FileColumns {
 public:
  explicit FileColumns(const std::set<std::string>& paths) : paths_(paths) {}

  bool has(const std::string& path) const { return paths_.contains(path); }
  /// "add.path" as an expression.
  static std::string expression(const std::string& path) {
    std::string result;
    size_t begin = 0;
    while (begin <= path.size()) {
      size_t end = std::min(path.find('.', begin), path.size());
      if (!result.empty()) result += '.';
      result += quote_identifier(path.substr(begin, end - begin));
      begin = end + 1;
    }
    return result;
  }
  /// The first of the paths that is not null, each put into `form` in the place of {}; typed.
  std::string first(std::initializer_list<const char*> paths, const char* form,
                    const char* type) const {
    std::vector<std::string> there;
    for (const char* path : paths) {
      if (has(path)) there.push_back(fmt::format(fmt::runtime(form), expression(path)));
    }
    if (there.empty()) return fmt::format("CAST(NULL AS {})", type);
    return fmt::format("CAST(coalesce({}) AS {})", fmt::join(there, ", "), type);
  }
  std::string text(std::initializer_list<const char*> paths) const {
    return first(paths, "{}", "VARCHAR");
  }
  std::string number(std::initializer_list<const char*> paths) const {
    return first(paths, "{}", "BIGINT");
  }
  std::string flag(std::initializer_list<const char*> paths) const {
    return first(paths, "{}", "BOOLEAN");
  }
  std::string list(std::initializer_list<const char*> paths) const {
    return first(paths, "{}", "VARCHAR[]");
  }
  std::string keys(std::initializer_list<const char*> paths) const {
    return first(paths, "map_keys({})", "VARCHAR[]");
  }
  std::string values(std::initializer_list<const char*> paths) const {
    return first(paths, "map_values({})", "VARCHAR[]");
  }

 private:
  const std::set<std::string>& paths_;
};

}  // namespace

std::string checkpoint_read_sql(const std::string& file, const std::set<std::string>& paths) {
  FileColumns from(paths);
  std::string kind;
  const std::pair<const char*, int> kinds[] = {{"add.path", 1},
                                               {"remove.path", 2},
                                               {"protocol.minReaderVersion", 3},
                                               {"metaData.id", 4},
                                               {"txn.appId", 5},
                                               {"domainMetadata.domain", 6},
                                               {"sidecar.path", 7},
                                               {"checkpointMetadata.version", 8}};
  for (const auto& [path, number] : kinds) {
    if (!from.has(path)) continue;
    kind += fmt::format(" WHEN {} IS NOT NULL THEN {}", FileColumns::expression(path), number);
  }
  kind =
      kind.empty() ? "CAST(NULL AS SMALLINT)" : fmt::format("CAST(CASE{} END AS SMALLINT)", kind);
  std::string stats = from.text({"add.stats"});
  if (from.has("add.stats_parsed")) {
    std::string parsed =
        fmt::format("CAST(to_json({}) AS VARCHAR)", FileColumns::expression("add.stats_parsed"));
    // to_json() of a null struct is the text null, not null.
    parsed = fmt::format("CASE WHEN {} IS NOT NULL THEN {} END",
                         FileColumns::expression("add.stats_parsed"), parsed);
    stats = from.has("add.stats")
                ? fmt::format("coalesce({}, {})", FileColumns::expression("add.stats"), parsed)
                : parsed;
  }
  const std::vector<std::string> columns = {
      kind,
      from.text({"add.path", "remove.path", "sidecar.path"}),
      from.keys({"add.partitionValues", "remove.partitionValues"}),
      from.values({"add.partitionValues", "remove.partitionValues"}),
      from.number({"add.size", "remove.size", "sidecar.sizeInBytes"}),
      from.number({"add.modificationTime", "sidecar.modificationTime"}),
      from.flag({"add.dataChange", "remove.dataChange"}),
      stats,
      from.keys({"add.tags"}),
      from.values({"add.tags"}),
      from.text({"add.deletionVector.storageType", "remove.deletionVector.storageType"}),
      from.text({"add.deletionVector.pathOrInlineDv", "remove.deletionVector.pathOrInlineDv"}),
      from.number({"add.deletionVector.offset", "remove.deletionVector.offset"}),
      from.number({"add.deletionVector.sizeInBytes", "remove.deletionVector.sizeInBytes"}),
      from.number({"add.deletionVector.cardinality", "remove.deletionVector.cardinality"}),
      from.number({"add.baseRowId", "remove.baseRowId"}),
      from.number({"add.defaultRowCommitVersion", "remove.defaultRowCommitVersion"}),
      from.text({"add.clusteringProvider"}),
      from.number({"remove.deletionTimestamp"}),
      from.flag({"remove.extendedFileMetadata"}),
      from.number({"protocol.minReaderVersion"}),
      from.number({"protocol.minWriterVersion"}),
      from.list({"protocol.readerFeatures"}),
      from.list({"protocol.writerFeatures"}),
      from.text({"metaData.id"}),
      from.text({"metaData.name"}),
      from.text({"metaData.description"}),
      from.text({"metaData.format.provider"}),
      from.keys({"metaData.format.options"}),
      from.values({"metaData.format.options"}),
      from.text({"metaData.schemaString"}),
      from.list({"metaData.partitionColumns"}),
      from.keys({"metaData.configuration"}),
      from.values({"metaData.configuration"}),
      from.number({"metaData.createdTime"}),
      from.text({"txn.appId"}),
      from.number({"txn.version", "checkpointMetadata.version"}),
      from.number({"txn.lastUpdated"}),
      from.text({"domainMetadata.domain"}),
      from.text({"domainMetadata.configuration"}),
      from.flag({"domainMetadata.removed"}),
  };
  return fmt::format("SELECT {} FROM read_parquet({}, hive_partitioning=false)",
                     fmt::join(columns, ", "), quote_literal(file));
}

std::string checkpoint_write_sql(const std::string& source) {
  constexpr const char* kVector =
      "CASE WHEN vector_type IS NULL THEN NULL ELSE struct_pack(\"storageType\" := vector_type, "
      "\"pathOrInlineDv\" := vector_path, \"offset\" := CAST(vector_offset AS INTEGER), "
      "\"sizeInBytes\" := CAST(vector_size AS INTEGER), cardinality := vector_cardinality) END";
  auto map = [](const char* keys, const char* values) {
    return fmt::format("CASE WHEN {} IS NULL THEN NULL ELSE map({}, {}) END", keys, keys, values);
  };
  std::string partition = map("partition_keys", "partition_values");
  std::string columns = fmt::format(
      "CASE WHEN kind = 5 THEN struct_pack(\"appId\" := app_id, \"version\" := version, "
      "\"lastUpdated\" := last_updated) END AS txn, "
      "CASE WHEN kind = 1 THEN struct_pack(path := path, \"partitionValues\" := {}, size := size, "
      "\"modificationTime\" := modification_time, \"dataChange\" := data_change, tags := {}, "
      "\"deletionVector\" := {}, \"baseRowId\" := base_row_id, "
      "\"defaultRowCommitVersion\" := default_row_commit_version, "
      "\"clusteringProvider\" := clustering_provider, stats := stats) END AS \"add\", ",
      partition, map("tag_keys", "tag_values"), kVector);
  columns += fmt::format(
      "CASE WHEN kind = 2 THEN struct_pack(path := path, \"deletionTimestamp\" := "
      "deletion_timestamp, \"dataChange\" := data_change, \"extendedFileMetadata\" := "
      "extended_file_metadata, \"partitionValues\" := {}, size := size, \"deletionVector\" := {}, "
      "\"baseRowId\" := base_row_id, \"defaultRowCommitVersion\" := default_row_commit_version) "
      "END "
      "AS remove, ",
      partition, kVector);
  columns += fmt::format(
      "CASE WHEN kind = 4 THEN struct_pack(id := id, name := name, description := description, "
      "\"format\" := struct_pack(provider := provider, options := {}), \"schemaString\" := "
      "schema_string, \"partitionColumns\" := partition_columns, configuration := {}, "
      "\"createdTime\" := created_time) END AS \"metaData\", ",
      map("format_keys", "format_values"), map("configuration_keys", "configuration_values"));
  columns +=
      "CASE WHEN kind = 3 THEN struct_pack(\"minReaderVersion\" := CAST(min_reader_version AS "
      "INTEGER), \"minWriterVersion\" := CAST(min_writer_version AS INTEGER), \"readerFeatures\" "
      ":= "
      "reader_features, \"writerFeatures\" := writer_features) END AS protocol, "
      "CASE WHEN kind = 6 THEN struct_pack(domain := domain, configuration := configuration, "
      "removed := removed) END AS \"domainMetadata\"";
  return fmt::format("SELECT {} FROM {}", columns, source);
}

}  // namespace tide::delta
