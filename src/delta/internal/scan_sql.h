#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "deltalog/protocol.h"
#include "deltalog/schema.h"
#include "deltalog/value.h"

namespace tide::delta {

/// What scan_sql() makes a SELECT from.
struct ScanText {
  std::vector<deltalog::SchemaField> columns;
  /// Per column: its place among a file's partition values; nothing for columns in files.
  std::vector<std::optional<size_t>> partition_index;
  deltalog::ColumnMapping mapping = deltalog::ColumnMapping::kNone;

  struct File {
    std::string path;
    std::vector<deltalog::Value> partition;
  };
  std::vector<File> files;
  /// Of Engine::register_deletions(); nothing if no file has deletions.
  std::optional<int64_t> deletions;
  /// Physical names of timestamp columns that the files hold without zone: read as such, then taken
  /// as UTC.
  std::vector<std::string> zoneless;
};

/// The SELECT; one without rows if there are no files.
Result<std::string> scan_sql(const ScanText& scan);

/// The path as read_parquet takes it: characters that mean a pattern are escaped.
std::string literal_path(const std::string& path);

}  // namespace tide::delta
