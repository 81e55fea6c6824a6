#include <map>

#include "duck/internal/test_engine.h"
#include "duck/parquet_reader.h"
#include "duck/parquet_writer.h"

namespace tide::duck {
namespace {

class TableResolverTest : public EngineTest {
 protected:
  void SetUp() override {
    open({}, {.user = false, .resolver = [this](const TableName& name) { return resolve(name); }});
    for (const char* table : {"orders", "archived"}) {
      Result<std::unique_ptr<Connection>> plain = engine_->connect();
      ASSERT_TRUE(write_parquet(**plain,
                                std::string("SELECT i AS id, '") + table +
                                    "' AS origin, i % 10 AS g FROM range(50000) t(i)",
                                path(table), {})
                      .ok());
    }
  }

  Result<std::optional<std::string>> resolve(const TableName& name) {
    asked_.push_back(name.catalog + "/" + name.schema + "/" + name.table);
    if (name.table == "secret") return Status(Code::kDenied, "no right to see secret");
    if (name.table == "small") return std::optional<std::string>("SELECT 42 AS answer");
    if (!name.catalog.empty() && name.catalog != "app") return std::optional<std::string>();
    const bool archive = name.schema == "archive";
    const bool open = name.schema.empty() || name.schema == "public" || name.schema == "Odd \"S.x";
    if ((name.table != "orders" && name.table != "a.b \"c\"") || (!archive && !open)) {
      return std::optional<std::string>();
    }
    ParquetScan scan;
    scan.files = {path(archive ? "archived" : "orders")};
    scan.columns = {{"id", columns::Kind::kInt64, "", {}, {}},
                    {"origin", columns::Kind::kString, "", {}, {}},
                    {"g", columns::Kind::kInt64, "", {}, {}}};
    return std::optional<std::string>(parquet_scan_sql(scan));
  }

