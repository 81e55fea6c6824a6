"""What queries answer, through drivers that people use, compared with PostgreSQL's own answer."""
import contextlib

import psycopg2
import psycopg2.errors
import psycopg2.extras
import pytest


@pytest.fixture
def lake(stand):
    with contextlib.closing(stand.lake()) as connection, connection.cursor() as cursor:
        yield cursor


def answer(cursor, sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


def shown(rows):
    return [tuple(str(bytes(value) if isinstance(value, memoryview) else value) for value in row) for row in rows]


SAME = [
    "SELECT * FROM customer ORDER BY id",
    "SELECT * FROM orders ORDER BY id",
    "SELECT * FROM everything WHERE id <> 2 ORDER BY id",
    'SELECT * FROM "Mixed"."Case" ORDER BY 1',
    'SELECT "Id" AS "Weird Name", "select" FROM "Mixed"."Case" c ORDER BY c."Id" DESC',
    'SELECT * FROM "Orders"',
    "SELECT * FROM Customer WHERE ID = 3",
    "SELECT * FROM empty",
    "SELECT count(*), max(total), min(placed), bool_and(total > 0) FROM orders",
    "SELECT c.name, sum(o.total) AS s, count(*) FROM orders o JOIN customer c ON c.id = o.customer GROUP BY c.name ORDER BY s DESC, 1 LIMIT 5",
    "WITH big AS (SELECT * FROM orders WHERE total > 990) SELECT count(*) FROM big, customer WHERE big.customer = customer.id",
    "WITH orders AS (SELECT 1 AS one FROM customer WHERE id = 1) SELECT * FROM orders",
    "SELECT id, row_number() OVER (PARTITION BY customer ORDER BY id) FROM orders WHERE id < 300 ORDER BY id",
    "SELECT note FROM orders WHERE id < 20 ORDER BY note",
    "SELECT note FROM orders WHERE id < 20 ORDER BY note DESC",
    "SELECT id / 2, id % 3, -id / 2 FROM customer ORDER BY id LIMIT 10",
    "SELECT public.customer.id FROM public.customer WHERE public.customer.id < 3 ORDER BY 1",
    "SELECT id FROM customer WHERE since BETWEEN '2020-01-05' AND '2020-01-09' ORDER BY id",
    "SELECT id::text, CASE WHEN id > 1 THEN 'x' END, coalesce(name, 'n'), name || '!' FROM customer WHERE id < 3 ORDER BY 1",
    "SELECT count(*) FROM orders WHERE note IS NULL",
    "SELECT DISTINCT customer % 3 AS m FROM orders ORDER BY m",
    "SELECT id FROM orders WHERE id IN (SELECT max(id) FROM orders GROUP BY customer) ORDER BY id LIMIT 3",
    "SELECT (SELECT count(*) FROM orders o WHERE o.customer = c.id) FROM customer c ORDER BY id LIMIT 3",
    "SELECT tags[1], tags[2] FROM customer WHERE id = 5",
    "SELECT id FROM customer UNION ALL SELECT x FROM empty ORDER BY 1 LIMIT 2",
    "SELECT * FROM big_orders ORDER BY id",
    "SELECT current_user, session_user, current_database(), count(*) FROM customer",
    "SELECT date_trunc('month', placed) AS m, count(*) FROM orders GROUP BY m ORDER BY m",
    "SELECT extract(year FROM since)::int FROM customer WHERE id = 1",
    "SELECT x.v FROM customer, LATERAL (VALUES (id), (id + 1)) AS x(v) WHERE id = 1 ORDER BY 1",
    "TABLE customer ORDER BY id LIMIT 1",
    "SELECT pg_catalog.lower(name) FROM customer WHERE id = 1",
]


@pytest.mark.parametrize("sql", SAME)
def test_same_answer_as_postgresql(stand, lake, sql):
    with contextlib.closing(stand.direct(user="ada")) as connection, connection.cursor() as postgres:
        expected = answer(postgres, sql)
        names = [column.name for column in postgres.description]
    assert shown(answer(lake, sql)) == shown(expected)
    assert [column.name for column in lake.description] == names


def test_text_forms_are_postgresqls_in_any_time_zone(stand):
    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "<+03>-03"):
        script = f"SET timezone = '{zone}'; SELECT * FROM everything ORDER BY id; SELECT placed FROM orders WHERE id % 500 = 1 ORDER BY id"
        assert stand.psql("-At", input=script).stdout == stand.direct_psql("-At", input=script).stdout


