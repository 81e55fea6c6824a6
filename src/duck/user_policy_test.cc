#include "duck/internal/user_policy.h"

#include "duck/internal/sql_lexer.h"
#include "duck/internal/test_engine.h"
#include "duck/parquet_reader.h"
#include "duck/parquet_writer.h"

namespace tide::duck {
namespace {

class LockDownTest : public EngineTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(env::make_directories(path("lake")).ok());
    ASSERT_TRUE(env::make_directories(path("other")).ok());
    open();
    for (const char* file : {"lake/t.parquet", "lake/plain", "other/t.parquet"}) {
      ASSERT_TRUE(write_parquet(*connection_, "SELECT 1 AS secret", path(file), {}).ok());
    }
    connection_.reset();
    open({.lock_down = true, .readable_directories = {path("lake")}},
         {.user = true,
          .resolver = [this](const TableName& name) -> Result<std::optional<std::string>> {
            if (name.table != "t" && name.table != "copy") return std::optional<std::string>();
            return std::optional<std::string>(parquet_scan_sql(
                {{path("lake/t.parquet")}, {{"secret", columns::Kind::kInt32, "", {}, {}}}, {}}));
          }});
    Result<std::unique_ptr<Connection>> ours = engine_->connect();
    ASSERT_TRUE(ours.ok());
    ours_ = *std::move(ours);
  }
  void TearDown() override { ours_.reset(); }

  std::unique_ptr<Connection> ours_;
};

TEST_F(LockDownTest, TablesAndQueriesWork) {
  EXPECT_EQ(text("SELECT secret FROM t"), "1");
  EXPECT_EQ(text("SELECT secret FROM public.t"), "1");
  EXPECT_EQ(text("SELECT sum(i) FROM range(10) r(i)"), "45");
  EXPECT_EQ(text("SELECT unnest([1, 2])"), "1\n2");
  EXPECT_EQ(text("SELECT '/a/b.parquet', 'read_parquet(', \"copy\".secret FROM copy"),
            "/a/b.parquet|read_parquet(|1");
  EXPECT_EQ(text("SELECT count(*) > 0 FROM information_schema.tables WHERE false"), "false");
  EXPECT_EQ(text("SELECT key, value FROM json_each('{\"a\": 1}')"), "a|1");
  EXPECT_NE(text("EXPLAIN ANALYZE SELECT secret FROM t").find("secret"), std::string::npos);
  EXPECT_NE(text("EXPLAIN (FORMAT json) (SELECT secret FROM t)").find("secret"), std::string::npos);
  EXPECT_EQ(text("SET TimeZone = 'Asia/Tokyo'"), "");
  EXPECT_EQ(text("SELECT current_setting('TimeZone')"), "Asia/Tokyo");
  EXPECT_EQ(text("SELECT column_name FROM (DESCRIBE t)"), "secret");
}

