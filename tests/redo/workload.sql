-- One session that makes every kind of record that changes pages.
SELECT make_docs(8001, 20000);
UPDATE docs SET k = k + 1 WHERE id % 5 = 0;
UPDATE docs SET hits = hits + 1 WHERE id % 3 = 0;
DELETE FROM docs WHERE id % 4 = 1;
VACUUM docs;
SELECT gin_clean_pending_list('docs_gin');
SELECT make_docs(20001, 26000);
SELECT brin_summarize_new_values('docs_brin');
SELECT brin_desummarize_range('docs_brin', 0);
UPDATE docs SET id = id + 1000000 WHERE id % 7 = 0;

-- Images in every compression.
SET wal_compression = pglz;
CREATE INDEX ON docs (k, id);
CREATE INDEX ON docs USING gin (body gin_trgm_ops);
SET wal_compression = lz4;
CREATE INDEX ON docs USING hash (body);
CREATE INDEX ON docs USING gist (k);
SET wal_compression = zstd;
CREATE INDEX ON docs USING spgist (span);
CREATE INDEX ON docs USING bloom (k);
REINDEX INDEX docs_words;
RESET wal_compression;
CREATE INDEX CONCURRENTLY ON docs USING brin (body);

-- Growing and shrinking: hash overflow pages and squeeze, page deletion in btree, gin and gist.
CREATE TABLE few (k int, v int[]);
CREATE INDEX few_hash ON few USING hash (k);
CREATE INDEX few_gin ON few USING gin (v) WITH (gin_pending_list_limit = 64);
CREATE INDEX few_gist ON few USING gist (k);
CREATE INDEX few_btree ON few (k);
INSERT INTO few SELECT i % 20, ARRAY[i % 3, i % 50] FROM generate_series(1, 15000) AS i;
DELETE FROM few WHERE k > 4;
VACUUM few;
INSERT INTO few SELECT i, ARRAY[i] FROM generate_series(1, 15000) AS i;
DELETE FROM few WHERE k BETWEEN 1000 AND 14000;
VACUUM few;
INSERT INTO few SELECT i, ARRAY[i] FROM generate_series(20000, 26000) AS i;
VACUUM (FREEZE) few;
UPDATE few SET k = k + 1 WHERE k % 10 = 0;
DELETE FROM few WHERE k > 500;
VACUUM few;
INSERT INTO few SELECT i, ARRAY[i] FROM generate_series(1, 3000) AS i;

-- spgist: redirects, dead tuples, node additions.
CREATE TABLE paths (p text);
CREATE INDEX ON paths USING spgist (p);
INSERT INTO paths SELECT repeat(chr(97 + i % 26), i % 40) || i FROM generate_series(1, 9000) AS i;
DELETE FROM paths WHERE length(p) % 3 = 0;
VACUUM paths;
INSERT INTO paths SELECT repeat(chr(97 + i % 26), i % 60) || md5(i::text) FROM generate_series(1, 5000) AS i;

-- One tuple version after the other on one page; pruning; speculative insertion; row locks and multixacts.
CREATE TABLE hot (id int PRIMARY KEY, n int);
INSERT INTO hot VALUES (1, 0);
DO $$ BEGIN FOR i IN 1..2000 LOOP UPDATE hot SET n = n + 1; END LOOP; END $$;
INSERT INTO hot SELECT i, 0 FROM generate_series(1, 300) AS i ON CONFLICT (id) DO UPDATE SET n = hot.n + 1;
BEGIN;
SELECT count(*) FROM (SELECT * FROM locked FOR KEY SHARE) AS l;
SAVEPOINT a;
UPDATE locked SET v = v + 1 WHERE id < 200;
SAVEPOINT b;
DELETE FROM locked WHERE id < 20;
ROLLBACK TO b;
SELECT count(*) FROM (SELECT * FROM locked WHERE id < 100 FOR UPDATE) AS l;
COMMIT;
BEGIN;
INSERT INTO docs SELECT * FROM docs WHERE id < 200;
ROLLBACK;

-- Sequences, rewriting, truncation, copies of whole databases.
SELECT count(nextval('numbers')) FROM generate_series(1, 1000);
SELECT setval('numbers', 777777);
SELECT nextval('numbers');
CREATE TABLE moved AS SELECT * FROM docs WHERE id < 3000;
ALTER TABLE moved ADD PRIMARY KEY (id);
CLUSTER moved USING moved_pkey;
VACUUM FULL moved;
UPDATE moved SET k = k + 1;
CREATE TABLE shrunk AS SELECT i FROM generate_series(1, 40000) AS i;
CREATE INDEX ON shrunk (i);
VACUUM shrunk;
DELETE FROM shrunk WHERE i > 5000;
VACUUM shrunk;
INSERT INTO shrunk SELECT i FROM generate_series(50000, 60000) AS i;
TRUNCATE paths;
INSERT INTO paths SELECT 'again' || i FROM generate_series(1, 500) AS i;
CREATE UNLOGGED TABLE unlogged_one (i int PRIMARY KEY, t text);
CREATE INDEX ON unlogged_one USING gin (to_tsvector('simple', t));
COPY (SELECT i, i FROM generate_series(100000, 110000) AS i) TO '/dev/null';
VACUUM (FREEZE, ANALYZE);
UPDATE docs SET hits = hits + 1 WHERE id % 11 = 0;
DELETE FROM docs WHERE id % 13 = 0;