def test_binary_forms_are_postgresqls(stand):
    from protocol import Wire
    wire = Wire(stand.port)
    columns = "id, b, i2, i4, i8, f4, f8, n, t, v, by, d, ti, ts, tz, iv, u, ia, ta"
    wire.parse(f"SELECT {columns} FROM everything ORDER BY id")
    wire.bind(results=(1,))
    wire.execute()
    rows = wire.rows(wire.sync())
    with contextlib.closing(stand.direct(user="ada")) as connection, connection.cursor() as cursor:
        import io
        copied = io.BytesIO()
        cursor.copy_expert(f"COPY (SELECT {columns} FROM everything ORDER BY id) TO STDOUT (FORMAT binary)", copied)
    data, at, expected = copied.getvalue(), 19, []
    while data[at:at + 2] != b"\xff\xff":
        values, at = [], at + 2
        for _ in range(19):
            size = int.from_bytes(data[at:at + 4], "big", signed=True)
            at += 4
            values.append(None if size < 0 else data[at:at + size])
            at += max(size, 0)
        expected.append(values)
    assert rows == expected


def test_types_are_declared_as_postgresql_declares_them(stand, lake):
    lake.execute("SELECT * FROM everything")
    types = {column.name: column.type_code for column in lake.description}
    assert types == {"id": 23, "b": 16, "i2": 21, "i4": 23, "i8": 20, "f4": 700, "f8": 701, "n": 1700, "t": 25, "v": 25,
                     "by": 17, "d": 1082, "ti": 1083, "ts": 1114, "tz": 1184, "iv": 1186, "u": 2950, "j": 114, "jb": 114,
                     "ia": 1007, "ta": 1009}


def test_catalogs_are_postgresqls(stand, lake):
    for sql in ("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
                "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
                "SELECT format_type(23, -1), pg_get_userbyid(10), 'orders'::regclass::oid = 'public.orders'::regclass::oid",
                "SELECT version(), current_schemas(true), current_setting('server_version_num')",
                "SELECT plus_one(41)", "SHOW server_version", "SHOW transaction isolation level"):
        with contextlib.closing(stand.direct(user="ada")) as connection, connection.cursor() as postgres:
            assert answer(lake, sql) == answer(postgres, sql)


def test_psql_backslash_commands(stand):
    for command in (r"\l", r"\d", r"\d customer", r"\d+ orders", r"\dt", r"\dv", r"\df", r"\du", r"\dn", r"\dx", r"\di", r"\dp",
                    r"\ds", r"\d big_orders", r"\dT", r"\dp customer", r"\dd", r"\dC", r"\do", r"\conninfo"):
        ours, theirs = stand.psql("-c", command), stand.direct_psql("-c", command)
        if command != r"\conninfo":
            assert ours.stdout == theirs.stdout, command


def test_functions_that_only_the_engine_has(lake):
    assert answer(lake, "SELECT list_sum([1, 2, 3])") == [(6,)]
    assert answer(lake, "FROM customer WHERE id = 2")[0][1] == "customer 2"
    assert answer(lake, "SELECT * EXCLUDE (tags, since) FROM customer WHERE id = 2") == [(2, "customer 2")]
    assert answer(lake, "SELECT {'a': 1, 'b': [1, 2]} AS s FROM customer LIMIT 1") == [({"a": 1, "b": [1, 2]},)]


REFUSED = [
    ("INSERT INTO customer VALUES (1)", "25006"), ("UPDATE customer SET id = 1", "25006"), ("DELETE FROM customer", "25006"),
    ("CREATE TABLE x (y int)", "25006"), ("DROP TABLE customer", "25006"), ("TRUNCATE customer", "25006"),
    ("SELECT * INTO copy FROM customer", "25006"), ("WITH x AS (DELETE FROM customer RETURNING *) SELECT * FROM x", "25006"),
    ("SELECT * FROM customer FOR UPDATE", "25006"), ("COPY customer FROM STDIN", "25006"), ("VACUUM", "25006"),
    ("COPY customer TO '/tmp/x'", "25006"), ("COPY customer TO PROGRAM 'cat'", "25006"), ("DO $$ BEGIN END $$", "25006"),
    ("SELECT nope FROM customer", "42703"), ("SELECT * FROM nothere", "42P01"), ("SELECT * FROM customer WHERE", "42601"),
    ("SELECT nofunc(id) FROM customer", "42501"), ("SELECT * FROM volatile", "55000"), ("SELECT * FROM seq", "0A000"),
    ("SELECT * FROM guarded", "42501"), ("SELECT y FROM secret", "42703"), ("SELECT name::int FROM customer", "22P02"),
    ("SELECT count(*) FROM customer GROUP BY name HAVING id > 1", "42803"),
    ("SELECT count(*) FROM pg_class, customer", "0A000"), ("SELECT * FROM other.public.customer", "0A000"),
]


