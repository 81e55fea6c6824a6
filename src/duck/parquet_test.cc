#include <sys/stat.h>

#include <cmath>

#include "duck/internal/test_batch.h"
#include "duck/internal/test_engine.h"
#include "duck/parquet_reader.h"
#include "duck/parquet_writer.h"

namespace tide::duck {
namespace {

using columns::Batch;
using columns::Kind;
using columns::Type;

class ParquetTest : public EngineTest {
 protected:
  void SetUp() override { open(); }

  Result<WrittenFile> write(std::vector<RowSegment> segments,
                            const std::vector<columns::Field>& fields, std::string_view name,
                            const ParquetOptions& options = {}) {
    return write_parquet(*engine_, *connection_, std::move(segments), fields, path(name), options);
  }
  std::vector<ParquetColumn> columns_of(const std::vector<columns::Field>& fields) {
    std::vector<ParquetColumn> columns;
    for (const columns::Field& field : fields)
      columns.push_back({field.name, field.type, "", {}, {}});
    return columns;
  }
  const ColumnStatistics& statistics(const WrittenFile& file,
                                     const std::vector<std::string>& path) {
    for (const ColumnStatistics& column : file.columns) {
      if (column.path == path) return column;
    }
    ADD_FAILURE() << "no statistics of " << path[0];
    return file.columns[0];
  }
};

TEST_F(ParquetTest, EveryTypeComesBackAsItWas) {
  for (const int64_t rows : {0, 1, 63, 2048, 2049, 10000}) {
    const auto batch = every_batch(rows);
    const std::string name = "every" + std::to_string(rows);
    Result<WrittenFile> file =
        write({{batch, nullptr}}, every_field(), name, {.row_group_rows = 2048});
    ASSERT_TRUE(file.ok()) << file.status().to_string();
    EXPECT_EQ(file->rows, static_cast<uint64_t>(rows));
    EXPECT_EQ(file->bytes, *env::file_size(path(name)));
    Result<Batch> back = read_parquet(*connection_, path(name), columns_of(every_field()));
    ASSERT_TRUE(back.ok()) << back.status().to_string();
    for (size_t i = 0; i < back->columns.size(); ++i) {
      Batch one, other;
      one.columns.push_back(back->columns[i]);
      other.columns.push_back(batch->columns[i]);
      EXPECT_EQ(columns::encode(one), columns::encode(other)) << every_field()[i].name;
    }
    EXPECT_EQ(*count_parquet_rows(*connection_, {path(name), path(name)}),
              2 * static_cast<uint64_t>(rows));
  }
}

TEST_F(ParquetTest, AMillionRowsOfSeveralSegmentsKeepTheirOrder) {
  std::vector<RowSegment> segments;
  for (int segment = 0; segment < 5; ++segment) {
    auto batch = std::make_shared<Batch>(std::vector<columns::Field>{{"k", Kind::kInt64}});
    for (int64_t i = 0; i < 200'000; ++i) batch->columns[0].append<int64_t>(segment * 200'000 + i);
    segments.push_back({batch, nullptr});
  }
  columns::RowSet gone;
  for (uint32_t row = 0; row < 200'000; row += 1 + row % 5) gone.add(row);
  const uint64_t removed = gone.size();
  segments[2].deleted = std::make_shared<DeletedRows>(gone);
  Result<WrittenFile> file = write(segments, {{"k", Kind::kInt64}}, "million");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ(file->rows, 1'000'000 - removed);
  const std::string read = "read_parquet('" + path("million") + "', file_row_number = true)";
  EXPECT_EQ(text("SELECT count(*), min(k), max(k), count(DISTINCT row_group_id) > 5 FROM " + read +
                 ", (SELECT row_group_id FROM parquet_metadata('" + path("million") +
                 "')) WHERE row_group_id = 0"),
            std::to_string(1'000'000 - removed) + "|0|999999|false");
  EXPECT_EQ(text("SELECT count(DISTINCT row_group_id) > 5 FROM parquet_metadata('" +
                 path("million") + "')"),
            "true");
  EXPECT_EQ(
      text("SELECT count(*) FROM (SELECT k, lag(k) OVER (ORDER BY file_row_number) AS p FROM " +
           read + ") WHERE p >= k"),
      "0");
}

TEST_F(ParquetTest, TheFileIsWhatDeltaReadersExpect) {
  ParquetOptions options;
  options.field_ids = {{1, {}}, {2, {{std::nullopt, {{5, {}}}}}}, {3, {{4, {}}}}, {6, {}}, {7, {}},
                       {}};
  const std::vector<columns::Field> fields = {
      {"id", Kind::kInt16},
      {"l", Type::list(Type::structure({{"z", Kind::kString}}))},
      {"s p", Type::structure({{"a'b", Type::decimal(38, 4)}})},
      {"tz", Kind::kTimestamp},
      {"ntz", Kind::kTimestampNtz},
      {"__tide_ctid", Kind::kInt64}};
  auto batch = std::make_shared<Batch>(fields);
  for (columns::Column& column : batch->columns) column.append_null();
  ASSERT_TRUE(write({{batch, nullptr}}, fields, "shape", options).ok());
  EXPECT_EQ(text("SELECT name, type, repetition_type, converted_type, field_id, logical_type LIKE "
                 "'%isAdjustedToUTC=1%' FROM parquet_schema('" +
                 path("shape") + "')"),
            "duckdb_schema|NULL|REQUIRED|NULL|NULL|NULL\n"
            "id|INT32|OPTIONAL|INT_16|1|NULL\n"
            "l|NULL|OPTIONAL|LIST|2|NULL\n"
            "list|NULL|REPEATED|NULL|NULL|NULL\n"
            "element|NULL|OPTIONAL|NULL|NULL|NULL\n"
            "z|BYTE_ARRAY|OPTIONAL|UTF8|5|NULL\n"
            "s p|NULL|OPTIONAL|NULL|3|NULL\n"
            "a'b|FIXED_LEN_BYTE_ARRAY|OPTIONAL|DECIMAL|4|false\n"
            "tz|INT64|OPTIONAL|TIMESTAMP_MICROS|6|true\n"
            "ntz|INT64|OPTIONAL|TIMESTAMP_MICROS|7|false\n"
            "__tide_ctid|INT64|OPTIONAL|INT_64|NULL|NULL");
  EXPECT_EQ(text("SELECT DISTINCT compression FROM parquet_metadata('" + path("shape") + "')"),
            "ZSTD");
  options.compression = Compression::kSnappy;
  ASSERT_TRUE(write({{batch, nullptr}}, fields, "snappy", options).ok());
  EXPECT_EQ(text("SELECT DISTINCT compression FROM parquet_metadata('" + path("snappy") + "')"),
            "SNAPPY");
}

TEST_F(ParquetTest, StatisticsAreTypedAndExact) {
  const auto batch = every_batch(5000);
  Result<WrittenFile> file =
      write({{batch, nullptr}}, every_field(), "stats", {.row_group_rows = 2048});
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  auto bounds_text = [&](const std::vector<std::string>& path) {
    const ColumnStatistics& column = statistics(*file, path);
    Result<Registration> rows = engine_->register_rows({{std::make_shared<Batch>([&] {
                                                           Batch b;
                                                           b.columns.push_back(column.bounds);
                                                           return b;
                                                         }()),
                                                         nullptr}},
                                                       {{"v", column.type}});
    return text("SELECT v FROM tide_rows(" + std::to_string(rows->id()) + ")") + "\n" +
           std::to_string(column.null_count);
  };
  auto true_bounds = [&](const std::string& column) {
    const std::string from = " FROM read_parquet('" + path("stats") + "')";
    return text("SELECT min(" + column + ")" + from + " UNION ALL SELECT max(" + column + ")" +
                from) +
           "\n" + text("SELECT count(*) FILTER (" + column + " IS NULL)" + from);
  };
  for (const char* column :
       {"b", "i16", "i32", "i64", "n4", "n9", "n18", "n38", "s", "day", "tz", "ntz"}) {
    EXPECT_EQ(bounds_text({column}), true_bounds(column)) << column;
  }
  for (const char* infinite : {"f", "d"}) {
    EXPECT_TRUE(statistics(*file, {infinite}).bounds.is_null(0));
  }
  EXPECT_TRUE(statistics(*file, {"x"}).bounds.is_null(0));
  EXPECT_EQ(statistics(*file, {"x"}).null_count, batch->columns[11].null_count());
  EXPECT_EQ(bounds_text({"a \"b\".c", "p q"}), true_bounds("\"a \"\"b\"\".c\".\"p q\""));
}

TEST_F(ParquetTest, BoundsThatAreNotWholeAreLeftOut) {
  // One row group has text too long for statistics, one NaN, one nothing but nulls.
  auto written = [&](const char* name, const char* expression) {
    return write_parquet(*connection_,
                         std::string("SELECT ") + expression + " AS v FROM range(6000) t(i)",
                         path(name), {.row_group_rows = 2048});
  };
  Result<WrittenFile> file =
      written("long", "CASE WHEN i = 3000 THEN 'zz' || repeat('z', 100000) ELSE 'a' || i END");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_TRUE(file->columns[0].bounds.is_null(0) ||
              file->columns[0].bounds.bytes_at(1).size() == 100002);
  file = written("nan", "CASE WHEN i = 3000 THEN 'NaN'::DOUBLE ELSE i END");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->columns[0].bounds.is_null(0));
  file = written("nulls", "CASE WHEN i >= 5000 THEN i END");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->columns[0].null_count, 5000U);
  EXPECT_EQ(file->columns[0].bounds.value<int64_t>(0), 5000);
  EXPECT_EQ(file->columns[0].bounds.value<int64_t>(1), 5999);
  file = written("none", "NULL::INTEGER");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->columns[0].null_count, 6000U);
  EXPECT_TRUE(file->columns[0].bounds.is_null(0));
}

