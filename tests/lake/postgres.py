"""A stock PostgreSQL for tests, and what a database holds, as text, in one snapshot.

    with Stock() as stock:
        with stock.connect() as connection: ...

    with Dump(connection) as dump:
        for table in dump.tables(): dump.rows(table)
"""
import contextlib
import io
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import typing

import psycopg2

from instance import free_port

PGBIN = pathlib.Path("/usr/lib/postgresql/15/bin")


class Stock:
    """A server with a directory and a port of its own; databases are dropped with it."""

    def __init__(self, **settings):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="tide-stock-", dir="/tmp"))
        self.base.chmod(0o777)
        self.port = free_port()
        self.settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                         "max_prepared_transactions": "64", "wal_level": "logical", **settings}
        # PostgreSQL refuses to run as root.
        self.account = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            self.account = dict(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])

    def _run(self, *command):
        subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd="/", **self.account)

    def __enter__(self):
        data = self.base / "data"
        self._run(PGBIN / "initdb", "-D", data, "-U", "tide", "-A", "trust", "--locale=C.UTF-8", "--encoding=UTF8",
                  "--no-sync")
        self.start()
        return self

    def start(self):
        options = " ".join([f"-p {self.port}", *(f"-c {name}='{value}'" for name, value in self.settings.items())])
        self._run(PGBIN / "pg_ctl", "-D", self.base / "data", "-l", self.base / "log", "-w", "-o", options, "start")

    def stop(self, mode="fast"):
        self._run(PGBIN / "pg_ctl", "-D", self.base / "data", "-m", mode, "-w", "stop")

    def restart(self):
        self.stop()
        self.start()

    def __exit__(self, kind, value, trace):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)

    def url(self, database="postgres"):
        return f"postgresql://tide@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres"):
        connection = psycopg2.connect(self.url(database))
        connection.autocommit = True
        return connection

    def create(self, name):
        """An empty database under that name."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
            cursor.execute(f'CREATE DATABASE "{name}"')
        return name


class PgType(typing.NamedTuple):
    """What reading a value's text needs to know of its type. Domains are their base types."""
    oid: int
    name: str
    kind: str          # b base, c composite, e enum, r range, m multirange, p pseudo
    delimiter: str
    typmod: int
    element: typing.Optional["PgType"] = None       # of arrays
    fields: typing.Tuple[typing.Tuple[str, "PgType"], ...] = ()  # of composites


class Column(typing.NamedTuple):
    name: str
    type: PgType
    declared: str
    not_null: bool


class Table(typing.NamedTuple):
    oid: int
    schema: str
    name: str
    kind: str                      # r table, p partitioned, m materialized view, f foreign
    persistence: str               # p permanent, u unlogged
    root: typing.Optional[int]     # topmost partitioned table, for a partition
    populated: bool                # false: a materialized view that cannot be read
    columns: typing.Tuple[Column, ...]

    @property
    def label(self):
        return f"{self.schema}.{self.name}"


REG_TYPES = ("regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator", "regrole", "regnamespace", "regconfig",
             "regdictionary", "regcollation")
SETTINGS = ("SET TimeZone = 'UTC'", "SET DateStyle = 'ISO, YMD'", "SET IntervalStyle = 'iso_8601'",
            "SET extra_float_digits = 1", "SET bytea_output = 'hex'", "SET client_encoding = 'UTF8'",
            "SET row_security = off", "SET search_path = pg_catalog, public", "SET lc_monetary = 'C'", "SET enable_indexscan = off",
            "SET enable_indexonlyscan = off", "SET enable_bitmapscan = off", "SET statement_timeout = 0", "SET lock_timeout = '20s'",
            "SET default_transaction_isolation = 'repeatable read'")

TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
       CASE WHEN c.relispartition THEN (SELECT relid::oid FROM pg_partition_ancestors(c.oid) AS a(relid)
          JOIN pg_class p ON p.oid = a.relid WHERE NOT p.relispartition) END, c.relispopulated
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY n.nspname, c.relname"""

COLUMNS = """
SELECT attrelid, attname, atttypid, atttypmod, format_type(atttypid, atttypmod), attnotnull
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE attnum > 0 AND NOT attisdropped
ORDER BY attrelid, attnum"""

TYPES = """
SELECT t.oid, t.typname, t.typtype, t.typdelim, t.typelem, t.typbasetype, t.typtypmod, t.typrelid,
       t.typsubscript = 'array_subscript_handler'::regproc AND t.typname NOT IN ('int2vector', 'oidvector')
FROM pg_type t"""


class Dump:
    """One snapshot of one database."""

    def __init__(self, connection):
        self.connection = connection
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in SETTINGS:
                cursor.execute(statement)

    def __enter__(self):
        self.cursor = self.connection.cursor()
        self.cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.types = {row[0]: row[1:] for row in self._all(TYPES)}
        self.attributes = {}
        for relation, *rest in self._all(COLUMNS):
            self.attributes.setdefault(relation, []).append(rest)
        return self

    def __exit__(self, kind, value, trace):
        with contextlib.suppress(psycopg2.Error):
            self.cursor.execute("ROLLBACK")
        self.cursor.close()

    def _all(self, sql):
        self.cursor.execute(sql)
        return self.cursor.fetchall()

    def type(self, oid, typmod=-1):
        name, kind, delimiter, element, base, base_typmod, relation, is_array = self.types[oid]
        if kind == "d":
            return self.type(base, base_typmod)
        if is_array and element:
            return PgType(oid, name, kind, delimiter, typmod, element=self.type(element, typmod))
        fields = ()
        if kind == "c":
            fields = tuple((column, self.type(inner, inner_typmod))
                           for column, inner, inner_typmod, _, _ in self.attributes.get(relation, ()))
        return PgType(oid, name, kind, delimiter, typmod, fields=fields)

    def tables(self):
        return [Table(oid, schema, name, kind, persistence, root, populated, tuple(
            Column(column, self.type(type_oid, typmod), declared, not_null)
            for column, type_oid, typmod, declared, not_null in self.attributes.get(oid, ())))
            for oid, schema, name, kind, persistence, root, populated in self._all(TABLES)]

    def rows(self, table):
        """Tuples of texts (None: NULL) as the types' output functions print them."""
        if not table.populated:
            return
        quoted = ['"' + column.name.replace('"', '""') + '"' for column in table.columns]
        name = '"' + table.schema.replace('"', '""') + '"."' + table.name.replace('"', '""') + '"'
        # Rows of children belong to their own tables; those of partitions to the root.
        only = "ONLY " if table.kind == "r" else ""
        with tempfile.TemporaryFile() as out:
            self.cursor.copy_expert(f"COPY (SELECT {', '.join(quoted)} FROM {only}{name}) TO STDOUT", out)
            out.seek(0)
            reader = io.TextIOWrapper(out, encoding="utf-8", newline="\n")
            for line in reader:
                line = line[:-1]
                yield tuple(map(unescaped, line.split("\t"))) if quoted else ()
            reader.detach()


    def numbers_of_names(self, table):
        """{position: {name: number}} of columns that hold an object's number and print its name (reg*)."""
        found = {}
        place = '"' + table.schema.replace('"', '""') + '"."' + table.name.replace('"', '""') + '"'
        for position, column in enumerate(table.columns):
            if column.type.element is None and column.type.kind == "b" and column.type.name in REG_TYPES and table.populated:
                name = '"' + column.name.replace('"', '""') + '"'
                found[position] = dict(self._all(f"SELECT DISTINCT {name}::text, {name}::oid::text FROM {place} WHERE {name} IS NOT NULL"))
        return found


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescaped(text):
    """A field of COPY's text format."""
    if text == "\\N":
        return None
    if "\\" not in text:
        return text
    out, at = [], 0
    while (found := text.find("\\", at)) >= 0:
        out.append(text[at:found])
        out.append(_ESCAPES.get(text[found + 1], text[found + 1]))
        at = found + 2
    out.append(text[at:])
    return "".join(out)