@pytest.mark.parametrize("sql,code", REFUSED)
def test_refusals_have_postgresqls_codes(lake, sql, code):
    with pytest.raises(psycopg2.Error) as caught:
        lake.execute(sql)
    assert caught.value.pgcode == code, caught.value


def test_writes_are_told_where_to_go(lake):
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught:
        lake.execute("INSERT INTO customer VALUES (1)")
    assert "tide url app@main" in caught.value.diag.message_hint


def test_grants(stand):
    with contextlib.closing(stand.lake(user="bob")) as connection, connection.cursor() as cursor:
        for sql in ("SELECT * FROM customer", "SELECT * FROM big_orders", 'SELECT * FROM "Mixed"."Case"'):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(sql)
    with contextlib.closing(stand.lake()) as connection, connection.cursor() as cursor:
        assert answer(cursor, "SELECT * FROM secret_view") == [(1,)]  # the view's owner may
        assert answer(cursor, "SELECT x FROM secret") == [(1,)]       # a grant on the column
    with contextlib.closing(stand.lake(user="owner_role")) as connection, connection.cursor() as cursor:
        assert answer(cursor, "SELECT count(*) FROM guarded") == [(2,)]
        cursor.execute("SET ROLE bob")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("SELECT * FROM customer")
        cursor.execute("RESET ROLE")
        assert answer(cursor, "SELECT count(*) FROM customer") == [(200,)]


def test_a_revoked_grant_counts_at_once(stand, lake):
    with stand.direct() as connection:
        connection.cursor().execute("CREATE TABLE lent (x int); GRANT SELECT ON lent TO ada")
    assert answer(lake, "SELECT count(*) FROM lent") == [(0,)]
    with stand.direct() as connection:
        connection.cursor().execute("REVOKE SELECT ON lent FROM ada")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        lake.execute("SELECT count(*) FROM lent")


def test_a_transaction_sees_one_state(stand):
    with contextlib.closing(stand.lake(autocommit=False)) as connection, connection.cursor() as cursor, stand.direct() as writer:
        writer.cursor().execute("CREATE TABLE IF NOT EXISTS growing (x int); GRANT SELECT ON growing TO ada; TRUNCATE growing")
        writer.commit()
        assert answer(cursor, "SELECT count(*) FROM growing") == [(0,)]
        lsn = answer(cursor, "SHOW tidewater.as_of_lsn")
        writer.cursor().execute("INSERT INTO growing SELECT generate_series(1, 10)")
        writer.commit()
        assert answer(cursor, "SELECT count(*) FROM growing") == [(0,)]
        assert answer(cursor, "SHOW tidewater.as_of_lsn") == lsn
        connection.commit()
        assert answer(cursor, "SELECT count(*) FROM growing") == [(10,)]
        assert answer(cursor, "SHOW tidewater.as_of_lsn") != lsn


def test_settings_of_ours(lake):
    assert answer(lake, "SHOW tidewater.freshness") == [("strict",)]
    for value in ("lake", "bounded 5s", "bounded 250ms", "strict"):
        lake.execute("SET tidewater.freshness = %s", (value,))
        assert answer(lake, "SHOW tidewater.freshness") == [(value,)]
        assert answer(lake, "SELECT count(*) FROM customer") == [(200,)]
    for sql in ("SET tidewater.freshness = 'new'", "SET tidewater.as_of_lsn = '0/1'", "SET tidewater.as_of = 'never'"):
        with pytest.raises(psycopg2.Error):
            lake.execute(sql)
    lake.execute("SET tidewater.as_of = '0/1A00000'")
    assert answer(lake, "SHOW tidewater.as_of") == [("0/1A00000",)]
    lake.execute("RESET tidewater.as_of")
    assert answer(lake, "SHOW tidewater.as_of") == [("",)]