/// What users try, first through all fences, then with the engine's alone.
TEST_F(LockDownTest, FilesAreOutOfReach) {
  const std::string lake = path("lake/t.parquet");
  const std::string statements[] = {
      "SELECT * FROM read_csv('/etc/passwd')",
      "SELECT * FROM read_text('/etc/passwd')",
      "SELECT * FROM read_blob('/etc/*')",
      "SELECT * FROM glob('/etc/*')",
      "SELECT * FROM sniff_csv('/etc/passwd')",
      "FROM '/etc/passwd.csv'",
      "SELECT * FROM read_parquet('" + path("other/t.parquet") + "')",
      "COPY (SELECT 1) TO '" + path("out.csv") + "'",
      "COPY (SELECT 1) TO '" + path("out.parquet") + "' (FORMAT parquet)",
      "ATTACH '" + path("x.db") + "'",
      "EXPORT DATABASE '" + path("export") + "'",
      "INSTALL httpfs",
      "LOAD httpfs",
      "LOAD '" + path("x.duckdb_extension") + "'",
      "SET threads = 7",
      "SET memory_limit = '10GB'",
      "SET enable_external_access = true",
      "SET allowed_directories = ['/']",
      "SET lock_configuration = false",
      "SET temp_directory = '/tmp/elsewhere'",
      "RESET enable_external_access",
      "PRAGMA enable_profiling = 'json'",
      "SET profiling_output = '" + path("profile") + "'",
      "SET log_query_path = '" + path("log") + "'",
  };
  for (const std::string& sql : statements) {
    for (Connection* connection : {connection_.get(), ours_.get()}) {
      if (connection == ours_.get() && sql.starts_with("PRAGMA")) continue;
      Result<std::unique_ptr<QueryResult>> result = connection->query(sql);
      const Status status = result.ok() ? (*result)->all().status() : result.status();
      EXPECT_FALSE(status.ok()) << (connection == ours_.get() ? "ours: " : "user: ") << sql;
    }
  }
  EXPECT_EQ(*env::list_directory(directory_), (std::vector<std::string>{"lake", "other"}));
  EXPECT_EQ(text(*ours_, "SELECT secret FROM read_parquet('" + lake + "')"), "1");
}

TEST_F(LockDownTest, TheLakesFilesAreOnlyReachedThroughTables) {
  const std::string file = path("lake/t.parquet");
  const std::string plain = path("lake/plain");
  const std::string statements[] = {
      "SELECT * FROM read_parquet('" + file + "')",
      "SELECT * FROM Read_Parquet ('" + file + "')",
      "SELECT * FROM read_parquet/* */\n('" + file + "')",
      "SELECT * FROM read_parquet -- x\n('" + file + "')",
      "SELECT * FROM read_parquet\xc2\xa0('" + file + "')",
      "SELECT * FROM \"read_parquet\"('" + plain + "')",
      "SELECT * FROM system.main.read_parquet('" + plain + "')",
      "SELECT * FROM \"system\".\"main\".\"READ_PARQUET\"('" + plain + "')",
      "FROM parquet_scan('" + plain + "')",
      "FROM parquet_metadata('" + plain + "')",
      "FROM parquet_schema('" + plain + "')",
      "FROM parquet_full_metadata('" + plain + "')",
      "FROM read_blob('" + plain + "')",
      "FROM read_text('" + plain + "')",
      "FROM read_csv_auto('" + plain + "')",
      "FROM read_duckdb('" + plain + "')",
      "FROM glob('" + path("lake") + "/*')",
      "FROM query('FROM read_parquet(''" + file + "'')')",
      "FROM query_table('" + file + "')",
      "FROM query_table(['" + file + "'])",
      "FROM histogram('" + file + "', secret)",
      "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
      "FROM tide_rows(1)",
      "FROM t WHERE tide_live(1, 0, 0)",
      "FROM '" + file + "'",
      "FROM \"" + file + "\"",
      "FROM (FROM '" + file + "')",
      "SELECT * FROM t, '" + file + "'",
      "SELECT * FROM t, (('" + file + "'))",
      "SELECT (SELECT secret FROM '" + file + "')",
      "SELECT 1 WHERE EXISTS (FROM '" + file + "')",
      "WITH c AS (FROM E'" + file + "') FROM c",
      "WITH c AS MATERIALIZED (FROM $$" + file + "$$) FROM c",
      "TABLE '" + file + "'",
      "TABLE \"" + file + "\"",
      "DESCRIBE '" + file + "'",
      "SUMMARIZE '" + file + "'",
      "SUMMARIZE \"" + file + "\"",
      "SHOW '" + file + "'",
      "PIVOT '" + file + "' ON secret USING count(*)",
      "PIVOT \"" + file + "\" ON secret USING count(*)",
      "SELECT * FROM (PIVOT '" + file + "' ON secret USING count(*))",
      "UNPIVOT '" + file + "' ON secret",
      "SELECT * FROM t JOIN t u USING (secret), '" + file + "'",
      "SELECT * FROM (PIVOT t ON secret USING count(*)), '" + file + "'",
      "PIVOT (FROM t, '" + file + "') ON secret USING count(*)",
      "EXPLAIN PRAGMA show_tables",
      "EXPLAIN SELECT * FROM t JOIN t u USING (secret), ('" + file + "')",
      "SELECT * FROM t JOIN '" + file + "' USING (secret)",
      "SELECT * FROM t POSITIONAL JOIN '" + file + "'",
      "SELECT * FROM t ASOF JOIN '" + file + "' USING (secret)",
      "FROM t SEMI JOIN LATERAL (FROM '" + file + "') USING (secret)",
      "EXPLAIN ANALYZE FROM '" + file + "'",
      "EXPLAIN ANALYZE COPY t TO '" + path("lake/out.csv") + "'",
      "EXPLAIN ANALYZE CREATE TABLE x AS FROM t",
      "COPY t TO '" + path("lake/out.csv") + "'",
      "COPY (FROM t) TO '" + path("lake/out.parquet") + "' (FORMAT parquet)",
      "CREATE TABLE x AS FROM t",
      "CREATE TEMP TABLE x AS FROM t",
      "CREATE VIEW x AS FROM t",
      "CREATE MACRO m(f) AS TABLE FROM read_parquet(f)",
      "CREATE SCHEMA s",
      "PREPARE p AS FROM '" + file + "'",
      "EXECUTE p",
      "CALL read_parquet('" + file + "')",
      "PRAGMA show_tables",
      "CHECKPOINT",
      "VACUUM",
      "BEGIN",
      "SELECT 1; FROM '" + file + "'",
      "IMPORT DATABASE '" + path("lake") + "'",
      "INSERT INTO t VALUES (1)",
      "DROP TABLE t",
      "FROM duckdb_settings()",
      "FROM duckdb_secrets()",
  };
  for (const std::string& sql : statements) {
    Result<std::unique_ptr<QueryResult>> result = connection_->query(sql);
    const Status status = result.ok() ? (*result)->all().status() : result.status();
    EXPECT_FALSE(status.ok()) << sql;
    EXPECT_NE(status.code(), Code::kBug) << sql << ": " << status.to_string();
  }
  EXPECT_EQ(*env::list_directory(path("lake")), (std::vector<std::string>{"plain", "t.parquet"}));
}

