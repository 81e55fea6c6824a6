"""COPY, inserts, updates and deletes on their way into the lake: rows/s, delay, processor time and memory of the mirror."""
import contextlib
import random
import time

from harness.figures import Bar, Figure
from harness.load import BULK_TABLE, write_copy_file
from harness.processes import cpu_seconds, peak_rss_bytes, pss_bytes

#: Rows of a transaction where there are many.
BATCH = 10_000
#: Random keys of a transaction.
KEYS = 1_000
#: On one core.
INSERT_BAR, UPDATE_BAR = (Bar("value", ">=", rows, "rows/s") for rows in (500_000, 100_000))


def run(bench):
    options = bench.options
    file = bench.directory / "rows.copy"
    with bench.tide_only() as tide, contextlib.closing(tide.connect()) as connection, connection.cursor() as cursor:
        found = {}
        for round_number in range(options.rounds):
            for what, bar, rows, statements in operations(cursor, options.rows, file, round_number):
                measured = measure(tide, cursor, rows, statements)
                found.setdefault(what, (bar, []))[1].append(measured)
                bench.progress(f"{what}: {measured}")
        for what, (bar, runs) in found.items():
            add(bench, what, bar, runs)
        memory = peak_rss_bytes(tide.lake.pid) / 2**20
        bench.add(Figure("mirror's memory, the most it ever had", "MB (RSS)", {"tide": [memory]}, against="source"))
        check(tide, cursor)
    bench.note("tide: rows / time from the begin of the first statement until they are applied (readers of snapshots see "
               "them) or published (readers of Delta tables do); source: until the client has the last answer. The cut's "
               "interval, a second, is in the time until published. The client's statements take processors from the mirror.")
    bench.note("Rows per second of the mirror's processor time, all its threads, Parquet files and commits included.")


def operations(cursor, rows, file, seed):
    """(name, bar, rows, statements) one after the other on two tables; statements with their parameters."""
    chance = random.Random(seed)
    for table in ("copied", "keyed"):
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
    cursor.execute(BULK_TABLE.format("copied"))
    cursor.execute("CREATE TABLE keyed (id bigint PRIMARY KEY, account integer, amount integer, note text)")
    megabytes = max(1, rows * 100 >> 20)
    write_copy_file(file, megabytes)
    with open(file) as lines:
        copied = sum(1 for _ in lines)
    yield "COPY, one transaction", INSERT_BAR, copied, [("COPY copied FROM %s", (str(file),))]
    file.unlink()
    yield f"INSERT, {BATCH:,} a transaction", INSERT_BAR, rows, [
        ("INSERT INTO keyed SELECT i, i %% 1000, i %% 5000, md5(i::text) FROM generate_series(%s, %s) i",
         (first, min(first + BATCH, rows + 1) - 1)) for first in range(1, rows + 1, BATCH)]
    yield "UPDATE of all rows, one transaction", UPDATE_BAR, rows, [("UPDATE keyed SET amount = amount + 1", None)]
    count = max(1, rows // 4 // KEYS)
    yield f"UPDATE, {KEYS:,} random keys a transaction", UPDATE_BAR, count * KEYS, [
        ("UPDATE keyed SET amount = amount - 1 WHERE id = ANY(%s)", (chance.sample(range(1, rows + 1), KEYS),))
        for _ in range(count)]
    gone = list(range(1, rows + 1))
    chance.shuffle(gone)
    gone = gone[:count * KEYS]
    yield f"DELETE, {KEYS:,} random keys a transaction", None, len(gone), [
        ("DELETE FROM keyed WHERE id = ANY(%s)", (gone[at:at + KEYS],)) for at in range(0, len(gone), KEYS)]
    yield "DELETE of the rest, one transaction", None, rows - len(gone), [("DELETE FROM keyed", None)]


def measure(tide, cursor, rows, statements):
    tide.prepare_for_writes()
    pid = tide.lake.pid
    before = cpu_seconds(pid)
    changed = 0
    begin = time.monotonic()
    for statement, parameters in statements:
        cursor.execute(statement, parameters)
        changed += cursor.rowcount
    answered = time.monotonic()
    if changed != rows:
        raise RuntimeError(f"{changed} rows instead of {rows}: {statements[0][0]}")
    cursor.execute("SELECT pg_current_wal_flush_lsn()")
    applied, published = tide.lake.wait_for(cursor.fetchone()[0], "applied_lsn", "published_lsn")
    return {"source": rows / (answered - begin), "applied": rows / (applied - begin),
            "published": rows / (published - begin), "until applied": applied - answered,
            "until published": published - answered, "cpu": rows / max(cpu_seconds(pid) - before, 0.01),
            "memory": pss_bytes(pid) / 2**20}


def add(bench, what, bar, runs):
    def values(name):
        return [run[name] for run in runs]

    for name in ("applied", "published"):
        bench.add(Figure(f"{what}: {name}", "rows/s", {"source": values("source"), "tide": values(name)}, against="source"))
    for name in ("until applied", "until published"):
        bench.add(Figure(f"{what}: from the answer {name}", "s", {"tide": values(name)}, against="source"))
    bench.add(Figure(f"{what}: one core of the mirror", "rows/s", {"tide": values("cpu")}, bar, against="source"))
    bench.add(Figure(f"{what}: mirror's memory after it", "MB (PSS)", {"tide": values("memory")}, against="source"))


def check(tide, cursor):
    """That the lake has what the source has; the figures are of no use otherwise."""
    for table in ("copied", "keyed"):
        cursor.execute(f"SELECT count(*) FROM {table}")
        there = tide.lake.table(table)["rows"]
        if there != cursor.fetchone()[0]:
            raise RuntimeError(f"{table} has {there} rows in the lake, other than in PostgreSQL")
