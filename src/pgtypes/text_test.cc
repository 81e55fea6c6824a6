#include "pgtypes/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "pgtypes/internal/test_server.h"
#include "pgtypes/internal/test_types.h"

namespace tide::pgtypes {
namespace {

/// Every value is read from the table's file, printed by us, and compared with what PostgreSQL's
/// own output function says of it.
class TextTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!pgformat::postgres_is_installed()) return;
    server_ = new TestServer();
    started_ = server_->start();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void SetUp() override {
    if (server_ == nullptr) GTEST_SKIP() << "PostgreSQL 15 is not installed";
    ASSERT_TRUE(started_);
  }

  /// Compares all columns of all rows of tables; returns how many values that were.
  size_t compare(const std::vector<std::string>& tables, const ServerCatalog& catalog,
                 const TextSettings& settings = {}) {
    std::vector<std::string> queries;
    for (const std::string& table : tables) {
      std::string query = settings.interval_style == IntervalStyle::kPostgres
                              ? "SET intervalstyle = 'postgres'; SELECT ctid"
                              : "SELECT ctid";
      for (const Attribute& column : *catalog.attributes(server_->relation_oid(table))) {
        query += column.dropped
                     ? ", 'N'"
                     : fmt::format(
                           ", CASE num_nulls(\"{0}\") WHEN 1 THEN 'N' ELSE "
                           "encode(convert_to(format('%s', \"{0}\"), 'UTF8'), 'hex') END",
                           column.name);
      }
      queries.push_back(query + " FROM " + table + ";");
    }
    size_t values = 0;
    std::vector<TestServer::Rows> answers = server_->rows_of(queries);
    for (size_t i = 0; i < tables.size(); ++i) {
      std::map<std::string, std::vector<std::string>> expected;
      for (auto& row : answers[i]) expected[row[0]] = row;
      values += compare_table(tables[i], expected, catalog, settings);
    }
    return values;
  }

  size_t compare_table(const std::string& table,
                       std::map<std::string, std::vector<std::string>>& expected,
                       const ServerCatalog& catalog, const TextSettings& settings) {
    const std::vector<Attribute>& columns = *catalog.attributes(server_->relation_oid(table));
    std::vector<TypeTree> trees;
    for (const Attribute& column : columns) {
      if (column.dropped) {
        trees.emplace_back();
        continue;
      }
      auto tree = TypeTree::resolve(catalog, column.type, column.typmod);
      EXPECT_TRUE(tree.ok()) << tree.status().to_string();
      if (!tree.ok()) return 0;
      trees.push_back(std::move(*tree));
    }
    size_t values = 0;
    size_t failures = 0;
    std::vector<StoredRow> stored = server_->stored_rows(table, catalog);
    EXPECT_EQ(stored.size(), expected.size()) << table;
    for (const StoredRow& row : stored) {
      const std::vector<std::string>& texts = expected[row.ctid];
      if (texts.size() != columns.size() + 1) {
        ADD_FAILURE() << table << row.ctid;
        continue;
      }
      for (size_t i = 0; i < columns.size() && failures < 20; ++i) {
        ++values;
        std::string wanted = texts[i + 1];
        if (!row.datums[i] || wanted == "N") {
          EXPECT_EQ(!row.datums[i], wanted == "N") << table << row.ctid << columns[i].name;
          continue;
        }
        std::string text;
        Status printed = append_text(trees[i], *row.datums[i], settings, text);
        if (!printed.ok() || text != from_hex(wanted)) {
          ++failures;
          ADD_FAILURE() << table << " " << row.ctid << " " << columns[i].name << " ("
                        << trees[i].name << ")\n ours: " << text
                        << "\n theirs: " << from_hex(wanted) << "\n " << printed.to_string();
        }
      }
    }
    return values;
  }

  static inline TestServer* server_ = nullptr;
  static inline bool started_ = false;
};

TEST_F(TextTest, EveryTypePrintsAsPostgresPrintsIt) {
  ASSERT_TRUE(server_->psql(type_tables_script()));
  ServerCatalog catalog;
  server_->load_catalog(catalog);
  std::vector<std::string> tables = {"ext"};
  std::vector<std::string> with_intervals;
  for (size_t i = 0; i < kTypeCases.size(); ++i) {
    tables.push_back(fmt::format("t{}", i));
    if (kTypeCases[i].type.substr(0, 8) == "interval") with_intervals.push_back(tables.back());
  }
  size_t values = compare(tables, catalog);
  values += compare(with_intervals, catalog, {IntervalStyle::kPostgres});
  EXPECT_GT(values, 3000U);
  EXPECT_GT(server_->external_values, 10U);
  EXPECT_GT(server_->compressed_values, 10U);
}

