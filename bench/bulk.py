"""COPY into an empty table; sequential scans of it, cold and warm."""
import contextlib
import time

from harness.figures import Figure, ratio_at_least
from harness.load import BULK_TABLE, interleave, write_copy_file

SCAN = "SELECT count(*), sum(amount), max(length(note)) FROM {}"


def run(bench):
    options = bench.options
    file = bench.directory / "rows.copy"
    size = write_copy_file(file, options.copy_mb) / 2**20
    drained = []

    def copy(arm, round_number):
        arm.sql("DROP TABLE IF EXISTS bulk")
        arm.sql(BULK_TABLE.format("bulk"))
        arm.prepare_for_writes()
        begin = time.monotonic()
        arm.sql("COPY bulk FROM %s", (str(file),))
        seconds = time.monotonic() - begin
        settled = arm.settle()
        if arm.name == "tide":
            drained.append(settled)
        return size / seconds

    with bench.pair() as arms:
        rates = interleave(arms, options.rounds, copy, bench.progress)
        bench.add(Figure(f"COPY of {size:.0f} MB", "MB/s", rates, ratio_at_least(0.7)))
        bench.add(Figure("page store has it all after COPY's end", "s", {"tide": drained}))
        file.unlink()
        for arm in arms:
            # Otherwise the first scan of one arm would set the hint bits for its later ones.
            arm.sql("VACUUM bulk")
            arm.prepare_for_writes()
        table = arms[0].value("SELECT pg_table_size('bulk')") / 2**20
        bench.note(f"The table has {table:.0f} MB. Cold: the server restarted (Tidewater's compute begins with an empty "
                   "cache) and the kernel's cache of all its files dropped; the storage role goes on running.")
        for label, workers in (("serial", 0), ("2 parallel workers", 2)):
            def scan(arm, _):
                arm.stop()
                arm.drop_page_cache()
                arm.start()
                with contextlib.closing(arm.connect()) as connection, connection.cursor() as cursor:
                    cursor.execute("SET max_parallel_workers_per_gather = %s", (workers,))
                    seconds = []
                    for _ in range(3):
                        begin = time.monotonic()
                        cursor.execute(SCAN.format("bulk"))
                        cursor.fetchall()
                        seconds.append(time.monotonic() - begin)
                return seconds[0], min(seconds[1:])

            scans = interleave(arms, options.rounds, scan, bench.progress)
            for kind, index in (("cold", 0), ("warm", 1)):
                bench.add(Figure(f"sequential scan, {kind}, {label}", "MB/s",
                                 {name: [table / found[index] for found in times] for name, times in scans.items()}))
