"""TPC-B over a database four times as big as the compute's cache, all of it used alike."""
from harness.figures import Figure, ratio_at_least
from harness.load import interleave, pgbench, pgbench_init


def run(bench):
    options = bench.options
    with bench.pair() as arms:
        stock, tide = arms
        for arm in arms:
            bench.progress(f"pgbench -i -s {options.big_scale} on {arm.name}: {pgbench_init(arm, options.big_scale):.1f} s")
        size = stock.value("SELECT pg_database_size(current_database())")
        cache_kb = size // 4 // 1024
        buffers_kb = max(cache_kb // 2, 8192)
        settings = {"shared_buffers": f"{buffers_kb}kB"}
        stock.set_and_restart(settings)
        tide.set_and_restart(settings | {"tidewater.cache_size": f"{cache_kb}kB"})
        bench.note(f"Database {size / 2**20:.0f} MB; tidewater.cache_size {cache_kb / 1024:.0f} MB, shared_buffers of both "
                   f"{buffers_kb / 1024:.0f} MB. Stock has besides the kernel's page cache, which holds all of its database.")
        for arm in arms:
            pgbench(arm, "TPC-B", 8, options.seconds)  # fills the caches
            arm.settle()

        def measure(arm, _):
            arm.prepare_for_writes()
            before = traffic(arm)
            run = pgbench(arm, "TPC-B", clients, options.seconds)
            after = traffic(arm)
            return run, [(b - a) / run.transactions for a, b in zip(before, after)]

        for clients in options.clients:
            runs = interleave(arms, options.rounds, measure, bench.progress)
            bench.add(Figure(f"TPC-B, {clients} clients, 4 x the cache", "tps",
                             {name: [run.tps for run, _ in found] for name, found in runs.items()}, ratio_at_least(0.7)))
            bench.add(Figure(f"TPC-B, {clients} clients, 4 x the cache, p99", "ms",
                             {name: [run.p99_ms for run, _ in found] for name, found in runs.items()}))
            for index, what in enumerate(("fetched", "evicted")):
                bench.add(Figure(f"blocks {what} a transaction, {clients} clients", "blocks",
                                 {"tide": [moved[index] for _, moved in runs["tide"]]}))


def traffic(arm):
    """Blocks fetched and evicted so far."""
    if arm.name != "tide":
        return []
    return [int(arm.value(f"SHOW tidewater.{name}")) for name in ("fetched_blocks", "evicted_blocks")]
