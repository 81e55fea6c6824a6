"""Every core type with its edge values: one table per type, each value alone, in arrays where it can be."""
import random

# type -> values as SQL literals (without the cast).
VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "-1", "0", "2147483647"],
    "bigint": ["-9223372036854775808", "0", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "xid": ["'0'", "'4294967295'"],
    "xid8": ["'0'", "'18446744073709551615'"],
    "cid": ["'0'", "'4294967295'"],
    "tid": ["'(0,1)'", "'(4294967295,65535)'"],
    "real": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "0", "1e-45", "3.4028235e38", "1.1", "16777217", "-1e-40"],
    "double precision": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "0", "4.9406564584124654e-324",
                         "1.7976931348623157e308", "0.1", "1e15", "1e16", "123456789012345.678", "-2.5e-300"],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "0", "-0.0", "1.50", "1e100", "1e-100", "-12345678901234567890.123456789",
                "123456789012345678901234567890123456789012345678901234567890", "0.000000000000000000000000000000000000001"],
    "numeric(5,2)": ["'NaN'", "999.99", "-999.99", "0.01", "0", "1", "12.345"],
    "numeric(9,0)": ["999999999", "-999999999", "'NaN'"],
    "numeric(18,6)": ["999999999999.999999", "-0.000001", "1e11"],
    "numeric(19,4)": ["999999999999999.9999", "-999999999999999.9999"],
    "numeric(38,0)": ["99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"],
    "numeric(38,38)": ["0.99999999999999999999999999999999999999", "-1e-38"],
    "numeric(39,2)": ["9999999999999999999999999999999999999.99", "0.05"],
    "numeric(3,-2)": ["12345", "-99900"],
    "numeric(2,5)": ["0.00012", "-0.00099"],
    "numeric(1000,500)": ["1e499", "1e-500", "'NaN'"],
    "money": ["'-92233720368547758.08'", "'92233720368547758.07'", "'0'", "'-1.05'", "'1234567.89'"],
    "text": ["''", "' '", "'x'", "'ünïcödé 日本 🎉'", "E'tab\\t newline\\n quote'' back\\\\slash'", "'NULL'", "'\\N'", "E'\\x01\\x7f'",
             "repeat('long', 5000)", "'{a,b}'", "'\"quoted\"'", "chr(55295) || chr(57344) || chr(1114111)"],
    "varchar(10)": ["''", "'0123456789'", "'ä  '"],
    "char(5)": ["''", "'ab'", "'ab   '", "'abcde'", "' a'"],
    "char": ["' '", "'x'"],
    "\"char\"": ["''", "'a'"],
    "name": ["''", "'a name'", "repeat('n', 63)"],
    "bytea": ["''", "'\\x00'", "'\\xdeadbeef00ff'", "decode(repeat('ab', 4000), 'hex')"],
    "date": ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0044-03-15 BC'", "'0001-01-01'", "'0001-12-31 BC'", "'1582-10-10'",
             "'1900-01-01'", "'1969-12-31'", "'1970-01-01'", "'2000-02-29'", "'2299-12-31'", "'9999-12-31'", "'10000-01-01'",
             "'5874897-12-31'"],
    "timestamp": ["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'0001-01-01 00:00:00'", "'0001-01-01 BC'",
                  "'1969-12-31 23:59:59.999999'", "'1970-01-01'", "'2000-01-01 12:34:56.789012'", "'2020-06-15 24:00:00'",
                  "'2262-04-11 23:47:16.854775'", "'9999-12-31 23:59:59.999999'", "'10000-01-01'", "'294246-12-31'",
                  "'294276-12-31 23:59:59.999999'", "'2016-12-31 23:59:60'"],
    "timestamp(0)": ["'2020-01-01 00:00:00.5'", "'infinity'"],
    "timestamptz": ["'infinity'", "'-infinity'", "'4713-01-01 00:00:00+00 BC'", "'0001-01-01 00:00:00+00'",
                    "'1970-01-01 00:00:00+00'", "'1999-12-31 23:59:59.999999-11:30'", "'2020-06-15 12:00:00 Europe/Berlin'",
                    "'1850-01-01 00:00:00 America/New_York'", "'9999-12-31 23:59:59.999999+00'", "'294276-12-31 23:59:59.999999+00'"],
    "time": ["'00:00:00'", "'24:00:00'", "'12:34:56.789012'", "'23:59:59.999999'", "'04:05'"],
    "time(3)": ["'12:34:56.789512'", "'23:59:59.9999'"],
    "timetz": ["'00:00:00+00'", "'24:00:00-15:59'", "'12:34:56.789012+05:30'", "'23:59:59.9+15:59:59'"],
    "interval": ["'0'", "'1 year 2 months 3 days 04:05:06.789012'", "'-1 year -2 days +03:00:00'", "'1 mon -1 day'",
                 "'178000000 years'", "'-178000000 years'", "'2147483647 days'", "'-00:00:00.000001'", "'100000:00:00'", "'1 day'"],
    "interval year to month": ["'1-2'", "'-3-11'"],
    "interval second(2)": ["'1.239'", "'-0.01'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'123e4567-e89b-12d3-a456-426614174000'"],
    "json": ["'null'", "'{\"a\": 1,  \"a\": 2}'", "'[1, \"x\\u0041\", {}]'", "' 1.0e5 '", "'\"\"'"],
    "jsonb": ["'null'", "'{\"b\": 1, \"a\": [1, null, true, \"x\\n\"], \"\": {}}'", "'1e400'", "'123456789012345678901234567890.10'",
              "'\"ü\\u00e9\\\"\\\\\"'", "'[]'", "'{}'", "'[[[]]]'"],
    "jsonpath": ["'$'", "'$.a[*] ? (@.b > 1 && @.c like_regex \"^x\" flag \"i\").size()'", "'strict $[0 to last]'", "'$.\"a b\".**{2 to 5}.type()'"],
    "xml": ["'<a/>'", "'<?xml version=\"1.0\"?><a b=\"c\">text &amp; ü</a>'", "'text only'"],
    "bit(5)": ["B'10101'", "B'00000'"],
    "bit": ["B'1'"],
    "varbit": ["B''", "B'1'", "B'101010101'", "B'1111000011110000111'"],
    "varbit(8)": ["B'11'"],
    "inet": ["'0.0.0.0/0'", "'192.168.1.5'", "'192.168.1.5/24'", "'::1'", "'2001:db8::ff00:42:8329/64'", "'::ffff:1.2.3.4'", "'::/0'"],
    "cidr": ["'0.0.0.0/0'", "'10.0.0.0/8'", "'192.168.1.5/32'", "'2001:db8::/32'", "'::1/128'"],
    "macaddr": ["'08:00:2b:01:02:03'", "'ffffffffffff'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03'"],
    "point": ["'(1,2)'", "'(-0,1e300)'", "'(NaN,Infinity)'", "'(0.1,1e-20)'"],
    "line": ["'{1,2,3}'", "'[(0,0),(1,1)]'"],
    "lseg": ["'[(0,0),(1,1)]'"],
    "box": ["'((1,1),(0,0))'", "'((0,5),(3,-1))'"],
    "path": ["'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1))'"],
    "polygon": ["'((0,0),(1,1),(2,0))'", "'((1.5,2.5))'"],
    "circle": ["'<(0,0),5>'", "'<(1.5,-2),0>'"],
    "tsvector": ["''", "'a fat cat'", "'''it''''s'' a:1A fat:2B,4C \\\\:5'", "to_tsvector('english', 'The quick brown foxes jumped')"],
    "tsquery": ["''", "'fat & (rat | !cat)'", "'a <-> b <3> c'", "'super:*AB & ''q u'''", "'!!a'"],
    "int4range": ["'empty'", "'(,)'", "'[1,5)'", "'(1,5]'", "'[,3]'", "'[2147483647,)'"],
    "int8range": ["'[-9223372036854775808,9223372036854775807)'"],
    "numrange": ["'[1.50,2.5]'", "'(NaN,)'", "'[0.1,0.1]'", "'(,Infinity]'"],
    "tsrange": ["'[2020-01-01,2021-01-01 12:00)'", "'[-infinity,infinity]'", "'(,2020-01-01]'"],
    "tstzrange": ["'[2020-01-01 00:00:00+02,)'", "'(0001-01-01 BC,]'"],
    "daterange": ["'[2020-01-01,2020-12-31]'", "'(,infinity)'", "'empty'"],
    "int4multirange": ["'{}'", "'{[1,3),[5,8)}'", "'{(,)}'"],
    "int8multirange": ["'{[1,2]}'"],
    "nummultirange": ["'{[1.5,2.5],(3,)}'"],
    "tsmultirange": ["'{[2020-01-01,2020-01-02),[2021-01-01,2021-01-02)}'"],
    "tstzmultirange": ["'{[2020-01-01 00:00:00+00,2020-01-02 00:00:00+00)}'"],
    "datemultirange": ["'{[2020-01-01,2020-01-05),[2021-01-01,)}'"],
    "pg_lsn": ["'0/0'", "'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"],
    "pg_snapshot": ["'10:20:10,14,15'", "'1:1:'"],
    "txid_snapshot": ["'10:20:10,14,15'"],
    "int2vector": ["''", "'1 2 -3'"],
    "oidvector": ["''", "'1 4294967295'"],
    "regtype": ["'integer'", "'text[]'", "0"],
    "regclass": ["'pg_class'", "0"],
    "regproc": ["'now'", "0"],
    "regprocedure": ["'lower(text)'", "0"],
    "regoper": ["'||/'", "0"],
    "regoperator": ["'+(integer,integer)'", "0"],
    "regrole": ["0", "'pg_monitor'"],
    "regnamespace": ["'pg_catalog'", "0"],
    "regconfig": ["'english'"],
    "regdictionary": ["'simple'"],
    "regcollation": ["'\"C\"'"],
    "refcursor": ["'a cursor'"],
}

