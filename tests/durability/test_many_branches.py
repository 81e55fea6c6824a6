"""Many branches of one database, at head, at LSNs and at times, each compared with a dump."""
import contextlib
import datetime
import os
import statistics
import subprocess
import time

import psycopg2

from dump import PG, dump
from instance import wait_for

LONG = bool(os.environ.get("TIDE_TEST_LONG"))
COUNT = 100 if LONG else 18
SCALE = 66 if LONG else 3  # 15 MB each


def answers_dump(tide, branch, sums=None):
    started = time.monotonic()
    with contextlib.closing(psycopg2.connect(tide.url(f"@{branch}"), connect_timeout=60)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT abalance FROM pgbench_accounts WHERE aid = 77")
            cursor.fetchall()
            first_row = time.monotonic() - started
            # A big database is compared by checksums of every row, each branch, and by dump every tenth.
            cursor.execute("SELECT * FROM (SELECT sum(hashtext(t::text)::bigint), count(*) FROM pgbench_accounts t) a, "
                           "(SELECT sum(hashtext(t::text)::bigint), count(*) FROM pgbench_history t) b, "
                           "(SELECT sum(hashtext(t::text)::bigint), count(*) FROM pgbench_tellers t) c")
            answer = cursor.fetchone()
    return first_row, answer


def test_many_branches(instance, capsys):
    instance.up()
    subprocess.run([PG / "pgbench", "-i", "-q", "-s", str(SCALE), instance.url()], check=True, capture_output=True)
    points = []  # (kind, value, dump, sums)
    for number in range(COUNT):
        subprocess.run([PG / "pgbench", "-n", "-c", "2", "-t", "20", instance.url()], check=True, capture_output=True)
        kind = ("head", "lsn", "time")[number % 3]
        lsn = instance.lsn()
        moment = None
        if kind == "time":
            time.sleep(0.02)
            moment = instance.value("SELECT clock_timestamp()").astimezone(datetime.timezone.utc)
            moment = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            time.sleep(0.02)
        text = dump(instance.url()) if number % (10 if LONG else 1) == 0 else None
        _, sums = answers_dump(instance, "main")
        created = None
        if kind == "head":
            started = time.monotonic()
            instance.run("branch", "create", f"b{number}")
            created = time.monotonic() - started
        points.append((number, kind, moment or lsn, text, sums, created))
    # Branches of the past are made only now, when much has changed since.
    created, starts, firsts = [], [], []
    for number, kind, value, text, sums, already in points:
        name = f"b{number}"
        if kind != "head":
            started = time.monotonic()
            instance.run("branch", "create", name, f"--{kind}", value)
            already = time.monotonic() - started
        created.append(already)
        instance.url(f"@{name}")
        started = time.monotonic()
        instance.run("endpoint", "start", name, check=False)
        starts.append(time.monotonic() - started)
        first_row, answer = answers_dump(instance, name)
        firsts.append(first_row)
        assert answer == sums, (name, kind, value)
        if text is not None:
            assert dump(instance.url(f"@{name}")) == text, (name, kind, value)
        instance.run("endpoint", "suspend", name)
    sizes = instance.json("status")
    with capsys.disabled():
        size = instance.value("SELECT pg_database_size(current_database())") >> 20
        print(f"\n{COUNT} branches of {size} MB (head, LSN, time in turn), all equal: `tide branch create` median "
              f"{statistics.median(created) * 1000:.0f} ms (slowest {max(created) * 1000:.0f}), `tide endpoint start` "
              f"{statistics.median(starts) * 1000:.0f} ms, connect to first row {statistics.median(firsts) * 1000:.0f} ms")
    assert sizes
