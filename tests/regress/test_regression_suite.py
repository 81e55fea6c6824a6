"""PostgreSQL's regression suite passes as it does on stock PostgreSQL, also when blocks leave the cache all the time."""
import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import pytest
from psycopg2.extensions import parse_dsn

from instance import free_port
import suite

pytestmark = pytest.mark.long


@contextlib.contextmanager
def stock_server():
    base = pathlib.Path(tempfile.mkdtemp(prefix="tide-stock-", dir="/tmp"))
    base.chmod(0o777)
    options = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        options = dict(user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    port = free_port()
    data = base / "data"
    try:
        subprocess.run([suite.PGBIN / "initdb", "-D", data, "-U", "tide", "-A", "trust", "--locale=C.UTF-8",
                        "--encoding=UTF8", "--no-sync"], check=True, capture_output=True, **options)
        settings = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                    "-c", "fsync=off", "-c", "max_prepared_transactions=8", "-c", "wal_level=logical"]
        subprocess.run([suite.PGBIN / "pg_ctl", "-D", data, "-l", base / "log", "-w", "-o", " ".join(settings), "start"],
                       check=True, capture_output=True, **options)
        yield port
    finally:
        subprocess.run([suite.PGBIN / "pg_ctl", "-D", data, "-m", "immediate", "stop"], capture_output=True, **options)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def stock():
    with stock_server() as port:
        return suite.run("127.0.0.1", port, "tide")


@pytest.mark.parametrize("settings", [{}, {"shared_buffers": "1MB", "tidewater.cache_size": "4MB"}],
                         ids=["default", "tiny-cache"])
def test_regression_suite(instance, stock, settings, capsys):
    instance.up()
    for name, value in settings.items():
        instance.sql(f"ALTER SYSTEM SET {name} = '{value}'")
    if settings:
        instance.run("endpoint", "suspend", "main")
        instance.run("endpoint", "start", "main")
    place = parse_dsn(instance.url())
    ours = suite.run(place["host"], place["port"], place["user"], place["password"])
    evicted = instance.value("SHOW tidewater.evicted_blocks")
    with capsys.disabled():
        print(f"\n{len(ours)} tests; other than expected here: {[t for t, p in ours.items() if p is not None]}, "
              f"on stock: {[t for t, p in stock.items() if p is not None]}; {evicted} blocks evicted")
    assert suite.worse_than(stock, ours) == []
    if settings:
        assert int(evicted) > 10000
