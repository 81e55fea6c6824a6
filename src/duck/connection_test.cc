#include "duck/connection.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "duck/internal/test_engine.h"

namespace tide::duck {
namespace {

class ConnectionTest : public EngineTest {
 protected:
  void SetUp() override { open(); }

  columns::Batch all(std::string_view sql) {
    Result<std::unique_ptr<QueryResult>> result = connection_->query(sql);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    columns_ = (*result)->columns();
    Result<columns::Batch> batch = (*result)->all();
    EXPECT_TRUE(batch.ok()) << batch.status().to_string();
    return *std::move(batch);
  }
  std::vector<ResultColumn> columns_;
};

TEST_F(ConnectionTest, EveryTypeHasARepresentation) {
  struct Case {
    const char* sql;
    const char* type;
    const char* sql_type;
    const char* text;
  };
  const Case cases[] = {
      {"true", "boolean", "BOOLEAN", "true"},
      {"(-128)::TINYINT", "short", "TINYINT", "-128"},
      {"255::UTINYINT", "short", "UTINYINT", "255"},
      {"(-32768)::SMALLINT", "short", "SMALLINT", "-32768"},
      {"65535::USMALLINT", "integer", "USMALLINT", "65535"},
      {"(-2147483648)::INTEGER", "integer", "INTEGER", "-2147483648"},
      {"4294967295::UINTEGER", "long", "UINTEGER", "4294967295"},
      {"(-9223372036854775808)::BIGINT", "long", "BIGINT", "-9223372036854775808"},
      {"18446744073709551615::UBIGINT", "decimal(20,0)", "UBIGINT", "18446744073709551615"},
      {"(-170141183460469231731687303715884105728)::HUGEINT", "string", "HUGEINT",
       "-170141183460469231731687303715884105728"},
      {"0::HUGEINT", "string", "HUGEINT", "0"},
      {"340282366920938463463374607431768211455::UHUGEINT", "string", "UHUGEINT",
       "340282366920938463463374607431768211455"},
      {"'NaN'::FLOAT", "float", "FLOAT", "nan"},
      {"'-Infinity'::DOUBLE", "double", "DOUBLE", "-inf"},
      {"(-0.01)::DECIMAL(3,2)", "decimal(3,2)", "DECIMAL(3,2)", "-0.01"},
      {"99999999999999999999999999999999999999::DECIMAL(38,0)", "decimal(38,0)", "DECIMAL(38,0)",
       "99999999999999999999999999999999999999"},
      {"'ä€😀'", "string", "VARCHAR", "ä€😀"},
      {"'\\x00\\xFF'::BLOB", "binary", "BLOB", "\\x00\\xFF"},
      {"DATE '0044-03-15 (BC)'", "date", "DATE", "0044-03-15 (BC)"},
      {"'infinity'::DATE", "date", "DATE", "infinity"},
      {"TIMESTAMP '1969-12-31 23:59:59.999999'", "timestamp_ntz", "TIMESTAMP",
       "1969-12-31 23:59:59.999999"},
      {"TIMESTAMPTZ '2024-02-29 12:00:00+02'", "timestamp", "TIMESTAMP WITH TIME ZONE",
       "2024-02-29 10:00:00+00"},
      {"'2024-02-03 04:05:06'::TIMESTAMP_S", "timestamp_ntz", "TIMESTAMP_S", "2024-02-03 04:05:06"},
      {"'1900-02-03 04:05:06.789'::TIMESTAMP_MS", "timestamp_ntz", "TIMESTAMP_MS",
       "1900-02-03 04:05:06.789"},
      {"'infinity'::TIMESTAMP_S", "timestamp_ntz", "TIMESTAMP_S", "infinity"},
      {"'x'::ENUM('y', 'x''s', 'x')", "string", "ENUM('y', 'x''s', 'x')", "x"},
      {"[1, NULL, 3]", "array<integer>", "INTEGER[]", "[1, NULL, 3]"},
      {"[[1], NULL, []]", "array<array<integer>>", "INTEGER[][]", "[[1], NULL, []]"},
      {"array_value(1, 2)", "array<integer>", "INTEGER[2]", "[1, 2]"},
      {"{'a b': 1, c: [{d: 'x'}]}", "struct<a b:integer,c:array<struct<d:string>>>",
       "STRUCT(\"a b\" INTEGER, \"c\" STRUCT(\"d\" VARCHAR)[])", "{'a b': 1, 'c': [{'d': x}]}"},
      {"MAP {'k': 1}", "array<struct<key:string,value:integer>>", "MAP(VARCHAR, INTEGER)",
       "[{'key': k, 'value': 1}]"},
      {"'{\"a\": 1}'::JSON", "string", "JSON", "{\"a\": 1}"},
      {"NULL", "integer", "INTEGER", "NULL"},
  };
  for (const Case& c : cases) {
    all(std::string("SELECT ") + c.sql);
    ASSERT_EQ(columns_.size(), 1U);
    EXPECT_EQ(columns::to_string(columns_[0].type), c.type) << c.sql;
    std::string sql_type = columns_[0].sql_type == "\"NULL\"" ? "INTEGER" : columns_[0].sql_type;
    EXPECT_EQ(sql_type, c.sql_type) << c.sql;
    EXPECT_EQ(text(std::string("SELECT ") + c.sql), c.text) << c.sql;
  }
}

/// What we write ourselves is what DuckDB's cast writes.
TEST_F(ConnectionTest, TextsAreDuckDbsOwn) {
  const char* values[] = {
      "UUID '00000000-0000-0000-0000-000000000000'",
      "UUID 'ffffffff-ffff-4fff-8fff-ffffffffffff'",
      "TIME '00:00:00'",
      "TIME '23:59:59.100'",
      "TIME '24:00:00'",
      "'13:45:06.123456789'::TIME_NS",
      "TIMETZ '13:45:06.5-03:30'",
      "TIMETZ '00:00:00+15:59:59'",
      "TIMETZ '00:00:00-15:59:59'",
      "INTERVAL '0 seconds'",
      "INTERVAL '-14 months -3 days -04:05:06.78'",
      "INTERVAL '1 year 1 month 1 day 100:00:00'",
      "INTERVAL '13 months -2 days'",
      "'2024-02-03 04:05:06.123456789'::TIMESTAMP_NS",
      "'1700-01-01 00:00:00.000000001'::TIMESTAMP_NS",
      "'2000-02-29 00:00:00'::TIMESTAMP_NS",
      "'infinity'::TIMESTAMP_NS",
      "'0101001110'::BIT",
      "'1'::BIT",
      "(-1)::HUGEINT",
      "10000000000000000000::HUGEINT",
  };
  for (const char* value : values) {
    const std::string sql = std::string("SELECT ") + value;
    EXPECT_EQ(text(sql), text(sql + "::VARCHAR")) << value;
  }
}

TEST_F(ConnectionTest, NestedAndConstantVectorsComeWhole) {
  EXPECT_EQ(text("SELECT sum(c.a), sum(c.l[2]), count(c.n), sum(len(c.l)) FROM (SELECT {a: 1, l: "
                 "[7, i], n: NULL::INTEGER} AS c FROM range(10000) t(i))"),
            "10000|49995000|0|20000");
  columns::Batch batch =
      all("SELECT {k: 'constant', v: i, l: [i, NULL, 5]} FROM range(5000) t(i) WHERE i % 3 <> 0");
  ASSERT_EQ(batch.rows(), 3333U);
  for (size_t row = 0; row < batch.rows(); ++row) {
    const int64_t i = static_cast<int64_t>(row / 2 * 3 + row % 2 + 1);
    ASSERT_EQ(batch.columns[0].child(0).bytes_at(row), "constant");
    ASSERT_EQ(batch.columns[0].child(1).value<int64_t>(row), i);
    ASSERT_EQ(batch.columns[0].child(2).child(0).value<int64_t>(row * 3), i);
    ASSERT_TRUE(batch.columns[0].child(2).child(0).is_null(row * 3 + 1));
  }
}

TEST_F(ConnectionTest, ResultsStream) {
  Result<std::unique_ptr<QueryResult>> result =
      connection_->query("SELECT i FROM range(1000000000) t(i)");
  ASSERT_TRUE(result.ok());
  Result<std::optional<columns::Batch>> first = (*result)->next();
  ASSERT_TRUE(first.ok());
  EXPECT_GT((*first)->rows(), 0U);
  result->reset();
  EXPECT_EQ(text("SELECT 1"), "1");
}

TEST_F(ConnectionTest, AnErrorBehindRowsIsNoEnd) {
  Result<std::unique_ptr<QueryResult>> result = connection_->query(
      "SELECT CASE WHEN i = 3000000 THEN error('broken') ELSE i END FROM range(5000000) t(i)");
  ASSERT_TRUE(result.ok());
  Status status;
  while (status.ok()) {
    Result<std::optional<columns::Batch>> next = (*result)->next();
    if (next.ok()) {
      ASSERT_TRUE(next->has_value()) << "ended without the error";
    } else {
      status = next.status();
    }
  }
  // Of two workers the one that is stopped may report before the one that failed.
  EXPECT_TRUE(status.message().find("broken") != std::string::npos || status.code() == Code::kRetry)
      << status.to_string();
  EXPECT_EQ(text("SELECT 1"), "1");
}

TEST_F(ConnectionTest, InterruptEndsAQuery) {
  std::atomic<bool> ended = false;
  std::thread other([&] {
    while (!ended) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      connection_->interrupt();
    }
  });
  const Code code = code_of(
      "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE (i * j) % 7 = 3");
  ended = true;
  other.join();
  EXPECT_EQ(code, Code::kRetry);
  EXPECT_EQ(text("SELECT 1"), "1");
}

TEST_F(ConnectionTest, ErrorsHaveCodesAndDuckDbsMessage) {
  EXPECT_EQ(code_of("SELEC 1"), Code::kInvalid);
  EXPECT_EQ(code_of("SELECT * FROM nothing_here"), Code::kNotFound);
  EXPECT_EQ(code_of("SELECT missing FROM range(1)"), Code::kInvalid);
  EXPECT_EQ(code_of("SELECT 'x'::INTEGER"), Code::kInvalid);
  EXPECT_EQ(code_of("SELECT 1; SELECT 2"), Code::kInvalid);
  EXPECT_EQ(code_of(std::string_view("SELECT 1\0", 9)), Code::kInvalid);
  EXPECT_EQ(code_of("SELECT 'unended"), Code::kInvalid);
  EXPECT_EQ(code_of("SELECT * FROM read_parquet('/no/such/file.parquet')"), Code::kIo);
  EXPECT_NE(text("SELECT * FROM nothing_here").find("nothing_here does not exist"),
            std::string::npos);
}

TEST_F(ConnectionTest, MemoryLimitIsAnErrorNotAnEnd) {
  open({.memory_limit_bytes = uint64_t{64} << 20, .threads = 2});
  EXPECT_EQ(code_of("SELECT count(*) FROM (SELECT DISTINCT i, i::VARCHAR || repeat('x', 50) FROM "
                    "range(3000000) t(i))"),
            Code::kUnavailable);
  open({.memory_limit_bytes = uint64_t{128} << 20,
        .threads = 2,
        .temp_directory = path("spill"),
        .lock_down = true,
        .readable_directories = {path("lake")}});
  EXPECT_EQ(text("SELECT count(*) FROM (SELECT i::VARCHAR || repeat('x', 50) AS s FROM "
                 "range(2000000) t(i) ORDER BY s) WHERE s > ''"),
            "2000000");
}

TEST_F(ConnectionTest, ParametersAreValuesOrText) {
  Result<std::unique_ptr<Prepared>> prepared =
      connection_->prepare("SELECT $1::INTEGER + 1, $2, $3, $4::BLOB, $5::DATE, $6");
  ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
  EXPECT_EQ((*prepared)->kind(), StatementKind::kSelect);
  EXPECT_EQ((*prepared)->parameter_count(), 6U);
  const Parameter parameters[] = {std::string("41"),   int64_t{1} << 40,          2.5,
                                  Blob{{"\0\xff", 2}}, std::string("2024-02-29"), std::monostate()};
  for (int round = 0; round < 3; ++round) {
    Result<std::unique_ptr<QueryResult>> result = (*prepared)->execute(parameters);
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    Result<columns::Batch> row = (*result)->all();
    ASSERT_TRUE(row.ok());
    EXPECT_EQ(row->columns[0].value<int32_t>(0), 42);
    EXPECT_EQ(row->columns[1].value<int64_t>(0), int64_t{1} << 40);
    EXPECT_EQ(row->columns[2].value<double>(0), 2.5);
    EXPECT_EQ(row->columns[3].bytes_at(0), std::string_view("\0\xff", 2));
    EXPECT_EQ(row->columns[4].value<int32_t>(0), 19782);
    EXPECT_TRUE(row->columns[5].is_null(0));
  }
  EXPECT_EQ((*prepared)->execute({}).status().code(), Code::kInvalid);
  const Parameter wrong[] = {std::string("x"), std::monostate(), std::monostate(),
                             std::monostate(), std::monostate(), std::monostate()};
  Result<std::unique_ptr<QueryResult>> failed = (*prepared)->execute(wrong);
  EXPECT_EQ(failed.ok() ? (*failed)->all().status().code() : failed.status().code(),
            Code::kInvalid);
}

TEST_F(ConnectionTest, PreparedStatementsTellTheirColumns) {
  Result<std::unique_ptr<Prepared>> prepared =
      connection_->prepare("SELECT 1.5 AS a, 'x' AS \"B b\" WHERE 1 = $1");
  ASSERT_TRUE(prepared.ok());
  Result<std::vector<ResultColumn>> columns = (*prepared)->columns();
  ASSERT_TRUE(columns.ok());
  ASSERT_EQ(columns->size(), 2U);
  EXPECT_EQ((*columns)[0].sql_type, "DECIMAL(2,1)");
  EXPECT_EQ((*columns)[1].name, "B b");
}

TEST_F(ConnectionTest, StatementsHaveKinds) {
  auto kind = [&](std::string_view sql) {
    Result<std::unique_ptr<QueryResult>> result = connection_->query(sql);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return (*result)->kind();
  };
  EXPECT_EQ(kind(" /* only */ -- comments"), StatementKind::kNone);
  EXPECT_EQ(kind("CREATE TABLE t(i INTEGER, g VARCHAR)"), StatementKind::kCreate);
  EXPECT_EQ(kind("INSERT INTO t SELECT i, 'g' || i % 2 FROM range(10) r(i)"),
            StatementKind::kChange);
  Result<std::unique_ptr<QueryResult>> updated =
      connection_->query("UPDATE t SET i = 1 WHERE i > 3");
  ASSERT_TRUE(updated.ok());
  EXPECT_EQ((*updated)->rows_changed(), 6U);
  updated->reset();
  EXPECT_EQ(kind("EXPLAIN SELECT 1"), StatementKind::kExplain);
  EXPECT_EQ(kind("SET TimeZone = 'Europe/Berlin'"), StatementKind::kSet);
  EXPECT_EQ(kind("BEGIN"), StatementKind::kTransaction);
  EXPECT_EQ(kind("COMMIT;"), StatementKind::kTransaction);
  EXPECT_EQ(kind("FROM t"), StatementKind::kSelect);
  EXPECT_EQ(kind("DESCRIBE t"), StatementKind::kSelect);
  EXPECT_EQ(text("PIVOT (SELECT i, g FROM t WHERE i < 3) ON g USING count(*) ORDER BY i"),
            "0|1|0\n1|3|4\n2|1|0");
}

TEST_F(ConnectionTest, StatementsAreSplitAtTheirSemicolons) {
  EXPECT_EQ(split_statements(";; SELECT ';' /* ; /* ; */ */; SELECT $$;$$ -- ;\n;\"a;b\"; "),
            (std::vector<std::string>{"SELECT ';'", "SELECT $$;$$", "\"a;b\""}));
  EXPECT_TRUE(split_statements(" -- nothing").empty());
  ASSERT_TRUE(connection_->execute("CREATE TABLE a(i INT); INSERT INTO a VALUES (1), (2);").ok());
  EXPECT_EQ(text("SELECT sum(i) FROM a"), "3");
  EXPECT_FALSE(connection_->execute("SELECT 1; SELECT nope; SELECT 2").ok());
  // Both take comments to nest; the check of users' SQL depends on it.
  EXPECT_EQ(text("SELECT 1 /* /* */ + 1 */"), "1");
}

TEST_F(ConnectionTest, LargeResultsAreRefusedWhereOneBatchIsAskedFor) {
  Result<std::unique_ptr<QueryResult>> result =
      connection_->query("SELECT repeat('x', 1000) FROM range(100000)");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ((*result)->all(1 << 20).status().code(), Code::kOutOfRange);
}

TEST_F(ConnectionTest, RowsOfManyMegabytesComeInSmallerBatches) {
  Result<std::unique_ptr<QueryResult>> result =
      connection_->query("SELECT repeat('x', 40000000) FROM range(8)");
  ASSERT_TRUE(result.ok());
  size_t rows = 0;
  while (true) {
    Result<std::optional<columns::Batch>> next = (*result)->next();
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!next->has_value()) break;
    EXPECT_LT((*next)->rows(), 8U);
    rows += (*next)->rows();
  }
  EXPECT_EQ(rows, 8U);
}

}  // namespace
}  // namespace tide::duck
