"""A table that src/delta writes, judged by readers that share no code with it."""
import collections
import os
import pathlib
import subprocess

import pytest

from lake.clickhouse import blurred
from lake.log import Log
from lake.validity import check_table

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TIDE_BUILD", ROOT / "build/release")) / "tests/delta_test"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    path = tmp_path_factory.mktemp("written") / "table"
    subprocess.run([PROGRAM, "--gtest_filter=WrittenTableTest.*"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "TIDE_DELTA_WRITE_TO": str(path)})
    return path


def test_every_commit_is_valid(table, duck):
    assert check_table(table, duck) == []


def test_others_read_every_version(table, duck, clickhouse):
    log = Log(table, duck)
    for version in range(log.last + 1):
        snapshot = log.snapshot(version)
        kinds = [field.kind for field in snapshot.fields]
        rows = list(snapshot.rows(duck))
        if version == log.last:
            assert len(rows) == 1192
        seen = collections.Counter(tuple(map(blurred, kinds, row)) for row in rows)
        assert collections.Counter(clickhouse.rows(table, snapshot.fields, version)) == seen