/// A file for COPY ... BINARY: values of any bits, which no text input would let through.
class BinaryRows {
 public:
  explicit BinaryRows(uint16_t columns) : columns_(columns) {
    bytes_ = std::string("PGCOPY\n\377\r\n\0", 11) + std::string(8, '\0');
  }
  void begin_row() { append_be16(columns_); }
  void add(std::string_view big_endian) {
    append_be32(bytes_, static_cast<uint32_t>(big_endian.size()));
    bytes_ += big_endian;
  }
  void add64(uint64_t value) {
    append_be32(bytes_, 8);
    append_be64(bytes_, value);
  }
  void add32(uint32_t value) {
    append_be32(bytes_, 4);
    append_be32(bytes_, value);
  }
  std::string finish() {
    append_be16(0xFFFF);
    return bytes_;
  }

 private:
  void append_be16(uint16_t value) {
    bytes_ += static_cast<char>(value >> 8);
    bytes_ += static_cast<char>(value & 0xFF);
  }
  uint16_t columns_;
  std::string bytes_;
};

TEST_F(TextTest, RandomBitsPrintAsPostgresPrintsThem) {
  constexpr int kRows = 40000;
  uint64_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  auto between = [&](int64_t low, int64_t high) {
    return static_cast<uint64_t>(std::uniform_int_distribution<int64_t>(low, high)(random));
  };
  BinaryRows rows(12);
  for (int i = 0; i < kRows; ++i) {
    rows.begin_row();
    rows.add64(random());
    // Powers of two and their neighbours lie where the distance between numbers changes.
    rows.add64((between(0, 2046) << 52) + between(-2, 2));
    // Products of a short decimal: what people write.
    double decimal = static_cast<double>(between(0, 99999999)) *
                     std::pow(10.0, static_cast<double>(static_cast<int64_t>(between(-25, 25))));
    rows.add64(load<uint64_t>(&decimal));
    rows.add32(static_cast<uint32_t>(random()));
    rows.add32(static_cast<uint32_t>((between(0, 254) << 23) + between(-2, 2)));
    rows.add64(between(-211813488000000000, 9223371331199999999));  // timestamp: all of its range
    rows.add64(between(-211813488000000000, 9223371331199999999));
    rows.add32(static_cast<uint32_t>(between(-2451545, 2145031948)));  // date
    rows.add64(between(0, 86400000000));                               // time
    std::string interval;
    append_be64(interval, random() >> (random() % 64));
    append_be32(interval, static_cast<uint32_t>(random() >> (random() % 64)));
    append_be32(interval, static_cast<uint32_t>(random() >> (random() % 64)));
    rows.add(interval);
    std::string timetz;
    append_be64(timetz, between(0, 86400000000));
    append_be32(timetz, static_cast<uint32_t>(between(-57599, 57599)));
    rows.add(timetz);
    rows.add64(random() >> (random() % 64));
  }
  server_->write_file("rows.bin", rows.finish());
  ASSERT_TRUE(server_->psql(fmt::format(
      "CREATE TABLE bits (f8 float8, p8 float8, d8 float8, f4 float4, p4 float4, ts timestamp, tz "
      "timestamptz, d date, t time, i interval, tt timetz, m money);\n"
      "COPY bits FROM '{}/rows.bin' WITH (FORMAT binary);",
      server_->directory())));
  ServerCatalog catalog;
  server_->load_catalog(catalog);
  EXPECT_EQ(compare({"bits"}, catalog), size_t{kRows} * 12);
  // The text of an interval says all of it.
  EXPECT_EQ(server_->rows("SELECT i FROM bits WHERE interval_send(i) <> "
                          "interval_send(i::text::interval) LIMIT 5;"),
            TestServer::Rows());
}

