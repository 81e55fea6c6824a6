#include "mirror/lake_writer.h"

#include <openssl/rand.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "delta/table_directory.h"
#include "delta/table_writer.h"
#include "deltalog/deletion_vector.h"
#include "deltalog/path.h"
#include "deltalog/protocol.h"
#include "deltalog/schema.h"
#include "deltalog/statistics.h"
#include "duck/connection.h"
#include "duck/parquet_reader.h"
#include "duck/parquet_writer.h"
#include "env/file.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

/// Ids of the fields inside a composite column lie in a range of its own, so that they stay what
/// they are when other columns come.
constexpr int32_t kNestedIds = 1000;
constexpr int64_t kCommitsPerCheckpoint = 50;
constexpr uint64_t kRowsPerFile = 2'000'000;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

deltalog::Uuid random_uuid() {
  deltalog::Uuid uuid;
  TIDE_CHECK(::RAND_bytes(uuid.data(), static_cast<int>(uuid.size())) == 1);
  uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0F) | 0x40);
  uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3F) | 0x80);
  return uuid;
}

void number_fields(deltalog::DataType& type, int32_t& next) {
  for (deltalog::SchemaField& field : type.children) {
    if (type.kind == deltalog::TypeKind::kStruct) {
      field.column_id = next++;
      field.physical_name = field.name;
    }
    number_fields(field.type, next);
  }
}

deltalog::Schema schema_of(const std::vector<LakeColumn>& columns, int32_t& max_id) {
  deltalog::Schema schema;
  for (const LakeColumn& column : columns) {
    deltalog::SchemaField field;
    field.name = column.name;
    field.type = deltalog::from_columns(column.type);
    field.nullable = true;
    field.column_id = column.id;
    field.physical_name = column.physical;
    int32_t nested = (column.id + 1) * kNestedIds;
    max_id = std::max(max_id, column.id);
    int32_t before = nested;
    number_fields(field.type, nested);
    if (nested > before) max_id = std::max(max_id, nested - 1);
    schema.fields.push_back(std::move(field));
  }
  return schema;
}

duck::FieldId field_id(const deltalog::SchemaField& field) {
  duck::FieldId id;
  id.id = field.column_id;
  for (const deltalog::SchemaField& child : field.type.children)
    id.children.push_back(field_id(child));
  return id;
}

std::vector<columns::Field> physical_fields(const std::vector<LakeColumn>& columns) {
  std::vector<columns::Field> fields;
  for (const LakeColumn& column : columns) fields.push_back({column.physical, column.type, true});
  return fields;
}

/// Rows that are not deleted, as a batch of their own; the same batch if none is.
std::shared_ptr<const columns::Batch> live_rows(const HeapCut::Segment& segment,
                                                const std::vector<columns::Field>& fields) {
  if (segment.deleted == nullptr || segment.deleted->empty()) return segment.rows;
  auto live = std::make_shared<columns::Batch>(fields);
  for (size_t row = 0; row < segment.rows->rows(); ++row) {
    if (!segment.deleted->contains(static_cast<uint32_t>(row)))
      live->append_from(*segment.rows, row);
  }
  return live;
}

deltalog::AddFile add_action(const LakeFile& file, uint32_t relation) {
  deltalog::AddFile add;
  add.path = deltalog::percent_encode(file.name);
  add.size = static_cast<int64_t>(file.size);
  add.modification_time = file.modified_ms;
  add.stats = file.deletion_vector ? deltalog::with_wide_bounds(file.stats) : file.stats;
  add.tags[std::string(kRelationTag)] = std::to_string(relation);
  add.deletion_vector = file.deletion_vector;
  return add;
}

/// A part of a path that any file system and URI can have.
std::string path_part(std::string_view name) {
  std::string part;
  for (char c : name) {
    bool plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
    if (plain && !(part.empty() && c == '.')) {
      part += c;
    } else {
      part += fmt::format("~{:02x}", static_cast<unsigned char>(c));
    }
  }
  return part;
}

}  // namespace

LakeWriter::LakeWriter(objectstore::ObjectStore& store, std::string local_root,
                       duck::Engine& engine, WriterIdentity identity)
    : store_(store),
      local_root_(std::move(local_root)),
      engine_(engine),
      identity_(std::move(identity)) {}
LakeWriter::~LakeWriter() = default;

