#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "warehouse/branches.h"
#include "warehouse/engine_error.h"
#include "warehouse/lake.h"
#include "warehouse/parameters.h"
#include "warehouse/pg_statement.h"
#include "warehouse/sql_tokens.h"

namespace tide::warehouse {
namespace {

using testing::ElementsAre;
using Kind = PgStatement::Kind;

PgStatement one(std::string_view sql) {
  auto parsed = parse_pg(sql);
  EXPECT_TRUE(parsed.ok()) << sql;
  return parsed.ok() && parsed->size() == 1 ? (*parsed)[0] : PgStatement();
}

std::vector<std::string> relations(std::string_view sql) {
  std::vector<std::string> names;
  for (const QualifiedName& name : one(sql).relations) names.push_back(name.to_string());
  return names;
}

TEST(PgStatement, KnowsKinds) {
  EXPECT_EQ(one("SELECT 1").kind, Kind::kSelect);
  EXPECT_EQ(one("TABLE x").kind, Kind::kSelect);
  EXPECT_EQ(one("BEGIN").kind, Kind::kTransaction);
  EXPECT_EQ(one("SET a.b = 1").kind, Kind::kSet);
  EXPECT_EQ(one("SHOW a.b").setting, "a.b");
  EXPECT_EQ(one("INSERT INTO x VALUES (1)").kind, Kind::kWrite);
  EXPECT_EQ(one("WITH d AS (DELETE FROM x RETURNING *) SELECT * FROM d").kind, Kind::kWrite);
  EXPECT_EQ(one("SELECT * INTO y FROM x").kind, Kind::kWrite);
  EXPECT_EQ(one("SELECT * FROM x FOR SHARE").kind, Kind::kWrite);
  EXPECT_EQ(one("COPY x TO STDOUT").kind, Kind::kCopyOut);
  EXPECT_EQ(one("COPY x TO '/tmp/y'").kind, Kind::kWrite);
  EXPECT_EQ(one("COPY x FROM STDIN").kind, Kind::kWrite);
  EXPECT_EQ(one("CREATE TABLE x (y int)").verb, "CREATE TABLE");
}

TEST(PgStatement, KnowsRelationsButNotCtes) {
  EXPECT_THAT(relations("SELECT * FROM a.b, C JOIN \"D\" ON true"), ElementsAre("a.b", "c", "D"));
  EXPECT_THAT(relations("WITH x AS (SELECT * FROM y) SELECT * FROM x, s.x"),
              ElementsAre("y", "s.x"));
  EXPECT_THAT(relations("WITH x AS (SELECT * FROM x) SELECT * FROM x"), ElementsAre("x"));
  EXPECT_THAT(relations("WITH RECURSIVE x AS (SELECT 1 UNION SELECT * FROM x) SELECT * FROM x"),
              ElementsAre());
  EXPECT_THAT(relations("SELECT (SELECT max(i) FROM t) WHERE EXISTS (TABLE u)"),
              testing::UnorderedElementsAre("t", "u"));
}

TEST(PgStatement, FindsWhatIsInside) {
  EXPECT_EQ(one("DECLARE c CURSOR WITH HOLD FOR SELECT 1 FROM x").query, "SELECT 1 FROM x");
  EXPECT_TRUE(one("DECLARE c CURSOR WITH HOLD FOR SELECT 1").hold);
  EXPECT_EQ(one("COPY (SELECT (1), ')' FROM x) TO STDOUT CSV HEADER").query,
            "SELECT (1), ')' FROM x");
  EXPECT_TRUE(one("COPY (SELECT 1) TO STDOUT CSV HEADER").copy.header);
  EXPECT_EQ(one("EXPLAIN (ANALYZE, COSTS off) SELECT 1").query, "SELECT 1");
  EXPECT_TRUE(one("EXPLAIN ANALYZE SELECT 1").analyze);
  EXPECT_EQ(one("EXPLAIN (SELECT 1)").query, "(SELECT 1)");
  PgStatement prepare = one("PREPARE p (int, numeric(10, 2)) AS SELECT $1, $2");
  EXPECT_EQ(prepare.query, "SELECT $1, $2");
  EXPECT_THAT(prepare.arguments, ElementsAre("int", "numeric(10, 2)"));
  EXPECT_THAT(one("EXECUTE p (1, f(2, 3))").arguments, ElementsAre("1", "f(2, 3)"));
  EXPECT_EQ(one("FETCH 5 FROM c").count, 5);
  EXPECT_EQ(one("FETCH ALL c").count, INT64_MAX);
  EXPECT_FALSE(one("FETCH BACKWARD 5 FROM c").forward);
  EXPECT_EQ(one("SET tidewater.freshness TO 'bounded 5s'").value, "bounded 5s");
}

TEST(PgStatement, KnowsPlacesInAScript) {
  std::string script = " SELECT 1; -- x;\n SELECT ';' ;; ";
  auto parsed = parse_pg(script);
  ASSERT_TRUE(parsed.ok());
  ASSERT_EQ(parsed->size(), 2U);
  EXPECT_EQ((*parsed)[1].text, "SELECT ';'");
  EXPECT_EQ(script.substr((*parsed)[1].offset, 10), "SELECT ';'");
  EXPECT_EQ(parse_pg("SELECT FROM WHERE").error().code, "42601");
  PgStatement by = one("SELECT Id, t.By FROM \"By\" t");
  EXPECT_EQ(with_quoted_names(by.text, 0, by.names), "SELECT \"id\", \"t\".\"by\" FROM \"By\" t");
}

TEST(SqlTokens, FollowPostgresqlsScanner) {
  auto texts = [](std::string_view sql) {
    std::vector<std::string> out;
    for (const Token& token : tokenize(sql))
      out.emplace_back(sql.substr(token.begin, token.end - token.begin));
    return out;
  };
  EXPECT_THAT(texts("a /* x /* y */ z */ b -- c\n d"), ElementsAre("a", "b", "d"));
  EXPECT_THAT(texts("'it''s' E'\\'' $$;$$ $t$ $$ $t$ \"q\"\"q\" $1"),
              ElementsAre("'it''s'", "E'\\''", "$$;$$", "$t$ $$ $t$", "\"q\"\"q\"", "$1"));
  EXPECT_THAT(texts("1.5e-3 x"), ElementsAre("1.5e-3", "x"));
  std::mt19937 random(11);
  for (int round = 0; round < 50'000; ++round) {
    std::string sql(random() % 30, ' ');
    for (char& c : sql) c = "'\"$/*-;a1.E\\ \n("[random() % 16];
    size_t at = 0;
    for (const Token& token : tokenize(sql)) {
      ASSERT_LE(at, token.begin);
      ASSERT_LT(token.begin, token.end);
      ASSERT_LE(token.end, sql.size());
      at = token.end;
    }
    split_script(sql);
  }
}

TEST(Parameters, StayOneValue) {
  auto sql = [](std::optional<std::string> text, uint32_t type) {
    return *parameter_sql({std::move(text), type});
  };
  EXPECT_EQ(sql("it's", 25), "'it''s'");
  EXPECT_EQ(sql("5", 23), "CAST('5' AS INTEGER)");
  EXPECT_EQ(sql("5'; DROP", 23), "CAST('5''; DROP' AS INTEGER)");
  EXPECT_EQ(sql("1.50", 1700), "(1.50)");
  EXPECT_EQ(sql("1); --", 1700), "CAST('1); --' AS DOUBLE)");
  EXPECT_EQ(sql(std::nullopt, 23), "CAST(NULL AS INTEGER)");
  EXPECT_EQ(sql(std::nullopt, 0), "NULL");
  EXPECT_EQ(sql("{1,NULL}", 1007), "CAST([CAST('1' AS INTEGER), NULL] AS INTEGER[])");
  EXPECT_EQ(sql("\\x00ff", 17), "from_hex('00ff')");
  EXPECT_FALSE(parameter_sql({std::string("\\x0'"), 17}).ok());
  EXPECT_FALSE(parameter_sql({std::string("a\0b", 3), 25}).ok());
}

TEST(DatabaseName, HasABranch) {
  auto parse = [](std::string_view text) {
    DatabaseName name = DatabaseName::parse(text);
    return name.database + "|" + name.branch;
  };
  EXPECT_EQ(parse("app"), "app|main");
  EXPECT_EQ(parse("app.lake"), "app|main");
  EXPECT_EQ(parse("app@dev.lake"), "app|dev");
  EXPECT_EQ(parse("app@dev"), "app|dev");
}

TEST(Freshness, Spellings) {
  EXPECT_EQ(Freshness::parse("bounded 5s")->bound, std::chrono::seconds(5));
  EXPECT_EQ(Freshness::parse("bounded 250 ms")->to_string(), "bounded 250ms");
  for (std::string_view wrong : {"", "new", "bounded x", "bounded -1s", "bounded 5h"})
    EXPECT_FALSE(Freshness::parse(wrong).ok()) << wrong;
}

TEST(EngineError, HasPostgresqlsCodes) {
  auto code = [](std::string message) {
    return engine_error({Code::kInvalid, std::move(message)}).code;
  };
  EXPECT_EQ(code("Binder Error: Referenced column \"x\" not found in FROM clause!"), "42703");
  EXPECT_EQ(code("Parser Error: syntax error at or near \"x\""), "42601");
  EXPECT_EQ(code("Conversion Error: Could not convert string 'a' to INT32"), "22P02");
  EXPECT_EQ(code("Out of Memory Error: failed"), "53200");
  EXPECT_EQ(engine_error({Code::kRetry, "INTERRUPT Error: Interrupted!"}).code, "57014");
}

}  // namespace
}  // namespace tide::warehouse
