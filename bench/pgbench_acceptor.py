"""TPC-B with commits that wait for a WAL store: durability acceptor against pg_receivewal --synchronous."""
from harness.load import pgbench_init
from pgbench_local import compare


def run(bench):
    with bench.pair(durability="acceptor") as arms:
        stock, _ = arms
        for arm in arms:
            bench.progress(f"pgbench -i on {arm.name}: {pgbench_init(arm, bench.options.scale):.1f} s")
        stock.attach_synchronous_receiver()
        bench.note("Stock: synchronous_standby_names = 'pg_receivewal', a pg_receivewal --synchronous on loopback.")
        compare(bench, arms, "TPC-B")