Result<std::unique_ptr<LakeWriter>> LakeWriter::create(objectstore::ObjectStore& store,
                                                       std::string local_root, duck::Engine& engine,
                                                       WriterIdentity identity) {
  std::unique_ptr<LakeWriter> writer(
      new LakeWriter(store, std::move(local_root), engine, std::move(identity)));
  writer->connection_ = TIDE_TRY(engine.connect());
  TIDE_TRY(env::make_directories(writer->local_root_, 0700));
  return writer;
}

std::string LakeWriter::directory_for(std::string_view branch, std::string_view database,
                                      std::string_view schema, std::string_view table) {
  return fmt::format("{}/{}/{}/{}", path_part(branch), path_part(database), path_part(schema),
                     path_part(table));
}

bool LakeWriter::is_free(const std::string& directory) {
  auto first = store_.head("lake/" + directory + "/_delta_log/" + fmt::format("{:020}.json", 0));
  return first.ok() && !first->has_value();
}

std::string LakeWriter::random_id() { return deltalog::to_string(random_uuid()); }

Result<LakeFile> LakeWriter::write_file(
    const Cut& cut, const TableCut& table,
    const std::vector<std::shared_ptr<const columns::Batch>>& batches) {
  std::vector<columns::Field> fields = physical_fields(table.columns);
  deltalog::StatisticsBuilder statistics(fields);
  std::vector<duck::RowSegment> segments;
  uint64_t rows = 0;
  for (const auto& batch : batches) {
    statistics.add(*batch);
    rows += batch->rows();
    segments.push_back({batch, nullptr});
  }
  duck::ParquetOptions options;
  int32_t max_id = 0;
  for (const deltalog::SchemaField& field : schema_of(table.columns, max_id).fields) {
    options.field_ids.push_back(field_id(field));
  }
  options.field_ids.push_back({});
  LakeFile file;
  file.name = fmt::format("part-{:08}-{}.parquet", cut.number, deltalog::to_string(random_uuid()));
  std::string key = table.publication.directory + "/" + file.name;
  std::string path = local_root_ + "/" + key;
  TIDE_TRY(env::make_directories(local_root_ + "/" + table.publication.directory, 0700));
  duck::WrittenFile written = TIDE_TRY(duck::write_parquet(
      engine_, *connection_, std::move(segments), with_tuple_id(fields), path, options));
  TIDE_TRY(store_.put_file("lake/" + key, path));
  file.size = written.bytes;
  file.rows = static_cast<uint32_t>(written.rows);
  file.modified_ms = now_ms();
  file.stats = statistics.json();
  if (written.rows != rows) {
    return Status(Code::kBug, fmt::format("{} rows written of {}", written.rows, rows));
  }
  return file;
}

Status LakeWriter::write_segments(const Cut& cut, const TableCut& table, TableCut::Heap& heap) {
  std::vector<columns::Field> stored = with_tuple_id(physical_fields(table.columns));
  std::vector<std::shared_ptr<const columns::Batch>> batches;
  uint64_t rows = 0;
  auto end_file = [&]() -> Status {
    if (rows > 0) heap.written.push_back(TIDE_TRY(write_file(cut, table, batches)));
    batches.clear();
    rows = 0;
    return {};
  };
  heap.written.clear();
  for (const HeapCut::Segment& segment : heap.rows.segments) {
    std::shared_ptr<const columns::Batch> live = live_rows(segment, stored);
    if (live->rows() == 0) continue;
    if (rows + live->rows() > kRowsPerFile) TIDE_TRY(end_file());
    rows += live->rows();
    batches.push_back(std::move(live));
  }
  return end_file();
}

Status LakeWriter::write_merged(const Cut& cut, const TableCut& table, TableCut::Heap& heap) {
  std::vector<columns::Field> stored = with_tuple_id(physical_fields(table.columns));
  duck::ParquetScan scan;
  for (const columns::Field& field : stored)
    scan.columns.push_back({field.name, field.type, "", {}, {}});
  std::vector<std::shared_ptr<const columns::Batch>> batches;
  heap.merged.reset();
  heap.merged_ids.clear();
  for (const HeapCut::DirtyFile& old : heap.merge.dirty_files) {
    // File by file: the order of the rows is what their ctids are assigned by.
    scan.files = {TIDE_TRY(local_path(table.publication.directory, old.file.name))};
    duck::Registration deletions;
    scan.deletions.reset();
    if (old.deleted != nullptr && !old.deleted->empty()) {
      deletions = engine_.register_deletions({std::make_shared<duck::DeletedRows>(*old.deleted)});
      scan.deletions = deletions.id();
    }
    auto result = TIDE_TRY(connection_->query(duck::parquet_scan_sql(scan)));
    while (auto batch = TIDE_TRY(result->next())) {
      const columns::Column& ids = batch->columns.back();
      for (size_t row = 0; row < batch->rows(); ++row) {
        heap.merged_ids.push_back(ids.value<int64_t>(row));
      }
      batches.push_back(std::make_shared<const columns::Batch>(*std::move(batch)));
    }
  }
  if (!heap.merged_ids.empty()) heap.merged = TIDE_TRY(write_file(cut, table, batches));
  return {};
}