def test_search_path(lake):
    lake.execute('SET search_path = "Mixed"')
    assert answer(lake, 'SELECT count(*) FROM "Case"') == [(2,)]
    with pytest.raises(psycopg2.errors.UndefinedTable):
        lake.execute("SELECT * FROM customer")
    lake.execute("RESET search_path")
    assert answer(lake, "SELECT count(*) FROM customer") == [(200,)]


def test_cursors(stand):
    with contextlib.closing(stand.lake(autocommit=False)) as connection:
        with connection.cursor("named") as cursor:
            cursor.itersize = 700
            cursor.execute("SELECT id FROM orders ORDER BY id")
            assert [row[0] for row in cursor] == list(range(1, 5001))
        with connection.cursor() as cursor:
            cursor.execute("DECLARE c CURSOR FOR SELECT id FROM customer ORDER BY id")
            assert answer(cursor, "FETCH 2 FROM c") == [(1,), (2,)]
            cursor.execute("MOVE 3 FROM c")
            assert answer(cursor, "FETCH c") == [(6,)]
            assert len(answer(cursor, "FETCH ALL FROM c")) == 194
            assert answer(cursor, "FETCH ALL FROM c") == []
            cursor.execute("CLOSE c")
            cursor.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT id FROM customer ORDER BY id")
            connection.commit()
            assert answer(cursor, "FETCH 1 FROM kept") == [(1,)]


def test_prepared_statements_in_sql(lake):
    lake.execute("PREPARE find (int, text) AS SELECT id FROM customer WHERE id = $1 AND name = $2")
    assert answer(lake, "EXECUTE find(3, 'customer ' || 3)") == [(3,)]
    assert answer(lake, "EXECUTE find(3, 'other')") == []
    with pytest.raises(psycopg2.Error):
        lake.execute("EXECUTE find(3)")
    lake.execute("DEALLOCATE find")
    with pytest.raises(psycopg2.errors.InvalidSqlStatementName):
        lake.execute("EXECUTE find(3, 'x')")


def test_copy(stand):
    for options in ("", " (FORMAT csv, HEADER)", " (FORMAT csv, DELIMITER ';', NULL 'nix', FORCE_QUOTE *)", " (DELIMITER '|')"):
        command = f"COPY (SELECT id, t, ts, by, ta FROM everything ORDER BY id) TO STDOUT{options}"
        assert stand.psql("-c", command).stdout == stand.direct_psql("-c", command).stdout, options
    assert sorted(stand.psql("-c", "COPY customer (id, name) TO STDOUT").stdout.splitlines()) == sorted(
        stand.direct_psql("-c", "COPY customer (id, name) TO STDOUT").stdout.splitlines())


def test_explain(lake):
    assert any("READ_PARQUET" in row[0] for row in answer(lake, "EXPLAIN SELECT count(*) FROM orders"))
    assert any("Seq Scan" in row[0] or "Result" in row[0] for row in answer(lake, "EXPLAIN SELECT 1"))
    assert answer(lake, "EXPLAIN ANALYZE SELECT count(*) FROM orders")


def test_tls_and_channel_binding(stand):
    for options in ({"sslmode": "require"}, {"sslmode": "require", "channel_binding": "require"}, {"sslmode": "disable"},
                    {"sslmode": "verify-full", "sslrootcert": str(stand.data / "secrets/server.crt"), "host": "localhost"}):
        host = options.pop("host", "127.0.0.1")
        with contextlib.closing(psycopg2.connect(host=host, port=stand.port, user="ada", dbname="app.lake", password="se cret",
                                                 **options)) as connection:
            assert answer(connection.cursor(), "SELECT count(*) FROM orders") == [(5000,)]


def test_a_query_beyond_its_memory_fails_alone(stand, lake):
    with pytest.raises(psycopg2.Error) as caught:
        lake.execute("SELECT array_agg(a.note || b.note || c.id) FROM orders a, orders b, customer c")
    assert caught.value.pgcode in ("53200", "53100"), caught.value
    assert answer(lake, "SELECT count(*) FROM customer") == [(200,)]
