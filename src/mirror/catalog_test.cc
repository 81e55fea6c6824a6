#include "mirror/catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "mirror/heap_scan.h"
#include "mirror/internal/data_directory.h"
#include "mirror/lake_table.h"

namespace tide::mirror {
namespace {

using pgformat::TestCluster;

const char* const kObjects = R"SQL(
CREATE SCHEMA "Odd Schema"; CREATE SCHEMA other;
CREATE ROLE reader LOGIN; CREATE ROLE "Strange Role" SUPERUSER;
CREATE TYPE other.mood AS ENUM ('sad', 'ok', 'very happy');
ALTER TYPE other.mood ADD VALUE 'soso' BEFORE 'ok';
CREATE TYPE pair AS (x int, y text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN short AS varchar(7) CHECK (value <> '');
CREATE TABLE t (a int, b smallint, c bigint NOT NULL, d text, e varchar(20), f char(3),
  g numeric(10,2), h numeric, i numeric(5,-2), j timestamp(3), k timestamptz, l time(2),
  m timetz, n date, o bit(4), p varbit(9), q bool, r real, s double precision, t other.mood,
  u pair, v span, w short, x int[], y varchar(5)[], z jsonb, aa uuid, ab bytea, ac interval,
  ad "char", ae name, af inet, ag int8range, ah int4multirange, ai short[], aj oid);
CREATE TABLE "Odd Schema"."Odd Table" (id int, gone int, "Quoted" text);
ALTER TABLE "Odd Schema"."Odd Table" DROP gone;
GRANT SELECT ON "Odd Schema"."Odd Table" TO reader;
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20) PARTITION BY LIST (v);
CREATE TABLE part_2a PARTITION OF part_2 FOR VALUES IN ('a');
CREATE TABLE mother (a int); CREATE TABLE father (b int);
CREATE TABLE child (c int) INHERITS (father, mother);
CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY);
CREATE MATERIALIZED VIEW mat AS SELECT 1 AS one WITH NO DATA;
CREATE VIEW plain AS SELECT 1 AS one;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE UNIQUE INDEX ON t (c); CREATE SEQUENCE seq;
CREATE DATABASE second; UPDATE pg_database SET datallowconn = false WHERE datname = 'second';
CREATE TABLE late (id int);
INSERT INTO late VALUES (1), (2);
ALTER TABLE late ADD s2 smallint DEFAULT 7, ADD i4 int DEFAULT -5, ADD i8 bigint DEFAULT 1 << 40,
  ADD b bool DEFAULT true, ADD short text DEFAULT 'abc', ADD long text DEFAULT repeat('long', 100),
  ADD none text, ADD f8 float8 DEFAULT 1.5, ADD n name DEFAULT 'a name', ADD c "char" DEFAULT 'x',
  ADD v varchar(9) DEFAULT '', ADD d date DEFAULT '2020-02-02', ADD gone int DEFAULT 3;
ALTER TABLE late DROP gone;
INSERT INTO late(id, none) VALUES (3, 'there');
UPDATE late SET short = 'other' WHERE id = 2;
-- Old versions of catalog rows lie about, dead and aborted.
ALTER TABLE mother RENAME TO mother2; ALTER TABLE mother2 RENAME TO mother;
BEGIN; CREATE TABLE never (a int); ALTER TABLE father RENAME TO never_too; ROLLBACK;
CHECKPOINT;
)SQL";

class CatalogTest : public testing::Test {
 protected:
  std::string ask(const std::string& sql) {
    std::string out;
    EXPECT_TRUE(cluster_.sql(sql, &out));
    return out;
  }
  template <typename Into>
  void load(Into& into, CatalogTable table) {
    uint32_t oid = catalog_oid(table);
    std::string node = ask(fmt::format("SELECT pg_relation_filenode({})", oid));
    RelFork file = file_of(cluster_, "pg_class");
    file.rel = static_cast<uint32_t>(std::stoul(node));
    if (std::find(std::begin(kSharedCatalogs), std::end(kSharedCatalogs), table) !=
        std::end(kSharedCatalogs)) {
      file.spc = kGlobalTablespace;
      file.db = 0;
    }
    DataDirectory source(cluster_.data());
    TransactionStatus transactions(source, Lsn(1));
    Status done = scan_heap(source, file, Lsn(1), transactions, [&](const ScannedTuple& found) {
      return into.insert(table, found.id, found.tuple);
    });
    EXPECT_TRUE(done.ok()) << done.to_string();
  }

  TestCluster cluster_;
};

