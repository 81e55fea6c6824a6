"""The oracle finds nothing on a lake that is right by construction, and every falsification of it.

writer.py makes Delta tables of a stock PostgreSQL's snapshot through DuckDB; the product has no part in it.
"""
import contextlib

import pytest

from lake.oracle import Mirrored, Oracle
from lake.postgres import Dump
from lake.validity import check_table
from lake.workloads import script, types
from lake.writer import Writer

SCHEMA = """
CREATE SCHEMA s;
CREATE TABLE s.numbers (id int PRIMARY KEY, n numeric(8,2), f float8, at timestamptz, tags text[]);
INSERT INTO s.numbers SELECT i, i / 4.0, CASE WHEN i % 10 = 0 THEN 'NaN' ELSE i / 3.0 END,
  '2020-01-01 00:00:00+00'::timestamptz + i * interval '1 hour', CASE WHEN i % 3 > 0 THEN ARRAY['a', NULL, i::text] END
  FROM generate_series(1, 100) i;
CREATE TABLE s.empty (id int);
CREATE TABLE s.twins (a int);
INSERT INTO s.twins SELECT 1 FROM generate_series(1, 5);
"""


def written(connection, root, duck, change=None):
    """The lake's own list of what it holds. `change`: {table name: falsification of its rows}."""
    writer, lake = Writer(root, duck), []
    with Dump(connection) as dump:
        for table in dump.tables():
            writer.write(dump, table, (change or {}).get(table.name, lambda rows: rows))
            lake.append(Mirrored(table.schema, table.name, str(writer.path(table))))
    return lake


@pytest.fixture(scope="module")
def numbers(stock):
    database = stock.create("oracle_numbers")
    script.run(stock, database, SCHEMA)
    with contextlib.closing(stock.connect(database)) as connection:
        yield connection


def test_right_lake_passes(numbers, duck, clickhouse, tmp_path):
    oracle = Oracle(duck, clickhouse)
    assert oracle.compare(numbers, written(numbers, tmp_path, duck)) == []
    assert (oracle.tables, oracle.rows) == (3, 105)


@pytest.mark.long
def test_all_types_pass(stock, duck, clickhouse, tmp_path):
    database = stock.create("oracle_types")
    script.run(stock, database, types.script(extensions=False))
    with contextlib.closing(stock.connect(database)) as connection:
        oracle = Oracle(duck, clickhouse, keeps_texts=False)
        problems = oracle.compare(connection, written(connection, tmp_path, duck))
    assert problems == [], "\n".join(problems)
    assert oracle.tables > 130 and oracle.diverted > 30


@pytest.mark.parametrize("change, finding", [
    (lambda rows: rows[1:], "1 missing, 0 too many"),
    (lambda rows: [*rows, rows[0]], "0 missing, 1 too many"),
    (lambda rows: [(*rows[0][:2], "0.5", *rows[0][3:]), *rows[1:]], "differs in f"),
    (lambda rows: [(*rows[0][:3], rows[0][3] + 1, rows[0][4]), *rows[1:]], "differs in at"),
    (lambda rows: [(*row[:4], () if row[4] is None else row[4]) for row in rows], "tags: None in PostgreSQL, () here"),
    (lambda rows: [(*row[:2], "inf" if row[2] == "nan" else row[2], *row[3:]) for row in rows], "f: 'nan' in PostgreSQL"),
])
def test_false_rows_are_found(numbers, duck, clickhouse, tmp_path, change, finding):
    problems = Oracle(duck, clickhouse).compare(numbers, written(numbers, tmp_path, duck, {"numbers": change}))
    assert problems and all(problem.startswith("s.numbers") for problem in problems), problems
    assert finding in "\n".join(problems)


def test_false_multiplicity_is_found(numbers, duck, clickhouse, tmp_path):
    problems = Oracle(duck, clickhouse).compare(numbers, written(numbers, tmp_path, duck, {"twins": lambda rows: rows[1:]}))
    assert any("s.twins: clickhouse has 4 rows, PostgreSQL 5" in problem for problem in problems), problems


def test_listing_is_checked(numbers, duck, clickhouse, tmp_path):
    lake = written(numbers, tmp_path, duck)
    oracle = Oracle(duck, clickhouse)
    assert "neither in the lake nor listed" in oracle.compare(numbers, lake[1:])[0]
    assert "not in PostgreSQL" in oracle.compare(numbers, [*lake, Mirrored("s", "ghost", None, "gone")])[0]
    assert oracle.compare(numbers, [*lake[1:], lake[0]._replace(reason="excluded", path=None)]) == []
    assert "without a reason" in oracle.compare(numbers, [*lake[1:], lake[0]._replace(reason="", path=None)])[0]
    assert "out of memory" in oracle.compare(numbers, [*lake[1:], lake[0]._replace(error="out of memory")])[0]


def test_valid_by_our_promises(numbers, duck, tmp_path):
    """The validity check knows the product's promises; the writer keeps them."""
    for entry in written(numbers, tmp_path, duck):
        assert check_table(entry.path, duck) == []
