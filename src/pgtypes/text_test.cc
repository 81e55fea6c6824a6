#include "pgtypes/text.h"

#include <gtest/gtest.h>

#include "pgtypes/internal/test_server.h"

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

  /// Compares all columns of all rows of a table; returns how many values that were.
  size_t compare(const std::string& table, const ServerCatalog& catalog,
                 const TextSettings& settings = {}) {
    const std::vector<Attribute>& columns = *catalog.attributes(server_->relation_oid(table));
    std::string query = settings.interval_style == IntervalStyle::kPostgres
                            ? "SET intervalstyle = 'postgres'; SELECT ctid"
                            : "SELECT ctid";
    for (const Attribute& column : columns) {
      query += column.dropped ? ", 'N'"
                              : fmt::format(
                                    ", CASE num_nulls(\"{0}\") WHEN 1 THEN 'N' ELSE "
                                    "encode(convert_to(format('%s', \"{0}\"), 'UTF8'), 'hex') END",
                                    column.name);
    }
    std::map<std::string, std::vector<std::string>> expected;
    for (auto& row : server_->rows(query + " FROM " + table + ";")) expected[row[0]] = row;

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

struct TypeCase {
  std::string type;
  std::vector<std::string> values;  ///< SQL expressions, cast to the type
};

const char* const kTypes = R"SQL(
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
CREATE ROLE "Odd ""name"; CREATE ROLE plain_role; CREATE ROLE "UPPER";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very "happy", indeed', '');
CREATE TYPE pair AS (a int, "b c" text, n numeric(10,2));
CREATE TYPE deep AS (p pair, list pair[], m mood, gone int, t timestamptz);
ALTER TYPE deep DROP ATTRIBUTE gone;
CREATE TYPE nothing AS ();
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN short_text AS varchar(10);
CREATE DOMAIN pair_domain AS pair;
CREATE DOMAIN ints AS int[];
CREATE TYPE text_range AS RANGE (subtype = text);
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE SCHEMA elsewhere; CREATE TABLE elsewhere."Table" (x int);
)SQL";

