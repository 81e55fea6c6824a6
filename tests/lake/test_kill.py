"""Long: kill -9 of mirror, warehouse and storage at random; the lake equals PostgreSQL after each round.

TIDE_TEST_ROUNDS (100) and TIDE_TEST_SEED choose.
"""
import contextlib
import os
import random
import shutil
import time

import pytest

from instance import wait_for
from lake.lake import Lake
from lake.oracle import Oracle
from lake.target import Target, allow_two_phase
from lake.workloads import clients, fuzz

pytestmark = pytest.mark.long

ROLES = ("tide mirror", "tide warehouse", "tide storage")


def test_kill_at_random(instance, duck, clickhouse, capsys):
    seed = int(os.environ.get("TIDE_TEST_SEED", random.randrange(100000)))
    rounds = int(os.environ.get("TIDE_TEST_ROUNDS", 100))
    chooser, oracle, lake, target = random.Random(seed), Oracle(duck, clickhouse), Lake(instance), Target(instance)
    instance.up()
    allow_two_phase(instance)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(clients.TRANSFER_SCHEMA)
        cursor.execute(clients.ORDERS_SCHEMA.format(**clients.SIZES))
    for number in range(1, rounds + 1):
        loads = [clients.Transfers(target.connect, seed + number * 10 + i, number * 10 + i) for i in range(2)]
        loads += clients.orders_clients(target.connect, seed + number, 2)
        killed = []
        with clients.running(loads):
            work = fuzz.Fuzz(target.connect, seed * 1000 + number, schema=f"fuzz_{number % 5}")
            work.cursor.execute("SET lock_timeout = '2s'")
            for _ in range(chooser.randint(1, 3)):
                work.steps(chooser.randint(5, 60))
                time.sleep(chooser.uniform(0, 1.5))
                role = chooser.choice(ROLES)
                pids = instance.find(role)
                for pid in pids:
                    instance.kill(pid)
                killed.append(role.split()[1])
                if pids and chooser.random() < 0.7:
                    wait_for(lambda: set(instance.find(role)) - set(pids), 60, f"a new {role}")
            work.finish()
        started = time.monotonic()
        # The whole history's validity is looked at now and then: it grows.
        status = oracle.judge(instance, lake, deep=number % 10 == 0 or number == rounds, timeout=180)
        with capsys.disabled():
            print(f"round {number} seed {seed}: killed {', '.join(killed)}; equal {time.monotonic() - started:.1f} s later "
                  f"at {status['published_lsn']}, cut {status['cut']}; {oracle.tables} tables, {oracle.rows} rows so far", flush=True)
        with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
            assert clients.broken_conditions(cursor) == []
            # So that the history does not grow for ever.
            if number % 5 == 0:
                for schema in range(5):
                    cursor.execute(f"DROP SCHEMA IF EXISTS fuzz_{schema} CASCADE")


def test_storage_from_object_store_only(instance, duck, clickhouse):
    """The data directory but for the objects is gone: the lake goes on from the object store."""
    instance.up()
    lake, oracle = Lake(instance), Oracle(duck, clickhouse)
    work = fuzz.Fuzz(Target(instance).connect, 4711)
    work.steps(300)
    work.finish()
    oracle.judge(instance, lake)
    instance.down()
    for path in instance.data.glob("lake/*"):
        shutil.rmtree(path, ignore_errors=True)
    instance.up()
    instance.sql("CREATE TABLE afterwards (id int)")
    oracle.judge(instance, lake)
