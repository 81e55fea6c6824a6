"""From COMMIT's answer until a snapshot of the mirror, and a reader of the Delta log, has the row; idle and under TPC-B."""
import contextlib
import json
import random
import threading
import time

from harness.duck import Duck, file_list
from harness.figures import Bar, Figure
from harness.lake import LogReader, first_column, lsn_number
from harness.load import background_load, pgbench_init

CLIENTS = 8
SNAPSHOT_BAR = Bar("value", "<", 50, "ms")
#: Label, clients, the bar of a Delta reader.
LOADS = (("light", 0, Bar("value", "<", 1000, "ms")), (f"TPC-B, {CLIENTS} clients", CLIENTS, Bar("value", "<", 3000, "ms")))


def run(bench):
    options = bench.options
    with bench.tide_only() as tide:
        pgbench_init(tide, options.scale)
        probe = Probe(tide)
        for label, clients, bar in LOADS:
            with background_load(tide, clients) if clients else contextlib.nullcontext() as rate:
                snapshots, rows = probe.snapshots(options.seconds)
                published = probe.published(options.seconds)
                tps = rate() if rate else 0
            for percent in (50, 99):
                strict = percent == 99
                bench.add(Figure(f"strict snapshot, {label}, p{percent}", "ms", {"tide": snapshots},
                                 SNAPSHOT_BAR if strict else None, percent))
                bench.add(Figure(f"strict snapshot and the probe's rows, {label}, p{percent}", "ms", {"tide": rows},
                                 percent=percent))
                bench.add(Figure(f"Delta reader, {label}, p{percent}", "ms", {"tide": published}, bar if strict else None,
                                 percent))
            bench.note(f"{label}: {len(snapshots)} snapshots, {len(published)} rows for the Delta reader"
                       + (f", {tps:.0f} tps beside them" if clients else "") + ".")
            tide.settle()
        probe.check()
        probe.close()
    bench.note("The Delta reader lists the table's _delta_log every 2 ms and reads new commits; a row is visible once a live "
               "file's maximum of the ascending key covers it. At the end DuckDB counts the rows of all live files.")


class Probe:
    """A table of ascending ids, nothing deleted, one row a transaction."""

    def __init__(self, tide):
        self.tide = tide
        self.chance = random.Random(1)
        self.connection = tide.connect()
        self.cursor = self.connection.cursor()
        self.cursor.execute("CREATE TABLE probe (id bigint PRIMARY KEY, note text)")
        self.last = 0
        self.insert()
        self.tide.settle()
        self.log = LogReader(tide.lake.directory("public.probe"))
        self.log.poll()

    def close(self):
        self.connection.close()

    def insert(self):
        """Commits a row. Yields when the answer was there."""
        self.last += 1
        self.cursor.execute("INSERT INTO probe VALUES (%s, 'a row of the probe')", (self.last,))
        return time.monotonic()

    def pause(self):
        time.sleep(self.chance.uniform(0.005, 0.05))

    def snapshots(self, seconds):
        """Milliseconds from each commit until the snapshot, and until its rows too."""
        snapshots, rows = [], []
        known = {}  # segment -> its highest id
        wanted = {"timeline": self.tide.lake.TIMELINE, "database": self.tide.database, "freshness": "strict"}
        with contextlib.closing(self.tide.lake.channel()) as channel:
            first, _ = channel.ask("snapshot", **wanted)
            oid = next(table["oid"] for table in first["catalog"]["tables"]
                       if (table["schema"], table["name"]) == ("public", "probe"))
            version = first["catalog_version"]
            channel.ask("release", snapshot=first["snapshot"])
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                committed = self.insert()
                taken, _ = channel.ask("snapshot", catalog_version=version, **wanted)
                there = time.monotonic()
                table, blobs = channel.ask("table", snapshot=taken["snapshot"], oid=oid, known_segments=list(known))
                complete = time.monotonic()
                self.expect_all(table, blobs, known)
                channel.ask("release", snapshot=taken["snapshot"])
                version = taken["catalog_version"]
                snapshots.append((there - committed) * 1000)
                rows.append((complete - committed) * 1000)
                self.pause()
        return snapshots, rows

    def expect_all(self, table, blobs, known):
        """Every row that was committed, no other."""
        if any("deleted" in part for part in table["files"] + table["segments"]):
            raise RuntimeError("the snapshot lacks rows that nobody deleted")
        for segment in table["segments"]:
            if "data" in segment:
                known[segment["id"]] = max(first_column(blobs[segment["data"]]))
        highest = [known[segment["id"]] for segment in table["segments"]]
        for file in table["files"]:
            stats = file["stats"]
            highest.append((json.loads(stats) if isinstance(stats, str) else stats)["maxValues"]["id"])
        count = sum(part["rows"] for part in table["files"] + table["segments"])
        if count != self.last or max(highest) != self.last:
            raise RuntimeError(f"{self.last} rows were committed; the snapshot has {count}, up to {max(highest)}")

    def published(self, seconds):
        """Milliseconds from each commit until the row is in the Delta table."""
        committed = []
        stop = threading.Event()

        def write():
            while not stop.is_set():
                committed.append((self.insert(), self.last))
                self.pause()

        writer = threading.Thread(target=write)
        writer.start()
        seen = []  # (time, highest id)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end + 60 and (not stop.is_set() or seen[-1][1] < self.last):
                if self.log.poll():
                    seen.append((time.monotonic(), max(highest_id(add) for add in self.log.files.values())))
                if time.monotonic() > end and seen and not stop.is_set():
                    stop.set()
                    writer.join()
                time.sleep(0.002)
        finally:
            stop.set()
            writer.join()
        if not seen or seen[-1][1] < self.last:
            raise RuntimeError(f"row {self.last} is not in the Delta table a minute later")
        delays = []
        at = 0
        for moment, row in committed:
            while seen[at][1] < row:
                at += 1
            delays.append(max(0.0, seen[at][0] - moment) * 1000)
        return delays

    def check(self):
        """That the Delta table has every row once, and says so of a position behind the last of them."""
        self.cursor.execute("SELECT pg_current_wal_insert_lsn()")
        before = lsn_number(self.cursor.fetchone()[0])
        self.insert()
        self.tide.settle()
        self.log.poll()
        if self.log.lsn <= before:
            raise RuntimeError("the last commit's tidewater.mirror does not cover what is in it")
        if any(add.get("deletionVector") for add in self.log.files.values()):
            raise RuntimeError("rows are deleted that nobody deleted")
        duck = Duck()
        found = duck.query("SELECT count(*), count(DISTINCT id), max(id) FROM read_parquet("
                           + file_list(self.log.directory / path for path in self.log.files) + ")")
        duck.close()
        if found != [[str(self.last)] * 3]:
            raise RuntimeError(f"{self.last} rows were committed, the Delta table has {found[0]}")


def highest_id(add):
    return json.loads(add["stats"])["maxValues"]["id"]
