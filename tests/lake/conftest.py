"""Fixtures: the engines, a stock PostgreSQL, and those of tests/e2e (`instance`, `tide`)."""
import importlib.util
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
E2E = HERE.parent / "e2e"
sys.path.insert(0, str(E2E))
_spec = importlib.util.spec_from_file_location("e2e_fixtures", E2E / "conftest.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
instance, tide = _module.instance, _module.tide
pytest_runtest_makereport = _module.pytest_runtest_makereport

from lake.clickhouse import ClickHouse  # noqa: E402
from lake.duck import Duck  # noqa: E402
from lake.postgres import Stock  # noqa: E402


@pytest.fixture(scope="session")
def engines():
    subprocess.run([HERE / "install.sh"], check=True)


@pytest.fixture(scope="session")
def clickhouse(engines):
    with ClickHouse() as engine:
        yield engine


@pytest.fixture(scope="session")
def duck(engines):
    with Duck() as engine:
        yield engine


@pytest.fixture(scope="session")
def stock():
    """A plain PostgreSQL 15."""
    with Stock() as server:
        yield server
