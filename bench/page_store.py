"""The storage role by itself: pages a second from its socket, MB of WAL a second into the page store."""
import time

from harness.arms import lsn_number
from harness.figures import Figure
from harness.load import BULK_TABLE, pgbench, pgbench_init, write_copy_file
from harness.page_client import pages_per_second

TABLESPACE = 1663
MAIN_FORK = 0


def run(bench):
    with bench.tide_only() as tide:
        read(bench, tide)
        ingest(bench, tide)


def read(bench, tide):
    options = bench.options
    pgbench_init(tide, options.scale)
    seconds = min(options.seconds, 5)
    database = tide.value("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    relation = (TABLESPACE, database, tide.value("SELECT pg_relation_filenode('pgbench_accounts')::bigint"), MAIN_FORK)
    socket = tide.instance.data / "run/pages.sock"
    for state in ("after load", "after TPC-B"):
        if state == "after TPC-B":
            pgbench(tide, "TPC-B", 8, options.seconds)
            tide.settle()
        blocks = tide.value("SELECT pg_relation_size('pgbench_accounts') / 8192")
        redone = redo_counts(tide)
        for batch, readers in ((1, 1), (1, 4), (64, 1), (64, 4)):
            rates = [pages_per_second(socket, 1, relation, blocks, batch, readers, seconds)
                     for _ in range(options.rounds)]
            bench.progress(f"{state}, batches of {batch}, {readers} readers: {rates}")
            bench.add(Figure(f"pages, {state}, batches of {batch}, {readers} readers", "pages/s", {"tide": rates}))
        pages, records = (after - before for before, after in zip(redone, redo_counts(tide)))
        bench.note(f"{state}: {pages:,} pages needed redo, {records / pages if pages else 0:.1f} records each.")
    bench.note("The readers are Python programs on the same cores.")


def redo_counts(tide):
    redo = tide.ask_storage("GET", "/v1/status")["redo"]
    return redo["pages"], redo["records"]


def ingest(bench, tide):
    options = bench.options
    file = bench.directory / "rows.copy"
    write_copy_file(file, options.copy_mb)
    follow, load, again = [], [], []
    for _ in range(options.rounds):
        tide.sql("DROP TABLE IF EXISTS bulk")
        tide.sql(BULK_TABLE.format("bulk"))
        tide.prepare_for_writes()
        tide.ask_storage("POST", "/v1/flush")
        position = tide.wal_position()
        begin = time.monotonic()
        tide.sql("COPY bulk FROM %s", (str(file),))
        copied = time.monotonic()
        tide.wait_ingested()
        wal = (tide.wal_position() - position) / 2**20
        follow.append(wal / (time.monotonic() - begin))
        load.append(wal / (copied - begin))

        # What memory held is ingested anew when the role starts again.
        timeline = tide.timeline()
        backlog = lsn_number(timeline["end_lsn"]) - lsn_number(timeline["durable_lsn"])
        victim = [pid for pid, text in tide.instance.processes().items() if "/tide storage " in text]
        begin = time.monotonic()
        for pid in victim:
            tide.instance.kill(pid)
        tide.wait_ingested(timeline["end_lsn"])
        seconds = time.monotonic() - begin
        again.append((backlog / 2**20, seconds))
        bench.progress(f"WAL {wal:.0f} MB: {follow[-1]:.1f} MB/s; after kill -9 {backlog / 2**20:.0f} MB in {seconds:.2f} s")
    file.unlink()
    bench.add(Figure("ingest: WAL of COPY, to its last byte in the page store", "MB/s", {"tide": follow}))
    bench.add(Figure("WAL written by that COPY", "MB/s", {"tide": load}))
    bench.add(Figure("storage role after kill -9: WAL to ingest anew", "MB", {"tide": [size for size, _ in again]}))
    bench.add(Figure("storage role after kill -9: until it has", "s", {"tide": [seconds for _, seconds in again]}))
