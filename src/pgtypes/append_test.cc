#include "pgtypes/append.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pgtypes/array.h"
#include "pgtypes/internal/print.h"
#include "pgtypes/internal/test_server.h"

namespace tide::pgtypes {
namespace {

using columns::Column;
using columns::Kind;

std::string decimal_text(__int128 value) {
  if (value == 0) return "0";
  bool negative = value < 0;
  std::string digits;
  for (; value != 0; value /= 10) {
    auto digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (digit < 0 ? -digit : digit));
  }
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

/// A value of a column in the form in which the server is asked for it; lists and structs as jsonb
/// prints them.
std::string render(const Column& column, size_t row, bool json = false) {
  if (column.is_null(row)) return "null";
  switch (column.type().kind) {
    case Kind::kBool:
      return column.value<uint8_t>(row) != 0 ? "true" : "false";
    case Kind::kInt16:
      return std::to_string(column.value<int16_t>(row));
    case Kind::kDate:
    case Kind::kInt32:
      return std::to_string(column.value<int32_t>(row));
    case Kind::kTimestamp:
    case Kind::kTimestampNtz:
    case Kind::kInt64:
      return std::to_string(column.value<int64_t>(row));
    case Kind::kFloat: {
      std::string hex;
      auto bits = __builtin_bswap32(column.value<uint32_t>(row));
      print_hex({reinterpret_cast<const char*>(&bits), 4}, hex);
      return hex;
    }
    case Kind::kDouble: {
      std::string hex;
      auto bits = __builtin_bswap64(column.value<uint64_t>(row));
      print_hex({reinterpret_cast<const char*>(&bits), 8}, hex);
      return hex;
    }
    case Kind::kDecimal: {
      size_t width = columns::decimal_width(column.type().precision);
      return decimal_text(width == 2   ? column.value<int16_t>(row)
                          : width == 4 ? column.value<int32_t>(row)
                          : width == 8 ? column.value<int64_t>(row)
                                       : column.value<__int128>(row));
    }
    case Kind::kString:
    case Kind::kBinary: {
      std::string text;
      if (json) {
        print_json_string(column.bytes_at(row), text);
      } else {
        print_hex(column.bytes_at(row), text);
      }
      return text;
    }
    case Kind::kList: {
      std::string text = "[";
      for (uint32_t i = column.offsets()[row]; i < column.offsets()[row + 1]; ++i) {
        if (text.size() > 1) text += ", ";
        text += render(column.child(0), i, true);
      }
      return text + "]";
    }
    case Kind::kStruct: {
      std::string text = "{";
      for (size_t i = 0; i < column.child_count(); ++i) {
        if (i > 0) text += ", ";
        print_json_string(column.type().children[i].name, text);
        text += ": " + render(column.child(i), row, true);
      }
      return text + "}";
    }
  }
  return "";
}

struct AppendCase {
  std::string type;
  std::string mapped;               ///< Spark's spelling
  std::string expression;           ///< over v: what render() gives
  std::vector<std::string> values;  ///< SQL
  std::vector<std::string> diverted;
};

const std::string kTextOfV = "encode(convert_to(v::text, 'UTF8'), 'hex')";
const std::string kJsonOfV = "to_jsonb(v)::text";

const std::vector<AppendCase> kCases = {
    {"bool", "boolean", "v::text", {"true", "false"}, {}},
    {"int2", "short", "v::text", {"-32768", "32767"}, {}},
    {"int4", "integer", "v::text", {"-2147483648", "2147483647"}, {}},
    {"int8", "long", "v::text", {"-9223372036854775808", "9223372036854775807"}, {}},
    {"oid", "long", "v::text", {"0", "4294967295"}, {}},
    {"xid", "long", "v::text", {"'4294967295'"}, {}},
    {"float4",
     "float",
     "encode(float4send(v), 'hex')",
     {"1.5", "'-0'", "'NaN'", "'-Infinity'"},
     {}},
    {"float8", "double", "encode(float8send(v), 'hex')", {"1.5", "'-0'", "'NaN'", "5e-324"}, {}},
    {"numeric(4,2)",
     "decimal(4,2)",
     "trunc(v * 100)::text",
     {"0", "99.99", "-99.99", "0.01", "10"},
     {"'NaN'"}},
    {"numeric(9,0)",
     "decimal(9,0)",
     "trunc(v)::text",
     {"999999999", "-999999999", "10000", "100000000"},
     {"'NaN'"}},
    {"numeric(18,4)",
     "decimal(18,4)",
     "trunc(v * 10000)::text",
     {"12345678901234.5678", "-0.0001", "10000"},
     {"'NaN'"}},
    {"numeric(38,0)",
     "decimal(38,0)",
     "trunc(v)::text",
     {"99999999999999999999999999999999999999", "-99999999999999999999999999999999999999", "1e37"},
     {"'NaN'"}},
    {"numeric(38,38)",
     "decimal(38,38)",
     "trunc(v * 1e38)::text",
     {"0.99999999999999999999999999999999999999", "-1e-38", "0"},
     {"'NaN'"}},
    {"numeric(38,1)",
     "decimal(38,1)",
     "trunc(v * 10)::text",
     {"9999999999999999999999999999999999999.9", "0.1", "-5"},
     {}},
    {"numeric(37,3)",
     "decimal(37,3)",
     "trunc(v * 1000)::text",
     {"9999999999999999999999999999999999.999", "0.001", "-5"},
     {}},
    {"numeric", "string", kTextOfV, {"1.50", "'NaN'", "1e100", "'-Infinity'"}, {}},
    {"numeric(39,1)", "string", kTextOfV, {"1.5"}, {}},
    {"numeric(5,-2)", "string", kTextOfV, {"12300"}, {}},
    {"numeric(2,5)", "string", kTextOfV, {"0.00012"}, {}},
    {"money",
     "decimal(19,2)",
     "trunc(v::numeric * 100)::text",
     {"'92233720368547758.07'::money", "'-92233720368547758.08'::money", "0.01::numeric::money"},
     {}},
    {"text", "string", kTextOfV, {"''", "'é'", "repeat('x', 200)", "repeat(md5('1'), 3000)"}, {}},
    {"varchar(5)", "string", kTextOfV, {"'a  '"}, {}},
    {"char(5)", "string", kTextOfV, {"'a'", "''", "' b '"}, {}},
    {"name", "string", kTextOfV, {"'n'", "''"}, {}},
    {"\"char\"", "string", kTextOfV, {"'c'", "''"}, {}},
    {"uuid", "string", kTextOfV, {"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"}, {}},
    {"json", "string", kTextOfV, {"'{\"a\" :1}'"}, {}},
    {"jsonb", "string", kTextOfV, {"'{\"a\" :1}'"}, {}},
    {"bytea", "binary", "encode(v, 'hex')", {"'\\x00ff'", "''"}, {}},
    {"date",
     "date",
     "(v - date '1970-01-01')::text",
     {"'1970-01-01'", "'0001-01-01'", "'4714-11-24 BC'", "'5874897-12-31'"},
     {"'infinity'", "'-infinity'"}},
    {"timestamp",
     "timestamp_ntz",
     "(extract(epoch FROM v) * 1000000)::bigint::text",
     {"'1970-01-01'", "'1969-12-31 23:59:59.999999'", "'4714-11-24 BC'",
      "'294247-01-10 04:00:54.775806'"},
     {"'infinity'", "'-infinity'", "'294247-01-10 04:00:54.775807'", "'294276-12-31 23:59:59'"}},
    {"timestamptz",
     "timestamp",
     "(extract(epoch FROM v) * 1000000)::bigint::text",
     {"'2024-01-01 00:00+02'"},
     {"'infinity'"}},
    {"time", "string", kTextOfV, {"'24:00'", "'01:02:03.5'"}, {}},
    {"interval", "string", kTextOfV, {"'1 mon -1 day 00:00:00.5'"}, {}},
    {"inet", "string", "encode(convert_to(format('%s', v), 'UTF8'), 'hex')", {"'1.2.3.4'"}, {}},
    {"bit(3)", "string", kTextOfV, {"'101'"}, {}},
    {"xid8", "string", kTextOfV, {"'18446744073709551615'"}, {}},
    {"mood", "string", kTextOfV, {"'sad'"}, {}},
    {"positive", "integer", "v::text", {"7"}, {}},
    {"price", "decimal(10,2)", "trunc(v * 100)::text", {"7.25"}, {"'NaN'"}},
    {"int4range", "string", kTextOfV, {"'[1,5)'"}, {}},
    {"citext", "string", kTextOfV, {"'MiXed'"}, {}},
    {"hstore", "string", kTextOfV, {"'a=>1'"}, {}},
    {"ltree", "string", kTextOfV, {"'a.b'"}, {}},
    {"int2vector", "string", kTextOfV, {"'1 2'"}, {}},
    {"regclass", "string", kTextOfV, {"'pg_class'"}, {}},
    {"int4[]",
     "array<integer>",
     kJsonOfV,
     {"'{}'", "'{1,NULL,-3}'", "'[1:2]={1,2}'"},
     {"'[0:1]={1,2}'", "'{{1,2},{3,4}}'", "'{{1}}'"}},
    {"text[]",
     "array<string>",
     kJsonOfV,
     {"ARRAY['a', NULL, '', E'\\n\"']", "'{}'"},
     {"ARRAY[ARRAY['a']]"}},
    {"bool[]", "array<boolean>", kJsonOfV, {"'{t,f,NULL}'"}, {}},
    {"numeric(5,0)[]", "array<decimal(5,0)>", kJsonOfV, {"'{12345,-1,NULL}'"}, {"'{1,2,NaN}'"}},
    {"timestamptz[]",
     "array<timestamp>",
     "'[' || array_to_string(array(SELECT (extract(epoch FROM x) * 1000000)::bigint FROM unnest(v) "
     "x), ', ') || ']'",
     {"'{2020-01-01 00:00+00,1960-01-01 00:00+00}'"},
     {"'{2020-01-01 00:00+00,infinity}'"}},
    {"pair",
     "struct<a:integer,b c:string,sums:decimal(10,0)>",
     kJsonOfV,
     {"ROW(1, 'x', 2)", "ROW(NULL, NULL, NULL)", "ROW(1, repeat('z', 3000), NULL)"},
     {"ROW(1, 'x', 'NaN')"}},
    {"pair[]",
     "array<struct<a:integer,b c:string,sums:decimal(10,0)>>",
     kJsonOfV,
     {"ARRAY[ROW(1,'a',2)::pair, NULL]"},
     {"ARRAY[ROW(1,'a',2)::pair, ROW(1,'a','NaN')::pair]"}},
    {"nested",
     "struct<a:struct<a:integer,b c:string,sums:decimal(10,0)>,b:array<integer>,c:string>",
     kJsonOfV,
     {"ROW(ROW(1,'x',2), '{1,2}', 'end')", "ROW(NULL, NULL, NULL)"},
     {"ROW(ROW(1,'x',2), '{{1}}', 'end')", "ROW(ROW(1,'x','NaN'), '{1}', 'end')"}},
    {"ints[]",
     "array<array<integer>>",
     "CASE WHEN array_length(v, 1) = 2 THEN '[[1, 2], [3]]' END",
     {"ARRAY['{1,2}'::ints, '{3}'::ints]"},
     {"ARRAY['{{1},{2}}'::ints]"}},
    {"mixed_case", "string", kTextOfV, {"ROW(1, 2)"}, {}},
};

/// Values read from the tables' files and appended are what the server says, nothing else is
/// stored.
TEST(AppendTest, ColumnsHoldWhatPostgresHolds) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestServer server;
  ASSERT_TRUE(server.start());
  std::string script = R"SQL(
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, "b c" text, sums numeric(10,0));
CREATE TYPE nested AS (a pair, gone int, b int[], c text);
ALTER TYPE nested DROP ATTRIBUTE gone;
CREATE TYPE mixed_case AS (x int, "X" int);
CREATE DOMAIN positive AS int; CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN ints AS int[];
CREATE TABLE refused (c cube, ca cube[]);
)SQL";
  for (size_t i = 0; i < kCases.size(); ++i) {
    script += fmt::format("CREATE TABLE a{} (id int, v {}, stored bool);\n", i, kCases[i].type);
    int id = 0;
    for (const std::string& value : kCases[i].values) {
      script += fmt::format("INSERT INTO a{} VALUES ({}, {}, true);\n", i, ++id, value);
    }
    for (const std::string& value : kCases[i].diverted) {
      script += fmt::format("INSERT INTO a{} VALUES ({}, {}, false);\n", i, ++id, value);
    }
    script += fmt::format("INSERT INTO a{} VALUES ({}, NULL, true);\n", i, ++id);
  }
  ASSERT_TRUE(server.psql(script));
  ServerCatalog catalog;
  server.load_catalog(catalog);

  // What cannot be stored is not asked for: the expressions do not take it.
  std::vector<std::string> queries;
  for (size_t i = 0; i < kCases.size(); ++i) {
    queries.push_back(
        fmt::format("SELECT id, CASE WHEN num_nulls(v) = 1 THEN 'null' ELSE {} END FROM a{} WHERE "
                    "stored;",
                    kCases[i].expression, i));
  }
  std::vector<TestServer::Rows> answers = server.rows_of(queries);
  for (size_t i = 0; i < kCases.size(); ++i) {
    SCOPED_TRACE(kCases[i].type);
    std::string table = fmt::format("a{}", i);
    const Attribute& attribute = catalog.attributes(server.relation_oid(table))->at(1);
    auto writer = ValueWriter::create(catalog, attribute.type, attribute.typmod);
    ASSERT_TRUE(writer.ok()) << writer.status().to_string();
    EXPECT_EQ(columns::to_string(writer->column_type()), kCases[i].mapped);
    std::map<int, std::string> expected;
    for (const auto& row : answers[i]) {
      expected[std::stoi(row[0])] = row[1];
    }
    Column column(writer->column_type());
    size_t row = 0;
    for (const StoredRow& stored : server.stored_rows(table, catalog)) {
      int id = load<int32_t>(stored.datums[0]->data());
      if (!stored.datums[1]) {
        column.append_null();
      } else {
        auto appended = writer->append(*stored.datums[1], column);
        ASSERT_TRUE(appended.ok()) << appended.status().to_string();
        EXPECT_EQ(*appended == Appended::kStored, expected.count(id) == 1) << id;
        EXPECT_EQ(column.is_null(row), *appended == Appended::kDiverted) << id;
      }
      ASSERT_EQ(column.size(), ++row);
      if (expected.count(id) == 1) {
        EXPECT_EQ(render(column, row - 1), expected[id]) << id;
      }
    }
    EXPECT_EQ(row, kCases[i].values.size() + kCases[i].diverted.size() + 1);
    // The parts fit together: a batch of it can be sent.
    columns::Batch batch;
    batch.columns.push_back(column);
    EXPECT_TRUE(columns::decode(as_bytes(columns::encode(batch)),
                                {columns::Field{"v", writer->column_type(), true}})
                    .ok());
  }
  for (const Attribute& attribute : *catalog.attributes(server.relation_oid("refused"))) {
    Status refused = map_type(catalog, attribute.type, attribute.typmod).status();
    EXPECT_EQ(refused.code(), Code::kInvalid);
    EXPECT_EQ(refused.message(), "type cube of an extension has no mapping");
  }
}

