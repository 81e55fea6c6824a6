#include "deltalog/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "deltalog/data_skipping.h"
#include "deltalog/value.h"

namespace tide::deltalog {
namespace {

using columns::Kind;
using columns::Type;

std::vector<columns::Field> fields() {
  return {{"id", Kind::kInt64},
          {"name", Kind::kString},
          {"price", Type::decimal(38, 10)},
          {"at", Kind::kTimestamp},
          {"ratio", Kind::kDouble},
          {"flag", Kind::kBool},
          {"s", Type::structure({{"d", Kind::kDate}})},
          {"l", Type::list(Kind::kInt32)}};
}

columns::Batch sample(double ratio) {
  columns::Batch batch(fields());
  for (int i = 0; i < 3; ++i) {
    batch.columns[0].append<int64_t>(i * 10 - 5);
    batch.columns[1].append_bytes(std::string(40, static_cast<char>('a' + i)));
    batch.columns[2].append<Int128>(static_cast<Int128>(1'234'567'890'123'456'789) * 1'000'000'007 +
                                    i);
    batch.columns[3].append<int64_t>(-1 + i * 1'001);
    batch.columns[4].append<double>(i == 1 ? ratio : i);
    batch.columns[5].append<uint8_t>(1);
    batch.columns[6].child(0).append<int32_t>(i);
    batch.columns[6].end_struct();
    batch.columns[7].end_list();
  }
  for (auto& column : batch.columns) column.append_null();
  return batch;
}

TEST(Statistics, AreWrittenAsTheProtocolWants) {
  StatisticsBuilder builder(fields());
  builder.add(sample(0.5));
  std::string a32(32, 'a');
  std::string c32(32, 'c');
  EXPECT_EQ(
      builder.json(),
      R"({"numRecords":4,"tightBounds":true,"minValues":{"id":-5,"name":")" + a32 +
          R"(","price":123456789876543201.9864197523,"at":"1969-12-31T23:59:59.999Z","ratio":0,)"
          R"("s":{"d":"1970-01-01"}},"maxValues":{"id":15,"name":")" +
          c32 +
          "\x7f"
          R"(","price":123456789876543201.9864197525,"at":"1970-01-01T00:00:00.002Z","ratio":2,)"
          R"("s":{"d":"1970-01-03"}},"nullCount":{"id":1,"name":1,"price":1,"at":1,"ratio":1,)"
          R"("flag":1,"s":{"d":1},"l":1}})");
}

TEST(Statistics, NotANumberTakesTheBoundsAway) {
  StatisticsBuilder builder(fields());
  builder.add(sample(std::nan("")));
  FileStatistics read = FileStatistics::parse(builder.json());
  EXPECT_TRUE(is_null(read.bounds({"ratio"}, TypeKind::kDouble).max));
  EXPECT_EQ(read.bounds({"ratio"}, TypeKind::kDouble).null_count, 1);
}

