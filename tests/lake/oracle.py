"""The answer oracle: does the lake hold what PostgreSQL answers, row by row?

    oracle = Oracle(duck, clickhouse)
    oracle.compare(connection, lake)     # a list of differences, [] when all is well
    oracle.judge(tide, "main", "app")    # for a running instance: waits for the lake first, asserts

Every table of the database is compared as a multiset of canonical values with (1) the Delta files by
log.py over DuckDB, exactly, (2) the Delta files by ClickHouse, as far as it can hold values, (3) the warehouse
where there is one. What is not in the lake must be listed with a reason, and nothing else may be in it.
"""
import collections
import contextlib
import typing

from . import mapping, validity
from .canonical import spelled
from .child import QueryError
from .clickhouse import blurred
from .log import Log, LogError
from .postgres import Column, Dump, PgType

SHOWN = 3


class Mirrored(typing.NamedTuple):
    """What the lake says about one table."""
    schema: str
    name: str
    path: typing.Optional[str]
    reason: typing.Optional[str] = None  # why it is not mirrored
    error: typing.Optional[str] = None
    left_out: typing.Tuple[str, ...] = ()  # columns that have no mapping, and are listed as such


class Oracle:
    def __init__(self, duck, clickhouse, keeps_texts=True):
        """`keeps_texts`: what a column's type cannot hold must have its text in a column beside it."""
        self.keeps_texts = keeps_texts
        self.duck = duck
        self.clickhouse = clickhouse
        self.tables = 0  # compared so far
        self.rows = 0
        self.diverted = 0

    def compare(self, connection, lake, warehouse=None, deep=True, schemas=None):
        """`lake`: [Mirrored...]; `warehouse`: function(table, kinds) -> rows; `deep`: every commit's validity too;
        `schemas`: only tables there."""
        problems = []
        lake = [table for table in lake if schemas is None or table.schema in schemas]
        known = {(table.schema, table.name): table for table in lake}
        with Dump(connection) as dump:
            tables = [table for table in dump.tables() if schemas is None or table.schema in schemas]
            here = {(table.schema, table.name) for table in tables}
            problems += [f"{schema}.{name}: in the lake, not in PostgreSQL" for schema, name in known
                         if (schema, name) not in here]
            roots = {table.oid: table for table in tables}
            for table in tables:
                entry = known.get((table.schema, table.name))
                if entry is None:
                    root = roots.get(table.root)
                    if root is None or (root.schema, root.name) not in known:
                        problems.append(f"{table.label}: neither in the lake nor listed with a reason")
                elif entry.error:
                    problems.append(f"{table.label}: error {entry.error}")
                elif entry.reason is None and table.kind == "f":
                    problems.append(f"{table.label}: a foreign table is in the lake")
                elif entry.reason is None:
                    problems += self.table(dump, table, entry, warehouse)
                elif not entry.reason.strip():
                    problems.append(f"{table.label}: not mirrored without a reason")
        if deep:
            problems += validity.check_database([entry.path for entry in lake if entry.path], self.duck)
        return problems

    def judge(self, tide, lake, branch="main", databases=(None,), warehouse=None, deep=True, schemas=None, timeout=60.0):
        """Waits for the lake, compares all databases; asserts that nothing differs. The branch must be quiet."""
        problems = []
        target = tide.lsn(target_of(branch))
        status = lake.wait(branch, target, timeout)
        for database in databases:
            with contextlib.closing(tide.connect(target_of(branch, database))) as connection:
                name = connection.get_dsn_parameters()["dbname"]
                found = self.compare(connection, lake.tables(branch, name, status),
                                     warehouse and warehouse(branch, name), deep, schemas)
            problems += [f"{branch}/{name} at {target}: {problem}" for problem in found]
        assert not problems, f"{len(problems)} differences\n" + "\n".join(problems)
        return status

    def table(self, dump, table, entry, warehouse):
        self.tables += 1
        table = table._replace(columns=tuple(column for column in table.columns if column.name not in entry.left_out))
        try:
            snapshot = Log(entry.path, self.duck).snapshot()
            fields = snapshot.fields
        except (LogError, QueryError) as error:
            return [f"{table.label}: {error}"]
        beside = self.text_columns(table, fields)
        problems = self.schema(table, fields[:len(fields) - len(beside)])
        if problems:
            return problems
        expected, homeless = self.expected(dump, table, beside)
        table = table._replace(columns=table.columns + tuple(
            Column(f"{name}__text", PgType(25, "text", "b", ",", -1), "text", False) for name in beside))
        kinds = [field.kind for field in fields]
        self.rows += sum(expected.values())
        readers = [("delta log", lambda: snapshot.rows(self.duck), expected)]
        names = [column.name for column in table.columns]
        problems = []
        if fields:
            clickhouse = recount(expected, lambda row: tuple(map(blurred, kinds, row)))
            readers.append(("clickhouse", lambda: self.clickhouse.rows(entry.path, fields), clickhouse))
        if warehouse is not None:
            readers.append(("warehouse", lambda: warehouse(table, kinds), expected))
        numbers = dump.numbers_of_names(table)
        if numbers:
            # The lake knows the names of some objects only, and writes the numbers of others.
            readers = [(reader, lambda rows=rows: (numbered(numbers, row) for row in rows()),
                        recount(wanted, lambda row: numbered(numbers, row))) for reader, rows, wanted in readers]
        for reader, rows, wanted in readers:
            try:
                found = collections.Counter(rows())
            except (QueryError, LogError, ValueError) as error:
                problems.append(f"{table.label}: {reader} cannot read it: {error}")
                continue
            if found != wanted:
                problems.append(difference(table.label, reader, names, wanted, found))
        if homeless and self.keeps_texts:
            problems.append(f"{table.label}: values of {', '.join(sorted(homeless))} have no place and no column of texts")
        return problems

    @staticmethod
    def text_columns(table, fields):
        """Columns whose values the lake cannot all hold: behind all others it has NAME__text for each."""
        names = {column.name for column in table.columns}
        return [field.name[:-len("__text")] for field in fields[len(table.columns):]
                if field.name.endswith("__text") and field.name[:-len("__text")] in names]

    @staticmethod
    def schema(table, fields):
        problems = []
        names, there = [column.name for column in table.columns], [field.name for field in fields]
        if names != there:
            return [f"{table.label}: columns {there} in the lake, {names} in PostgreSQL"]
        for column, field in zip(table.columns, fields):
            kind = mapping.expected_kind(column.type)
            if not mapping.same_kind(kind, field.kind):
                problems.append(f"{table.label}.{column.name}: {column.declared} is {spelled(field.kind)} in the lake, "
                                f"should be {spelled(kind)}")
            if not field.nullable and not column.not_null:
                problems.append(f"{table.label}.{column.name}: NOT NULL in the lake only")
        return problems

    def expected(self, dump, table, beside):
        """PostgreSQL's rows in canonical form, with the texts of values that have no place in their column's type in
        the columns `beside`; and the names of columns that lack one."""
        rows, homeless = collections.Counter(), set()
        types = [column.type for column in table.columns]
        for line in dump.rows(table):
            row, texts = [], dict.fromkeys(beside)
            for column, kind, text in zip(table.columns, types, line):
                try:
                    row.append(mapping.value(kind, text))
                except mapping.NoHome:
                    row.append(None)
                    self.diverted += 1
                    if column.name in texts:
                        texts[column.name] = text
                    else:
                        homeless.add(column.name)
            rows[tuple(row) + tuple(texts.values())] += 1
        return rows, homeless


