"""From suspended, and from kill -9 of the postmaster, to the first row."""
import contextlib
import re
import time

from harness.figures import Bar, Figure
from harness.load import interleave, pgbench, pgbench_init

SCALE = 10
ROW = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"


def run(bench):
    options = bench.options
    scale = min(SCALE, options.scale)
    with bench.pair() as arms:
        for arm in arms:
            pgbench_init(arm, scale)
        for kind, measure in (("suspended", from_suspended), ("kill -9", from_kill)):
            results = interleave(arms, options.starts, lambda arm, _: measure(arm, bench), bench.progress)
            for percent, limit in ((50, 120), (99, 300)):
                bench.add(Figure(f"{kind} to first row of a table, p{percent}", "ms", pick(results, "row"),
                                 Bar("value", "<", limit, "ms"), percent))
            bench.add(Figure(f"{kind} to SELECT 1", "ms", pick(results, "answer")))
            parts = dict.fromkeys(part for found in results["tide"] for part in found if part not in ("row", "answer"))
            for part in parts:
                bench.add(Figure(f"{kind}, of it: {part}", "ms", pick(results, part)))
        bench.note(f"{options.starts} rounds; with few of them p99 is the slowest. Stock after kill -9 has some seconds of "
                   "TPC-B to redo.")


def pick(results, part):
    arms = {name: [found[part] for found in values if part in found] for name, values in results.items()}
    return {name: values for name, values in arms.items() if values}


def first_row(arm, connection, begin):
    """Milliseconds since `begin` of SELECT 1 and of a row."""
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        answer = time.monotonic()
        cursor.execute(ROW)
        assert cursor.fetchall()
        return {"answer": (answer - begin) * 1000, "row": (time.monotonic() - begin) * 1000}


def from_suspended(arm, bench):
    arm.stop()
    lines = len(arm.log("control.log")) if arm.name == "tide" else 0
    begin = time.monotonic()
    if arm.name == "stock":
        arm.spawn()
        return first_row(arm, arm.connect_soon(arm.process), begin)
    arm.start()  # the program's own start and end included
    started = time.monotonic()
    connection = arm.connect_soon()
    connected = time.monotonic()
    found = first_row(arm, connection, begin)
    found["command tide endpoint start"] = (started - begin) * 1000
    found["connect"] = (connected - started) * 1000
    return found | product_parts(arm, lines)


def from_kill(arm, bench):
    arm.prepare_for_writes()
    pgbench(arm, "TPC-B", 4, min(bench.options.seconds, 3))
    lines = len(arm.log("control.log")) if arm.name == "tide" else 0
    begin = time.monotonic()
    arm.kill()
    if arm.name == "stock":
        return first_row(arm, arm.start_after_kill(), begin)
    # It starts again by itself; the command waits for that.
    arm.start()
    found = first_row(arm, arm.connect_soon(), begin)
    return found | product_parts(arm, lines)


def product_parts(arm, lines):
    """What the product says of its own start, in milliseconds."""
    found = {"start in the control role": arm.instance.json("status")["branches"][0]["endpoint"]["start_seconds"] * 1000}
    for line in arm.log("control.log")[lines:]:
        if match := re.search(r" start of t1: (.*)$", line):
            for what, number in re.findall(r"([A-Za-z ]+?) ([0-9.]+) ms", match.group(1)):
                found["control: " + what.strip(" ,")] = float(number)
    moments = {}
    for line in arm.log("compute-t1.log")[-40:]:
        if match := re.match(r"(\S+ \d+:\d+:)(\d+\.\d+) .*(starting PostgreSQL|ready to accept)", line):
            moments[match.group(3)] = float(match.group(2))
    if len(moments) == 2:
        found["PostgreSQL: from its first log line to ready"] = (
            (moments["ready to accept"] - moments["starting PostgreSQL"]) % 60 * 1000)
    return found
