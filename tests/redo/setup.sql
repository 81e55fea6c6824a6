-- The state that the WAL begins from: every page of it is a base image.
CREATE EXTENSION bloom;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pg_trgm;
CREATE TABLE docs (
  id int, k int, hits int DEFAULT 0, body text, tags int[], at point, span int4range, words tsvector, big text
) WITH (fillfactor = 85);
ALTER TABLE docs ALTER big SET STORAGE EXTERNAL;
CREATE FUNCTION make_docs(first int, last int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO docs
  SELECT i, i % 977, 0, md5(i::text) || repeat('x', i % 50), ARRAY[i % 101, i % 13, i % 1009],
         point(i::bigint * 7919 % 10007, i::bigint * 104729 % 10009), int4range(i % 5000, i % 5000 + 1 + i % 37),
         to_tsvector('simple', 'w' || i % 307 || ' v' || i % 1511 || ' u' || i % 7),
         CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 150) END
  FROM generate_series(first, last) AS i $$;
CREATE INDEX docs_btree ON docs (id);
CREATE INDEX docs_text ON docs (body);
CREATE INDEX docs_hash ON docs USING hash (k);
CREATE INDEX docs_gin ON docs USING gin (tags);
CREATE INDEX docs_words ON docs USING gin (words) WITH (fastupdate = off);
CREATE INDEX docs_gist ON docs USING gist (at);
CREATE INDEX docs_span ON docs USING gist (span);
CREATE INDEX docs_spgist ON docs USING spgist (at);
CREATE INDEX docs_radix ON docs USING spgist (body);
CREATE INDEX docs_brin ON docs USING brin (id) WITH (pages_per_range = 4, autosummarize = off);
CREATE INDEX docs_bloom ON docs USING bloom (id, k);
SELECT make_docs(1, 8000);
CREATE TABLE locked (id int PRIMARY KEY, v int);
INSERT INTO locked SELECT i, 0 FROM generate_series(1, 500) AS i;
CREATE SEQUENCE numbers;
VACUUM docs;