TEST(ArrayTest, ElementsAreDatums) {
  std::string payload;
  for (int32_t word : {1, 24, 23, 3, 1}) append(payload, word);  // one dimension, bitmap, int4
  append<uint8_t>(payload, 0b101);
  payload.append(3, '\0');
  append<int32_t>(payload, 7);
  append<int32_t>(payload, -8);
  // The header in front makes the data begin at 28; it must at 32.
  EXPECT_EQ(array_elements(payload, 4, 'i').status().code(), Code::kCorrupt);
  store<int32_t>(payload.data() + 4, 32);
  payload.insert(24, 4, '\0');
  auto elements = array_elements(payload, 4, 'i');
  ASSERT_TRUE(elements.ok()) << elements.status().to_string();
  ASSERT_EQ(elements->size(), 3U);
  EXPECT_EQ(load<int32_t>(elements->at(0)->data()), 7);
  EXPECT_FALSE(elements->at(1));
  EXPECT_EQ(load<int32_t>(elements->at(2)->data()), -8);
  payload.pop_back();
  EXPECT_EQ(array_elements(payload, 4, 'i').status().code(), Code::kCorrupt);
}

TEST(AppendTest, LoneByteOfCharIsNoText) {
  ServerCatalog catalog;
  TypeInfo type;
  type.oid = oid::kChar;
  type.length = 1;
  catalog.types[oid::kChar] = type;
  Column column(Kind::kString);
  ASSERT_TRUE(append_value(catalog, oid::kChar, -1, "\xC3", column).ok());
  EXPECT_EQ(column.bytes_at(0), "\\303");
}

/// pgvector is not installed where tests run: its layout by hand (vector.h).
TEST(AppendTest, VectorBecomesListOfFloats) {
  ServerCatalog catalog;
  TypeInfo type;
  type.oid = 20000;
  type.name = "vector";
  type.length = -1;
  catalog.types[type.oid] = type;
  std::string payload;
  append<uint16_t>(payload, 2);
  append<uint16_t>(payload, 0);
  append(payload, 1.5F);
  append(payload, -2.0F);
  ValueWriter writer = ValueWriter::create(catalog, type.oid, -1).value();
  Column column(writer.column_type());
  ASSERT_TRUE(writer.append(plain_datum(payload), column).ok());
  EXPECT_EQ(column.child(0).value<float>(1), -2.0F);
  EXPECT_EQ(to_text(catalog, type.oid, -1, plain_datum(payload)).value(), "[1.5,-2]");
  EXPECT_EQ(writer.append(plain_datum(payload.substr(0, 8)), column).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(column.size(), 1U);
}

}  // namespace
}  // namespace tide::pgtypes
