"""Every statement that changes rows, as scripts (see script.py)."""

SCRIPTS = {
    "insert": """
CREATE TABLE t (id int PRIMARY KEY, a int, b text);
INSERT INTO t VALUES (1, 10, 'one');
INSERT INTO t VALUES (2, 20, 'two'), (3, NULL, NULL), (4, 40, '');
INSERT INTO t SELECT i, i * 10, repeat('x', i % 50) FROM generate_series(5, 2000) i;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (a int, b text);
CREATE TABLE "Strange ""name"" %20 /#é" (id int, "Column with space" text, "ünï" int, "a.b" int, "a""b" text);
INSERT INTO "Strange ""name"" %20 /#é" VALUES (1, 'x', 2, 3, 'y');
CREATE TABLE wide (id int, "select" int, "_x" int, "__y" text);
INSERT INTO wide VALUES (1, 2, 3, 'four');
""",
    "copy": """
CREATE TABLE t (id int, a numeric(10,2), b text);
COPY t FROM STDIN;
1\t1.50\tone
2\t\\N\t\\N
3\t-0.01\tback\\\\slash \\t tab \\n newline
\\.
COPY t (id, b) FROM STDIN WITH (FORMAT csv);
4,"some ""quotes"" inside"
5,
\\.
-- @error
COPY t FROM STDIN;
6\t1\tgood
7\tbad\tvalue
\\.
COPY t FROM STDIN WITH (FREEZE false);
8\t8\teight
\\.
BEGIN;
CREATE TABLE frozen (id int, b text);
COPY frozen FROM STDIN WITH (FREEZE);
1\tone
2\ttwo
\\.
COMMIT;
UPDATE frozen SET b = 'zwei' WHERE id = 2;
""",
    "update": """
CREATE TABLE hot (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 50);
INSERT INTO hot SELECT i, 0, repeat('p', 100) FROM generate_series(1, 300) i;
UPDATE hot SET n = n + 1;
UPDATE hot SET n = n + 1 WHERE id % 3 = 0;
UPDATE hot SET n = n + 1 WHERE id % 3 = 0;
CREATE TABLE cold (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 100);
CREATE INDEX ON cold (n);
INSERT INTO cold SELECT i, i, repeat('p', 500) FROM generate_series(1, 300) i;
UPDATE cold SET n = n + 1000 WHERE id % 2 = 0;
UPDATE cold SET id = id + 10000 WHERE id % 5 = 0;
UPDATE cold SET n = NULL, pad = NULL WHERE id = 1;
UPDATE cold SET n = n WHERE id < 50;
UPDATE cold c SET n = h.n FROM hot h WHERE c.id = h.id AND c.id BETWEEN 60 AND 80;
BEGIN;
UPDATE hot SET n = 100 WHERE id = 7;
UPDATE hot SET n = 101 WHERE id = 7;
DELETE FROM hot WHERE id = 7;
INSERT INTO hot VALUES (7, 102, 'again');
UPDATE hot SET n = 103 WHERE id = 7;
COMMIT;
VACUUM hot;
UPDATE hot SET n = n + 1 WHERE id <= 100;
VACUUM cold;
INSERT INTO cold SELECT i, i, 'reuses freed line pointers' FROM generate_series(20000, 20400) i;
UPDATE cold SET pad = 'moved' WHERE id >= 20300;
VACUUM FREEZE cold;
UPDATE cold SET pad = 'after freeze' WHERE id = 20000;
""",
    "delete": """
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 1000) i;
DELETE FROM t WHERE id % 7 = 0;
DELETE FROM t USING generate_series(100, 200) g WHERE t.id = g;
VACUUM t;
INSERT INTO t SELECT i, 'again' FROM generate_series(100, 200) i;
DELETE FROM t WHERE id BETWEEN 900 AND 1000;
VACUUM t;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE other (id int, parent int REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE);
INSERT INTO parent SELECT generate_series(1, 20);
INSERT INTO child SELECT i, i % 20 + 1 FROM generate_series(1, 200) i;
INSERT INTO other SELECT i, i % 20 + 1 FROM generate_series(1, 40) i;
UPDATE parent SET id = id + 100 WHERE id = 5;
DELETE FROM other WHERE parent = 105;
DELETE FROM parent WHERE id <= 10;
CREATE TABLE all_gone (id int);
INSERT INTO all_gone SELECT generate_series(1, 100);
DELETE FROM all_gone;
VACUUM all_gone;
INSERT INTO all_gone VALUES (1);
""",
    "on_conflict": """
CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE, n int DEFAULT 0);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO t VALUES (1, 1) ON CONFLICT DO NOTHING;
INSERT INTO t VALUES (2, 2, 7) ON CONFLICT (id) DO UPDATE SET n = t.n + excluded.n;
INSERT INTO t SELECT i, i, 1 FROM generate_series(40, 80) i ON CONFLICT (id) DO UPDATE SET n = t.n + 1;
INSERT INTO t SELECT i, i, 1 FROM generate_series(40, 80) i ON CONFLICT (a) DO UPDATE SET n = t.n + 1 WHERE t.id % 2 = 0;
-- @error
INSERT INTO t VALUES (90, 1) ON CONFLICT (id) DO NOTHING;
INSERT INTO t VALUES (91, 91), (91, 92) ON CONFLICT DO NOTHING;
""",
    "merge": """
CREATE TABLE t (id int PRIMARY KEY, n int, b text);
CREATE TABLE s (id int, n int);
INSERT INTO t SELECT i, i, 'old' FROM generate_series(1, 100) i;
INSERT INTO s SELECT i, i * 2 FROM generate_series(51, 150) i;
MERGE INTO t USING s ON t.id = s.id
  WHEN MATCHED AND s.id % 10 = 0 THEN DELETE
  WHEN MATCHED THEN UPDATE SET n = s.n, b = 'merged'
  WHEN NOT MATCHED AND s.id % 2 = 0 THEN INSERT VALUES (s.id, s.n, 'new')
  WHEN NOT MATCHED THEN DO NOTHING;
""",
    "rollback": """
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'kept' FROM generate_series(1, 100) i;
BEGIN;
INSERT INTO t SELECT i, 'gone' FROM generate_series(101, 500) i;
UPDATE t SET a = 'gone' WHERE id < 50;
DELETE FROM t WHERE id > 90;
ROLLBACK;
UPDATE t SET a = 'kept 2' WHERE id < 10;
BEGIN;
DELETE FROM t;
-- @error
SELECT 1 / 0;
COMMIT;
INSERT INTO t VALUES (1000, 'after');
""",
    "savepoints": """
CREATE TABLE t (id int PRIMARY KEY, a text);
BEGIN;
INSERT INTO t VALUES (1, 'top');
SAVEPOINT s1;
INSERT INTO t VALUES (2, 's1');
SAVEPOINT s2;
INSERT INTO t VALUES (3, 's2');
UPDATE t SET a = 's2' WHERE id = 1;
ROLLBACK TO s2;
INSERT INTO t VALUES (4, 's2 again');
SAVEPOINT s3;
DELETE FROM t WHERE id = 1;
ROLLBACK TO s1;
INSERT INTO t VALUES (5, 's1 again');
SAVEPOINT s4;
UPDATE t SET a = a || ' s4' WHERE id = 1;
RELEASE s4;
SAVEPOINT s5;
DELETE FROM t WHERE id = 5;
ROLLBACK TO s5;
COMMIT;
DO $$
BEGIN
  FOR i IN 100..300 LOOP
    BEGIN
      INSERT INTO t VALUES (i, 'inner');
      IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
      UPDATE t SET a = 'inner 2' WHERE id = i;
    EXCEPTION WHEN raise_exception THEN
      INSERT INTO t VALUES (i, 'handled');
    END;
  END LOOP;
END $$;
DO $$
DECLARE n int := 0;
BEGIN
  FOR i IN 1000..1200 LOOP
    BEGIN
      INSERT INTO t VALUES (i, 'a');
      BEGIN
        DELETE FROM t WHERE id = i;
        INSERT INTO t VALUES (i, 'b');
        RAISE EXCEPTION 'inner';
      EXCEPTION WHEN raise_exception THEN n := n + 1;
      END;
      IF i % 2 = 0 THEN RAISE EXCEPTION 'outer'; END IF;
    EXCEPTION WHEN raise_exception THEN n := n + 1;
    END;
  END LOOP;
END $$;
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (5000, 'only in an aborted subtransaction');
ROLLBACK TO a;
COMMIT;
""",
    "two_phase": """
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'start' FROM generate_series(1, 100) i;
BEGIN;
UPDATE t SET a = 'prepared' WHERE id <= 10;
INSERT INTO t VALUES (200, 'prepared');
SAVEPOINT s;
DELETE FROM t WHERE id = 50;
ROLLBACK TO s;
SAVEPOINT s2;
DELETE FROM t WHERE id = 51;
RELEASE s2;
PREPARE TRANSACTION 'lake_commit';
BEGIN;
UPDATE t SET a = 'never' WHERE id BETWEEN 60 AND 70;
CREATE TABLE never_there (id int);
PREPARE TRANSACTION 'lake_rollback';
BEGIN;
CREATE TABLE made_in_two_phases (id int, a text);
INSERT INTO made_in_two_phases SELECT i, 'x' FROM generate_series(1, 20) i;
PREPARE TRANSACTION 'lake_ddl';
-- @pause
INSERT INTO t VALUES (300, 'between');
COMMIT PREPARED 'lake_commit';
ROLLBACK PREPARED 'lake_rollback';
COMMIT PREPARED 'lake_ddl';
INSERT INTO made_in_two_phases VALUES (100, 'later');
""",
    "two_phase_restart": """
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'start' FROM generate_series(1, 50) i;
BEGIN;
UPDATE t SET a = 'prepared before the restart' WHERE id <= 25;
DELETE FROM t WHERE id = 50;
INSERT INTO t SELECT i, repeat(md5(i::text), 200) FROM generate_series(100, 120) i;
PREPARE TRANSACTION 'across_commit';
BEGIN;
UPDATE t SET a = 'never' WHERE id > 25 AND id < 50;
PREPARE TRANSACTION 'across_rollback';
-- @pause
-- @restart
-- @pause
INSERT INTO t VALUES (1000, 'after the restart');
COMMIT PREPARED 'across_commit';
ROLLBACK PREPARED 'across_rollback';
UPDATE t SET a = 'later' WHERE id = 1;
""",
    "truncate": """
CREATE TABLE t (id serial PRIMARY KEY, a text);
INSERT INTO t (a) SELECT 'first' FROM generate_series(1, 100);
TRUNCATE t;
INSERT INTO t (a) VALUES ('second');
TRUNCATE t RESTART IDENTITY;
INSERT INTO t (a) VALUES ('third');
BEGIN;
INSERT INTO t (a) VALUES ('gone');
TRUNCATE t;
INSERT INTO t (a) VALUES ('fourth'), ('fifth');
DELETE FROM t WHERE a = 'fifth';
COMMIT;
BEGIN;
INSERT INTO t (a) VALUES ('rolled back');
TRUNCATE t;
INSERT INTO t (a) VALUES ('rolled back too');
ROLLBACK;
INSERT INTO t (a) VALUES ('sixth');
BEGIN;
SAVEPOINT s;
TRUNCATE t;
INSERT INTO t (a) VALUES ('in a savepoint');
ROLLBACK TO s;
UPDATE t SET a = a || '!' ;
COMMIT;
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (a int REFERENCES a);
INSERT INTO a VALUES (1), (2);
INSERT INTO b VALUES (1), (2);
TRUNCATE a CASCADE;
INSERT INTO a VALUES (3);
BEGIN;
CREATE TABLE made (id int);
INSERT INTO made VALUES (1);
TRUNCATE made;
INSERT INTO made VALUES (2);
TRUNCATE made;
INSERT INTO made VALUES (3);
COMMIT;
CREATE TABLE left_empty (id int, big text);
INSERT INTO left_empty SELECT i, repeat('abc', 3000) FROM generate_series(1, 10) i;
TRUNCATE left_empty;
""",
    "toast": """
CREATE TABLE t (id int PRIMARY KEY, n int, big text, ext text, main text, plain text, lz text, bin bytea);
ALTER TABLE t ALTER ext SET STORAGE EXTERNAL;
ALTER TABLE t ALTER main SET STORAGE MAIN;
ALTER TABLE t ALTER plain SET STORAGE PLAIN;
ALTER TABLE t ALTER lz SET COMPRESSION lz4;
INSERT INTO t SELECT i, i, (SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(1, 300) j),
  repeat('external ' || i, 1000), repeat('main ' || i, 600), 'plain ' || i,
  (SELECT string_agg(md5((i * 77 + j)::text) || '    ', '') FROM generate_series(1, 200) j),
  decode(repeat('00ff' || lpad(to_hex(i), 2, '0'), 5000), 'hex') FROM generate_series(1, 20) i;
UPDATE t SET n = n + 100;
UPDATE t SET n = n + 100 WHERE id % 2 = 0;
UPDATE t SET big = NULL WHERE id = 3;
UPDATE t SET big = big || 'x' WHERE id = 4;
UPDATE t SET big = 'short' WHERE id = 5;
UPDATE t SET ext = repeat('q', 100000) WHERE id = 6;
UPDATE t SET lz = repeat('lz4 ', 50000) WHERE id = 7;
UPDATE t SET bin = NULL, n = -1 WHERE id = 8;
DELETE FROM t WHERE id = 9;
UPDATE t SET id = id + 1000 WHERE id = 10;
INSERT INTO t (id, big) VALUES (2000, repeat('m', 1048576)), (2001, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 32768) i));
UPDATE t SET n = 1 WHERE id >= 2000;
BEGIN;
INSERT INTO t (id, big) VALUES (3000, (SELECT string_agg(md5(i::text), 'a') FROM generate_series(1, 1000) i));
UPDATE t SET n = 2 WHERE id = 3000;
UPDATE t SET n = 3 WHERE id = 3000;
SAVEPOINT s;
UPDATE t SET big = repeat('z', 70000) WHERE id = 3000;
ROLLBACK TO s;
UPDATE t SET n = 4 WHERE id = 3000;
COMMIT;
INSERT INTO t SELECT id + 5000, n, big, ext, main, plain, lz, bin FROM t WHERE id < 9;
VACUUM t;
UPDATE t SET n = n + 1;
VACUUM FULL t;
UPDATE t SET n = n + 1 WHERE id % 2 = 1;
CREATE TABLE arrays (id int, a text[], j jsonb, c numeric);
INSERT INTO arrays SELECT i, ARRAY(SELECT md5(k::text) FROM generate_series(1, 500) k),
  jsonb_build_object('a', (SELECT jsonb_agg(md5(k::text)) FROM generate_series(1, 500) k)),
  (repeat('123456789', 500) || '.' || repeat('5', 2000))::numeric FROM generate_series(1, 3) i;
UPDATE arrays SET id = id + 10;
CREATE TABLE pglz_small (id int, a text);
INSERT INTO pglz_small SELECT i, repeat('compressible inline ', 150) FROM generate_series(1, 20) i;
UPDATE pglz_small SET id = id + 1;
ALTER TABLE pglz_small ALTER a SET COMPRESSION lz4;
INSERT INTO pglz_small SELECT i, repeat('compressible inline ', 150) FROM generate_series(21, 40) i;
""",
    "no_key": """
CREATE TABLE t (a int, b text);
INSERT INTO t SELECT i % 5, 'same' FROM generate_series(1, 100) i;
DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 LIMIT 3);
UPDATE t SET b = 'changed' WHERE ctid IN (SELECT ctid FROM t WHERE a = 2 LIMIT 5);
CREATE TABLE id_nothing (a int PRIMARY KEY, b text);
ALTER TABLE id_nothing REPLICA IDENTITY NOTHING;
INSERT INTO id_nothing SELECT i, 'x' FROM generate_series(1, 20) i;
UPDATE id_nothing SET b = 'y' WHERE a < 10;
UPDATE id_nothing SET a = a + 100 WHERE a > 15;
DELETE FROM id_nothing WHERE a = 1;
CREATE TABLE id_full (a int, b text);
ALTER TABLE id_full REPLICA IDENTITY FULL;
INSERT INTO id_full SELECT i % 3, repeat('big', 2000) FROM generate_series(1, 20) i;
UPDATE id_full SET a = a + 1;
DELETE FROM id_full WHERE a = 2;
CREATE TABLE id_index (a int NOT NULL, b int NOT NULL, c text);
CREATE UNIQUE INDEX id_index_ab ON id_index (a, b);
ALTER TABLE id_index REPLICA IDENTITY USING INDEX id_index_ab;
INSERT INTO id_index SELECT i, i, 'x' FROM generate_series(1, 20) i;
UPDATE id_index SET b = b + 1 WHERE a > 10;
UPDATE id_index SET c = 'y' WHERE a < 5;
DELETE FROM id_index WHERE a = 20;
""",
    "generated": """
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, id2 int GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT 5),
  a int, b int GENERATED ALWAYS AS (a * 2) STORED, c text GENERATED ALWAYS AS (upper('x' || a::text)) STORED, s serial);
INSERT INTO t (a) SELECT generate_series(1, 50);
UPDATE t SET a = a + 1 WHERE a > 25;
INSERT INTO t (id2, a) VALUES (7, NULL);
INSERT INTO t (id, a) OVERRIDING SYSTEM VALUE VALUES (1000, 5);
DELETE FROM t WHERE b = 10;
ALTER TABLE t ADD d int GENERATED ALWAYS AS (a + 1) STORED;
ALTER TABLE t ALTER b DROP EXPRESSION;
UPDATE t SET b = 0 WHERE a = 3;
""",
    "triggers": """
CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE TABLE audit (id serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (what) VALUES (tg_op || ' ' || coalesce(new.id, old.id));
  IF tg_op = 'DELETE' THEN RETURN old; END IF;
  new.n := coalesce(new.n, 0) + 1;
  RETURN new;
END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
UPDATE t SET n = 0 WHERE id < 5;
DELETE FROM t WHERE id > 15;
CREATE VIEW v AS SELECT id, n FROM t WHERE n >= 0;
UPDATE v SET n = 50 WHERE id = 10;
CREATE RULE r AS ON DELETE TO audit WHERE old.id = 1 DO INSTEAD NOTHING;
DELETE FROM audit WHERE id < 3;
WITH gone AS (DELETE FROM t WHERE id < 3 RETURNING *) INSERT INTO audit (what) SELECT 'cte ' || id FROM gone;
WITH new AS (INSERT INTO t VALUES (500, 1) RETURNING id) UPDATE audit SET what = what || new.id::text FROM new;
""",
    "locks": """
CREATE TABLE t (id int PRIMARY KEY, n int);
INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i;
BEGIN;
SELECT * FROM t WHERE id = 1 FOR UPDATE;
SELECT * FROM t WHERE id = 2 FOR SHARE;
UPDATE t SET n = 1 WHERE id = 1;
COMMIT;
BEGIN;
SELECT * FROM t WHERE id = 3 FOR KEY SHARE;
-- @session 1
BEGIN;
SELECT * FROM t WHERE id = 3 FOR KEY SHARE;
UPDATE t SET n = 5 WHERE id = 3;
COMMIT;
-- @session 0
UPDATE t SET n = n + 1 WHERE id = 3;
COMMIT;
BEGIN;
SELECT * FROM t WHERE id = 4 FOR SHARE;
-- @session 1
SELECT * FROM t WHERE id = 4 FOR SHARE;
-- @session 0
UPDATE t SET n = 9 WHERE id = 4;
DELETE FROM t WHERE id = 4;
ROLLBACK;
DELETE FROM t WHERE id = 5;
""",
    "interleaved": """
CREATE TABLE t (id int PRIMARY KEY, a text);
CREATE TABLE u (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'start' FROM generate_series(1, 100) i;
BEGIN;
INSERT INTO t SELECT i, 'session 0' FROM generate_series(200, 300) i;
-- @session 1
BEGIN;
INSERT INTO t SELECT i, 'session 1' FROM generate_series(400, 500) i;
UPDATE t SET a = 'session 1' WHERE id <= 50;
-- @session 2
INSERT INTO u VALUES (1, 'session 2');
-- @session 0
UPDATE t SET a = 'session 0' WHERE id > 50 AND id <= 100;
INSERT INTO u VALUES (2, 'session 0');
-- @session 1
COMMIT;
-- @pause
-- @session 2
DELETE FROM t WHERE id < 10;
-- @session 0
ROLLBACK;
-- @session 1
BEGIN;
DELETE FROM u;
INSERT INTO u VALUES (2, 'session 1');
-- @session 0
BEGIN;
INSERT INTO u VALUES (3, 'session 0');
COMMIT;
-- @session 1
COMMIT;
""",
}
