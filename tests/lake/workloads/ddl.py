"""Every statement that changes tables, as scripts (see script.py)."""

SCRIPTS = {
    "columns": """
CREATE TABLE t (id int PRIMARY KEY, a int, b text);
INSERT INTO t SELECT i, i, 'b' || i FROM generate_series(1, 100) i;
ALTER TABLE t ADD c int;
INSERT INTO t VALUES (101, 101, 'b', 7);
ALTER TABLE t ADD d int DEFAULT 42;
ALTER TABLE t ADD e text NOT NULL DEFAULT 'a default';
-- @pause
INSERT INTO t (id) VALUES (102);
UPDATE t SET a = a + 1 WHERE id < 10;
ALTER TABLE t ALTER d SET DEFAULT 43;
INSERT INTO t (id) VALUES (103);
UPDATE t SET d = 0 WHERE id = 50;
ALTER TABLE t DROP COLUMN b;
INSERT INTO t (id, a) VALUES (104, 104);
ALTER TABLE t ADD b numeric(8,3) DEFAULT 1.5;
-- @pause
ALTER TABLE t RENAME COLUMN a TO renamed;
UPDATE t SET renamed = 0 WHERE id = 1;
ALTER TABLE t RENAME COLUMN c TO a;
ALTER TABLE t DROP COLUMN b;
ALTER TABLE t ADD b text[] DEFAULT '{x,y}';
ALTER TABLE t ADD at timestamptz DEFAULT '2020-01-01 00:00:00+00';
ALTER TABLE t ADD random float8 DEFAULT 0.5 + 1, DROP COLUMN renamed;
-- @pause
ALTER TABLE t ALTER e DROP NOT NULL;
ALTER TABLE t ALTER e DROP DEFAULT;
ALTER TABLE t ALTER d SET NOT NULL;
UPDATE t SET e = NULL WHERE id % 2 = 0;
ALTER TABLE t DROP CONSTRAINT t_pkey;
ALTER TABLE t ADD CHECK (d >= 0);
ALTER TABLE t RENAME COLUMN e TO "E mit Umlaut ä";
ALTER TABLE t ADD volatile_default uuid DEFAULT gen_random_uuid();
ALTER TABLE t ADD big_default text DEFAULT repeat('default', 1000);
UPDATE t SET d = d + 1 WHERE id < 5;
CREATE TABLE last_column_gone (a int);
INSERT INTO last_column_gone VALUES (1), (2);
ALTER TABLE last_column_gone DROP COLUMN a;
INSERT INTO last_column_gone DEFAULT VALUES;
ALTER TABLE last_column_gone ADD b int DEFAULT 5;
CREATE TABLE first_column_gone (a int, b int, c text);
INSERT INTO first_column_gone SELECT i, i, 'x' FROM generate_series(1, 10) i;
ALTER TABLE first_column_gone DROP a;
UPDATE first_column_gone SET b = 0 WHERE b = 1;
INSERT INTO first_column_gone VALUES (11, 'y');
VACUUM FULL first_column_gone;
INSERT INTO first_column_gone VALUES (12, 'z');
""",
    "swap_names": """
CREATE TABLE t (a int, b int);
INSERT INTO t VALUES (1, 2);
BEGIN;
ALTER TABLE t RENAME a TO tmp;
ALTER TABLE t RENAME b TO a;
ALTER TABLE t RENAME tmp TO b;
COMMIT;
INSERT INTO t VALUES (3, 4);
ALTER TABLE t DROP a;
ALTER TABLE t RENAME b TO a;
ALTER TABLE t ADD b text DEFAULT 'new';
INSERT INTO t VALUES (5, 'six');
-- @pause
CREATE TABLE cased (id int, "Name" text);
INSERT INTO cased VALUES (1, 'x');
ALTER TABLE cased RENAME "Name" TO name;
INSERT INTO cased VALUES (2, 'y');
""",
    "retype": """
CREATE TABLE t (id int, a int, b varchar(10), c numeric(10,2), d text, e timestamp, f int);
INSERT INTO t SELECT i, i, 'v' || i, i + 0.25, i::text, '2020-01-01'::timestamp + i * interval '1 hour', i FROM generate_series(1, 100) i;
ALTER TABLE t ALTER b TYPE varchar(20);
INSERT INTO t VALUES (101, 1, 'longer than before', 1, 'd', NULL, 1);
ALTER TABLE t ALTER b TYPE text;
ALTER TABLE t ALTER a TYPE bigint;
INSERT INTO t VALUES (102, 5000000000, 'x', 1, 'd', NULL, 1);
-- @pause
ALTER TABLE t ALTER c TYPE numeric(12,2);
UPDATE t SET c = 1234567890.12 WHERE id = 1;
UPDATE t SET c = 12345678.12 WHERE id = 1;
ALTER TABLE t ALTER c TYPE numeric(12,4);
ALTER TABLE t ALTER c TYPE numeric;
UPDATE t SET c = 'NaN' WHERE id = 2;
-- @pause
DELETE FROM t WHERE d = 'd';
ALTER TABLE t ALTER d TYPE int USING d::int + 1;
ALTER TABLE t ALTER e TYPE timestamptz USING e AT TIME ZONE 'UTC';
ALTER TABLE t ALTER e TYPE date;
ALTER TABLE t ALTER f TYPE text USING 'f' || f, ALTER a TYPE int, ADD g int DEFAULT 9;
INSERT INTO t VALUES (200, 1, 'b', 0.001, 7, 'today', 'f', 1);
BEGIN;
ALTER TABLE t ALTER a TYPE text;
UPDATE t SET a = a || '!' WHERE id < 10;
INSERT INTO t (id, a) VALUES (300, 'new');
COMMIT;
BEGIN;
ALTER TABLE t ALTER g TYPE text;
UPDATE t SET g = 'rolled back';
ROLLBACK;
UPDATE t SET g = g + 1 WHERE id < 5;
CREATE TABLE only_typmod (id int, v varchar(5), b bit(3), t time(0));
INSERT INTO only_typmod VALUES (1, 'abc', '101', '10:00');
ALTER TABLE only_typmod ALTER v TYPE varchar, ALTER t TYPE time(6);
INSERT INTO only_typmod VALUES (2, repeat('long', 100), '111', '10:00:00.123456');
CREATE TABLE there_and_back (id int, v int);
INSERT INTO there_and_back SELECT i, i FROM generate_series(1, 10) i;
ALTER TABLE there_and_back ALTER v TYPE text;
ALTER TABLE there_and_back ALTER v TYPE int USING v::int;
INSERT INTO there_and_back VALUES (11, 11);
""",
    "rewrites": """
CREATE TABLE t (id int PRIMARY KEY, a int, b text);
INSERT INTO t SELECT i, -i, repeat('x', 200) FROM generate_series(1, 500) i;
DELETE FROM t WHERE id % 3 = 0;
VACUUM FULL t;
UPDATE t SET a = 0 WHERE id < 20;
CREATE INDEX t_a ON t (a);
CLUSTER t USING t_a;
DELETE FROM t WHERE id = 400;
CLUSTER t;
-- @pause
BEGIN;
INSERT INTO t VALUES (1000, 1, 'in the transaction');
CLUSTER t USING t_pkey;
UPDATE t SET a = 77 WHERE id = 1000;
DELETE FROM t WHERE id = 1;
COMMIT;
BEGIN;
CLUSTER t USING t_a;
DELETE FROM t;
ROLLBACK;
DELETE FROM t WHERE id = 2;
ALTER TABLE t SET (fillfactor = 50);
VACUUM FULL t;
REINDEX TABLE t;
UPDATE t SET b = 'y' WHERE id > 450;
ALTER TABLE t SET UNLOGGED;
INSERT INTO t VALUES (2000, 1, 'unlogged');
-- @pause
ALTER TABLE t SET LOGGED;
INSERT INTO t VALUES (2001, 1, 'logged again');
UPDATE t SET a = 5 WHERE id = 2000;
CREATE UNLOGGED TABLE never_logged (id int, a text);
INSERT INTO never_logged SELECT i, 'x' FROM generate_series(1, 10) i;
CREATE UNLOGGED TABLE becomes_logged (id int, a text);
INSERT INTO becomes_logged SELECT i, 'x' FROM generate_series(1, 10) i;
ALTER TABLE becomes_logged SET LOGGED;
INSERT INTO becomes_logged VALUES (11, 'y');
BEGIN;
CREATE TABLE fresh (id int, a text);
INSERT INTO fresh SELECT i, 'x' FROM generate_series(1, 10) i;
ALTER TABLE fresh ALTER a TYPE int USING id;
CREATE INDEX fresh_id ON fresh (id);
CLUSTER fresh USING fresh_id;
INSERT INTO fresh VALUES (11, 12);
COMMIT;
""",
    "partitions": """
CREATE TABLE p (id int, at date, v text) PARTITION BY RANGE (at);
CREATE TABLE p_2020 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE p_2021 PARTITION OF p FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE p_default PARTITION OF p DEFAULT;
INSERT INTO p SELECT i, '2019-06-01'::date + i * 3, 'v' || i FROM generate_series(1, 400) i;
-- @pause
UPDATE p SET v = 'changed' WHERE id % 10 = 0;
UPDATE p SET at = at + 365 WHERE id BETWEEN 100 AND 150;
DELETE FROM p WHERE id % 7 = 0;
INSERT INTO p_2020 VALUES (1000, '2020-05-05', 'direct');
ALTER TABLE p DETACH PARTITION p_2021;
INSERT INTO p_2021 VALUES (2000, '2021-07-07', 'on its own');
UPDATE p_2021 SET v = 'alone' WHERE id % 2 = 0;
-- @pause
ALTER TABLE p ATTACH PARTITION p_2021 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
UPDATE p SET v = v || ' back' WHERE at >= '2021-06-01' AND at < '2021-07-01';
-- different physical columns
CREATE TABLE p_2030 (v text, dropped int, at date, id int);
ALTER TABLE p_2030 DROP dropped;
INSERT INTO p_2030 VALUES ('attached', '2030-02-02', 3000);
ALTER TABLE p ATTACH PARTITION p_2030 FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
INSERT INTO p VALUES (3001, '2030-03-03', 'routed');
UPDATE p SET at = '2030-04-04' WHERE id = 1000;
ALTER TABLE p ADD extra int DEFAULT 3;
INSERT INTO p VALUES (3002, '2030-05-05', 'x', 4);
ALTER TABLE p DROP v;
ALTER TABLE p RENAME extra TO more;
-- @pause
-- sub-partitions
CREATE TABLE p_sub PARTITION OF p FOR VALUES FROM ('2040-01-01') TO ('2050-01-01') PARTITION BY LIST (id);
CREATE TABLE p_sub_1 PARTITION OF p_sub FOR VALUES IN (1, 2, 3);
CREATE TABLE p_sub_rest PARTITION OF p_sub DEFAULT;
INSERT INTO p SELECT i, '2041-01-01', i FROM generate_series(1, 6) i;
UPDATE p SET id = id + 3 WHERE at = '2041-01-01' AND id = 1;
TRUNCATE p_sub_1;
TRUNCATE p_2020;
DROP TABLE p_2030;
CREATE TABLE h (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE h_0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE h_1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO h SELECT i, 'h' FROM generate_series(1, 100) i;
UPDATE h SET id = id + 1000 WHERE id <= 20;
INSERT INTO h VALUES (50, 'new') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
-- @pause
TRUNCATE h;
INSERT INTO h VALUES (1, 'only');
CREATE TABLE empty_root (id int) PARTITION BY LIST (id);
CREATE TABLE detached_sub (id int, at date, more int) PARTITION BY LIST (id);
CREATE TABLE detached_sub_1 PARTITION OF detached_sub FOR VALUES IN (1);
INSERT INTO detached_sub VALUES (1, '2060-01-01', 1);
ALTER TABLE p ATTACH PARTITION detached_sub FOR VALUES FROM ('2060-01-01') TO ('2061-01-01');
ALTER TABLE p DETACH PARTITION p_sub;
INSERT INTO p_sub VALUES (2, '2042-01-01', 2);
ALTER TABLE p DETACH PARTITION p_default;
ALTER TABLE p DETACH PARTITION p_2021 CONCURRENTLY;
""",
    "inheritance": """
CREATE TABLE animal (id int, name text);
CREATE TABLE dog (barks bool) INHERITS (animal);
CREATE TABLE puppy (age int) INHERITS (dog);
INSERT INTO animal VALUES (1, 'generic');
INSERT INTO dog VALUES (2, 'rex', true);
INSERT INTO puppy VALUES (3, 'bello', false, 1);
UPDATE animal SET name = upper(name);
ALTER TABLE animal ADD legs int DEFAULT 4;
INSERT INTO puppy VALUES (4, 'small', true, 2, 3);
DELETE FROM animal WHERE id = 2;
ALTER TABLE animal RENAME name TO title;
ALTER TABLE puppy NO INHERIT dog;
INSERT INTO puppy VALUES (5, 'alone', true, 2, 4);
ALTER TABLE animal ALTER legs TYPE bigint;
CREATE TABLE cat (LIKE animal INCLUDING ALL);
ALTER TABLE cat INHERIT animal;
INSERT INTO cat VALUES (6, 'minka', 4);
TRUNCATE ONLY animal;
""",
    "matviews": """
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 200) i;
CREATE MATERIALIZED VIEW m AS SELECT a, count(*) AS n, sum(id) AS s FROM t GROUP BY a;
CREATE MATERIALIZED VIEW not_yet AS SELECT * FROM t WITH NO DATA;
CREATE UNIQUE INDEX ON m (a);
-- @pause
DELETE FROM t WHERE a = 3;
UPDATE t SET a = 50 WHERE id < 20;
REFRESH MATERIALIZED VIEW m;
-- @pause
INSERT INTO t SELECT i, i % 12 FROM generate_series(1000, 1100) i;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
DELETE FROM t WHERE id > 1090;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
REFRESH MATERIALIZED VIEW not_yet;
-- @pause
REFRESH MATERIALIZED VIEW not_yet WITH NO DATA;
CREATE MATERIALIZED VIEW renamed_view AS SELECT 1 AS one;
ALTER MATERIALIZED VIEW renamed_view RENAME TO other_view;
ALTER MATERIALIZED VIEW other_view RENAME COLUMN one TO eins;
CREATE MATERIALIZED VIEW dropped_view AS SELECT 1 AS one;
DROP MATERIALIZED VIEW dropped_view;
BEGIN;
REFRESH MATERIALIZED VIEW m;
INSERT INTO t VALUES (5000, 99);
REFRESH MATERIALIZED VIEW m;
ROLLBACK;
CREATE VIEW plain AS SELECT * FROM t;
""",
    "create_as": """
CREATE TABLE src AS SELECT i AS id, md5(i::text) AS h, now() AS at FROM generate_series(1, 300) i;
CREATE TABLE ctas AS SELECT id, h FROM src WHERE id % 2 = 0;
SELECT id, id * 1.5 AS x INTO selected FROM src WHERE id < 50;
CREATE TABLE no_data AS SELECT * FROM src WITH NO DATA;
CREATE TABLE like_src (LIKE src INCLUDING ALL);
INSERT INTO like_src SELECT * FROM src;
CREATE TABLE IF NOT EXISTS ctas AS SELECT 1 AS other;
BEGIN;
CREATE TABLE ctas_then_dml AS SELECT generate_series(1, 10) AS id;
DELETE FROM ctas_then_dml WHERE id > 5;
UPDATE ctas_then_dml SET id = id + 100;
COMMIT;
CREATE TABLE typed_by AS SELECT 1::smallint AS a, 'x'::char(5) AS b, NULL::jsonb AS c, ARRAY[1,2] AS d, ROW(1, 'x')::text AS e;
CREATE TYPE pair AS (a int, b text);
CREATE TABLE of_type OF pair;
INSERT INTO of_type VALUES (1, 'x');
ALTER TYPE pair ADD ATTRIBUTE c int CASCADE;
INSERT INTO of_type VALUES (2, 'y', 3);
""",
    "drop_recreate": """
CREATE TABLE t (id int, a text);
INSERT INTO t SELECT i, 'first life' FROM generate_series(1, 10) i;
-- @pause
DROP TABLE t;
-- @pause
CREATE TABLE t (other numeric(5,1), b date);
INSERT INTO t VALUES (1.5, '2020-01-01');
-- @pause
BEGIN;
DROP TABLE t;
CREATE TABLE t (id int);
INSERT INTO t VALUES (1), (2);
COMMIT;
-- @pause
BEGIN;
DROP TABLE t;
CREATE TABLE t (gone text);
INSERT INTO t VALUES ('rolled back');
ROLLBACK;
INSERT INTO t VALUES (3);
CREATE TABLE dropped (id int);
INSERT INTO dropped VALUES (1);
DROP TABLE dropped;
BEGIN;
CREATE TABLE short_lived (id int);
INSERT INTO short_lived VALUES (1);
DROP TABLE short_lived;
COMMIT;
BEGIN;
CREATE TABLE aborted (id int);
INSERT INTO aborted VALUES (1);
ROLLBACK;
CREATE TABLE a (id int, name text DEFAULT 'a');
CREATE TABLE b (id int, name text DEFAULT 'b', more int);
INSERT INTO a VALUES (1);
INSERT INTO b VALUES (2);
BEGIN;
ALTER TABLE a RENAME TO tmp;
ALTER TABLE b RENAME TO a;
ALTER TABLE tmp RENAME TO b;
COMMIT;
INSERT INTO a VALUES (3);
INSERT INTO b VALUES (4);
-- @pause
CREATE TABLE one (id int);
INSERT INTO one VALUES (1);
ALTER TABLE one RENAME TO two;
CREATE TABLE one (id text);
INSERT INTO one VALUES ('new one');
INSERT INTO two VALUES (2);
DROP TABLE two;
ALTER TABLE one RENAME TO two;
INSERT INTO two VALUES ('renamed');
CREATE TABLE "Case" (id int);
CREATE TABLE "case" (id int);
INSERT INTO "Case" VALUES (1);
INSERT INTO "case" VALUES (2);
CREATE TABLE a_name_of_sixty_three_bytes_which_is_the_longest_that_pg_allows (id int);
INSERT INTO a_name_of_sixty_three_bytes_which_is_the_longest_that_pg_allows VALUES (1);
""",
    "aborted_ddl": """
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i;
BEGIN;
ALTER TABLE t ADD b int DEFAULT 5;
UPDATE t SET b = 6;
INSERT INTO t VALUES (100, 'y', 7);
ROLLBACK;
INSERT INTO t VALUES (51, 'kept');
BEGIN;
ALTER TABLE t DROP a;
INSERT INTO t VALUES (101);
SAVEPOINT s;
ALTER TABLE t ADD c text DEFAULT 'c';
ROLLBACK TO s;
-- @error
SELECT 1 / 0;
ROLLBACK;
BEGIN;
SAVEPOINT s;
ALTER TABLE t ADD d int DEFAULT 1;
UPDATE t SET d = 2 WHERE id = 1;
ROLLBACK TO s;
ALTER TABLE t ADD e int DEFAULT 3;
UPDATE t SET e = 4 WHERE id = 2;
SAVEPOINT s2;
ALTER TABLE t RENAME a TO z;
RELEASE s2;
INSERT INTO t VALUES (52, 'kept', 5);
COMMIT;
BEGIN;
CREATE SCHEMA aborted_schema;
CREATE TABLE aborted_schema.t (id int);
INSERT INTO aborted_schema.t VALUES (1);
DROP TABLE t;
ROLLBACK;
DELETE FROM t WHERE id = 3;
""",
    "ddl_with_dml": """
BEGIN;
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'before' FROM generate_series(1, 100) i;
ALTER TABLE t ADD b int;
UPDATE t SET b = id WHERE id < 50;
ALTER TABLE t ADD c text DEFAULT 'c';
INSERT INTO t VALUES (101, 'after', 1, 'd');
ALTER TABLE t DROP a;
DELETE FROM t WHERE id > 95;
COMMIT;
-- @pause
BEGIN;
UPDATE t SET b = -1 WHERE id = 1;
ALTER TABLE t ALTER b TYPE bigint;
UPDATE t SET b = 9999999999 WHERE id = 2;
ALTER TABLE t RENAME b TO bb;
INSERT INTO t VALUES (200, 3, 'x');
ALTER TABLE t ADD f float8;
UPDATE t SET f = bb / 2.0;
TRUNCATE t;
INSERT INTO t VALUES (1, 1, 'y', 0.5);
COMMIT;
-- @pause
BEGIN;
INSERT INTO t VALUES (2, 2, 'old columns', 1);
SAVEPOINT s;
ALTER TABLE t DROP f;
INSERT INTO t VALUES (3, 3, 'without f');
ROLLBACK TO s;
INSERT INTO t VALUES (4, 4, 'with f', 2);
ALTER TABLE t ADD g int DEFAULT 1;
COMMIT;
-- other sessions write while the table changes
-- @session 1
BEGIN;
CREATE TABLE u (id int);
INSERT INTO u VALUES (1);
-- @session 0
INSERT INTO t VALUES (5, 5, 'meanwhile', 3, 2);
-- @session 1
COMMIT;
""",
    "schemas": """
CREATE SCHEMA IF NOT EXISTS lake_s1;
CREATE TABLE lake_s1.t (id int, a text);
INSERT INTO lake_s1.t VALUES (1, 'x');
ALTER SCHEMA lake_s1 RENAME TO lake_s2;
INSERT INTO lake_s2.t VALUES (2, 'y');
CREATE SCHEMA lake_s1;
CREATE TABLE lake_s1.t (id text);
INSERT INTO lake_s1.t VALUES ('another');
-- @pause
CREATE SCHEMA lake_gone;
CREATE TABLE lake_gone.t (id int);
INSERT INTO lake_gone.t VALUES (1);
CREATE TABLE lake_gone.stays (id int);
INSERT INTO lake_gone.stays VALUES (1);
ALTER TABLE lake_gone.stays SET SCHEMA lake_s2;
INSERT INTO lake_s2.stays VALUES (2);
-- @pause
DROP SCHEMA lake_gone CASCADE;
CREATE SCHEMA "Lake Schema.with/slash %41";
CREATE TABLE "Lake Schema.with/slash %41"."t/../x" (id int);
INSERT INTO "Lake Schema.with/slash %41"."t/../x" VALUES (1);
BEGIN;
ALTER SCHEMA lake_s2 RENAME TO lake_s3;
CREATE SCHEMA lake_s2;
CREATE TABLE lake_s2.t (id int);
INSERT INTO lake_s2.t VALUES (7);
INSERT INTO lake_s3.t VALUES (3, 'z');
COMMIT;
""",
    "enums": """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (id int, m mood, ms mood[]);
INSERT INTO t VALUES (1, 'sad', '{sad,ok}'), (2, 'happy', NULL), (3, NULL, '{}');
ALTER TYPE mood ADD VALUE 'angry' BEFORE 'sad';
INSERT INTO t VALUES (4, 'angry', '{angry,NULL,happy}');
-- @pause
ALTER TYPE mood RENAME VALUE 'happy' TO 'joyful';
INSERT INTO t VALUES (5, 'joyful', '{joyful}');
UPDATE t SET m = 'ok' WHERE id = 1;
-- @pause
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'new' AFTER 'ok';
INSERT INTO t VALUES (6, 'new', '{new}');
BEGIN;
CREATE TYPE fresh AS ENUM ('a', 'b');
CREATE TABLE u (id int, f fresh);
INSERT INTO u VALUES (1, 'a');
ALTER TYPE fresh ADD VALUE 'c';
COMMIT;
INSERT INTO u VALUES (2, 'c');
ALTER TABLE t ALTER m TYPE text;
INSERT INTO t VALUES (7, 'anything', '{ok}');
ALTER TYPE mood RENAME TO feeling;
CREATE TABLE nested (id int, r int4range, x int);
ALTER TABLE u ADD g feeling DEFAULT 'ok';
CREATE DOMAIN short_text AS varchar(5) CHECK (value <> 'bad');
CREATE DOMAIN shorter AS short_text NOT NULL DEFAULT 'x';
CREATE TABLE d (id int, s short_text, t shorter);
INSERT INTO d VALUES (1, 'abc', 'x'), (2, NULL, 'y');
ALTER DOMAIN short_text ADD CHECK (value <> 'worse');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE c (id int, p pair, ps pair[]);
INSERT INTO c VALUES (1, ROW(1, 'x'), ARRAY[ROW(1, 'y')::pair, NULL, ROW(NULL, NULL)::pair]), (2, NULL, NULL), (3, ROW(NULL, NULL), '{}');
ALTER TYPE pair ADD ATTRIBUTE c numeric(5,2);
INSERT INTO c VALUES (4, ROW(4, 'z', 1.5), NULL);
-- @pause
ALTER TYPE pair DROP ATTRIBUTE b;
INSERT INTO c VALUES (5, ROW(5, 2.5), ARRAY[ROW(6, 3.5)::pair]);
ALTER TYPE pair RENAME ATTRIBUTE a TO aa;
INSERT INTO c VALUES (6, ROW(7, 4.5), NULL);
""",
    "temporary": """
CREATE TEMP TABLE temporary_one (id int, a text);
INSERT INTO temporary_one SELECT i, repeat('x', 3000) FROM generate_series(1, 100) i;
CREATE TABLE t (id int);
INSERT INTO t SELECT id FROM temporary_one;
DROP TABLE temporary_one;
CREATE SEQUENCE s;
SELECT nextval('s');
CREATE FOREIGN DATA WRAPPER lake_nothing;
CREATE SERVER lake_server FOREIGN DATA WRAPPER lake_nothing;
CREATE FOREIGN TABLE foreign_one (id int) SERVER lake_server;
SELECT lo_from_bytea(0, 'large object');
CREATE TABLE with_index (id int, a text, EXCLUDE USING btree (id WITH =));
CREATE INDEX CONCURRENTLY ON with_index (a);
INSERT INTO with_index VALUES (1, 'x');
DROP INDEX with_index_a_idx;
COMMENT ON TABLE t IS 'a comment';
GRANT SELECT ON t TO PUBLIC;
ANALYZE t;
CREATE STATISTICS st ON id, a FROM with_index;
ANALYZE with_index;
""",
    "large": """
CREATE TABLE t (id int, a text, b float8);
BEGIN;
INSERT INTO t SELECT i, md5(i::text), i / 7.0 FROM generate_series(1, 60000) i;
SAVEPOINT s;
INSERT INTO t SELECT i, md5(i::text), i / 7.0 FROM generate_series(60001, 120000) i;
ROLLBACK TO s;
UPDATE t SET b = -b WHERE id % 100 = 0;
DELETE FROM t WHERE id % 3 = 0;
COMMIT;
UPDATE t SET b = b + 1;
""",
}

