"""Long: the database that PostgreSQL's own regression suite leaves behind, in the lake."""
import pathlib
import sys

import pytest
from psycopg2.extensions import parse_dsn

from lake.lake import Lake
from lake.oracle import Oracle

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "regress"))
import suite  # noqa: E402

pytestmark = pytest.mark.long


def test_regression_database(instance, duck, clickhouse, capsys):
    instance.up()
    place = parse_dsn(instance.url())
    outcome = suite.run(place["host"], place["port"], place["user"], place["password"])
    oracle = Oracle(duck, clickhouse)
    status = oracle.judge(instance, Lake(instance), databases=("regression",), timeout=600)
    reasons = sorted({table["not_mirrored"] for table in status["tables"] if "not_mirrored" in table})
    with capsys.disabled():
        print(f"\n{len(outcome)} tests; {oracle.tables} tables and {oracle.rows} rows compared, {oracle.diverted} values "
              f"without a home; not mirrored: {reasons}")