TEST_F(LockDownTest, UsersNeedALockedEngine) {
  Result<std::unique_ptr<Engine>> open = Engine::open({});
  ASSERT_TRUE(open.ok());
  EXPECT_EQ((*open)->connect({.user = true, .resolver = nullptr}).status().code(), Code::kInvalid);
}

TEST(SqlLexer, TokensOfEveryForm) {
  std::string shown;
  for (const Token& token : tokenize(
           "SELECT a.\"B\"\"c\", 'it''s', E'x\\'y', $1, $t$ a'b $t$, 1.5e3, ?, U&\"u\" /* /* */ */ "
           "-- end\n= x'ff'")) {
    shown += std::to_string(static_cast<int>(token.kind)) + ":" + token.text + " ";
  }
  EXPECT_EQ(shown,
            "0:select 0:a 5:. 1:B\"c 5:, 2:it's 5:, 2:x\\'y 5:, 4:$1 5:, 2: a'b  5:, 3:1.5e3 5:, "
            "4:? 5:, 1:u 5:= 2:ff ");
  for (const char* open : {"'", "\"", "/* /* */", "$$", "$a$ $b$", "E'\\'", "e'"}) {
    const std::vector<Token> tokens = tokenize(open);
    ASSERT_FALSE(tokens.empty()) << open;
    EXPECT_EQ(tokens.back().kind, Token::Kind::kBroken) << open;
  }
  EXPECT_TRUE(tokenize("").empty());
}

}  // namespace
}  // namespace tide::duck
