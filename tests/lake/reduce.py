#!/usr/bin/python3
"""Makes a failing sequence of statements small: each trial runs in a database of its own, then the oracle judges it.

    python3 tests/lake/reduce.py --seed 17 --steps 400      # a fuzz run
    python3 tests/lake/reduce.py statements.sql             # one statement per line, or as script.py splits them
"""
import argparse
import contextlib
import pathlib
import sys
import time

import psycopg2

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]
from instance import Instance  # noqa: E402
from lake.clickhouse import ClickHouse  # noqa: E402
from lake.duck import Duck  # noqa: E402
from lake.lake import Lake  # noqa: E402
from lake.oracle import Oracle  # noqa: E402
from lake.target import Target, allow_two_phase  # noqa: E402
from lake.workloads import fuzz, script  # noqa: E402


class Trials:
    def __init__(self, tide, oracle):
        self.tide, self.oracle = tide, oracle
        self.lake, self.target = Lake(tide), Target(tide)
        self.count = 0

    def database(self):
        self.count += 1
        name = f"trial_{self.count}"
        self.tide.sql(f"CREATE DATABASE {name}")
        return name

    def judge(self, name):
        """None if all is well, else what differs."""
        try:
            self.oracle.judge(self.tide, self.lake, databases=(name,), deep=False, timeout=20)
            return None
        except AssertionError as error:
            return str(error)

    def run(self, statements):
        name = self.database()
        with contextlib.closing(self.target.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            cursor.execute("CREATE SCHEMA reduced")
            cursor.execute("SET search_path = reduced")
            for statement in statements:
                with contextlib.suppress(psycopg2.Error):
                    cursor.execute(statement)
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("COMMIT")
        found = self.judge(name)
        with contextlib.suppress(psycopg2.Error):
            self.tide.sql(f"DROP DATABASE {name}")
        return found


def reduce(statements, fails):
    """The smallest sequence found that still fails, by leaving out ever smaller parts."""
    size = max(1, len(statements) // 2)
    while True:
        at, shorter = 0, False
        while at < len(statements):
            candidate = statements[:at] + statements[at + size:]
            if candidate and fails(candidate):
                statements, shorter = candidate, True
            else:
                at += size
        if size == 1 and not shorter:
            return statements
        size = max(1, size // 2)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("file", nargs="?")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--minutes", type=float, default=10)
    chosen = options.parse_args()
    with Instance() as tide, Duck() as duck, ClickHouse() as clickhouse:
        tide.up()
        allow_two_phase(tide)
        trials = Trials(tide, Oracle(duck, clickhouse))
        if chosen.file:
            statements = [what for kind, what, _ in script.statements(pathlib.Path(chosen.file).read_text()) if kind == "sql"]
        else:
            name = trials.database()
            work = fuzz.Fuzz(lambda: trials.target.connect(name), chosen.seed, schema="reduced", log=(statements := []))
            work.cursor.execute("SET lock_timeout = '1s'")
            work.steps(chosen.steps)
            work.finish()
            print(trials.judge(name))
        statements = [statement for statement in statements if not statement.startswith("--")]
        first = trials.run(statements)
        print(f"{len(statements)} statements: {first}")
        if first is None:
            return
        end = time.monotonic() + chosen.minutes * 60
        smallest = reduce(statements, lambda some: time.monotonic() < end and trials.run(some) is not None)
        print(";\n".join(smallest) + ";\n\n" + str(trials.run(smallest)))


if __name__ == "__main__":
    main()
