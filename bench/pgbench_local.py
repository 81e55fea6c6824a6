"""pgbench select-only and TPC-B, durability local; WAL of a transaction; memory of each role."""
from harness.figures import Bar, Figure, ratio_at_least
from harness.load import interleave, pgbench, pgbench_init

BARS = {"select-only": ratio_at_least(0.95), "TPC-B": ratio_at_least(1.0)}


def run(bench):
    options = bench.options
    with bench.pair() as arms:
        for arm in arms:
            bench.progress(f"pgbench -i -s {options.scale} on {arm.name}: {pgbench_init(arm, options.scale):.1f} s")
        compare(bench, arms, "select-only")
        runs = compare(bench, arms, "TPC-B")
        # The figure of most clients: there is one record of a commit for each transaction in all of them.
        bench.add(Figure(f"WAL of a TPC-B transaction, {options.clients[-1]} clients", "bytes",
                         {name: [run.wal_bytes for run in found] for name, found in runs.items()},
                         Bar("value", "<=", 600, "bytes")))
        add_memory(bench, arms)


def compare(bench, arms, script):
    """Figures of one script at each number of clients. Yields the last number's runs."""
    options = bench.options

    def measure(arm, _):
        if script != "select-only":
            arm.prepare_for_writes()
        return pgbench(arm, script, clients, options.seconds)

    for arm in arms:
        pgbench(arm, script, 2, min(options.seconds, 5))  # warm
        arm.settle()
    for clients in options.clients:
        runs = interleave(arms, options.rounds, measure, bench.progress)
        bench.add(Figure(f"{script}, {clients} clients", "tps",
                         {name: [run.tps for run in found] for name, found in runs.items()}, BARS.get(script),
                         details={f"{name} {figure}": [getattr(run, figure) for run in found]
                                  for name, found in runs.items() for figure in ("p50_ms", "p99_ms")}))
        bench.add(Figure(f"{script}, {clients} clients, p99", "ms",
                         {name: [run.p99_ms for run in found] for name, found in runs.items()}))
        for arm in arms:
            arm.settle()
    return runs


def add_memory(bench, arms):
    """Memory after the runs, no client connected."""
    total = {}
    for arm in arms:
        for role, size in sorted(arm.memory().items()):
            total[arm.name] = total.get(arm.name, 0) + size
            bench.add(Figure(f"memory after the runs, {role}", "MB (PSS)", {arm.name: [size / 2**20]}))
    bench.add(Figure("memory after the runs, all", "MB (PSS)", {name: [size / 2**20] for name, size in total.items()}))