TEST(Statistics, YearsWithoutFourDigitsAreNoBounds) {
  StatisticsBuilder builder({{"day", Kind::kDate}, {"at", Kind::kTimestampNtz}});
  columns::Batch batch({{"day", Kind::kDate}, {"at", Kind::kTimestampNtz}});
  constexpr int64_t kDay = int64_t{86'400} * 1'000'000;
  for (int32_t day : {-719'163, 2'932'896}) {  // 0001-12-31 BC, 9999-12-31
    batch.columns[0].append<int32_t>(day);
    batch.columns[1].append<int64_t>((day + 1) * kDay);
  }
  builder.add(batch);
  FileStatistics read = FileStatistics::parse(builder.json());
  EXPECT_TRUE(is_null(read.bounds({"day"}, TypeKind::kDate).min));
  EXPECT_EQ(std::get<int64_t>(read.bounds({"day"}, TypeKind::kDate).max), 2'932'896);
  EXPECT_FALSE(is_null(read.bounds({"at"}, TypeKind::kTimestampNtz).min));
  EXPECT_TRUE(is_null(read.bounds({"at"}, TypeKind::kTimestampNtz).max));
}

TEST(Statistics, OnlyTheFirstLeavesCount) {
  StatisticsBuilder builder(fields(), 2);
  builder.add(sample(0));
  EXPECT_EQ(builder.json().find("price"), std::string::npos);
  EXPECT_NE(builder.json().find("name"), std::string::npos);
}

TEST(Statistics, AreReadBackExactly) {
  StatisticsBuilder builder(fields());
  builder.add(sample(0.5));
  FileStatistics read = FileStatistics::parse(builder.json());
  EXPECT_EQ(read.num_records(), 4);
  EXPECT_TRUE(read.tight_bounds());
  DataType decimal(TypeKind::kDecimal);
  decimal.precision = 38;
  decimal.scale = 10;
  EXPECT_TRUE(std::get<Int128>(read.bounds({"price"}, decimal).min) ==
              static_cast<Int128>(1'234'567'890'123'456'789) * 1'000'000'007);
  ColumnBounds at = read.bounds({"at"}, TypeKind::kTimestamp);
  EXPECT_LE(std::get<int64_t>(at.min), -1);
  EXPECT_GE(std::get<int64_t>(at.max), 2001);
  EXPECT_EQ(std::get<int64_t>(read.bounds({"s", "d"}, TypeKind::kDate).max), 2);
  EXPECT_TRUE(is_null(read.bounds({"nope"}, TypeKind::kDate).max));
  std::string wide = with_wide_bounds(builder.json());
  EXPECT_FALSE(FileStatistics::parse(wide).tight_bounds());
  EXPECT_FALSE(FileStatistics::parse(with_wide_bounds("{\"tightBounds\": true}")).tight_bounds());
  EXPECT_FALSE(FileStatistics::parse(with_wide_bounds("{\"numRecords\":1}")).tight_bounds());
  EXPECT_EQ(FileStatistics::parse("{\"numRecords\":1").num_records(), std::nullopt);
}

TEST(Statistics, CutMaximaSortAboveWhatWasCut) {
  std::string head(31, 'x');
  const std::string emoji = "\xF0\x9F\x98\x80";
  const std::string top = "\xF4\x8F\xBF\xBF";
  for (const std::string& text :
       {head + "ab", head + emoji + emoji, head + "a\x7F" + "b", head + "a" + top + "b",
        head + emoji + "z", std::string(33, '~')}) {
    std::optional<std::string> cut = cut_maximum(text);
    ASSERT_TRUE(cut);
    EXPECT_GT(*cut, text);
    EXPECT_LE(cut_minimum(text), text);
  }
  std::string tops;
  for (int i = 0; i < 100; ++i) tops += top;
  EXPECT_FALSE(cut_maximum(tops));
  EXPECT_EQ(cut_maximum("short"), "short");
}

TEST(Value, TextFormsRoundTrip) {
  struct Case {
    DataType type;
    std::string text;
    std::string canonical;
  };
  DataType decimal(TypeKind::kDecimal);
  decimal.precision = 10;
  decimal.scale = 3;
  for (const Case& c : std::vector<Case>{
           {TypeKind::kBool, "true", "true"},
           {TypeKind::kByte, "-128", "-128"},
           {TypeKind::kLong, "9223372036854775807", "9223372036854775807"},
           {TypeKind::kFloat, "0.1", "0.1"},
           {TypeKind::kDouble, "-Infinity", "-Infinity"},
           {decimal, "-12.5", "-12.500"},
           {decimal, "1.2E1", "12.000"},
           {TypeKind::kDate, "0001-01-01", "0001-01-01"},
           {TypeKind::kTimestamp, "2020-02-29 23:59:59.123456", "2020-02-29T23:59:59.123456Z"},
           {TypeKind::kTimestamp, "2020-02-29T23:59:59.1-08:00", "2020-03-01T07:59:59.100000Z"},
           {TypeKind::kTimestampNtz, "1969-12-31 00:00:00", "1969-12-31 00:00:00.000000"},
           {TypeKind::kString, "x", "x"}}) {
    Result<Value> value = parse_value(c.text, c.type);
    ASSERT_TRUE(value.ok()) << c.text << ": " << value.status().to_string();
    EXPECT_EQ(write_value(*value, c.type), c.canonical);
  }
  for (const Case& c : std::vector<Case>{{TypeKind::kByte, "128", ""},
                                         {TypeKind::kDate, "2021-02-29", ""},
                                         {TypeKind::kTimestamp, "2021-02-01T25:00:00", ""},
                                         {decimal, "1.2345", ""},
                                         {TypeKind::kLong, "1x", ""}}) {
    EXPECT_EQ(parse_value(c.text, c.type).status().code(), Code::kCorrupt) << c.text;
  }
  EXPECT_TRUE(is_null(*parse_value("", TypeKind::kString)));
  EXPECT_TRUE(is_null(*parse_value(std::nullopt, TypeKind::kLong)));
}

TEST(FileFilter, SkipsOnlyWhatCannotMatch) {
  Schema schema = from_columns(fields());
  schema.fields.push_back({"p", TypeKind::kInteger});
  StatisticsBuilder builder(fields());
  builder.add(sample(0.5));
  AddFile file;
  file.stats = builder.json();
  file.partition_values["p"] = "7";
  auto may = [&](std::vector<std::string> column, Comparison op, Value operand) {
    return FileFilter(schema, {"p"}, {{std::move(column), op, std::move(operand)}}).may_match(file);
  };
  using enum Comparison;
  EXPECT_TRUE(may({"id"}, kEqual, int64_t{15}));
  EXPECT_FALSE(may({"ID"}, kEqual, int64_t{16}));
  EXPECT_FALSE(may({"id"}, kLess, int64_t{-5}));
  EXPECT_TRUE(may({"id"}, kLessOrEqual, int64_t{-5}));
  EXPECT_FALSE(may({"id"}, kGreater, int64_t{15}));
  EXPECT_TRUE(may({"id"}, kIsNull, Value()));
  EXPECT_FALSE(may({"id"}, kEqual, Value()));
  EXPECT_TRUE(may({"at"}, kGreater, int64_t{2000}));
  EXPECT_FALSE(may({"s", "d"}, kGreater, int64_t{2}));
  EXPECT_TRUE(may({"flag"}, kEqual, false));
  EXPECT_TRUE(may({"unknown"}, kEqual, int64_t{1}));
  EXPECT_TRUE(may({"p"}, kEqual, int64_t{7}));
  EXPECT_FALSE(may({"p"}, kNotEqual, int64_t{7}));
  EXPECT_FALSE(may({"p"}, kIsNull, Value()));
  EXPECT_FALSE(may({"name"}, kGreater, std::string("d")));
  EXPECT_TRUE(may({"name"}, kGreater, std::string(36, 'c')));
}

}  // namespace
}  // namespace tide::deltalog