# type -> array literals: empty, nulls, other bounds, several dimensions, quoting, nesting.
ARRAYS = {
    "integer[]": ["'{}'", "'{1}'", "'{1,NULL,3}'", "'{NULL}'", "'[0:2]={1,2,3}'", "'[2:3]={1,2}'", "'{{1,2},{3,4}}'", "'[1:1][2:3]={{1,2}}'"],
    "text[]": ["'{}'", "'{\"\",a,NULL,\"NULL\",\"with,comma\",\"q\\\"uote\",\"back\\\\slash\",\"{\"}'", "'{\" a \"}'", "ARRAY[repeat('x', 10000)]"],
    "bigint[]": ["'{9223372036854775807,-9223372036854775808}'"],
    "boolean[]": ["'{t,f,NULL}'"],
    "real[]": ["'{NaN,Infinity,-0,1.1}'"],
    "double precision[]": ["'{NaN,-Infinity,0.1}'"],
    "numeric[]": ["'{1.50,NaN,1e50}'"],
    "numeric(6,2)[]": ["'{1.5,-2.25,NULL}'", "'{1,NaN}'"],
    "money[]": ["'{\"$1,234.50\",-1}'"],
    "date[]": ["'{2020-01-01,NULL}'", "'{infinity}'", "'{\"0044-03-15 BC\"}'"],
    "timestamp[]": ["'{\"2020-01-01 12:00:00.5\"}'", "'{infinity,2020-01-01}'"],
    "timestamptz[]": ["'{\"2020-01-01 12:00:00+05\"}'"],
    "interval[]": ["'{\"1 year\",\"-3 days\"}'"],
    "time[]": ["'{24:00:00,12:00:00.5}'"],
    "bytea[]": ["'{\"\\\\x00ff\",NULL,\"\\\\x\"}'"],
    "uuid[]": ["'{123e4567-e89b-12d3-a456-426614174000}'"],
    "jsonb[]": ["ARRAY['{\"a\": \"x,y\"}', NULL, '[]']::jsonb[]"],
    "char(3)[]": ["'{a,\"b  \",abc}'"],
    "varchar(3)[]": ["'{a,\"b \"}'"],
    "box[]": ["'{(1,1),(0,0);(2,2),(1,1)}'"],
    "point[]": ["'{\"(1,2)\",\"(3,4)\"}'"],
    "inet[]": ["'{10.0.0.1/8,::1}'"],
    "bit(3)[]": ["'{101,NULL}'"],
    "int4range[]": ["'{\"[1,3)\",empty}'"],
    "int4multirange[]": ["'{\"{[1,3)}\",\"{}\"}'"],
    "tsvector[]": ["ARRAY['a b'::tsvector]"],
    "\"char\"[]": ["'{a,b}'"],
    "name[]": ["'{x,\"y z\"}'"],
    "oid[]": ["'{1,4294967295}'"],
    "xml[]": ["ARRAY['<a/>'::xml]"],
}

