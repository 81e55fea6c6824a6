"""Every page of the page store against a stock standby that replayed the same WAL."""
import os
import pathlib
import subprocess
import threading
import time

import pytest

from instance import ROOT
from oracle import PG, PageOracle

HERE = pathlib.Path(__file__).parent
REDO = ROOT / "tests/redo"
JUDGE = pathlib.Path(os.environ.get("TIDE_REGRESS_JUDGE", ROOT.parent / "shared/judges/run-pg-regress.sh"))


def psql(tide, file, check=True):
    done = subprocess.run([PG / "psql", "-X", "-q", "-d", tide.url(), "-o", os.devnull,
                           "-v", f"ON_ERROR_STOP={int(check)}", "-f", file], capture_output=True, text=True)
    assert done.returncode == 0, f"{file}: {done.stderr}"


def pgbench(tide, *arguments, check=True):
    done = subprocess.run([PG / "pgbench", *map(str, arguments), tide.url()], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def again(tide):
    tide.run("endpoint", "suspend", "main")
    tide.run("endpoint", "start", "main")


def killed(tide):
    """kill -9 in the middle of writing; the instance heals by itself."""
    load = threading.Thread(target=pgbench, args=(tide, "-n", "-c", 4, "-T", 30), kwargs={"check": False})
    load.start()
    time.sleep(1.5)
    tide.kill(tide.postmaster())
    load.join()
    deadline = time.monotonic() + 60
    while True:
        try:
            tide.sql("SELECT 1")
            return
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def workload(tide, seconds):
    tide.sql("ALTER SYSTEM SET max_prepared_transactions = 20")
    tide.sql("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    again(tide)
    psql(tide, REDO / "setup.sql")
    pgbench(tide, "-i", "-q", "-s", 2)
    killed(tide)
    psql(tide, REDO / "workload.sql")
    pgbench(tide, "-n", "-c", 8, "-T", seconds, "-f", REDO / "locks.sql")
    again(tide)
    psql(tide, HERE / "ddl.sql")
    killed(tide)
    assert tide.value("SELECT count(*) FROM pg_prepared_xacts") == 1
    pgbench(tide, "-n", "-c", 8, "-T", seconds, "-f", REDO / "locks.sql")
    pgbench(tide, "-n", "-c", 4, "-T", seconds)
    tide.kill_everything()
    tide.up()
    tide.sql("VACUUM (FREEZE) docs")
    tide.sql("VACUUM pgbench_accounts")
    tide.sql("DROP DATABASE made")
    tide.sql("CREATE TABLE last AS SELECT generate_series(1, 1000) AS id")
    killed(tide)


@pytest.mark.parametrize("durability", ["local", pytest.param("acceptor", marks=pytest.mark.long)])
def test_every_page_equals_a_stock_standby(instance, durability, capsys):
    instance.up("--durability", durability)
    with PageOracle(instance) as oracle:
        workload(instance, 20 if os.environ.get("TIDE_TEST_LONG") else 2)
        path = instance.value("SELECT pg_relation_filepath('pgbench_accounts')")
        report = oracle.compare()
        assert oracle.notices(path, 8191 - 30)
    with capsys.disabled():
        print(f"\npage oracle, {durability}: {oracle.epochs} epochs, {report}")
    assert not report.differences
    assert sum(report.compared.values()) > 10000


@pytest.mark.long
@pytest.mark.skipif(not JUDGE.exists(), reason="the regression suite's runner is not here (TIDE_REGRESS_JUDGE)")
def test_every_page_after_the_regression_suite(instance, capsys):
    instance.up()
    with PageOracle(instance) as oracle:
        user, password = instance.url().split("//")[1].split("@")[0].split(":")
        out = instance.base / "regress"
        subprocess.run([JUDGE, "127.0.0.1", str(instance.port)], capture_output=True,
                       env=dict(os.environ, PGUSER=user, PGPASSWORD=password, OUT=str(out)))
        assert (out / "regression.out").exists()
        killed(instance)
        report = oracle.compare()
    with capsys.disabled():
        print(f"\npage oracle, regression suite: {oracle.epochs} epochs, {report}")
    assert not report.differences
    assert sum(report.compared.values()) > 10000