# In databases of their own: {name: script}. They begin in the main database.
DATABASES = """
CREATE DATABASE lake_source;
-- @database lake_source
CREATE SCHEMA s;
CREATE TABLE s.t (id int PRIMARY KEY, a text);
INSERT INTO s.t SELECT i, repeat('x', 100) FROM generate_series(1, 500) i;
CREATE TABLE big (id int, a text);
INSERT INTO big SELECT i, (SELECT string_agg(md5((i + j)::text), '') FROM generate_series(1, 200) j) FROM generate_series(1, 10) i;
CREATE TYPE e AS ENUM ('a', 'b');
CREATE TABLE typed (id int, v e, r numeric(5,2));
INSERT INTO typed VALUES (1, 'a', 1.25), (2, 'b', 'NaN');
-- @disconnect
-- @database -
CREATE DATABASE lake_copy TEMPLATE lake_source;
-- @database lake_copy
INSERT INTO s.t VALUES (1000, 'only in the copy');
UPDATE typed SET v = 'b';
DELETE FROM big WHERE id > 5;
ALTER TABLE big ADD c int DEFAULT 1;
-- @database lake_source
INSERT INTO s.t VALUES (2000, 'only in the source');
-- @disconnect
-- @database -
CREATE DATABASE lake_dropped TEMPLATE lake_source;
-- @database lake_dropped
INSERT INTO s.t VALUES (3000, 'gone');
-- @disconnect
-- @database -
DROP DATABASE lake_dropped;
ALTER DATABASE lake_source RENAME TO lake_renamed;
-- @database lake_renamed
INSERT INTO s.t VALUES (4000, 'after the rename');
-- @disconnect
-- @database -
CREATE DATABASE lake_dropped;
-- @database lake_dropped
CREATE TABLE second_life (id int);
INSERT INTO second_life VALUES (1);
"""
DATABASE_NAMES = ("lake_copy", "lake_renamed", "lake_dropped")
