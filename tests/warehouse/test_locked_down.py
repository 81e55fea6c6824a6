"""Statements that must not get at anything but tables: all refused, none with a crash."""
import contextlib

import psycopg2
import pytest

ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM read_parquet('/tmp/*.parquet')", "SELECT * FROM parquet_scan('x')",
    "SELECT * FROM parquet_metadata('x')", "SELECT * FROM parquet_schema('x')", "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_json_auto('x')", "SELECT * FROM read_ndjson('x')", "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM '/tmp/x.parquet'", "FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"', 'SELECT * FROM "file.parquet"', "SELECT * FROM customer, '/etc/passwd'",
    "SELECT * FROM customer WHERE id IN (SELECT 1 FROM read_csv('/etc/passwd'))", "SELECT (SELECT content FROM read_text('/etc/passwd')) FROM customer",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x", "SELECT * FROM customer JOIN glob('*') ON true",
    "SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('customer')", "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_functions()", "SELECT * FROM duckdb_secrets()", "SELECT * FROM duckdb_tables()", "SELECT * FROM pragma_version()",
    "SELECT * FROM pragma_database_list()", "SELECT * FROM tide_rows(1)", "SELECT tide_live(1, 0, 0) FROM customer", "SELECT * FROM tide_table_0",
    "SELECT getenv('HOME') FROM customer", "SELECT current_setting('memory_limit') FROM customer", "SELECT getvariable('x') FROM customer",
    "SELECT nextval('x') FROM customer", "SELECT write_log('x') FROM customer", "SELECT json_serialize_plan('SELECT 1') FROM customer",
    "SELECT * FROM json_execute_serialized_sql('x')", "SELECT sleep_ms(10) FROM customer", "SELECT pg_sleep(1), id FROM customer",
    "ATTACH '/tmp/x.db'", "DETACH x", "USE x", "INSTALL httpfs", "LOAD httpfs", "COPY customer TO '/tmp/x.csv'", "COPY (SELECT 1) TO '/tmp/x'",
    "COPY (SELECT * FROM customer) TO '/tmp/x' (FORMAT parquet)", "EXPORT DATABASE '/tmp/x'", "IMPORT DATABASE '/tmp/x'", "PRAGMA database_list",
    "PRAGMA enable_profiling", "SET memory_limit = '100GB'", "SET threads = 100", "SET enable_external_access = true", "SET GLOBAL memory_limit = '1GB'",
    "CREATE SECRET x (TYPE s3)", "CREATE MACRO f() AS 1", "CREATE TEMP TABLE t AS SELECT 1", "CREATE VIEW v AS SELECT 1", "CALL pragma_version()",
    "SUMMARIZE '/etc/passwd'", "DESCRIBE '/etc/passwd'", "DESCRIBE SELECT * FROM read_csv('/etc/passwd')", "SHOW ALL TABLES", "SHOW DATABASES",
    "PIVOT (SELECT * FROM read_csv('/etc/passwd')) ON x", "EXPLAIN SELECT * FROM read_csv('/etc/passwd')", "EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')",
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM read_text('/etc/passwd')", "PREPARE p AS SELECT * FROM read_text('/etc/passwd')",
    "SELECT 1; SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM customer; FROM read_text('/etc/passwd')",
    "VALUES ((SELECT content FROM read_text('/etc/passwd')))", "SELECT * FROM unnest((SELECT list(content) FROM read_text('/etc/passwd')))",
    "SELECT * FROM generate_series(1, (SELECT count(*) FROM glob('/etc/*')))", "SELECT * FROM main.sqlite_master", "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_tables", "SELECT * FROM information_schema.tables, customer", "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM temp.main.x", "SELECT list_transform([1], x -> (SELECT content FROM read_text('/etc/passwd')))",
    "SELECT COLUMNS(*) FROM read_text('/etc/passwd')", "FROM customer SELECT (FROM read_text('/etc/passwd') SELECT content)",
    "SELECT 'x' FROM customer UNION SELECT content FROM read_text('/etc/passwd')", "SELECT * FROM (VALUES (1)) t, read_text('/etc/passwd')",
    "SELECT * FROM customer ASOF JOIN read_text('/etc/passwd') x ON true", "SELECT * FROM customer POSITIONAL JOIN read_text('/etc/passwd')",
    "SELECT * FROM which_secret('x', 's3')", "SELECT * FROM repeat_row(1, num_rows => 2)", "SELECT * FROM seq_scan('customer')", "SELECT * FROM test_all_types()",
    "SELECT * FROM read_duckdb('x')", "SELECT * FROM arrow_scan(1, 2, 3)", "SELECT * FROM customer AT (VERSION => 1)", "CHECKPOINT", "FORCE CHECKPOINT", "VACUUM ANALYZE",
    "SET VARIABLE x = 1", "RESET memory_limit", "BEGIN; COPY customer TO '/tmp/x'; COMMIT", "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')", "SELECT lo_import('/etc/passwd')", "LOAD '/tmp/x.so'",
]


@pytest.mark.parametrize("sql", ATTACKS)
def test_refused(stand, sql):
    with contextlib.closing(stand.lake()) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(sql)
            shown = cursor.fetchall()
            raise AssertionError(f"answered: {shown}")
        assert caught.value.pgcode not in (None, "XX000"), caught.value
        assert "root:" not in str(caught.value)
