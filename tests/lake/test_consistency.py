"""Long: transfers between two tables while one query of the warehouse sums both."""
import contextlib
import os
import threading
import time

import pytest

from lake.lake import Lake
from lake.log import Log, read_commit
from lake.oracle import Oracle
from lake.target import Target
from lake.workloads import clients

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("TIDE_TEST_SECONDS", 600))
SUM = "SELECT (SELECT sum(amount) FROM bank.here) + (SELECT sum(amount) FROM bank.there)"


def test_sum_is_never_wrong(instance, duck, clickhouse, capsys):
    """... and no query misses a commit that was acknowledged before it began."""
    instance.up()
    target = Target(instance)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(clients.TRANSFER_SCHEMA)
    loads = [clients.Transfers(target.connect, number, number) for number in range(4)]
    wrong, times, stopping = [], [], threading.Event()

    def ask(number):
        try:
            with contextlib.closing(instance.connect("@main.lake")) as connection, connection.cursor() as cursor:
                while not stopping.is_set():
                    load = loads[number % len(loads)]
                    started = time.monotonic()
                    cursor.execute(SUM)
                    total = cursor.fetchone()[0]
                    times.append(time.monotonic() - started)
                    if int(total) != clients.TRANSFER_TOTAL:
                        wrong.append(f"the sum is {total}")
                    # The journal is append-only: each client's numbers must be there, all that were acknowledged before.
                    must = len(load.acknowledged)
                    cursor.execute("SELECT count(*) FROM bank.journal WHERE id BETWEEN %d AND %d" % (
                        load.next_id // 10**9 * 10**9, load.next_id // 10**9 * 10**9 + 10**9 - 1))
                    there = cursor.fetchone()[0]
                    if there < must:
                        wrong.append(f"{there} commits of a client are seen, {must} were acknowledged before")
        except Exception as error:
            wrong.append(repr(error))

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    with clients.running(loads):
        for asker in askers:
            asker.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not wrong:
            time.sleep(0.2)
        stopping.set()
        for asker in askers:
            asker.join(120)
    assert not wrong, wrong[:5]
    Oracle(duck, clickhouse).judge(instance, Lake(instance))
    times.sort()
    with capsys.disabled():
        print(f"\n{sum(load.commits for load in loads)} transfers, {len(times)} sums: none wrong, none too old; "
              f"median {times[len(times) // 2] * 1000:.0f} ms, 99 % below {times[len(times) * 99 // 100] * 1000:.0f} ms")


def test_consistent_for_outside_readers(instance, duck, clickhouse):
    """Tables read by path at one in-commit timestamp are one state: the sum holds at every cut."""

    instance.up()
    target, lake = Target(instance), Lake(instance)
    with contextlib.closing(target.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(clients.TRANSFER_SCHEMA)
    loads = [clients.Transfers(target.connect, number, number) for number in range(3)]
    with clients.running(loads):
        time.sleep(20)
    status = lake.wait("main", instance.lsn())
    stamps, logs = {}, {}
    for table in status["tables"]:
        if table["schema"] == "bank" and table["table"] in ("here", "there"):
            log = logs[table["table"]] = Log(lake.path(table["location"]), duck)
            for version, path in log.commits.items():
                stamps.setdefault(read_commit(path)[0][1]["inCommitTimestamp"], {})[table["table"]] = version
    version, compared = {}, 0
    for stamp in sorted(stamps):
        version.update(stamps[stamp])
        if len(version) == 2:
            total = sum(row[1] for name, log in logs.items() for row in log.snapshot(version[name]).rows(duck))
            assert total == clients.TRANSFER_TOTAL, (stamp, version, total)
            compared += 1
    assert compared > 5
