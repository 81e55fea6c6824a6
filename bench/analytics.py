"""Queries like TPC-H's on live mirrored tables, through the warehouse; against DuckDB on static Parquet and against PostgreSQL."""
import contextlib
import math
import time

import psycopg2

from harness.duck import Duck
from harness.figures import Figure, ratio_at_least
from harness.tpch import CHANCE, CHANGES, QUERIES, TABLES, counts
from instance import wait_for

BARS = {"DuckDB": ratio_at_least(0.9), "PostgreSQL": ratio_at_least(5.5)}


def run(bench):
    options = bench.options
    with bench.pair() as (stock, tide):
        load(bench, stock, tide)
        with contextlib.closing(Duck()) as duck, contextlib.closing(stock.connect()) as connection, \
                contextlib.closing(warehouse(tide)) as lake:
            export(bench, stock, duck)
            connection.cursor().execute("SET work_mem = '256MB'")
            engines = {"DuckDB": lambda sql: duck.query(sql), "PostgreSQL": lambda sql: rows(connection, sql),
                       "tide": lambda sql: rows(lake, sql)}
            times = {name: measure(bench, name, sql, engines, options.rounds) for name, sql in QUERIES.items()}
    for other, bar in BARS.items():
        for name, found in times.items():
            bench.add(Figure(f"{name}, {other}", "1/s", {arm: [1 / seconds for seconds in found[arm]] for arm in (other, "tide")},
                             against=other))
        means = {arm: [mean([1 / found[arm][i] for found in times.values()]) for i in range(options.rounds)]
                 for arm in (other, "tide")}
        bench.add(Figure(f"geometric mean, {other}", "1/s", means, bar, against=other))
    bench.note("Every query once before it is timed, then the engines in turn. All three give the same rows, or the benchmark fails. "
               "work_mem of PostgreSQL is 256 MB; DuckDB runs in the benchmark's process, its Parquet files are its own.")


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def rows(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def load(bench, stock, tide):
    """The same rows into both, changed after that."""
    sizes = counts(bench.options.scale_factor)
    stock.sql(CHANCE)
    for name, (columns, query) in TABLES.items():
        file = bench.directory / f"{name}.copy"
        stock.sql(f"CREATE TABLE {name} ({columns})")
        tide.sql(f"CREATE TABLE {name} ({columns})")
        stock.sql(f"INSERT INTO {name} {query.format(**sizes)}")
        copy(stock, f"COPY {name} TO STDOUT", file, "wb")
        copy(tide, f"COPY {name} FROM STDIN", file, "rb")
        file.unlink()
    tide.settle()
    for arm in (stock, tide):
        for statement in CHANGES:
            arm.sql(statement)
        arm.sql("VACUUM ANALYZE")
        arm.prepare_for_writes()
    size = stock.value("SELECT pg_database_size(current_database())") / 2**20
    lines = stock.value("SELECT count(*) FROM lineitem")
    bench.note(f"Scale factor {bench.options.scale_factor:g}: {lines:,} lines, {size:.0f} MB in PostgreSQL. Live: loaded by COPY, then "
               "a hundredth of the orders and their lines deleted, as many updated.")


def copy(arm, statement, path, mode):
    with contextlib.closing(arm.connect()) as connection, connection.cursor() as cursor, open(path, mode) as file:
        cursor.copy_expert(statement, file)


def warehouse(tide):
    """A connection to the warehouse role."""
    wait_for((tide.instance.data / "run/warehouse.sock").exists, 60, "the warehouse role")
    connection = psycopg2.connect(tide.instance.url(".lake"))
    connection.autocommit = True
    return connection


def export(bench, stock, duck):
    """The tables as Parquet files of DuckDB's, and views of their names."""
    for name in TABLES:
        text, parquet = (bench.directory / f"{name}.{kind}" for kind in ("csv", "parquet"))
        copy(stock, f"COPY {name} TO STDOUT (FORMAT csv)", text, "wb")
        columns = stock.sql("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                            f"WHERE attrelid = '{name}'::regclass AND attnum > 0 ORDER BY attnum")
        types = ", ".join(f"'{column}': '{kind}'" for column, kind in columns)
        duck.query(f"COPY (SELECT * FROM read_csv('{text}', header = false, columns = {{{types}}})) TO '{parquet}' (FORMAT parquet)")
        duck.query(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{parquet}')")
        text.unlink()


def measure(bench, name, sql, engines, rounds):
    """{engine: [seconds]}"""
    answers = {engine: [[str(value) for value in row] for row in ask(sql)] for engine, ask in engines.items()}
    for engine, answer in answers.items():
        if answer != answers["PostgreSQL"]:
            raise RuntimeError(f"{name}: {engine} answers {answer[:3]}, PostgreSQL {answers['PostgreSQL'][:3]}")
    times = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine, ask in engines.items():
            begin = time.monotonic()
            ask(sql)
            times[engine].append(time.monotonic() - begin)
    bench.progress(f"{name}, {len(answers['tide'])} rows: "
                   + ", ".join(f"{engine} {min(found) * 1000:.0f} ms" for engine, found in times.items()))
    return times
