#include "delta/checkpoint_file.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <utility>

#include "delta/internal/checkpoint_sql.h"
#include "deltalog/checkpoint_rows.h"
#include "deltalog/log_listing.h"
#include "deltalog/path.h"
#include "duck/connection.h"
#include "duck/parquet_writer.h"
#include "duck/sql_text.h"
#include "env/file.h"

namespace tide::delta {
namespace {

using deltalog::Action;

constexpr char kLog[] = "_delta_log/";

/// Dotted names of all columns of a Parquet file, nested ones too.
Result<std::set<std::string>> column_paths(duck::Connection& connection, const std::string& file) {
  auto query = TIDE_TRY(connection.query(
      fmt::format("SELECT name, CAST(coalesce(num_children, 0) AS BIGINT) FROM parquet_schema({})",
                  duck::quote_literal(file))));
  columns::Batch rows = TIDE_TRY(query->all());
  // The elements come depth first, each with the number of its children.
  std::set<std::string> paths;
  struct Level {
    std::string prefix;
    int64_t left;
  };
  std::vector<Level> levels;
  for (size_t row = 0; row < rows.rows(); ++row) {
    std::string name(rows.columns[0].bytes_at(row));
    auto children = rows.columns[1].value<int64_t>(row);
    if (row == 0) {
      levels.push_back({"", children});  // the root
      continue;
    }
    while (!levels.empty() && levels.back().left == 0) levels.pop_back();
    if (levels.empty()) return Status(Code::kCorrupt, "Parquet schema does not add up");
    --levels.back().left;
    std::string path = levels.back().prefix + name;
    paths.insert(path);
    if (children > 0) levels.push_back({path + ".", children});
  }
  return paths;
}

Result<std::vector<Action>> read_parquet_actions(duck::Connection& connection,
                                                 const std::string& file) {
  std::set<std::string> paths = TIDE_TRY(column_paths(connection, file));
  auto query = TIDE_TRY(connection.query(checkpoint_read_sql(file, paths)));
  std::vector<Action> actions;
  while (true) {
    std::optional<columns::Batch> batch = TIDE_TRY(query->next());
    if (!batch) return actions;
    std::vector<Action> more = TIDE_TRY(deltalog::actions_of_rows(*batch));
    std::move(more.begin(), more.end(), std::back_inserter(actions));
  }
}

Status as_corrupt(Status status, const std::string& name) {
  // What DuckDB calls an invalid file is a damaged checkpoint to us.
  Code code = status.code() == Code::kInvalid ? Code::kCorrupt : status.code();
  return Status(code, fmt::format("checkpoint {}: {}", name, status.message()));
}

Result<std::vector<Action>> read_one(TableDirectory& directory, duck::Connection& connection,
                                     const std::string& name) {
  if (name.ends_with(".json")) {
    return deltalog::parse_actions(TIDE_TRY(directory.read(kLog + name)));
  }
  std::string file = TIDE_TRY(directory.local_path(kLog + name));
  return read_parquet_actions(connection, file);
}

/// A sidecar's path is the name of a file in _sidecars, or an absolute path.
Result<std::string> sidecar_file(TableDirectory& directory, const std::string& path) {
  std::string name = deltalog::file_name(path);
  if (deltalog::is_absolute(name)) {
    if (name.starts_with('/')) return name;
    return Status(Code::kInvalid, fmt::format("sidecar {} lies where we cannot read", name));
  }
  return directory.local_path(std::string(kLog) + "_sidecars/" + name);
}

}  // namespace

Result<std::vector<Action>> read_checkpoint(TableDirectory& directory, duck::Engine& engine,
                                            const std::vector<std::string>& names) {
  std::unique_ptr<duck::Connection> connection = TIDE_TRY(engine.connect());
  std::vector<Action> actions;
  for (const std::string& name : names) {
    Result<std::vector<Action>> read = read_one(directory, *connection, name);
    if (!read.ok()) return as_corrupt(std::move(read).status(), name);
    std::vector<Action> more = std::move(read).value();
    std::move(more.begin(), more.end(), std::back_inserter(actions));
  }
  std::vector<std::string> sidecars;
  for (const Action& action : actions) {
    if (const auto* sidecar = std::get_if<deltalog::SidecarFile>(&action)) {
      sidecars.push_back(sidecar->path);
    }
  }
  for (const std::string& path : sidecars) {
    std::string file = TIDE_TRY(sidecar_file(directory, path));
    Result<std::vector<Action>> read = read_parquet_actions(*connection, file);
    if (!read.ok()) return as_corrupt(std::move(read).status(), "sidecar " + path);
    std::vector<Action> more = std::move(read).value();
    std::move(more.begin(), more.end(), std::back_inserter(actions));
  }
  return actions;
}

Result<WrittenCheckpoint> write_checkpoint(TableDirectory& directory, duck::Engine& engine,
                                           const deltalog::TableState& state) {
  duck::RowSegment segment;
  segment.batch = std::make_shared<const columns::Batch>(deltalog::checkpoint_rows(state));
  auto actions = static_cast<int64_t>(segment.batch->rows());
  duck::Registration rows =
      TIDE_TRY(engine.register_rows({std::move(segment)}, deltalog::checkpoint_fields()));
  std::unique_ptr<duck::Connection> connection = TIDE_TRY(engine.connect());
  std::string temporary = TIDE_TRY(directory.temporary_path());
  duck::ParquetOptions options;
  options.compression = duck::Compression::kSnappy;
  duck::WrittenFile written = TIDE_TRY(duck::write_parquet(
      *connection, checkpoint_write_sql(fmt::format("tide_rows({})", rows.id())), temporary,
      options));
  std::string name = deltalog::checkpoint_name(state.version());
  if (Status adopted = directory.adopt(temporary, kLog + name); !adopted.ok()) {
    env::remove_file(temporary).ignore("it costs space only");
    return adopted;
  }
  auto bytes = static_cast<int64_t>(written.bytes);
  std::string hint = deltalog::write_last_checkpoint(state.version(), actions, bytes,
                                                     static_cast<int64_t>(state.files().size()));
  TIDE_TRY(directory.put(std::string(kLog) + "_last_checkpoint", as_bytes(hint)));
  return WrittenCheckpoint{actions, bytes};
}

}  // namespace tide::delta
