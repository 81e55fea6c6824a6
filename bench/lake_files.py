"""Files, bytes and commits of the lake after TPC-B at a fixed rate."""
import time

from harness.figures import Figure
from harness.lake import LogReader
from harness.load import background_load, pgbench_init
from harness.processes import cpu_seconds, pss_bytes

RATE = 200
CLIENTS = 4
SCALE = 10
TABLES = ("pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history")


def run(bench):
    options = bench.options
    with bench.tide_only() as tide:
        pgbench_init(tide, min(SCALE, options.scale))
        directories = {table: tide.lake.directory(f"public.{table}") for table in TABLES}
        before = {table: look(directory) for table, directory in directories.items()}
        pid = tide.lake.pid
        cpu, begin = cpu_seconds(pid), time.monotonic()
        with background_load(tide, CLIENTS, RATE) as rate:
            time.sleep(options.lake_seconds)
            tps = rate()
        minutes = (time.monotonic() - begin) / 60
        tide.settle()
        after = {table: look(directory) for table, directory in directories.items()}
        core = (cpu_seconds(pid) - cpu) / (minutes * 60) * 100
        for table in TABLES:
            for what, unit in UNITS.items():
                bench.add(Figure(f"{table}: {what}", unit, {"before": [before[table][what]], "tide": [after[table][what]]},
                                 against="before"))
        commits = sum(after[table]["commits"] - before[table]["commits"] for table in TABLES)
        size = sum(after[table]["bytes in the directory"] - before[table]["bytes in the directory"] for table in TABLES)
        bench.add(Figure("all: commits", "1/min", {"tide": [commits / minutes]}, against="before"))
        bench.add(Figure("all: growth of the directories", "MB/min", {"tide": [size / 1024 / minutes]}, against="before"))
        bench.add(Figure("mirror's processor time", "% of a core", {"tide": [core]}, against="before"))
        bench.add(Figure("mirror's memory after it", "MB (PSS)", {"tide": [pss_bytes(pid) / 2**20]}, against="before"))
    bench.note(f"{minutes:.1f} minutes of TPC-B at {tps:.0f} transactions a second (asked for: {RATE}), scale "
               f"{min(SCALE, options.scale)}: an update in each of three tables and an insert in the fourth. Live: what the newest "
               "version of the table names. The directories hold besides what older versions need, for a day.")


UNITS = {"live files": "files", "live bytes": "KB", "files with deletion vectors": "files", "files in the directory": "files",
         "bytes in the directory": "KB", "commits": "commits"}


def look(directory):
    log = LogReader(directory)
    log.poll()
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {"live files": len(log.files), "live bytes": sum(add["size"] for add in log.files.values()) / 2**10,
            "files with deletion vectors": sum("deletionVector" in add for add in log.files.values()),
            "files in the directory": len(files),
            "bytes in the directory": sum(path.stat().st_size for path in files) / 2**10, "commits": log.version + 1}
