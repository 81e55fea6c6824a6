"""Ordinary SQL does what it does on a stock server."""
import contextlib

import psycopg2
import pytest


def test_round_trip_of_types(tide):
    tide.sql("CREATE TABLE types (i int, b bigint, n numeric, t text, y bytea, d timestamptz, j jsonb, a int[])")
    tide.sql("INSERT INTO types VALUES (1, 1::bigint << 40, 1.5, 'Ünï', '\\x00ff', '2026-01-02 03:04:05Z', "
             "'{\"a\": [1, null]}', '{1,2,NULL}')")
    assert tide.sql("SELECT i, b, n::text, t, encode(y, 'hex'), d AT TIME ZONE 'UTC' = '2026-01-02 03:04:05', j, a "
                    "FROM types") == [(1, 1 << 40, "1.5", "Ünï", "00ff", True, {"a": [1, None]}, [1, 2, None])]


def test_transactions_and_errors(tide):
    tide.sql("CREATE TABLE account (id int PRIMARY KEY, amount int CHECK (amount >= 0))")
    tide.sql("INSERT INTO account VALUES (1, 10), (2, 0)")
    with contextlib.closing(psycopg2.connect(tide.url())) as connection:
        with pytest.raises(psycopg2.errors.CheckViolation):
            with connection, connection.cursor() as cursor:
                cursor.execute("UPDATE account SET amount = amount + 20 WHERE id = 2")
                cursor.execute("UPDATE account SET amount = amount - 20 WHERE id = 1")
        with connection, connection.cursor() as cursor:
            cursor.execute("SAVEPOINT s")
            cursor.execute("DELETE FROM account")
            cursor.execute("ROLLBACK TO s")
    assert tide.sql("SELECT * FROM account ORDER BY id") == [(1, 10), (2, 0)]


def test_every_index_type_after_a_restart(tide):
    tide.sql("CREATE TABLE indexed AS SELECT i AS id, md5(i::text) AS t, point(i % 100, i / 100) AS p, "
             "ARRAY[i % 10, i % 7] AS a FROM generate_series(1, 20000) i")
    for kind, what in (("btree", "id"), ("hash", "t"), ("gist", "p"), ("spgist", "t"), ("gin", "a"), ("brin", "id")):
        tide.sql(f"CREATE INDEX ON indexed USING {kind} ({what})")
    tide.sql("UPDATE indexed SET t = t || 'x' WHERE id % 50 = 0")
    tide.sql("DELETE FROM indexed WHERE id % 97 = 0")
    tide.sql("VACUUM ANALYZE indexed")
    questions = ("SELECT count(*) FROM indexed WHERE id BETWEEN 500 AND 900",
                 "SELECT count(*) FROM indexed WHERE t = md5('777')",
                 "SELECT count(*) FROM indexed WHERE p <@ box '((0,0),(10,10))'",
                 "SELECT count(*) FROM indexed WHERE a @> ARRAY[3]",
                 "SELECT sum(id), count(*) FROM indexed")
    before = [tide.sql(question) for question in questions]
    tide.run("endpoint", "suspend", "main")
    tide.run("endpoint", "start", "main")
    with contextlib.closing(tide.connect()) as connection, connection.cursor() as cursor:
        for scans in ("on", "off"):
            cursor.execute(f"SET enable_seqscan = {scans}")
            for question, expected in zip(questions, before):
                cursor.execute(question)
                assert cursor.fetchall() == expected, (question, scans)


def test_databases_are_created_and_dropped(tide):
    tide.sql("CREATE DATABASE other")
    tide.sql("CREATE TABLE inside AS SELECT 1 AS id", "other")
    assert tide.value("SELECT count(*) FROM inside", "other") == 1
    tide.run("endpoint", "suspend", "main")
    tide.run("endpoint", "start", "main")
    assert tide.value("SELECT count(*) FROM inside", "other") == 1
    tide.sql("DROP DATABASE other")
    assert tide.value("SELECT count(*) FROM pg_database WHERE datname = 'other'") == 0


def test_tablespaces_are_refused_with_a_reason(tide):
    with pytest.raises(psycopg2.Error) as refused:
        tide.sql("CREATE TABLESPACE elsewhere LOCATION '/tmp'")
    assert "tablespace" in str(refused.value).lower()


def test_temporary_and_unlogged_tables(tide):
    with contextlib.closing(tide.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE gone AS SELECT generate_series(1, 50000) AS id")
        cursor.execute("SELECT count(*) FROM gone")
        assert cursor.fetchone() == (50000,)
    tide.sql("CREATE UNLOGGED TABLE quick (id serial PRIMARY KEY, t text)")
    tide.sql("INSERT INTO quick (t) SELECT 'x' FROM generate_series(1, 1000)")
    assert tide.value("SELECT count(*) FROM quick") == 1000
    tide.run("endpoint", "suspend", "main")
    tide.run("endpoint", "start", "main")
    assert tide.value("SELECT count(*) FROM quick") in (0, 1000)
    tide.sql("INSERT INTO quick (t) VALUES ('y')")


def test_copy_and_large_values(tide):
    import io
    rows = "".join(f"{i}\t{'v' * (i % 300)}\n" for i in range(30000))
    with contextlib.closing(tide.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied (id int, v text)")
        cursor.copy_expert("COPY copied FROM STDIN", io.StringIO(rows))
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out)
        assert out.getvalue() == rows
        cursor.execute("CREATE TABLE large (v text); ALTER TABLE large ALTER v SET STORAGE EXTERNAL")
        cursor.execute("INSERT INTO large SELECT repeat('abcdefgh', 500000)")
    tide.run("endpoint", "suspend", "main")
    tide.run("endpoint", "start", "main")
    assert tide.sql("SELECT length(v), md5(v) = md5(repeat('abcdefgh', 500000)) FROM large") == [(4000000, True)]
    assert tide.value("SELECT count(*) FROM copied") == 30000