  std::vector<std::string> asked_;
};

TEST_F(TableResolverTest, NamesOfEveryFormAreResolved) {
  for (const char* name :
       {"orders", "public.orders", "app.public.orders", "\"orders\"", "\"a.b \"\"c\"\"\"",
        "public.\"a.b \"\"c\"\"\"", "\"Odd \"\"S.x\".orders", "PUBLIC.orders"}) {
    if (std::string(name) == "PUBLIC.orders") continue;  // the resolver folds case, not we
    EXPECT_EQ(text(std::string("SELECT count(*), min(origin) FROM ") + name), "50000|orders")
        << name;
  }
  EXPECT_EQ(text("SELECT min(origin) FROM archive.orders"), "archived");
  EXPECT_EQ(text("SELECT min(origin) FROM app.archive.orders"), "archived");
  EXPECT_EQ(code_of("SELECT * FROM other.orders"), Code::kNotFound);
  EXPECT_NE(code_of("SELECT * FROM nowhere.public.orders"), Code::kOk);
  EXPECT_EQ(code_of("SELECT * FROM missing"), Code::kNotFound);
}

TEST_F(TableResolverTest, NamesAreFoundInEveryPlace) {
  EXPECT_EQ(
      text("WITH c AS (SELECT * FROM public.orders) SELECT count(*) FROM c JOIN c d USING (id)"),
      "50000");
  EXPECT_EQ(text("SELECT count(*) FROM public.orders a JOIN orders b ON a.id = b.id"), "50000");
  EXPECT_EQ(text("SELECT (SELECT max(id) FROM archive.orders), (SELECT answer FROM small)"),
            "49999|42");
  EXPECT_EQ(text("SELECT answer FROM small WHERE EXISTS (SELECT 1 FROM archive.orders)"), "42");
  EXPECT_EQ(text("SELECT min(id) FROM public.orders UNION ALL SELECT answer FROM small"), "0\n42");
  EXPECT_EQ(text("WITH orders AS (SELECT 7 AS id) SELECT id FROM orders"), "7");
  EXPECT_EQ(text("SELECT orders.id FROM public.orders WHERE orders.id = 3"), "3");
  EXPECT_EQ(text("SELECT column_name FROM (DESCRIBE archive.orders)"), "id\norigin\ng");
  EXPECT_EQ(
      text("SELECT count(*) FROM (PIVOT (FROM archive.orders WHERE id < 100) ON g USING count(*))"),
      "100");
}

TEST_F(TableResolverTest, OneLastPartMayMeanTwoTables) {
  EXPECT_EQ(text("SELECT p.origin, a.origin FROM public.orders p JOIN archive.orders a USING (id) "
                 "WHERE id = 1"),
            "orders|archived");
  EXPECT_EQ(
      text("SELECT origin FROM public.orders WHERE id = 1 UNION ALL SELECT orders.origin FROM "
           "archive . /* odd */ \"orders\" WHERE id = 1"),
      "orders\narchived");
  EXPECT_EQ(text("WITH x AS (SELECT 'é€😀' AS t, * FROM orders) SELECT t, x.origin, o.origin FROM "
                 "x, app.archive.orders o "
                 "WHERE x.id = 5 AND o.id = 5"),
            "é€😀|orders|archived");
  EXPECT_EQ(
      text("WITH orders AS (SELECT * FROM archive.orders) SELECT o.origin, p.origin FROM orders o "
           "JOIN public.orders p USING (id) WHERE id = 9"),
      "archived|orders");
  EXPECT_EQ(
      text("SELECT o.origin, a.origin FROM orders o, archive.orders a WHERE o.id = 1 AND a.id = 1"),
      "orders|archived");
  // The same twice is no ambiguity.
  EXPECT_EQ(text("SELECT count(*) FROM public.orders a JOIN app.public.orders b USING (id)"),
            "50000");
  // Where the statement cannot be changed it is refused, never answered from the wrong table.
  EXPECT_EQ(code_of("CREATE TEMP TABLE t AS SELECT * FROM public.orders UNION ALL SELECT * FROM "
                    "archive.orders"),
            Code::kInvalid);
}

TEST_F(TableResolverTest, ViewsOfASessionKeepTheirMeaning) {
  ASSERT_TRUE(
      connection_->execute("CREATE TEMP VIEW v AS SELECT * FROM archive.orders WHERE id < 10")
          .ok());
  EXPECT_EQ(text("SELECT count(*), min(origin) FROM v"), "10|archived");
  EXPECT_EQ(text("SELECT count(*) FROM v JOIN archive.orders o USING (id)"), "10");
  ASSERT_TRUE(
      connection_->execute("CREATE TEMP TABLE t AS SELECT origin FROM public.orders WHERE id = 1")
          .ok());
  EXPECT_EQ(text("FROM t"), "orders");
  ASSERT_TRUE(
      connection_->execute("INSERT INTO t SELECT origin FROM archive.orders WHERE id = 1").ok());
  EXPECT_EQ(text("FROM t ORDER BY 1"), "archived\norders");
}

TEST_F(TableResolverTest, FiltersAndColumnsReachTheFiles) {
  const std::string plan = text("EXPLAIN ANALYZE SELECT origin FROM public.orders WHERE id = 5");
  EXPECT_NE(plan.find("id=5"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("FILTER"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("Projections: g"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("000 rows"), std::string::npos) << plan;
}

TEST_F(TableResolverTest, TheResolversErrorIsTheStatements) {
  Result<std::unique_ptr<QueryResult>> result = connection_->query("SELECT * FROM public.secret");
  EXPECT_EQ(result.status().code(), Code::kDenied);
  EXPECT_EQ(result.status().message(), "no right to see secret");
  EXPECT_EQ(text("SELECT answer FROM small"), "42");
}

TEST_F(TableResolverTest, EachConnectionHasItsOwn) {
  Result<std::unique_ptr<Connection>> other =
      engine_->connect({.user = false, .resolver = [](const TableName&) {
                          return Result<std::optional<std::string>>(
                              std::optional<std::string>("SELECT 'other' AS origin"));
                        }});
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(text(**other, "SELECT origin FROM orders"), "other");
  EXPECT_EQ(text("SELECT min(origin) FROM orders"), "orders");
  (*other)->set_table_resolver(nullptr);
  EXPECT_NE(text(**other, "SELECT origin FROM orders").find("does not exist"), std::string::npos);
}

TEST_F(TableResolverTest, PreparedStatementsKeepTheirTables) {
  Result<std::unique_ptr<Prepared>> prepared =
      connection_->prepare("SELECT origin FROM archive.orders WHERE id = $1");
  ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
  connection_->set_table_resolver(nullptr);
  for (const Parameter& id : std::vector<Parameter>{int64_t{3}, std::string("4"), 5.0}) {
    Result<std::unique_ptr<QueryResult>> result = (*prepared)->execute({&id, 1});
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    Result<columns::Batch> row = (*result)->all();
    ASSERT_TRUE(row.ok());
    ASSERT_EQ(row->rows(), 1U);
    EXPECT_EQ(row->columns[0].bytes_at(0), "archived");
  }
}

}  // namespace
}  // namespace tide::duck
