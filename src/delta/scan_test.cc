#include "delta/scan.h"

#include <fmt/format.h>

#include <filesystem>

#include "delta/internal/scan_sql.h"
#include "delta/internal/test_lake.h"
#include "delta/table.h"
#include "deltalog/path.h"
#include "deltalog/protocol.h"
#include "duck/sql_text.h"

namespace tide::delta {
namespace {

using deltalog::Schema;
using deltalog::SchemaField;
using deltalog::TypeKind;

class ScanTest : public LakeTest {
 protected:
  /// A file made by a SELECT.
  deltalog::AddFile file(const std::string& name, const std::string& select) {
    std::string path = scratch_ + "/" + name;
    EXPECT_TRUE(env::make_directories(std::filesystem::path(path).parent_path()).ok());
    Result<columns::Batch> copied =
        query(fmt::format("COPY ({}) TO {} (FORMAT parquet)", select, duck::quote_literal(path)));
    EXPECT_TRUE(copied.ok()) << text_of(copied);
    deltalog::AddFile add;
    add.path = deltalog::percent_encode(name);
    add.size = 1;
    return add;
  }

  std::string rows(const Schema& schema, std::vector<deltalog::Action> actions,
                   std::vector<std::string> partition_columns = {},
                   deltalog::Properties properties = {}) {
    deltalog::Metadata metadata;
    metadata.schema_string = deltalog::write_schema(schema);
    metadata.partition_columns = std::move(partition_columns);
    metadata.configuration = std::move(properties);
    actions.emplace_back(std::move(metadata));
    actions.emplace_back(deltalog::Protocol{3, 7, {{"columnMapping", "typeWidening"}}, {{}}});
    deltalog::TableState state;
    state.apply(0, std::move(actions));
    EXPECT_TRUE(state.finish().ok());
    std::unique_ptr<TableDirectory> directory = local_directory(scratch_);
    Result<Scan> scan = scan_table(*directory, *engine_, state, {});
    if (!scan.ok()) return text_of(scan);
    sql_ = scan->sql;
    return rows_of(scan->sql);
  }
  std::string sql_;
};

TEST_F(ScanTest, SchemaEvolvesFileByFile) {
  Schema schema{{{"a", TypeKind::kLong},
                 {"b", TypeKind::kString},
                 {"Name", TypeKind::kString},
                 {"n", TypeKind::kVoid}}};
  EXPECT_EQ(rows(schema, {file("1.parquet", "SELECT 1::INTEGER AS a, 'x' AS name"),
                          file("2.parquet", "SELECT 'y' AS b, 3::BIGINT AS a, 0 AS __tide_ctid")}),
            "1|NULL|x|NULL\n3|y|NULL|NULL");
}

TEST_F(ScanTest, NestedFieldsAreRenamed) {
  SchemaField inner{"Inner", TypeKind::kInteger};
  inner.physical_name = "p-i";
  inner.column_id = 3;
  deltalog::DataType structure(TypeKind::kStruct);
  structure.children = {inner};
  deltalog::DataType array(TypeKind::kArray);
  array.children = {{"element", structure}};
  deltalog::DataType map(TypeKind::kMap);
  map.children = {{"key", TypeKind::kString, false}, {"value", structure}};
  SchemaField s{"the struct", structure};
  s.physical_name = "p-s";
  SchemaField l{"l", array};
  l.physical_name = "p-l";
  SchemaField m{"m", map};
  m.physical_name = "p-m";
  std::string select =
      "SELECT {'p-i': 1} AS \"p-s\", [{'p-i': 2}, NULL] AS \"p-l\", MAP {'k': {'p-i': 3}} AS "
      "\"p-m\""
      " UNION ALL SELECT NULL, NULL, NULL";
  EXPECT_EQ(rows(Schema{{s, l, m}}, {file("1.parquet", select)}, {},
                 {{"delta.columnMapping.mode", "name"}}),
            "NULL|NULL|NULL\n{'Inner': 1}|[{'Inner': 2}, NULL]|{k={'Inner': 3}}");
}

TEST_F(ScanTest, ColumnsAreFoundById) {
  SchemaField a{"a", TypeKind::kInteger};
  a.column_id = 7;
  a.physical_name = "whatever";
  EXPECT_EQ(rows(Schema{{a}}, {file("1.parquet", "SELECT 5 AS other")}, {},
                 {{"delta.columnMapping.mode", "id"}}),
            "NULL");
  std::string path = scratch_ + "/2.parquet";
  ASSERT_OK(
      query("COPY (SELECT 5 AS other) TO '" + path + "' (FORMAT parquet, FIELD_IDS {other: 7})"));
  deltalog::AddFile add;
  add.path = "2.parquet";
  EXPECT_EQ(rows(Schema{{a}}, {add}, {}, {{"delta.columnMapping.mode", "id"}}), "5");
}

TEST_F(ScanTest, PartitionValuesAreTypedConstants) {
  deltalog::DataType decimal(TypeKind::kDecimal);
  decimal.precision = 5;
  decimal.scale = 2;
  Schema schema{{{"v", TypeKind::kInteger},
                 {"d", TypeKind::kDate},
                 {"t", TypeKind::kTimestamp},
                 {"c", decimal},
                 {"s", TypeKind::kString},
                 {"x", TypeKind::kBinary},
                 {"f", TypeKind::kDouble}}};
  deltalog::AddFile one = file("s=a'b%/[1].parquet", "SELECT 1 AS v, 'in file' AS s");
  one.partition_values = {{"d", "2020-01-02"}, {"t", "2020-01-02T00:00:00.5Z"}, {"c", "1.5"},
                          {"s", "a'b%"},       {"x", std::string("\x01\xff")},  {"f", "NaN"}};
  deltalog::AddFile two = file("s=c*/2.parquet", "SELECT 2 AS v");
  two.partition_values = {{"d", std::nullopt}, {"s", ""}, {"f", "-Infinity"}};
  std::string got = rows(schema, {one, two}, {"d", "t", "c", "s", "x", "f"});
  EXPECT_EQ(got,
            "1|2020-01-02|2020-01-02 00:00:00.5+00|1.50|a'b%|\\x01\\xFF|nan\n"
            "2|NULL|NULL|NULL|NULL|NULL|-inf");
  one.partition_values["d"] = "yesterday";
  EXPECT_NE(rows(schema, {one}, {"d", "t", "c", "s", "x", "f"}).find("CORRUPT"), std::string::npos);
}

TEST_F(ScanTest, PartitionColumnsAloneStillHaveRows) {
  deltalog::AddFile one = file("1.parquet", "SELECT range AS gone FROM range(3)");
  one.partition_values = {{"p", "7"}};
  EXPECT_EQ(rows(Schema{{{"p", TypeKind::kInteger}}}, {one}, {"p"}), "7\n7\n7");
  EXPECT_EQ(rows(Schema{{{"p", TypeKind::kInteger}}}, {}, {"p"}), "");
}

TEST_F(ScanTest, TimesWithoutZoneAreUtcInEverySession) {
  deltalog::AddFile one = file("1.parquet", "SELECT TIMESTAMP '2020-07-01 12:00:00' AS t");
  Schema schema{{{"t", TypeKind::kTimestamp}}};
  EXPECT_EQ(rows(schema, {one}), "2020-07-01 12:00:00+00");
  std::unique_ptr<duck::Connection> connection = *engine_->connect();
  ASSERT_OK(connection->execute("SET TimeZone = 'America/New_York'"));
  auto result = connection->query("SELECT epoch_us(t) FROM (" + sql_ + ")");
  ASSERT_OK(result);
  EXPECT_EQ((*result)->all()->columns[0].value<int64_t>(0), 1'593'604'800'000'000);
}

}  // namespace
}  // namespace tide::delta
