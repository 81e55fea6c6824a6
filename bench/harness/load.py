"""Load: pgbench, and a file for COPY."""
import collections
import contextlib
import dataclasses
import pathlib
import random
import re
import subprocess
import tempfile
import time

from harness.arms import POSTGRES
from harness.figures import percentile

#: pgbench's built-in scripts.
SCRIPTS = {"select-only": ["-S"], "TPC-B": []}


@dataclasses.dataclass
class Run:
    tps: float
    transactions: int
    p50_ms: float
    p99_ms: float
    wal_bytes: int  # per transaction


def pgbench_init(arm, scale):
    """Makes and fills pgbench's tables. Yields the seconds."""
    begin = time.monotonic()
    done = subprocess.run([str(POSTGRES / "pgbench"), "-i", "-q", "-s", str(scale)], env=arm.environment(),
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pgbench -i on {arm.name}: exit {done.returncode}\n{done.stderr[-2000:]}")
    seconds = time.monotonic() - begin
    arm.sql("CHECKPOINT")
    arm.settle()
    return seconds


def pgbench(arm, script, clients, seconds):
    """One run with prepared statements."""
    writes = script != "select-only"
    before = arm.wal_position() if writes else 0
    with tempfile.TemporaryDirectory(prefix="tide-bench-log-") as directory:
        log = ["-l", "--log-prefix=log", f"--sampling-rate={1.0 if writes else 0.1}"]
        done = subprocess.run(
            [str(POSTGRES / "pgbench"), "-n", "-M", "prepared", *SCRIPTS[script], "-c", str(clients),
             "-j", str(min(clients, 2)), "-T", str(seconds), *log],
            env=arm.environment(), capture_output=True, text=True, cwd=directory)
        if done.returncode != 0:
            raise RuntimeError(f"pgbench on {arm.name}: exit {done.returncode}\n{done.stderr[-2000:]}")
        latencies = [int(line.split()[2]) for path in pathlib.Path(directory).glob("log.*")
                     for line in path.read_text().splitlines()]
    tps = float(re.search(r"^tps = ([0-9.]+)", done.stdout, re.M).group(1))
    count = int(re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.M).group(1))
    failed = int(re.search(r"^number of failed transactions: (\d+)", done.stdout, re.M).group(1))
    if failed:
        raise RuntimeError(f"pgbench on {arm.name}: {failed} transactions failed")
    wal = (arm.wal_position() - before) / max(count, 1) if writes else 0
    p50, p99 = (percentile(latencies, percent) / 1000 if latencies else 0 for percent in (50, 99))
    return Run(tps, count, p50, p99, wal)


@contextlib.contextmanager
def background_load(arm, clients, rate=None):
    """TPC-B until the block ends. Yields a function that tells the transactions a second so far."""
    limit = ["-R", str(rate)] if rate else []
    count = "SELECT count(*) FROM pgbench_history"
    before, begin = arm.value(count), time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(POSTGRES / "pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)), "-T",
             "86400", *limit], env=arm.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            yield lambda: (arm.value(count) - before) / (time.monotonic() - begin)
            if process.poll() is not None:
                errors.seek(0)
                raise RuntimeError(f"pgbench on {arm.name} ended early: exit {process.returncode}\n{errors.read()[-2000:]}")
        finally:
            process.terminate()
            process.wait()


def interleave(arms, rounds, measure, progress=lambda text: None):
    """measure(arm, round) for each arm in turn (A B A B): noise of the machine hits all. {arm: [result]}."""
    results = collections.defaultdict(list)
    for round_number in range(rounds):
        for arm in arms:
            results[arm.name].append(measure(arm, round_number))
            progress(f"round {round_number + 1}/{rounds}, {arm.name}: {results[arm.name][-1]}")
    return dict(results)


#: The table that COPY fills.
BULK_TABLE = "CREATE TABLE {} (id bigint NOT NULL, account integer, amount integer, note text)"


def write_copy_file(path, megabytes):
    """Rows of about 100 bytes for BULK_TABLE. Yields the bytes."""
    chance = random.Random(1)
    tails = [f"\t{chance.randrange(1_000_000)}\t{chance.randrange(-5000, 5000)}\t{chance.randbytes(40).hex()}\n"
             for _ in range(4096)]
    wanted = megabytes << 20
    written = 0
    row = 0
    with open(path, "w", buffering=1 << 20) as file:
        while written < wanted:
            text = "".join(f"{row + i}{tails[i]}" for i in range(len(tails)))
            file.write(text)
            written += len(text)
            row += len(tails)
    path.chmod(0o644)  # the server reads it
    return written
