\set id random(1, 500)
\set mode random(1, 3)
BEGIN;
\if :mode = 1
SELECT v FROM locked WHERE id = :id FOR KEY SHARE;
\elif :mode = 2
SELECT v FROM locked WHERE id = :id FOR SHARE;
\endif
SAVEPOINT s;
SELECT v FROM locked WHERE id = :id FOR KEY SHARE;
UPDATE locked SET v = v + 1 WHERE id = :id;
UPDATE docs SET hits = hits + 1 WHERE id = :id * 16;
COMMIT;