Status LakeWriter::write(const Cut& cut, TableCut& table) {
  deltalog::DeletionVectorFile vectors(random_uuid());
  for (TableCut::Heap& heap : table.heaps) {
    TIDE_TRY(write_segments(cut, table, heap));
    if (!heap.merge.dirty_files.empty()) TIDE_TRY(write_merged(cut, table, heap));
    heap.vectors.clear();
    for (const HeapCut::DirtyFile& dirty : heap.rows.dirty_files) {
      heap.vectors.push_back(dirty.all_deleted() ? deltalog::DeletionVectorDescriptor()
                                                 : vectors.add(*dirty.deleted));
    }
  }
  if (!vectors.empty()) {
    std::string key = table.publication.directory + "/" + vectors.name();
    std::string path = local_root_ + "/" + key;
    TIDE_TRY(env::make_directories(local_root_ + "/" + table.publication.directory, 0700));
    TIDE_TRY(env::write_file_atomically(path, vectors.bytes()));
    TIDE_TRY(store_.put_file("lake/" + key, path));
  }
  table.commit = commit_text(cut, table);
  return {};
}

std::string LakeWriter::commit_text(const Cut& cut, const TableCut& table) const {
  using nlohmann::json;
  std::vector<deltalog::Action> files;
  uint64_t rows = 0;
  auto remove = [&](const LakeFile& file, uint32_t relation, bool data_change = true) {
    files.push_back(deltalog::remove_of(add_action(file, relation), cut.timestamp_ms, data_change));
  };
  for (const TableCut::Heap& heap : table.heaps) {
    for (const LakeFile& file : heap.written) {
      files.push_back(add_action(file, heap.relation));
      rows += file.rows;
    }
    // A merge of rows that were all published as they are changes no data.
    bool rearranges = true;
    for (const HeapCut::DirtyFile& old : heap.merge.dirty_files) {
      int64_t published = old.file.deletion_vector ? old.file.deletion_vector->cardinality : 0;
      int64_t deleted = old.deleted != nullptr ? static_cast<int64_t>(old.deleted->size()) : 0;
      rearranges = rearranges && published == deleted;
    }
    for (const HeapCut::DirtyFile& old : heap.merge.dirty_files) {
      remove(old.file, heap.relation, !rearranges);
    }
    if (heap.merged) {
      deltalog::AddFile add = add_action(*heap.merged, heap.relation);
      add.data_change = !rearranges;
      files.push_back(std::move(add));
    }
    for (size_t i = 0; i < heap.rows.dirty_files.size(); ++i) {
      const HeapCut::DirtyFile& dirty = heap.rows.dirty_files[i];
      remove(dirty.file, heap.relation);
      if (dirty.all_deleted()) continue;
      LakeFile file = dirty.file;
      file.deletion_vector = heap.vectors[i];
      files.push_back(add_action(file, heap.relation));
    }
    for (const LakeFile& file : heap.rows.removed) remove(file, heap.relation);
  }
  for (const LakeFile& file : table.orphans) remove(file, 0);
  bool is_new = table.publication.version < 0;
  bool has_metadata = (is_new || table.publication.schema_changed) && !table.dropped;
  if (files.empty() && !has_metadata) return {};
  // A table that came and went between two cuts was never published.
  if (is_new && table.dropped) return {};

  std::vector<deltalog::Action> actions;
  deltalog::CommitInfo info;
  info.timestamp = cut.timestamp_ms;
  info.in_commit_timestamp = cut.timestamp_ms;
  info.operation = is_new ? "CREATE TABLE" : table.dropped ? "DELETE" : "WRITE";
  info.engine_info = "Tidewater/" + identity_.version;
  info.others = json{{"operationParameters", {{"mode", "Append"}}},
                     {"operationMetrics", {{"numOutputRows", std::to_string(rows)}}}}
                    .dump();
  actions.push_back(std::move(info));
  if (has_metadata) {
    int32_t max_id = 0;
    deltalog::Schema schema = schema_of(table.columns, max_id);
    actions.push_back(deltalog::lake_protocol(schema));
    deltalog::Metadata metadata;
    metadata.id = table.publication.id;
    metadata.name = table.schema + "." + table.name;
    metadata.schema_string = deltalog::write_schema(schema);
    metadata.configuration = deltalog::lake_properties(max_id);
    metadata.created_time = table.publication.created_ms;
    actions.push_back(std::move(metadata));
  }
  actions.push_back(deltalog::Transaction{identity_.application, static_cast<int64_t>(cut.number),
                                          cut.timestamp_ms});
  actions.push_back(deltalog::DomainMetadata{
      std::string(kMirrorDomain),
      json{
          {"cut", cut.number}, {"lsn", cut.lsn.to_string()}, {"commit_time_us", cut.commit_time_us}}
          .dump(),
      false});
  for (deltalog::Action& action : files) actions.push_back(std::move(action));
  return deltalog::write_actions(actions);
}

