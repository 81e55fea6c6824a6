"""The mirror's Delta tables hold what PostgreSQL answers, whatever happens to the tables."""
import contextlib
import os
import time

import pytest

from instance import wait_for
from lake.lake import Lake, lsn_number
from lake.oracle import Oracle
from lake.target import Target, allow_two_phase
from lake.workloads import clients, ddl, dml, fuzz, script, types

LONG = bool(os.environ.get("TIDE_TEST_LONG"))
SCRIPTS = {**dml.SCRIPTS, **ddl.SCRIPTS}


@pytest.fixture(scope="module")
def oracle(duck, clickhouse):
    judge = Oracle(duck, clickhouse)
    yield judge
    print(f"{judge.tables} tables, {judge.rows} rows compared; {judge.diverted} values without a home")


@pytest.fixture(scope="module")
def lake(tide):
    allow_two_phase(tide)
    return Lake(tide)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(tide, lake, oracle, name):
    target = Target(tide)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    schemas = {"lake_s1", "lake_s2", "lake_s3", "Lake Schema.with/slash %41"} if name == "schemas" else {name}

    def pause():
        if LONG:
            oracle.judge(tide, lake, schemas=schemas, deep=False)

    script.run(target, None, SCRIPTS[name], [f"SET search_path = {name}, public"], pause)
    oracle.judge(tide, lake, schemas=schemas)


def test_types(tide, lake, oracle):
    target = Target(tide)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA types")
    script.run(target, None, types.script(), ["SET search_path = types, public"])
    oracle.judge(tide, lake, schemas={"types"})


def test_databases(tide, lake, oracle):
    script.run(Target(tide), None, ddl.DATABASES)
    oracle.judge(tide, lake, databases=ddl.DATABASE_NAMES)
    assert not [table for table in lake.status()["tables"] if table["database"] == "lake_source"]


@pytest.mark.parametrize("seed", range(1, 21) if LONG else [1, 2])
def test_fuzz(tide, lake, oracle, seed):
    target = Target(tide)
    schemas = {f"fuzz_{seed}", f"fuzz_{seed}_x", f"fuzz_{seed}_y"}
    work = fuzz.Fuzz(target.connect, seed, log=(log := []))
    work.cursor.execute("SET lock_timeout = '2s'")
    try:
        for _ in range(10 if LONG else 2):
            work.steps(200)
            work.settle()
            oracle.judge(tide, lake, schemas=schemas, deep=False)
        work.finish()
        oracle.judge(tide, lake, schemas=schemas)
    except BaseException:
        print("\n".join(log))
        raise


def test_concurrent_load(tide, lake, oracle):
    """Many small transactions of several clients, pgbench among them, beside changes of tables."""
    target = Target(tide)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(clients.ORDERS_SCHEMA.format(**clients.SIZES))
        clients.pgbench(target.url(), "-i", "-s", 1, "-q")
        with clients.running(clients.orders_clients(target.connect, 5, 4)) as loads:
            clients.pgbench(target.url(), "-c", 3, "-T", 60 if LONG else 5, "-n")
            work = fuzz.Fuzz(target.connect, 77)
            work.cursor.execute("SET lock_timeout = '2s'")
            work.steps(150)
            work.finish()
        assert sum(load.commits for load in loads) > 30
        assert clients.broken_conditions(cursor) == []
    oracle.judge(tide, lake, schemas={"oe", "public", "fuzz_77", "fuzz_77_x", "fuzz_77_y"})


def test_branch(tide, lake, oracle):
    """A branch's lake begins as the parent's and goes its own way."""
    target = Target(tide)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA branched")
        cursor.execute("CREATE TABLE branched.t AS SELECT i AS id, md5(i::text) AS a FROM generate_series(1, 5000) i")
        cursor.execute("DELETE FROM branched.t WHERE id % 10 = 0")
    oracle.judge(tide, lake, schemas={"branched"})
    tide.run("branch", "create", "lakedev")
    with contextlib.closing(Target(tide, "lakedev").connect()) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE branched.t SET a = 'branch' WHERE id < 100")
        cursor.execute("CREATE TABLE branched.only_here (id int)")
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM branched.t WHERE id > 4000")
        cursor.execute("ALTER TABLE branched.t ADD b int DEFAULT 1")
    oracle.judge(tide, lake, schemas={"branched"})
    oracle.judge(tide, lake, "lakedev", schemas={"branched"})
    tide.run("branch", "delete", "lakedev")
    oracle.judge(tide, lake, schemas={"branched"})


def test_catches_up_while_the_compute_sleeps(instance, oracle):
    """A burst, then the compute is suspended at once: the lake becomes complete without it."""
    instance.up()
    lake = Lake(instance)
    with contextlib.closing(instance.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE burst (id int PRIMARY KEY, a text)")
        cursor.execute("INSERT INTO burst SELECT i, md5(i::text) FROM generate_series(1, 100000) i")
        cursor.execute("UPDATE burst SET a = a || 'x' WHERE id % 2 = 0")
        cursor.execute("DELETE FROM burst WHERE id % 7 = 0")
        cursor.execute("SELECT pg_current_wal_flush_lsn()")
        end = cursor.fetchone()[0]
    instance.run("endpoint", "suspend", "main")
    assert instance.postmaster() is None
    lake.wait("main", end, 120)
    assert instance.postmaster() is None
    instance.run("endpoint", "start", "main")
    oracle.judge(instance, lake)


def test_restarts_where_it_was(instance, oracle):
    """kill -9 of the mirror, then of everything: no row twice, none missing."""
    instance.up()
    lake = Lake(instance)
    target = Target(instance)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(clients.TRANSFER_SCHEMA)
    loads = [clients.Transfers(target.connect, number, number) for number in range(2)]
    with clients.running(loads):
        for _ in range(3):
            time.sleep(1.5)
            for pid in (before := instance.find("tide mirror")):
                instance.kill(pid)
            wait_for(lambda: set(instance.find("tide mirror")) - set(before), 30, "a new mirror")
    oracle.judge(instance, lake)
    instance.kill_everything()
    instance.up()
    oracle.judge(instance, lake)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM bank.journal")
        assert {id for load in loads for id in load.acknowledged} <= {row[0] for row in cursor.fetchall()}


def test_idle_lake_stays_as_it_is(tide, lake):
    """No commits without changes."""
    target = tide.lsn()
    before = {table["oid"]: table.get("version") for table in lake.wait("main", target)["tables"]}
    tide.sql("CHECKPOINT")
    time.sleep(3)
    after = {table["oid"]: table.get("version") for table in lake.wait("main", tide.lsn())["tables"]}
    assert before == after
    assert lsn_number(lake.status()["published_lsn"]) >= lsn_number(target)