const std::vector<TypeCase> kCases = {
    {"bool", {"true", "false"}},
    {"int2", {"0", "-32768", "32767"}},
    {"int4", {"0", "-2147483648", "2147483647"}},
    {"int8", {"0", "-9223372036854775808", "9223372036854775807"}},
    {"float4",
     {"'0'",
      "'-0'",
      "'1'",
      "'1.5'",
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
      "'1e-45'",
      "'3.4028235e38'",
      "'1e5'",
      "'1e6'",
      "'123456'",
      "'1234567'",
      "'0.0001'",
      "'0.00001'",
      "'1.1754944e-38'",
      "'16777216'",
      "'8388608'",
      "'0.1'",
      "'9.5367431640625e-7'"}},
    {"float8",
     {"'0'",
      "'-0'",
      "'1'",
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
      "'5e-324'",
      "'1.7976931348623157e308'",
      "'1e14'",
      "'1e15'",
      "'123456789012345'",
      "'1234567890123456'",
      "'0.0001'",
      "'0.00001'",
      "'0.1'",
      "'1e23'",
      "'9.999999999999999e22'",
      "'2.2250738585072014e-308'",
      "'9007199254740992'",
      "'9007199254740993'",
      "'1e22'",
      "'4503599627370496.5'",
      "'1e-100'",
      "'2e-300'",
      "'1.5e+300'",
      "'9e-5'",
      "'5e-5'"}},
    {"numeric",
     {"'0'", "'0.00'", "'NaN'", "'Infinity'", "'-Infinity'", "'1'", "'-1.50'", "'0.00001'",
      "'10000'", "'100000000'", "'1e100'", "'1e-100'", "'-12345678901234567890.123456789'",
      "'0.1234'", "'0.12345'", "'1.0e-16382'", "'9.99e131000'",
      "'-0.000000000000000000000000001'"}},
    {"numeric(10,2)", {"'NaN'", "'1.5'", "'-99999999.99'", "'0'", "'0.01'"}},
    {"numeric(38,10)", {"'1.5'", "'-1234567890123456789012345678.0123456789'", "'0'"}},
    {"numeric(3,-2)", {"'12345'", "'-99900'", "'0'"}},
    {"numeric(3,5)", {"'0.00123'", "'-0.00999'"}},
    {"numeric(500,100)", {"'1.5'", "'1e399'"}},
    {"money",
     {"'0'::money", "'1234567.89'::money", "'-1234567.89'::money", "'-0.01'::money",
      "'92233720368547758.07'::money", "'-92233720368547758.08'::money"}},
    {"text",
     {"''", "'a'", "repeat('x', 126)", "repeat('x', 127)", "repeat('long ', 500)",
      "repeat(md5('1'), 3000)", "'Ümlaut € 漢字 🎈'", "E'tab\\tnew\\nline'",
      "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)"}},
    {"varchar(20)", {"''", "'twenty characters ok'"}},
    {"bpchar", {"'a  '", "''"}},
    {"char(10)", {"'a'", "''", "'ten chars!'"}},
    {"\"char\"", {"'a'", "''", "'\"'"}},
    {"name", {"'a name'", "''", "repeat('n', 63)"}},
    {"xml",
     {"'<a>b</a>'", "''", "E'\\n<a/>'", "E'<?xml version=\"1.0\"?>\\n<a/>'",
      "'<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>é</a>'",
      "'<?xml version=\"1.0\" standalone=\"yes\"?><a/>'",
      "'<?xml version=''1.1'' standalone=''no'' ?><a/>'", "'text only'",
      "E'<?xml-stylesheet href=\"x\"?>\\n<a/>'"}},
    {"json", {"'{\"a\": [1, 2 , null]}'", "'  1 '", "'\"x\"'"}},
    {"jsonb",
     {"'{}'", "'[]'", "'null'", "'true'", "'1.50'", "'-1e100'",
      "'\"q\\\"\\\\ \\u0001 \\n\\t\\r\\b\\f ü\"'",
      "'{\"b\": 1, \"a\": [true, false, null, {\"x\": []}], \"cc\": {\"y\": 1e-20}}'",
      "'[[[[1]]], {}, [], \"\", 0]'", "(SELECT jsonb_agg(i) FROM generate_series(1, 1000) i)",
      "(SELECT jsonb_object_agg(md5(i::text), jsonb_build_array(i, i::text, i / 7.0)) FROM "
      "generate_series(1, 300) i)",
      "(repeat('[', 5000) || repeat(']', 5000))::jsonb",
      "(repeat('{\"k\":[', 1000) || '1' || repeat(']}', 1000))::jsonb"}},
    {"jsonpath",
     {"'$'",
      "'strict $.a.b'",
      "'$.a[*].b[0, 1 to 3, last]'",
      "'$.* ? (@.x > 1 && !(@.y == \"z\") || exists (@.q))'",
      "'$.**'",
      "'$.**{2}'",
      "'$.**{2 to 5}'",
      "'$.**{last}'",
      "'$.**{1 to last}'",
      "'$.a.**{last to 3}.b'",
      "'($.a + 1) * -2 / (3 - $.b % 2)'",
      "'-$.a + +$.b'",
      "'$ ? (@ like_regex \"^a.*\\\"b\" flag \"ism\")'",
      "'$ ? (@ like_regex \"x\")'",
      "'$ ? ((@ like_regex \"x\" flag \"q\") is unknown)'",
      "'$.a.type().size().abs().floor().ceiling().double().keyvalue()'",
      "'$.a.datetime()'",
      "'$.a.datetime(\"HH24:MI\")'",
      "'$var + $\"other var\"'",
      "'$.a ? (@ starts with \"b\")'",
      "'$ ? (@.a starts with $v && (@.b == null || @.c != true))'",
      "'1.50'",
      "'\"str\\n\"'",
      "'true'",
      "'null'",
      "'($.a == 1) && ($.b < 2 || $.c <= 3) && $.d >= 4 && $.e <> 5'",
      "'$[$.a to last - 1].\"k k\"'",
      "'(1 + 2).type()'",
      "'$.a ? (@ > 1) ? (@ < 5).b'",
      "'1 + (2 + 3)'",
      "'(1 * 2) * 3'",
      "'$.*[*]'"}},
    {"uuid", {"'00000000-0000-0000-0000-000000000000'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"}},
    {"bytea", {"''", "'\\x00ff10'", "decode(repeat('ab', 5000), 'hex')"}},
    {"date",
     {"'2000-01-01'", "'1970-01-01'", "'1999-12-31'", "'0001-01-01'", "'0001-12-31 BC'",
      "'4714-11-24 BC'", "'5874897-12-31'", "'10000-01-01'", "'infinity'", "'-infinity'",
      "'2024-02-29'", "'1900-03-01'", "'0044-03-15 BC'", "'9999-12-31'"}},
    {"time", {"'00:00'", "'24:00:00'", "'23:59:59.999999'", "'12:34:56.5'", "'00:00:00.000001'"}},
    {"timetz",
     {"'00:00+00'", "'24:00:00-15:59'", "'12:34:56.5+05:30'", "'01:02:03+15:59:59'",
      "'01:02:03-00:00:01'"}},
    {"timestamp",
     {"'2000-01-01'", "'1999-12-31 23:59:59.999999'", "'4714-11-24 00:00:00 BC'",
      "'294276-12-31 23:59:59.999999'", "'infinity'", "'-infinity'", "'0001-01-01 00:00:00 BC'",
      "'0001-01-01'", "'1970-01-01 00:00:00.1'", "'10000-01-01 01:02:03'"}},
    {"timestamptz",
     {"'2000-01-01 00:00+00'", "'4714-11-24 00:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'",
      "'infinity'", "'-infinity'", "'0044-03-15 12:00+01 BC'", "'2024-06-01 12:00:00.25+02'"}},
    {"timestamp(0)", {"'2000-01-01 00:00:00.6'"}},
    {"interval",
     {"'0'", "'1 year 2 months 3 days 04:05:06.789'", "'-1 year -2 months +3 days -04:05:06.789'",
      "'1 month -1 day'", "'-00:00:00.000001'", "'178000000 years'", "'2147483647 days'",
      "'2562047788 hours'", "'1 day'", "'-1 day'", "'-1 day 00:00:01'", "'1 mon 1 day 1 second'",
      "'-2147483648 days -2147483648 months'", "'1.5 seconds'", "'-5 years 10 days -3 hours'",
      "'00:00:59.999999'"}},
    {"bit(5)", {"'10101'", "'00000'"}},
    {"varbit", {"''", "'1'", "'101010101'", "'1111111100000000'", "repeat('10', 300)::varbit"}},
    {"inet",
     {"'1.2.3.4'",
      "'1.2.3.0/24'",
      "'0.0.0.0/0'",
      "'255.255.255.255/32'",
      "'::'",
      "'::1'",
      "'::/0'",
      "'::ffff:1.2.3.4'",
      "'::1.2.3.4'",
      "'::1.2.0.0'",
      "'2001:db8::1/64'",
      "'2001:0:0:1::1'",
      "'1:2:3:4:5:6:7:8'",
      "'1:0:3:4:5:6:7:8'",
      "'fe80::'",
      "'0:0:1::'",
      "'::2:3:4:5:6:7:8'",
      "'1:2:3:4:5:6::'",
      "'::ffff:0:1'",
      "'::5:6:7:8'",
      "'::ffff:ffff:ffff'"}},
    {"cidr",
     {"'1.2.3.0/24'", "'10.0.0.0/8'", "'1.2.3.4'", "'::/0'", "'2001:db8::/32'", "'::1/128'",
      "'::ffff:1.2.3.0/120'"}},
    {"macaddr", {"'08:00:2b:01:02:03'"}},
    {"macaddr8", {"'08:00:2b:01:02:03:04:05'"}},
    {"point", {"'(0,0)'", "'(1.5,-2e300)'", "'(NaN,Infinity)'", "'(1e15,1e-5)'"}},
    {"lseg", {"'[(1,2),(3,4)]'"}},
    {"box", {"'((1,2),(3,4))'"}},
    {"path", {"'((1,2),(3,4))'", "'[(1,2)]'", "'[(1,2),(3,4),(5,6.5)]'"}},
    {"polygon", {"'((1,2),(3,4),(5,6))'", "'((0,0))'"}},
    {"line", {"'{1,2,3}'", "'{-1,0,0.1}'"}},
    {"circle", {"'<(1,2),3>'", "'<(0,0),0>'"}},
    {"tsvector",
     {"''", "'a b c'", "'a:1A,2B,3C,4D b:16383 ''it''''s'':5 ''back\\\\\\\\slash'''",
      "to_tsvector('english', repeat('the quick brown fox jumps ', 200))",
      "(SELECT string_agg(md5(i::text), ' ')::tsvector FROM generate_series(1, 500) i)"}},
    {"tsquery",
     {"''", "'a'", "'a & b | !c'", "'(a | b) & !(c & d)'", "'a <-> b <3> c'", "'a <-> (b <-> c)'",
      "'a:*AB & ''q''''s'':D'", "'!!a'", "'!(a <-> b) <-> c'", "'(a & b) <-> (c | d)'", "'a <0> b'",
      "(SELECT string_agg('t' || i, ' & ')::tsquery FROM generate_series(1, 120) i)",
      "(SELECT string_agg('t' || i, ' | !')::tsquery FROM generate_series(1, 100) i)"}},
    {"int2vector", {"''", "'1 -2 3'", "'7'"}},
    {"oidvector", {"''", "'1 4294967295'", "'7'"}},
    {"oid", {"0", "4294967295"}},
    {"xid", {"'0'", "'4294967295'"}},
    {"xid8", {"'0'", "'18446744073709551615'"}},
    {"cid", {"'0'", "'4294967295'"}},
    {"tid", {"'(0,0)'", "'(4294967295,65535)'", "'(65536,1)'"}},
    {"pg_lsn", {"'0/0'", "'FFFFFFFF/FFFFFFFF'", "'16/B374D848'"}},
    {"pg_snapshot", {"'1:1:'", "'10:20:10,14,15'"}},
    {"txid_snapshot", {"'10:20:10,14,15'"}},
    {"regclass", {"'pg_class'", "0", "'elsewhere.\"Table\"'", "4000000000"}},
    {"regtype", {"'int4'", "'timestamptz'", "'pair[]'", "0"}},
    {"regproc", {"'now'", "0", "4000000000"}},
    {"regprocedure", {"'abs(int4)'", "0"}},
    {"regoper",
     {"'||/'", "(SELECT min(oid) FROM pg_operator WHERE oprname = '+')", "0", "4000000000"}},
    {"regoperator", {"'+(int4,int4)'", "0"}},
    {"regrole", {"'postgres'", "0", "'\"Odd \"\"name\"'", "'\"UPPER\"'"}},
    {"regnamespace", {"'pg_catalog'", "0"}},
    {"regconfig", {"'english'", "0"}},
    {"regdictionary", {"'simple'", "0"}},
    {"regcollation", {"'\"C\"'", "0"}},
    {"refcursor", {"'cursor name'"}},
    {"aclitem",
     {"makeaclitem('postgres'::regrole, 'plain_role'::regrole, 'SELECT', true)",
      "makeaclitem(0, 'postgres'::regrole, 'INSERT', false)",
      "'\"Odd \"\"name\"=arwdDxt/\"UPPER\"'", "'postgres=r*w*UXC*TcsA/postgres'",
      "makeaclitem(999999, 888888, 'SELECT', false)"}},
    {"pg_node_tree", {"(SELECT ev_action FROM pg_rewrite LIMIT 1)"}},
    {"mood", {"'sad'", "'very \"happy\", indeed'", "''"}},
    {"positive", {"1", "2147483647"}},
    {"short_text", {"'abc'"}},
    {"pair",
     {"ROW(1, 'x', 2.5)", "ROW(NULL, NULL, NULL)", "ROW(1, '', NULL)",
      "ROW(-1, E'q\"u\\\\o,t (e) \\n', 'NaN')", "ROW(1, repeat('long ', 2000), 0)",
      "ROW(1, ' ', 1)"}},
    {"pair_domain", {"ROW(1, 'x', 2.5)"}},
    {"nothing", {"ROW()"}},
    {"deep",
     {"ROW(ROW(1,'a b',3.25), ARRAY[ROW(1,'x',1), NULL, ROW(2,'\"',NULL)]::pair[], 'ok', "
      "'2020-01-01 00:00+00')",
      "ROW(NULL, '{}', NULL, NULL)", "ROW(ROW(NULL,NULL,NULL), NULL, 'sad', 'infinity')"}},
    {"int4[]",
     {"'{}'", "'{1,2,NULL,4}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'",
      "'[2:3][-1:0]={{1,2},{3,NULL}}'", "'{NULL}'",
      "(SELECT array_agg(i) FROM generate_series(1, 3000) i)", "'{{{1},{2}},{{3},{4}}}'"}},
    {"text[]",
     {"'{}'",
      "ARRAY['a', '', 'NULL', 'null', 'nUll', NULL, 'a b', 'a,b', '{x}', E'q\"\\\\', E'\\t', 'é', "
      "E'\\x0b']",
      "ARRAY[ARRAY['a','b'],ARRAY['c',NULL]]", "ARRAY[repeat('x', 5000)]"}},
    {"box[]", {"'{((1,2),(3,4));((0,0),(1,1))}'"}},
    {"numeric(10,2)[]", {"'{1.5,NaN,NULL,-0.01}'", "'{1,2}'"}},
    {"bool[]", {"'{t,f,NULL}'"}},
    {"int2[]", {"'{1,2,3}'"}},
    {"int8[]", {"'{1,NULL,3}'"}},
    {"float8[]", {"'{1,NaN,1e300}'"}},
    {"timestamptz[]", {"'{2020-01-01 00:00+00,infinity}'"}},
    {"date[]", {"'{2020-01-01,NULL}'"}},
    {"uuid[]", {"'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"}},
    {"mood[]", {"'{sad,NULL,\"\"}'"}},
    {"pair[]", {"ARRAY[ROW(1,'a',2)::pair, NULL, ROW(NULL,NULL,NULL)::pair]"}},
    {"jsonb[]", {"ARRAY['{\"a\":1}'::jsonb, '[]']"}},
    {"interval[]", {"'{1 day,-1 mon}'"}},
    {"int4range[]", {"'{\"[1,5)\",empty}'"}},
    {"\"char\"[]", {"'{a,b,\"\"}'"}},
    {"name[]", {"'{a,b c}'"}},
    {"oidvector[]", {"ARRAY['1 2'::oidvector]"}},
    {"positive[]", {"'{1,2}'"}},
    {"ints", {"'{1,2}'", "'{{1},{2}}'"}},
    {"ints[]", {"ARRAY['{1,2}'::ints, '{3}'::ints]"}},
    {"varchar(5)[]", {"'{abc,NULL}'"}},
    {"char(5)[]", {"'{abc,NULL}'"}},
    {"aclitem[]", {"'{postgres=r/postgres,=w/postgres}'"}},
    {"tid[]", {"ARRAY['(1,2)'::tid]"}},
    {"macaddr[]", {"'{08:00:2b:01:02:03,NULL,08:00:2b:01:02:04}'"}},
    {"timetz[]", {"'{01:00+00,02:00-03}'"}},
    {"int4range", {"'empty'", "'[1,5)'", "'(,5)'", "'[1,)'", "'(,)'"}},
    {"int8range", {"'[1,5)'", "'(,9000000000)'"}},
    {"numrange", {"'[1.50,2.5]'", "'(-Infinity,NaN]'", "'empty'", "'(,1e500)'"}},
    {"tsrange", {"'[2020-01-01,2020-02-01 00:00:00.5)'", "'[-infinity,infinity]'"}},
    {"tstzrange", {"'[2020-01-01 00:00+00,)'"}},
    {"daterange", {"'[2020-01-01,2020-02-01)'", "'[0044-03-15 BC,)'"}},
    {"text_range",
     {"'[a,b]'", "'(\"\",\"a b\")'", "'[\"(\",\"]\\\\\\\\\"]'",
      "text_range('a\"', repeat('z', 3000))", "'[\"a,\",)'"}},
    {"float_range", {"'[1,1e300]'"}},
    {"int4multirange",
     {"'{}'", "'{[1,5)}'", "'{(,1),[3,5),[7,)}'",
      "(SELECT range_agg(int4range(i*10, i*10+5)) FROM generate_series(1, 100) i)"}},
    {"int8multirange", {"'{[1,5),[7,9)}'"}},
    {"nummultirange",
     {"'{[1.5,2.5],(10,20.25]}'",
      "(SELECT range_agg(numrange(i, i + 0.5)) FROM generate_series(1, 70) i)"}},
    {"tstzmultirange", {"'{[2020-01-01 00:00+00,2020-01-02 00:00+00)}'"}},
    {"datemultirange", {"'{[2020-01-01,2020-01-02),[2021-01-01,)}'"}},
    {"text_multirange", {"'{[a,b],[\"c d\",e)}'"}},
    {"citext", {"'MixedCase'"}},
    {"hstore",
     {"''", "'a=>1, \"b c\"=>NULL, \"q\\\"\\\\\\\\\"=>\"\"'",
      "(SELECT hstore(array_agg(i::text), array_agg(md5(i::text))) FROM generate_series(1,500) "
      "i)"}},
    {"ltree", {"''", "'Top'", "'Top.Science.Astronomy_2'"}},
    {"pg_ndistinct", {}},
    {"pg_dependencies", {}},
    {"pg_mcv_list", {}},
};

