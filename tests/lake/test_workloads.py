"""The workloads are valid on stock PostgreSQL, and their answers are read right."""
import contextlib
import time

import pytest

from lake import mapping
from lake.postgres import Dump
from lake.workloads import clients, ddl, dml, fuzz, script, types


def prepared(connection, schema):
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {schema}")


def readable(connection, schema=None):
    """Reads everything there is; rows per table."""
    found = {}
    with Dump(connection) as dump:
        for table in dump.tables():
            if table.kind == "f" or schema is not None and table.schema != schema:
                continue
            count = 0
            for row in dump.rows(table):
                count += 1
                for column, text in zip(table.columns, row):
                    with contextlib.suppress(mapping.NoHome):
                        mapping.value(column.type, text)
            if not table.populated:
                continue
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM %s\"%s\".\"%s\"" % (
                    "ONLY " if table.kind == "r" else "", table.schema.replace('"', '""'), table.name.replace('"', '""')))
                assert cursor.fetchone()[0] == count, table.label
            found[table.label] = count
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", [*dml.SCRIPTS, *ddl.SCRIPTS])
def test_script(stock, name):
    database = stock.create("scripts_" + name)
    with contextlib.closing(stock.connect(database)) as connection:
        prepared(connection, name)
    script.run(stock, database, {**dml.SCRIPTS, **ddl.SCRIPTS}[name], [f"SET search_path = {name}, public"])
    with contextlib.closing(stock.connect(database)) as connection:
        found = readable(connection)
    assert found
    print(found)


@pytest.mark.long
def test_databases(stock):
    database = stock.create("scripts_databases")
    script.run(stock, database, ddl.DATABASES)
    for name in ddl.DATABASE_NAMES:
        with contextlib.closing(stock.connect(name)) as connection:
            assert readable(connection)
            print(name, readable(connection))


@pytest.fixture(scope="module")
def typed(stock):
    """A database with a table per type."""
    database = stock.create("scripts_types")
    with contextlib.closing(stock.connect(database)) as connection:
        prepared(connection, "types")
    script.run(stock, database, types.script(), ["SET search_path = types, public"])
    return database


def test_types(stock, typed):
    with contextlib.closing(stock.connect(typed)) as connection:
        assert len(readable(connection, "types")) > 130


# Texts are read right: PostgreSQL itself says the same in numbers and JSON.

@pytest.mark.parametrize("kind, sql", [
    ("date", "(v - '1970-01-01'::date)::text"),
    ("timestamp", "(extract(epoch FROM v) * 1000000)::numeric(40,0)::text"),
    ("timestamptz", "(extract(epoch FROM v) * 1000000)::numeric(40,0)::text"),
    ("money", "v::numeric(19,2)::text"),
    ("bytea", "encode(v, 'hex')"),
    ("char(5)", "v::text"),
    ("numeric(18,6)", "v::text"),
])
def test_values_against_sql(stock, typed, kind, sql):
    checked = 0
    with contextlib.closing(stock.connect(typed)) as connection, Dump(connection) as dump:
        table, = (table for table in dump.tables() if table.schema == "types" and
                  comment(connection, table) == kind)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT v::text, {sql} FROM types.{table.name} WHERE v IS NOT NULL AND "
                           "v::text NOT IN ('infinity', '-infinity')")
            answers = {row[0].rstrip(): row[1] for row in cursor.fetchall()}
        column = next(column for column in table.columns if column.name == "v")
        for row in dump.rows(table):
            text = row[1]
            if text is None or text.rstrip() not in answers:
                continue
            try:
                value = mapping.value(column.type, text)
            except mapping.NoHome:
                continue
            assert str(value) == answers[text.rstrip()], text
            checked += 1
    assert checked > 2


def comment(connection, table):
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(%s, 'pg_class')", (table.oid,))
        return cursor.fetchone()[0]


def test_literals():
    assert mapping.array('{}') == (None, [])
    assert mapping.array('[0:1]={1,NULL}') == ("[0:1]", ["1", None])
    assert mapping.array(r'{"a,b","c\"d","NULL",NULL,{"x"}}') == (None, ["a,b", 'c"d', "NULL", None, ["x"]])
    assert mapping.array("{(1,1),(0,0);(2,2),(1,1)}", ";") == (None, ["(1,1),(0,0)", "(2,2),(1,1)"])
    assert mapping.record("(1,)") == ["1", None]
    assert mapping.record('("",NULL,"a""b\\\\c")') == ["", "NULL", 'a"b\\c']
    assert mapping.days("0001-12-31 BC") == mapping.days("0001-01-01") - 1
    assert mapping.days("4714-11-24 BC") == -2440588  # Julian day 0
    assert mapping.microseconds("1969-12-31 23:59:59.999999") == -1


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_fuzz_is_mostly_valid(stock, seed):
    database = stock.create(f"fuzz_{seed}")
    work = fuzz.Fuzz(lambda: stock.connect(database), seed, log=(log := []))
    work.cursor.execute("SET lock_timeout = '2s'")
    work.steps(500)
    work.finish()
    assert work.done > 4 * work.failed, "\n".join(line for line in log if line.startswith("--"))
    with contextlib.closing(stock.connect(database)) as connection:
        found = readable(connection)
    assert len(found) > 3 and sum(found.values()) > 100
    print(work.done, work.failed, found)


def test_orders_keep_their_conditions(stock):
    database = stock.create("orders")
    with contextlib.closing(stock.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(clients.ORDERS_SCHEMA.format(**clients.SIZES))
        with clients.running(clients.orders_clients(lambda: stock.connect(database), 1, 3)) as loads:
            time.sleep(3)
        assert sum(load.commits for load in loads) > 30
        assert clients.broken_conditions(cursor) == []
        cursor.execute("UPDATE oe.district SET ytd = ytd + 1 WHERE w = 1 AND d = 1")
        assert len(clients.broken_conditions(cursor)) == 2


def test_transfers_keep_the_sum(stock):
    database = stock.create("transfers")
    with contextlib.closing(stock.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(clients.TRANSFER_SCHEMA)
        loads = [clients.Transfers(lambda: stock.connect(database), number, number) for number in range(3)]
        with clients.running(loads):
            time.sleep(2)
        cursor.execute("SELECT sum(amount) FROM (SELECT amount FROM bank.here UNION ALL SELECT amount FROM bank.there) x")
        assert cursor.fetchone()[0] == clients.TRANSFER_TOTAL
        cursor.execute("SELECT id FROM bank.journal")
        assert sorted(row[0] for row in cursor.fetchall()) == sorted(id for load in loads for id in load.acknowledged)


def test_pgbench(stock):
    database = stock.create("pgbench")
    clients.pgbench(stock.url(database), "-i", "-s", 1, "-q")
    assert "number of failed transactions: 0" in clients.pgbench(stock.url(database), "-c", 2, "-t", 100)