MADE = """
CREATE TYPE mood AS ENUM ('sad', 'o k', 'häppy', '"quoted"', '');
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE DOMAIN money_like AS numeric(8,2);
CREATE DOMAIN numbers AS integer[];
CREATE DOMAIN over_domain AS positive DEFAULT 7;
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE deep AS (p pair, ps pair[], m mood, d date, n numeric(5,2), x bytea);
CREATE TYPE clash AS ("A" integer, a integer);
CREATE TYPE bare AS ();
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE DOMAIN pair_domain AS pair;
"""
MADE_VALUES = {
    "mood": ["'sad'", "'o k'", "'häppy'", "'\"quoted\"'", "''"],
    "mood[]": ["'{sad,\"o k\",NULL,\"\"}'"],
    "positive": ["1"], "over_domain": ["5"], "positive[]": ["'{1,2}'"],
    "money_like": ["123456.78", "'NaN'"],
    "numbers": ["'{1,2}'", "'{{1}}'"],
    "numbers[]": ["ARRAY['{1,2}'::numbers]"],
    "pair": ["ROW(1, 'x')", "ROW(NULL, NULL)", "ROW(NULL, '')", "ROW(2, 'a,\"b\\c)(')"],
    "pair[]": ["ARRAY[ROW(1, 'x')::pair, NULL, ROW(NULL, 'NULL')::pair]"],
    "deep": ["ROW(ROW(1, 'x')::pair, ARRAY[ROW(2, 'y')::pair], 'o k', '2020-01-01', 1.5, '\\x00ff')",
             "ROW(NULL, NULL, NULL, 'infinity', NULL, NULL)", "ROW(NULL, '{}', 'sad', NULL, 'NaN', '\\x')"],
    "deep[]": ["ARRAY[ROW(ROW(1, 'x')::pair, ARRAY[ROW(2, 'y')::pair], 'sad', '2020-01-01', 1.5, NULL)::deep]"],
    "clash": ["ROW(1, 2)"],
    "bare": ["ROW()::bare"],
    "floats": ["'[0.5,NaN)'", "'empty'"], "floatmultirange": [], "floats[]": ["'{\"[1,2]\"}'"],
    "pair_domain": ["ROW(1, 'd')::pair"],
}
EXTENSIONS = """
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE EXTENSION cube;
CREATE EXTENSION isn;
CREATE EXTENSION seg;
CREATE TABLE extension_types (id int, h hstore, c citext, l ltree);
INSERT INTO extension_types VALUES (1, 'a=>1, "b c"=>NULL, d=>"x\\"y"', 'CiText', 'top.Sub_1.x'), (2, '', '', ''), (3, NULL, NULL, NULL);
CREATE TABLE extension_unknown (id int, c cube, i isbn13, s seg);
INSERT INTO extension_unknown VALUES (1, '(1,2),(3,4)', '978-0-393-04002-9', '1..2');
"""