TEST_F(ParquetTest, MapsAreWrittenFromSqlAndReadAsLists) {
  ASSERT_TRUE(write_parquet(*connection_,
                            "SELECT MAP {'a': 1, 'b': NULL} AS m, NULL::MAP(VARCHAR, INTEGER) AS n",
                            path("map"), {})
                  .ok());
  EXPECT_EQ(text("SELECT name, converted_type FROM parquet_schema('" + path("map") +
                 "') LIMIT 5 OFFSET 1"),
            "m|MAP\nkey_value|NULL\nkey|UTF8\nvalue|INT_32\nn|MAP");
  Result<std::vector<ResultColumn>> columns = parquet_columns(*connection_, path("map"));
  ASSERT_TRUE(columns.ok());
  EXPECT_EQ((*columns)[0].sql_type, "MAP(VARCHAR, INTEGER)");
}

TEST_F(ParquetTest, ReadersGetTheColumnsTheyAskFor) {
  ParquetOptions options;
  options.field_ids = {{7, {}}, {8, {}}};
  ASSERT_TRUE(write_parquet(*connection_,
                            "SELECT i::INTEGER AS a, i::VARCHAR AS b FROM range(10) t(i)",
                            path("old"), options)
                  .ok());
  options.field_ids = {{8, {}}, {7, {}}, {9, {}}};
  ASSERT_TRUE(
      write_parquet(*connection_,
                    "SELECT i::VARCHAR AS b, i::BIGINT AS renamed, 1.5::DECIMAL(9,2) AS extra "
                    "FROM range(10, 20) t(i)",
                    path("new"), options)
          .ok());
  ParquetScan scan;
  scan.files = {path("old"), path("new")};
  scan.columns = {{"B", Kind::kString, "b", 8, {}},
                  {"A", Kind::kInt64, "a", 7, {}},
                  {"extra", Type::decimal(9, 2), "", 9, "0.25"},
                  {"later", Type::list(Kind::kString), "", 10, {}}};
  const std::string by_id = parquet_scan_sql(scan);
  EXPECT_EQ(text("SELECT count(*), sum(A), min(A::VARCHAR = B), sum(extra), count(later) FROM (" +
                 by_id + ")"),
            "20|190|true|17.50|0");
  for (ParquetColumn& column : scan.columns) column.field_id.reset();
  EXPECT_EQ(text("SELECT count(*), sum(A), sum(extra), count(later) FROM (" +
                 parquet_scan_sql(scan) + ")"),
            "20|45|17.50|0");
  scan.files.clear();
  EXPECT_EQ(text(parquet_scan_sql(scan)), "");
}

