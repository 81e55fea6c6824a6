#include "deltalog/protocol.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "deltalog/internal/json.h"

namespace tide::deltalog {
namespace {

constexpr int32_t kReaderFeatures = 3;  ///< The version with which lists of features come.
constexpr int32_t kWriterFeatures = 7;

/// Reader features under which we read every table. The variant features are among them because
/// they change nothing but the columns of that type, which check_readable(Schema) refuses.
constexpr std::array<std::string_view, 12> kReadable = {
    feature::kDeletionVectors,
    feature::kColumnMapping,
    feature::kTimestampNtz,
    feature::kV2Checkpoint,
    "typeWidening",
    "typeWidening-preview",
    "vacuumProtocolCheck",
    "variantType",
    "variantType-preview",
    "variantShredding",
    "variantShredding-preview",
    "materializePartitionColumns",
};

/// Writer features that our commits obey, or that ask nothing of them unless a property or a
/// column's metadata says so, which check_writable() looks at.
constexpr std::array<std::string_view, 14> kWritable = {
    "appendOnly",
    "invariants",
    "checkConstraints",
    "generatedColumns",
    "identityColumns",
    "allowColumnDefaults",
    feature::kChangeDataFeed,
    feature::kColumnMapping,
    feature::kDeletionVectors,
    feature::kTimestampNtz,
    feature::kV2Checkpoint,
    feature::kInCommitTimestamp,
    feature::kDomainMetadata,
    "vacuumProtocolCheck",
};

/// Features that a version below the lists implies: the lowest version that has it.
struct Implied {
  std::string_view name;
  int32_t reader;  ///< 0: not a reader feature.
  int32_t writer;
};
constexpr std::array<Implied, 7> kImplied = {{
    {"appendOnly", 0, 2},
    {"invariants", 0, 2},
    {"checkConstraints", 0, 3},
    {feature::kChangeDataFeed, 0, 4},
    {"generatedColumns", 0, 4},
    {feature::kColumnMapping, 2, 5},
    {"identityColumns", 0, 6},
}};

bool contains(const std::optional<std::vector<std::string>>& list, std::string_view name) {
  return list && std::find(list->begin(), list->end(), name) != list->end();
}

/// The first field, at any level, whose metadata has `key`; null if none has.
const SchemaField* field_with(const std::vector<SchemaField>& fields, const std::string& key) {
  for (const SchemaField& field : fields) {
    if (field.metadata.find("\"" + key + "\"") != std::string::npos) return &field;
    if (const SchemaField* inner = field_with(field.type.children, key)) return inner;
  }
  return nullptr;
}

bool has_kind(const std::vector<SchemaField>& fields, TypeKind kind) {
  return std::any_of(fields.begin(), fields.end(), [&](const SchemaField& field) {
    return field.type.kind == kind || has_kind(field.type.children, kind);
  });
}

}  // namespace

Result<ColumnMapping> column_mapping(const Protocol& protocol, const Metadata& metadata) {
  if (!reader_has(protocol, feature::kColumnMapping)) return ColumnMapping::kNone;
  std::string mode = metadata.property("delta.columnMapping.mode").value_or("none");
  if (mode == "none") return ColumnMapping::kNone;
  if (mode == "name") return ColumnMapping::kName;
  if (mode == "id") return ColumnMapping::kId;
  return Status(Code::kInvalid, fmt::format("column mapping mode \"{}\" is unknown", mode));
}

bool reader_has(const Protocol& protocol, std::string_view feature) {
  if (protocol.min_reader_version >= kReaderFeatures) {
    return contains(protocol.reader_features, feature);
  }
  return std::any_of(kImplied.begin(), kImplied.end(), [&](const Implied& implied) {
    return implied.name == feature && implied.reader != 0 &&
           protocol.min_reader_version >= implied.reader;
  });
}

bool writer_has(const Protocol& protocol, std::string_view feature) {
  if (protocol.min_writer_version >= kWriterFeatures) {
    return contains(protocol.writer_features, feature);
  }
  return std::any_of(kImplied.begin(), kImplied.end(), [&](const Implied& implied) {
    return implied.name == feature && protocol.min_writer_version >= implied.writer;
  });
}

Status check_readable(const Protocol& protocol) {
  if (protocol.min_reader_version < 1 || protocol.min_reader_version > kReaderFeatures) {
    return Status(Code::kInvalid, fmt::format("the table needs reader version {}, we are one of 1 "
                                              "to {}",
                                              protocol.min_reader_version, kReaderFeatures));
  }
  if (protocol.min_reader_version < kReaderFeatures) {
    if (protocol.reader_features && !protocol.reader_features->empty()) {
      return Status(
          Code::kInvalid,
          fmt::format("the protocol lists reader features with reader version {}: {}",
                      protocol.min_reader_version, fmt::join(*protocol.reader_features, ", ")));
    }
    return {};
  }
  if (!protocol.reader_features) {
    return Status(Code::kInvalid, "the protocol has reader version 3 without reader features");
  }
  std::vector<std::string> unknown;
  for (const std::string& name : *protocol.reader_features) {
    if (std::find(kReadable.begin(), kReadable.end(), name) == kReadable.end()) {
      unknown.push_back(name);
    }
  }
  if (unknown.empty()) return {};
  return Status(Code::kInvalid, fmt::format("the table needs reader features that we do not have: "
                                            "{}",
                                            fmt::join(unknown, ", ")));
}

Status check_readable(const Schema& schema) {
  for (const SchemaField& field : schema.fields) {
    if (std::optional<std::string> part = unreadable_part(field.type)) {
      return Status(Code::kInvalid, fmt::format("column \"{}\" has type {}, which we cannot read",
                                                field.name, *part));
    }
  }
  return {};
}

Status check_writable(const Protocol& protocol, const Metadata& metadata, const Schema& schema) {
  TIDE_TRY(check_readable(protocol));
  TIDE_TRY(check_readable(schema));
  if (protocol.min_writer_version < 1 || protocol.min_writer_version > kWriterFeatures) {
    return Status(Code::kInvalid, fmt::format("the table needs writer version {}, we are one of 1 "
                                              "to {}",
                                              protocol.min_writer_version, kWriterFeatures));
  }
  std::vector<std::string> unknown;
  if (protocol.min_writer_version == kWriterFeatures) {
    for (const std::string& name : protocol.writer_features.value_or(std::vector<std::string>())) {
      if (std::find(kWritable.begin(), kWritable.end(), name) == kWritable.end()) {
        unknown.push_back(name);
      }
    }
  }
  if (!unknown.empty()) {
    return Status(Code::kInvalid,
                  fmt::format("the table needs writer features that we do not have: {}",
                              fmt::join(unknown, ", ")));
  }
  for (const auto& [key, value] : metadata.configuration) {
    if (key.starts_with("delta.constraints.")) {
      return Status(Code::kInvalid,
                    fmt::format("we do not check the table's constraint \"{}\"", key.substr(18)));
    }
  }
  for (const char* key : {"delta.invariants", "delta.generationExpression", "delta.identity.start",
                          "delta.identity.step", "CURRENT_DEFAULT"}) {
    if (const SchemaField* field = field_with(schema.fields, key)) {
      return Status(Code::kInvalid,
                    fmt::format("column \"{}\" has {}, which we do not obey", field->name, key));
    }
  }
  return {};
}

bool is_on(const Metadata& metadata, const std::string& property) {
  return metadata.property(property) == "true";
}

int64_t interval_ms(const Metadata& metadata, const std::string& property, int64_t missing) {
  std::optional<std::string> text = metadata.property(property);
  if (!text) return missing;
  std::string_view rest = *text;
  auto word = [&rest] {
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    std::string_view taken = rest.substr(0, rest.find(' '));
    rest.remove_prefix(taken.size());
    return taken;
  };
  struct Unit {
    std::string_view name;
    double ms;
  };
  constexpr std::array<Unit, 7> kUnits = {{{"millisecond", 1},
                                           {"microsecond", 0.001},
                                           {"second", 1e3},
                                           {"minute", 60e3},
                                           {"hour", 3600e3},
                                           {"day", 86'400e3},
                                           {"week", 7 * 86'400e3}}};
  double total = 0;
  bool any = false;
  for (std::string_view token = word(); !token.empty(); token = word()) {
    if (token == "interval" || token == "INTERVAL") continue;
    double amount = 0;
    auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), amount);
    if (error != std::errc() || end != token.data() + token.size()) return missing;
    std::string_view unit = word();
    if (unit.ends_with('s')) unit.remove_suffix(1);
    const Unit* found = std::find_if(kUnits.begin(), kUnits.end(),
                                     [&](const Unit& known) { return known.name == unit; });
    if (found == kUnits.end()) return missing;
    total += amount * found->ms;
    any = true;
  }
  if (!any || total < 0 || total > 9e15) return missing;
  return static_cast<int64_t>(total);
}

Protocol lake_protocol(const Schema& schema) {
  Protocol protocol;
  protocol.min_reader_version = kReaderFeatures;
  protocol.min_writer_version = kWriterFeatures;
  protocol.reader_features = {feature::kDeletionVectors, feature::kColumnMapping};
  if (has_kind(schema.fields, TypeKind::kTimestampNtz)) {
    protocol.reader_features->emplace_back(feature::kTimestampNtz);
  }
  protocol.writer_features = protocol.reader_features;
  protocol.writer_features->emplace_back(feature::kInCommitTimestamp);
  protocol.writer_features->emplace_back(feature::kDomainMetadata);
  return protocol;
}

std::optional<Protocol> protocol_for_schema(const Protocol& protocol, const Schema& schema) {
  if (!has_kind(schema.fields, TypeKind::kTimestampNtz)) return std::nullopt;
  if (reader_has(protocol, feature::kTimestampNtz)) return std::nullopt;
  if (protocol.min_reader_version < kReaderFeatures ||
      protocol.min_writer_version < kWriterFeatures) {
    return std::nullopt;
  }
  Protocol wider = protocol;
  if (!wider.reader_features) wider.reader_features.emplace();
  if (!wider.writer_features) wider.writer_features.emplace();
  wider.reader_features->emplace_back(feature::kTimestampNtz);
  wider.writer_features->emplace_back(feature::kTimestampNtz);
  return wider;
}

Properties lake_properties(int32_t max_column_id) {
  return {{"delta.enableDeletionVectors", "true"},
          {"delta.columnMapping.mode", "name"},
          {"delta.columnMapping.maxColumnId", std::to_string(max_column_id)},
          {"delta.enableInCommitTimestamps", "true"}};
}

}  // namespace tide::deltalog
