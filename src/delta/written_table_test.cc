// Writes a table with all that the lake writes, for other readers too:
// tests/lake/test_written_table.py has it written to a directory (TIDE_DELTA_WRITE_TO) and gives it
// to ClickHouse and a replayer.
#include <fmt/format.h>

#include <limits>

#include "delta/file_statistics.h"
#include "delta/internal/test_lake.h"
#include "delta/table_writer.h"
#include "deltalog/deletion_vector.h"
#include "deltalog/path.h"
#include "deltalog/statistics.h"
#include "duck/parquet_writer.h"

namespace tide::delta {
namespace {

using columns::Kind;
using columns::Type;
using deltalog::Action;
using deltalog::AddFile;

std::vector<columns::Field> all_types() {
  return {{"flag", Kind::kBool},
          {"small", Kind::kInt16},
          {"mid", Kind::kInt32},
          {"id", Kind::kInt64},
          {"ratio", Kind::kFloat},
          {"exact", Kind::kDouble},
          {"price", Type::decimal(38, 6)},
          {"short price", Type::decimal(7, 2)},
          {"text", Kind::kString},
          {"bytes", Kind::kBinary},
          {"day", Kind::kDate},
          {"at", Kind::kTimestamp},
          {"local", Kind::kTimestampNtz},
          {"tags", Type::list(Kind::kString)},
          {"pos", Type::structure({{"x", Kind::kDouble}, {"label", Kind::kString}})}};
}

columns::Batch rows_with(const std::vector<columns::Field>& fields, int begin, int end) {
  columns::Batch batch(fields);
  auto& c = batch.columns;
  for (int i = begin; i < end; ++i) {
    if (i % 17 == 3) {
      for (size_t k = 0; k + 1 < c.size(); ++k)
        k == 3 ? c[k].append<int64_t>(i) : c[k].append_null();
      c.back().append<int64_t>(int64_t{i} << 16 | 1);
      continue;
    }
    c[0].append<uint8_t>(i % 2);
    c[1].append<int16_t>(static_cast<int16_t>(i * 7));
    c[2].append<int32_t>(i * 100'003);
    c[3].append<int64_t>(i);
    c[4].append<float>(static_cast<float>(i) / 3);
    c[5].append<double>(i % 50 == 20 ? std::numeric_limits<double>::quiet_NaN() : i / 7.0);
    c[6].append<deltalog::Int128>(static_cast<deltalog::Int128>(i) * 1'000'000'000'000 *
                                  987'654'321);
    c[7].append<int32_t>(i * 11 - 500);
    c[8].append_bytes(
        fmt::format("{} \u00e9\U0001F600 {}", std::string(static_cast<size_t>(i % 60), 'z'), i));
    c[9].append_bytes(std::string("\x00\xff", 2) + static_cast<char>(i));
    c[10].append<int32_t>(i * 31 - 5000);
    c[11].append<int64_t>(i * 86'400'123'457LL);
    c[12].append<int64_t>(-i * 3'600'000'001LL);
    for (int k = 0; k < i % 3; ++k) c[13].child(0).append_bytes("tag");
    c[13].end_list();
    c[14].child(0).append<double>(i * 0.5);
    i % 5 == 0 ? c[14].child(1).append_null() : c[14].child(1).append_bytes("here");
    c[14].end_struct();
    for (size_t k = 15; k + 1 < c.size(); ++k) c[k].append_bytes(fmt::format("late {}", i));
    c.back().append<int64_t>(int64_t{i} << 16 | 1);
  }
  return batch;
}

class WrittenTableTest : public LakeTest {
 protected:
  void SetUp() override {
    LakeTest::SetUp();
    const char* given = ::getenv("TIDE_DELTA_WRITE_TO");
    root_ = given != nullptr ? given : scratch_ + "/table";
    directory_ = local_directory(root_);
    connection_ = *engine_->connect();
  }

  std::vector<columns::Field> with_ctid() const {
    std::vector<columns::Field> fields = fields_;
    fields.push_back({"__tide_ctid", Kind::kInt64});
    return fields;
  }

  /// Field ids as the table's schema has them.
  static duck::FieldId field_id(const deltalog::SchemaField& field) {
    duck::FieldId id{field.column_id, {}};
    for (const deltalog::SchemaField& child : field.type.children) {
      id.children.push_back(field_id(child));
    }
    return id;
  }

  AddFile data_file(const std::string& name, int begin, int end) {
    auto batch = std::make_shared<columns::Batch>(rows_with(with_ctid(), begin, end));
    deltalog::StatisticsBuilder statistics(fields_);
    statistics.add(*batch);
    duck::ParquetOptions options;
    for (const deltalog::SchemaField& field : schema_.fields) {
      options.field_ids.push_back(field_id(field));
    }
    options.field_ids.emplace_back();
    Result<duck::WrittenFile> written = duck::write_parquet(
        *engine_, *connection_, {{batch, nullptr}}, with_ctid(), root_ + "/" + name, options);
    EXPECT_TRUE(written.ok()) << text_of(written);
    AddFile add;
    add.path = deltalog::percent_encode(name);
    add.size = static_cast<int64_t>(written->bytes);
    add.modification_time = now_;
    add.stats = statistics.json();
    return add;
  }

  void commit(std::vector<Action> actions) {
    now_ += 1000;
    ++cut_;
    actions.emplace_back(deltalog::Transaction{"main", cut_, {}});
    actions.emplace_back(
        deltalog::DomainMetadata{"tidewater.mirror", fmt::format(R"({{"cut":{}}})", cut_), false});
    Result<CommitOutcome> outcome =
        writer_->commit(writer_->next_version(), std::move(actions), now_);
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->committed);
    if (writer_->checkpoint_due()) ASSERT_OK(writer_->checkpoint(now_));
  }

  /// Deletes rows: the files' old references go, new ones with vectors in one file come.
  void delete_rows(const std::vector<std::pair<AddFile*, std::vector<uint32_t>>>& deletes,
                   const std::string& uuid) {
    deltalog::DeletionVectorFile vectors(*deltalog::parse_uuid(uuid));
    std::vector<Action> actions;
    for (const auto& [file, rows] : deletes) {
      actions.emplace_back(deltalog::remove_of(*file, now_, true));
      columns::RowSet deleted;
      if (file->deletion_vector) {
        deleted = *load_deletion_vector(*directory_, *file->deletion_vector);
      }
      for (uint32_t row : rows) deleted.add(row);
      file->deletion_vector = vectors.add(deleted);
      file->stats = deltalog::with_wide_bounds(*file->stats);
      actions.emplace_back(*file);
    }
    ASSERT_OK(directory_->put(vectors.name(), as_bytes(vectors.bytes())));
    commit(std::move(actions));
  }

  std::string root_;
  std::vector<columns::Field> fields_ = all_types();
  deltalog::Schema schema_;
  std::unique_ptr<TableDirectory> directory_;
  std::unique_ptr<duck::Connection> connection_;
  std::unique_ptr<TableWriter> writer_;
  int64_t now_ = 1'764'000'000'000;
  int64_t cut_ = 0;
};

TEST_F(WrittenTableTest, HoldsWhatTheLakeWrites) {
  NewTable table;
  table.schema = deltalog::from_columns(fields_);
  table.id = "11111111-2222-3333-4444-555555555555";
  table.name = "all types";
  WriterOptions options;
  options.checkpoint_interval = 4;
  Result<std::unique_ptr<TableWriter>> writer =
      TableWriter::create(*directory_, *engine_, std::move(table), {}, now_, options);
  ASSERT_OK(writer);
  writer_ = std::move(writer).value();
  schema_ = writer_->state().schema();

  AddFile a = data_file("part-1-a.parquet", 0, 1000);
  AddFile b = data_file("part-1-b.parquet", 1000, 1100);
  ASSERT_NO_FATAL_FAILURE(commit({a, b}));
  ASSERT_NO_FATAL_FAILURE(
      delete_rows({{&a, {0, 5, 999}}, {&b, {1, 2}}}, "00112233-4455-6677-8899-aabbccddeeff"));
  ASSERT_NO_FATAL_FAILURE(
      delete_rows({{&a, {500, 501, 502}}}, "10112233-4455-6677-8899-aabbccddeeff"));
  ASSERT_NO_FATAL_FAILURE(commit({data_file("part-2-a.parquet", 1100, 1110)}));

  // A column comes.
  fields_.push_back({"late", Kind::kString});
  schema_.fields.push_back({"late", deltalog::TypeKind::kString});
  int32_t max_column_id = 0;
  deltalog::assign_column_mapping(schema_, max_column_id);
  deltalog::Metadata metadata = writer_->state().metadata();
  metadata.schema_string = deltalog::write_schema(schema_);
  metadata.configuration["delta.columnMapping.maxColumnId"] = std::to_string(max_column_id);
  AddFile late = data_file("part-3-a.parquet", 1110, 1200);
  ASSERT_NO_FATAL_FAILURE(commit({metadata, late}));

  // Two files become one: the rows that are left, in a commit that changes no data.
  Table reader(*directory_, *engine_);
  deltalog::TableState state = writer_->state();
  ScanOptions only_b;
  only_b.predicates = {{{"id"}, deltalog::Comparison::kLess, int64_t{1110}},
                       {{"id"}, deltalog::Comparison::kGreaterOrEqual, int64_t{1000}}};
  Result<Scan> small = reader.scan(state, only_b);
  ASSERT_OK(small);
  ASSERT_EQ(small->files.size(), 2U);
  duck::ParquetOptions merged_options;
  for (const deltalog::SchemaField& field : schema_.fields) {
    merged_options.field_ids.push_back(field_id(field));
  }
  merged_options.field_ids.emplace_back();
  Result<duck::WrittenFile> merged = duck::write_parquet(
      *connection_,
      "SELECT *, CAST(id << 16 | 1 AS BIGINT) AS __tide_ctid FROM (" + small->sql + ")",
      root_ + "/part-4-merged.parquet", merged_options);
  ASSERT_OK(merged);
  AddFile one;
  one.path = "part-4-merged.parquet";
  one.size = static_cast<int64_t>(merged->bytes);
  one.modification_time = now_;
  one.data_change = false;
  one.stats = statistics_of(*merged, fields_);
  std::vector<Action> merge{one};
  for (const ScanFile& file : small->files) {
    merge.emplace_back(deltalog::remove_of(file.add, now_, false));
  }
  ASSERT_NO_FATAL_FAILURE(commit(std::move(merge)));
  for (int i = 0; i < 4; ++i) ASSERT_NO_FATAL_FAILURE(commit({}));

  Result<deltalog::TableState> fresh = reader.state();
  ASSERT_OK(fresh);
  Result<Scan> scan = reader.scan(*fresh);
  ASSERT_OK(scan);
  // 0 to 1199 without the deleted ones.
  constexpr int64_t kSum = 1199 * 1200 / 2 - (0 + 5 + 999 + 500 + 501 + 502 + 1001 + 1002);
  EXPECT_EQ(number("SELECT count(*) FROM (" + scan->sql + ")"), 1192);
  EXPECT_EQ(number("SELECT sum(id) FROM (" + scan->sql + ")"), kSum);
  EXPECT_EQ(number("SELECT count(late) FROM (" + scan->sql + ")"),
            number("SELECT count(*) FROM (" + scan->sql + ") WHERE id >= 1110 AND id % 17 != 3"));
}

}  // namespace
}  // namespace tide::delta