def recount(rows, change):
    changed = collections.Counter()
    for row, count in rows.items():
        changed[change(row)] += count
    return changed


def numbered(numbers, row):
    return tuple(numbers[i].get(value, value) if i in numbers else value for i, value in enumerate(row))


def target_of(branch, database=None):
    """tide's way to name a database of a branch."""
    return f"{database or ''}@{branch}"


def difference(label, reader, names, wanted, found):
    """A precise report: which rows are missing, which are too many, and in which columns they differ."""
    missing, extra = wanted - found, found - wanted
    lines = [f"{label}: {reader} has {sum(found.values())} rows, PostgreSQL {sum(wanted.values())}; "
             f"{sum(missing.values())} missing, {sum(extra.values())} too many"]
    pool = list(extra)[:2000]
    for row in list(missing)[:SHOWN]:
        closest = min(pool, key=lambda other: sum(a != b for a, b in zip(row, other)), default=None)
        if closest is not None:
            differing = [(name, a, b) for name, a, b in zip(names, row, closest) if a != b]
            if len(differing) <= max(2, len(names) // 2):
                shown = "; ".join(f"{name}: {shorten(a)} in PostgreSQL, {shorten(b)} here" for name, a, b in differing[:6])
                lines.append(f"    differs in {shown}  (row {shorten(row)})")
                continue
        lines.append(f"    missing x{missing[row]}: {shorten(row)}")
    for row in list(extra)[:SHOWN]:
        lines.append(f"    too many x{extra[row]}: {shorten(row)}")
    return "\n".join(lines)


def shorten(value, limit=400):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit // 2]}…{text[-limit // 4:]} ({len(text)} characters)"