TEST_F(TextTest, RandomStructuresPrintAsPostgresPrintsThem) {
  uint32_t seed = std::random_device()() % 1000000;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  ASSERT_TRUE(server_->psql(fmt::format("SELECT setseed({} / 1000000.0);", seed) + R"SQL(
CREATE TYPE item AS (a int, b text, c numeric);
CREATE FUNCTION any_of(n int) RETURNS int LANGUAGE sql AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION any_text() RETURNS text LANGUAGE plpgsql AS $$
DECLARE s text := ''; BEGIN
  FOR i IN 1 .. any_of(8) LOOP
    s := s || (ARRAY['a', 'B', ' ', '"', '\', ',', '{', '}', '(', ')', '[', ']', E'\n', E'\t', 'null',
                     'é', '漢', '''', '1', E'\x01', ';', ':'])[1 + any_of(22)];
  END LOOP; RETURN s; END $$;
CREATE FUNCTION any_numeric() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE s text := ''; BEGIN
  FOR i IN 0 .. any_of(1 + any_of(60)) LOOP
    s := s || CASE any_of(4) WHEN 0 THEN '0000' WHEN 1 THEN any_of(10)::text ELSE any_of(10000)::text END;
  END LOOP;
  RETURN (CASE any_of(2) WHEN 0 THEN '-' ELSE '' END || s || '.' ||
          repeat('0', any_of(9)) || any_of(10000) || 'e' || (any_of(60) - 30))::numeric; END $$;
CREATE FUNCTION any_json(depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE j jsonb; k int := any_of(CASE WHEN depth > 0 THEN 7 ELSE 5 END); BEGIN
  IF k = 0 THEN RETURN 'null';
  ELSIF k = 1 THEN RETURN to_jsonb(any_text());
  ELSIF k = 2 THEN RETURN to_jsonb(any_numeric());
  ELSIF k = 3 THEN RETURN to_jsonb(random() < 0.5);
  ELSIF k = 4 THEN RETURN to_jsonb(any_of(100));
  ELSIF k = 5 THEN j := '[]';
    FOR i IN 1 .. any_of(CASE WHEN any_of(10) = 0 THEN 80 ELSE 5 END) LOOP
      j := j || jsonb_build_array(any_json(depth - 1)); END LOOP;
  ELSE j := '{}';
    FOR i IN 1 .. any_of(CASE WHEN any_of(10) = 0 THEN 80 ELSE 5 END) LOOP
      j := j || jsonb_build_object(any_text(), any_json(depth - 1)); END LOOP;
  END IF; RETURN j; END $$;
CREATE FUNCTION or_null(anyelement) RETURNS anyelement LANGUAGE sql AS
  'SELECT CASE any_of(4) WHEN 0 THEN NULL ELSE $1 END';
CREATE TABLE structures (n numeric, n2 numeric(30,5), j jsonb, ia int[], ta text[], na numeric[], it item,
                         ita item[], r numrange, mr nummultirange, ja jsonb[], big text[]);
INSERT INTO structures SELECT
  or_null(any_numeric()), or_null((any_of(1000000) * random())::numeric), or_null(any_json(4)),
  (SELECT array_agg(or_null(any_of(1000000) - 500000)) FROM generate_series(i, i + any_of(20))),
  (SELECT array_agg(or_null(any_text())) FROM generate_series(i, i + any_of(6))),
  (SELECT array_agg(or_null(any_numeric())) FROM generate_series(i, i + any_of(5))),
  or_null(ROW(or_null(any_of(10)), or_null(any_text()), or_null(any_numeric()))::item),
  (SELECT array_agg(or_null(ROW(or_null(any_of(10)), or_null(any_text()), NULL)::item))
     FROM generate_series(i, i + any_of(4))),
  numrange(least(any_of(1000) / 7.0, 50), or_null(50 + any_of(1000) / 3.0), '[]'),
  (SELECT range_agg(numrange(or_null(x * 10.0 + any_of(5)), or_null(x * 10.0 + 5 + any_of(5))))
     FROM generate_series(1, 1 + any_of(9)) x),
  (SELECT array_agg(or_null(any_json(1))) FROM generate_series(i, i + any_of(4))),
  CASE any_of(20) WHEN 0 THEN
    (SELECT array_agg(any_text() || md5(random()::text)) FROM generate_series(1, 500)) END
  FROM generate_series(1, 2000) i;
)SQL"));
  ServerCatalog catalog;
  server_->load_catalog(catalog);
  EXPECT_EQ(compare({"structures"}, catalog), 2000U * 12);
}

}  // namespace
}  // namespace tide::pgtypes