Status LakeWriter::publish(const std::string& key, std::string_view bytes) {
  std::string object = "lake/" + key;
  if (TIDE_TRY(store_.put_if_absent(object, as_bytes(bytes)))) return {};
  std::string there = TIDE_TRY(store_.get(object));
  if (there == bytes) return {};
  return Status(Code::kConflict, fmt::format("{} exists and is not ours", key))
      .with_detail("Somebody else has committed to a table that the mirror keeps.")
      .with_hint(
          "Tables of the lake are written by the mirror only: write to PostgreSQL, or to a copy.");
}

Status LakeWriter::tend(const std::string& directory, int64_t version) {
  constexpr std::chrono::hours kVacuumEvery{1};
  auto now = std::chrono::steady_clock::now();
  bool checkpoint_due = version > 0 && version % kCommitsPerCheckpoint == 0;
  auto [vacuumed, is_first] = vacuumed_.try_emplace(directory, now);
  bool vacuum_due = !is_first && now - vacuumed->second >= kVacuumEvery;
  if (!checkpoint_due && !vacuum_due) return {};
  auto place = delta::store_directory(store_, "lake/" + directory, local_root_ + "/" + directory);
  auto table = TIDE_TRY(delta::TableWriter::open(*place, engine_, {}));
  if (checkpoint_due) {
    TIDE_TRY(table->checkpoint(now_ms()));
    TIDE_TRY(table->clean_log(now_ms()));
  }
  if (vacuum_due) {
    vacuumed->second = now;
    auto gone = TIDE_TRY(table->vacuum(now_ms(), {}));
    for (const std::string& name : gone.files) {
      TIDE_TRY(env::remove_file(local_root_ + "/" + directory + "/" + name));
    }
    if (!gone.files.empty()) obs::info("{}: {} old files removed", directory, gone.files.size());
  }
  return {};
}

Result<std::string> LakeWriter::local_path(const std::string& directory, const std::string& name) {
  std::string key = directory + "/" + name;
  std::string path = local_root_ + "/" + key;
  if (env::exists(path)) return path;
  TIDE_TRY(env::make_directories(local_root_ + "/" + directory, 0700));
  TIDE_TRY(store_.get_to_file("lake/" + key, path));
  return path;
}

Result<std::vector<int64_t>> LakeWriter::read_tuple_ids(const std::string& directory,
                                                        const LakeFile& file) {
  std::string path = TIDE_TRY(local_path(directory, file.name));
  columns::Batch batch = TIDE_TRY(duck::read_parquet(
      *connection_, path, {{std::string(kTupleIdColumn), columns::Kind::kInt64, "", {}, {}}}));
  if (batch.rows() != file.rows) {
    return Status(Code::kCorrupt,
                  fmt::format("{} has {} rows, not {}", path, batch.rows(), file.rows));
  }
  std::vector<int64_t> ids(batch.rows());
  for (size_t row = 0; row < ids.size(); ++row) ids[row] = batch.columns[0].value<int64_t>(row);
  return ids;
}

Result<columns::RowSet> LakeWriter::read_deleted(const std::string& directory,
                                                 const LakeFile& file) {
  if (!file.deletion_vector) return columns::RowSet();
  deltalog::DeletionVectorPlace place = TIDE_TRY(deltalog::place_of(*file.deletion_vector));
  if (place.file.empty()) return deltalog::read_inline(*file.deletion_vector);
  std::string path = TIDE_TRY(local_path(directory, place.file));
  std::string bytes = TIDE_TRY(env::read_file(path));
  return deltalog::read_from_file(*file.deletion_vector, as_bytes(bytes));
}

}  // namespace tide::mirror