TEST_F(ParquetTest, DeletedRowsAreLeftOutAndFiltersStillReachTheFiles) {
  std::vector<std::shared_ptr<const DeletedRows>> deletions;
  ParquetScan scan;
  scan.columns = {{"k", Kind::kInt64, "", {}, {}}, {"s", Kind::kString, "", {}, {}}};
  for (int file = 0; file < 3; ++file) {
    const std::string name = "file" + std::to_string(file) + " [x]*?'.parquet";
    ASSERT_TRUE(write_parquet(*connection_,
                              "SELECT i + " + std::to_string(file * 300000) +
                                  " AS k, 's' || i AS s FROM range(300000) t(i)",
                              path(name), {})
                    .ok());
    scan.files.push_back(path(name));
    columns::RowSet gone;
    for (uint32_t row = 0; row < 300000; ++row) {
      if (row % 10 == 0 || (row >= 8192 && row < 20480)) gone.add(row);
    }
    deletions.push_back(file == 1 ? nullptr : std::make_shared<DeletedRows>(gone));
  }
  const Registration registered = engine_->register_deletions(deletions);
  scan.deletions = registered.id();
  const std::string sql = parquet_scan_sql(scan);
  const std::string truth =
      "SELECT count(*), sum(k) FROM range(900000) t(k) WHERE k // 300000 = 1 OR NOT (k % 300000 % "
      "10 = 0 OR "
      "k % 300000 BETWEEN 8192 AND 20479)";
  EXPECT_EQ(text("SELECT count(*), sum(k) FROM (" + sql + ")"), text(truth));
  EXPECT_EQ(text("SELECT count(*), sum(k) FROM (" + sql + ") WHERE k > 600007 AND s LIKE '%7'"),
            text(truth.substr(0, truth.find("WHERE")) +
                 "WHERE k > 600007 AND k % 10 = 7 AND NOT (k % 300000 BETWEEN "
                 "8192 AND 20479)"));
  const std::string plan = text("EXPLAIN ANALYZE SELECT s FROM (" + sql + ") WHERE k = 5");
  // The scan itself yields the one row; the whole table would be 900,000.
  EXPECT_NE(plan.find("TABLE_SCAN"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("000 rows"), std::string::npos) << plan;
  EXPECT_EQ(code_of("SELECT tide_live(999, 0::UBIGINT, 1)"), Code::kInvalid);
}

TEST_F(ParquetTest, AFailedWriteLeavesNothing) {
  Result<WrittenFile> file = write_parquet(
      *connection_,
      "SELECT CASE WHEN i = 900000 THEN error('broken') ELSE i END AS v FROM range(1000000) t(i)",
      path("broken"), {});
  EXPECT_FALSE(file.ok());
  EXPECT_FALSE(env::exists(path("broken")));
  ASSERT_TRUE(write_parquet(*connection_, "SELECT 1 AS v", path("there"), {}).ok());
  EXPECT_EQ(write_parquet(*connection_, "SELECT 2 AS v", path("there"), {}).status().code(),
            Code::kExists);
  EXPECT_EQ(text("FROM read_parquet('" + path("there") + "')"), "1");
  EXPECT_EQ(
      write_parquet(*connection_, "SELECT 1 AS v", path("no/such/directory"), {}).status().code(),
      Code::kIo);
}

TEST_F(ParquetTest, DamagedFilesAreErrors) {
  ASSERT_TRUE(write_parquet(*connection_, "SELECT i AS v, 's' || i AS s FROM range(50000) t(i)",
                            path("good"), {})
                  .ok());
  const std::string good = *env::read_file(path("good"));
  int failures = 0;
  for (size_t cut :
       {size_t{0}, size_t{3}, size_t{100}, good.size() / 2, good.size() - 9, good.size() - 1}) {
    ASSERT_TRUE(env::write_file(path("bad" + std::to_string(cut)), good.substr(0, cut)).ok());
    Result<Batch> read = read_parquet(*connection_, path("bad" + std::to_string(cut)),
                                      {{"v", Kind::kInt64, "", {}, {}}});
    failures += read.ok() ? 0 : 1;
  }
  EXPECT_EQ(failures, 6);
}

}  // namespace
}  // namespace tide::duck