def script(extensions=True):
    """A script (script.py) that makes one table per type, with every value, NULL, and updates."""
    lines = [MADE]
    everything = {**VALUES, **ARRAYS, **MADE_VALUES}
    for number, (kind, values) in enumerate(everything.items()):
        table = f"t{number:03d}"
        if kind == "floatmultirange":
            continue
        lines.append(f"CREATE TABLE {table} (id int, v {kind}, n int);\nCOMMENT ON TABLE {table} IS '{kind.replace(chr(39), '')}';")
        rows = [f"({i}, {value}, 0)" for i, value in enumerate(values, 1)]
        for row in rows:
            lines.append(f"INSERT INTO {table} VALUES {row};")
        lines.append(f"INSERT INTO {table} VALUES (0, NULL, 0);")
        # Also unchanged by an update, replaced, and by a multi-insert.
        lines.append(f"UPDATE {table} SET n = 1 WHERE id % 2 = 1;")
        lines.append(f"INSERT INTO {table} SELECT id + 100, v, 2 FROM {table};")
        if values:
            lines.append(f"UPDATE {table} SET v = {values[-1]} WHERE id = 100;")
            lines.append(f"DELETE FROM {table} WHERE id = 101;")
    if extensions:
        lines.append(EXTENSIONS)
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(VALUES))
    lines.append(f"CREATE TABLE all_types (id int, {columns});")
    chooser = random.Random(7)
    for row in range(40):
        values = ", ".join("NULL" if chooser.random() < 0.2 else f"({chooser.choice(values)})::{kind}"
                           for kind, values in VALUES.items())
        lines.append(f"INSERT INTO all_types VALUES ({row}, {values});")
    lines.append("DELETE FROM all_types WHERE id % 5 = 0;")
    lines.append("INSERT INTO all_types SELECT * FROM all_types;")
    return "\n".join(lines) + "\n"