TEST_F(TextTest, EveryTypePrintsAsPostgresPrintsIt) {
  std::string script = kTypes;
  for (size_t i = 0; i < kCases.size(); ++i) {
    const TypeCase& one = kCases[i];
    // The value stands at differently aligned places, with and without a null bitmap.
    script += fmt::format("CREATE TABLE t{} (a \"char\", v {}, b int2, w {}, c bool, n int);\n", i,
                          one.type, one.type);
    for (const std::string& value : one.values) {
      script += fmt::format(
          "INSERT INTO t{0} SELECT 'x', x, 1, x, true, n FROM (SELECT "
          "({1})::{2} AS x) s, (VALUES (1), (NULL)) m(n);\n",
          i, value, one.type);
    }
    script += fmt::format("INSERT INTO t{} VALUES ('y', NULL, 2, NULL, false, NULL);\n", i);
  }
  script +=
      "CREATE TABLE stats AS SELECT i / 10 AS a, i / 100 AS b, i / 500 AS c FROM "
      "generate_series(1, 5000) i; CREATE STATISTICS st (ndistinct, dependencies, mcv) ON a, b, c "
      "FROM "
      "stats; ANALYZE stats; CREATE TABLE ext AS SELECT stxdndistinct, stxddependencies, stxdmcv "
      "FROM "
      "pg_statistic_ext_data;";
  ASSERT_TRUE(server_->psql(script));
  ServerCatalog catalog;
  server_->load_catalog(catalog);
  size_t values = 0;
  for (size_t i = 0; i < kCases.size(); ++i) values += compare(fmt::format("t{}", i), catalog);
  values += compare("ext", catalog);
  for (size_t i = 0; i < kCases.size(); ++i) {
    if (kCases[i].type.substr(0, 8) == "interval") {
      values += compare(fmt::format("t{}", i), catalog, {IntervalStyle::kPostgres});
    }
  }
  EXPECT_GT(values, 3000U);
  EXPECT_GT(server_->external_values, 10U);
  EXPECT_GT(server_->compressed_values, 10U);
}

}  // namespace
}  // namespace tide::pgtypes
