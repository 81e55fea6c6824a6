"""TPC-B with the mirror and without it, two instances in turn; processor time of the mirror."""
import time

from harness.figures import Figure, ratio_at_least
from harness.load import interleave, pgbench, pgbench_init
from harness.processes import cpu_seconds, idle_seconds, pss_bytes

#: Holds where the load leaves a core to the mirror.
BAR = ratio_at_least(0.97)


def run(bench):
    options = bench.options
    with bench.tide_only(mirror="off", name="without") as without, bench.tide_only() as tide:
        arms = (without, tide)
        for arm in arms:
            pgbench_init(arm, options.scale)
            pgbench(arm, "TPC-B", 2, min(options.seconds, 5))  # warm
            arm.settle()
        add_idle(bench, tide)
        for clients in options.clients:
            runs = interleave(arms, options.rounds, lambda arm, _: measure(arm, clients, options.seconds), bench.progress)
            add(bench, clients, runs)
        bench.add(Figure("mirror's memory after it", "MB (PSS)", {"tide": [pss_bytes(tide.lake.pid) / 2**20]},
                         against="without"))
    bench.note("Both instances run all the time, one of them idle: its mirror has nothing to do then, see the first figure. "
               "After each run of tide the lake gets its rest before the other arm's turn.")
    bench.note("A bar is set only where the arm without the mirror left at least one core of the machine idle.")


def add_idle(bench, tide):
    pid = tide.lake.pid
    before, begin = cpu_seconds(pid), time.monotonic()
    time.sleep(3)
    percent = (cpu_seconds(pid) - before) / (time.monotonic() - begin) * 100
    bench.add(Figure("mirror of an idle instance", "% of a core", {"tide": [percent]}, against="without"))


def measure(arm, clients, seconds):
    arm.prepare_for_writes()
    pid = arm.lake.pid if arm.lake else None
    cpu = cpu_seconds(pid) if pid else 0
    idle, begin = idle_seconds(), time.monotonic()
    found = pgbench(arm, "TPC-B", clients, seconds)
    cores = (idle_seconds() - idle) / (time.monotonic() - begin)
    arm.settle()
    used = cpu_seconds(pid) - cpu if pid else 0
    return {"tps": found.tps, "p99": found.p99_ms, "idle": cores, "cpu": used / found.transactions * 1e6}


def add(bench, clients, runs):
    def values(name, arms=("without", "tide")):
        return {arm: [found[name] for found in runs[arm]] for arm in arms}

    spare = min(values("idle")["without"])
    bench.add(Figure(f"TPC-B, {clients} clients", "tps", values("tps"), BAR if spare >= 1 else None, against="without"))
    bench.add(Figure(f"TPC-B, {clients} clients, p99", "ms", values("p99"), against="without"))
    bench.add(Figure(f"cores left idle, {clients} clients", "cores", values("idle"), against="without"))
    bench.add(Figure(f"mirror's processor time a transaction, {clients} clients", "us", values("cpu", ("tide",)),
                     against="without"))