std::string text_of(const columns::Column& column, size_t row) {
  switch (column.type().kind) {
    case columns::Kind::kBool:
      return std::to_string(int{column.value<uint8_t>(row)});
    case columns::Kind::kInt16:
      return std::to_string(column.value<int16_t>(row));
    case columns::Kind::kInt32:
    case columns::Kind::kDate:
      return std::to_string(column.value<int32_t>(row));
    case columns::Kind::kInt64:
      return std::to_string(column.value<int64_t>(row));
    case columns::Kind::kDouble:
      return fmt::format("{}", column.value<double>(row));
    default:
      return std::string(column.bytes_at(row));
  }
}

/// Lines sorted by their number in front, as the queries below sort them.
template <typename Map>
std::string lines(const Map& map) {
  std::string out;
  for (const auto& [key, line] : map) out += line + "\n";
  return out;
}

TEST_F(CatalogTest, SaysWhatPostgresSays) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL is not installed";
  ASSERT_TRUE(cluster_.init(""));
  ASSERT_TRUE(cluster_.start());
  ASSERT_TRUE(cluster_.sql(kObjects));
  Catalog catalog;
  for (CatalogTable table : kDatabaseCatalogs) load(catalog, table);

  std::map<uint32_t, std::string> out;
  catalog.relations().for_each([&](uint32_t oid, const Relation& r) {
    out[oid] =
        fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", oid, r.name, r.schema, r.owner,
                    r.file_node, r.tablespace, r.toast, r.persistence, r.kind, int{r.row_security},
                    int{r.populated}, int{r.is_partition}, r.rewrite, int{!r.acl.empty()});
  });
  EXPECT_EQ(lines(out),
            ask("SELECT oid, relname, relnamespace, relowner, relfilenode, reltablespace, "
                "reltoastrelid, relpersistence, relkind, relrowsecurity::int, "
                "relispopulated::int, relispartition::int, relrewrite, (relacl IS NOT NULL)::int "
                "FROM pg_class ORDER BY oid"));

  std::string wanted =
      ask("SELECT attrelid, attnum, attname, atttypid, atttypmod, attlen, attbyval::int, attalign, "
          "attnotnull::int, attisdropped::int, (attmissingval IS NOT NULL)::int FROM pg_attribute "
          "WHERE attrelid >= 16384 AND attnum > 0 ORDER BY 1, 2");
  std::string found;
  std::map<uint32_t, const Relation*> sorted;
  catalog.relations().for_each([&](uint32_t oid, const Relation& r) { sorted[oid] = &r; });
  for (const auto& [oid, relation] : sorted) {
    const auto* attributes = catalog.attributes(oid);
    if (attributes == nullptr) continue;
    for (const pgtypes::Attribute& a : *attributes) {
      found += fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}\n", oid, a.number, a.name, a.type,
                           a.typmod, a.length, int{a.by_value}, a.align, int{a.not_null},
                           int{a.dropped}, int{a.missing.has_value()});
    }
  }
  EXPECT_EQ(found, wanted);

  out.clear();
  std::istringstream types(ask("SELECT oid FROM pg_type"));
  for (uint32_t oid; types >> oid;) {
    const pgtypes::TypeInfo* t = catalog.type(oid);
    ASSERT_NE(t, nullptr) << oid;
    out[oid] = fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", oid, t->name,
                           t->schema, t->length, int{t->by_value}, t->align, t->kind, t->category,
                           t->delimiter, t->relation, t->element, int{t->is_array}, t->base_type,
                           t->base_typmod, t->range_subtype, t->range_of_multirange);
  }
  EXPECT_EQ(lines(out),
            ask("SELECT t.oid, typname, typnamespace, typlen, typbyval::int, typalign, typtype, "
                "typcategory, typdelim, typrelid, typelem, "
                "(typsubscript = 'array_subscript_handler'::regproc)::int, typbasetype, typtypmod, "
                "coalesce(r.rngsubtype, 0), coalesce(m.rngtypid, 0) FROM pg_type t "
                "LEFT JOIN pg_range r ON r.rngtypid = t.oid "
                "LEFT JOIN pg_range m ON m.rngmultitypid = t.oid ORDER BY 1"));

  out.clear();
  std::istringstream labels(ask("SELECT oid FROM pg_enum"));
  for (uint32_t oid; labels >> oid;) {
    out[oid] = fmt::format("{}|{}", oid, catalog.enum_label(oid).value_or("?"));
  }
  EXPECT_EQ(lines(out), ask("SELECT oid, enumlabel FROM pg_enum ORDER BY 1"));
  EXPECT_EQ(out.size(), 4U);

  auto oid_of = [&](const std::string& relation) {
    return static_cast<uint32_t>(std::stoul(ask("SELECT '" + relation + "'::regclass::oid")));
  };
  EXPECT_EQ(catalog.parents(oid_of("child")),
            (std::vector<uint32_t>{oid_of("father"), oid_of("mother")}));
  EXPECT_EQ(catalog.parents(oid_of("part_2a")), std::vector<uint32_t>{oid_of("part_2")});
  EXPECT_EQ(catalog.children(oid_of("part")).size(), 2U);
  std::vector<Index> indexes = catalog.indexes(oid_of("unlogged"));
  ASSERT_EQ(indexes.size(), 1U);
  EXPECT_EQ(indexes[0].oid, oid_of("unlogged_pkey"));
  EXPECT_TRUE(indexes[0].primary && indexes[0].valid);

  // Names as regclass prints them, and types as format_type() does.
  std::istringstream names(
      ask("SELECT oid || ' ' || oid::regclass::text FROM pg_class WHERE oid >= 16384"));
  for (std::string line; std::getline(names, line);) {
    auto oid = static_cast<uint32_t>(std::stoul(line));
    EXPECT_EQ(catalog.object_name(2205, oid).value_or("?"), line.substr(line.find(' ') + 1));
  }
  std::istringstream spellings(
      ask("SELECT atttypid || ' ' || atttypmod || ' ' || format_type(atttypid, atttypmod) "
          "FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid WHERE attnum > 0 AND attrelid "
          "= 't'::regclass AND typnamespace IN (11, 2200)"));
  for (std::string line; std::getline(spellings, line);) {
    std::istringstream in(line);
    uint32_t type = 0;
    int32_t typmod = 0;
    in >> type >> typmod >> std::ws;
    std::string spelling;
    std::getline(in, spelling);
    EXPECT_EQ(type_spelling(catalog, type, typmod), spelling);
  }

  // Rows stored before a column was added show the default it came with.
  uint64_t next_segment = 1;
  LakeTable late(1, oid_of("late"), next_segment);
  EXPECT_EQ(*late.follow(catalog), LakeTable::Change::kColumns);
  EXPECT_EQ(*late.follow(catalog), LakeTable::Change::kNone);
  LakeTable::Heap& heap = late.add_heap(late.oid(), file_of(cluster_, "late"));
  ASSERT_TRUE(late.make_reader(heap, late.oid(), catalog).ok());
  EXPECT_FALSE(*late.make_reader(heap, late.oid(), catalog));
  DataDirectory source(cluster_.data());
  TransactionStatus transactions(source, Lsn(1));
  auto no_toast = [](const pgtypes::ToastPointer&) -> Result<std::string> {
    return Status(Code::kBug, "nothing is toasted");
  };
  Status scanned =
      scan_heap(source, heap.file, Lsn(1), transactions, [&](const ScannedTuple& tuple) -> Status {
        TIDE_TRY(heap.reader->append(tuple.tuple, no_toast, heap.rows.fresh()));
        heap.rows.added(tuple.id);
        return {};
      });
  ASSERT_TRUE(scanned.ok()) << scanned.to_string();
  ASSERT_EQ(late.live_rows(), 3U);
  out.clear();
  const columns::Batch& rows = *heap.rows.version()->segments.at(0).rows;
  for (size_t row = 0; row < 3; ++row) {
    std::string line;
    for (size_t i = 0; i < late.columns().size(); ++i) {
      line += i == 0 ? "" : "|";
      if (!rows.columns[i].is_null(row)) line += text_of(rows.columns[i], row);
    }
    out[static_cast<uint32_t>(rows.columns[0].value<int32_t>(row))] = line;
  }
  EXPECT_EQ(lines(out), ask("SELECT id, s2, i4, i8, b::int, short, long, none, f8, n, c, v, "
                            "d - '1970-01-01' FROM late ORDER BY id"));

  SharedCatalog shared;
  for (CatalogTable table : kSharedCatalogs) load(shared, table);
  out.clear();
  shared.databases().for_each([&](uint32_t oid, const Database& d) {
    out[oid] = fmt::format("{}|{}|{}|{}|{}|{}", oid, d.name, d.owner, d.tablespace,
                           int{d.is_template}, int{d.allows_connections});
  });
  EXPECT_EQ(lines(out), ask("SELECT oid, datname, datdba, dattablespace, datistemplate::int, "
                            "datallowconn::int FROM pg_database ORDER BY 1"));
  out.clear();
  shared.roles().for_each([&](uint32_t oid, const Role& r) {
    out[oid] = fmt::format("{}|{}|{}|{}", oid, r.name, int{r.superuser}, int{r.can_login});
  });
  EXPECT_EQ(lines(out), ask("SELECT oid, rolname, rolsuper::int, rolcanlogin::int FROM pg_authid "
                            "ORDER BY 1"));
}

}  // namespace
}  // namespace tide::mirror
