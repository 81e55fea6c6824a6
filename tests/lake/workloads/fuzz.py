"""Random DDL and DML by seed, over all types, in transactions with savepoints and two-phase commits.

    fuzz = Fuzz(connect, seed)
    fuzz.steps(500)        # one client; several may work on schemas of their own
    fuzz.finish()          # nothing stays open

What it may do next it reads from the catalogs, so a statement that fails does no harm: its
transaction or savepoint is rolled back.
"""
import random

import psycopg2

from . import types

KINDS = [kind for kind in types.VALUES if kind not in ("char",) and not kind.startswith("reg")]
COMMON = ["integer", "bigint", "text", "numeric(10,2)", "numeric", "timestamptz", "date", "double precision", "boolean", "varchar(10)",
          "jsonb", "bytea", "uuid", "interval"]
ARRAYS = ["integer[]", "text[]", "numeric(6,2)[]", "date[]"]
ALL_VALUES = {**types.VALUES, **types.ARRAYS}

OPERATIONS = {
    "insert": 30, "insert_many": 12, "insert_from": 6, "update": 30, "update_all": 3, "delete": 14, "upsert": 6, "merge": 3,
    "truncate": 2, "create": 6, "create_as": 2, "create_partitioned": 2, "drop": 2, "add_column": 6, "drop_column": 4,
    "rename_column": 3, "retype": 4, "set_default": 2, "rename_table": 2, "recreate": 1, "vacuum": 3, "vacuum_full": 2, "cluster": 1,
    "index": 2, "detach_attach": 2, "matview": 1, "refresh": 2, "schema": 1, "storage": 1, "logged": 1,
    "begin": 22, "commit": 14, "rollback": 5, "savepoint": 9, "release": 3, "rollback_to": 5, "prepare": 2, "commit_prepared": 3,
    "rollback_prepared": 1,
}
OUTSIDE = {"vacuum", "vacuum_full", "commit_prepared", "rollback_prepared"}


class Fuzz:
    def __init__(self, connect, seed, schema=None, log=None):
        self.random = random.Random(seed)
        self.schema = schema or f"fuzz_{seed}"
        self.connection = connect()
        self.connection.autocommit = True
        self.log = log
        self.done = self.failed = self.serial = 0
        self.savepoints = []
        self.prepared = []
        self.cursor = self.connection.cursor()
        self.cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
        self.cursor.execute(f"SET search_path = {self.schema}")

    @property
    def in_transaction(self):
        return self.connection.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE

    def run(self, sql):
        if self.log is not None:
            self.log.append(sql)
        try:
            self.cursor.execute(sql)
            self.done += 1
            return True
        except psycopg2.Error as error:
            if self.connection.closed:
                raise
            self.failed += 1
            if self.log is not None:
                self.log.append(f"-- {str(error).splitlines()[0]}")
            if self.connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INERROR:
                if self.savepoints:
                    self.quiet(f"ROLLBACK TO {self.savepoints[-1]}")
                else:
                    self.quiet("ROLLBACK")
            return False

    def quiet(self, sql):
        if self.log is not None:
            self.log.append(sql)
        self.cursor.execute(sql)

    def ask(self, sql, *parameters):
        self.cursor.execute(sql, parameters)
        return self.cursor.fetchall()

    def steps(self, count):
        names, weights = list(OPERATIONS), list(OPERATIONS.values())
        for _ in range(count):
            self.step(self.random.choices(names, weights)[0])

    def step(self, operation):
        if operation in OUTSIDE and self.in_transaction:
            return
        getattr(self, "do_" + operation)()

    def settle(self):
        """Ends what is open: nothing is locked any more."""
        if self.in_transaction:
            self.do_commit()
        for name in list(self.prepared):
            self.run(f"{self.random.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{name}'")
        self.prepared = []

    def finish(self):
        self.settle()
        self.connection.close()

    # What is there.

    def tables(self, kinds="rp"):
        return [row[0] for row in self.ask(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = ANY(%s) AND NOT relispartition "
            "ORDER BY relname", self.schema, list(kinds))]

    def table(self, kinds="rp"):
        names = self.tables(kinds)
        if not names:
            self.do_create()
            names = self.tables(kinds)
        return self.random.choice(names) if names else "nothing"

    def columns(self, table):
        return self.ask("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
                        "AND attnum > 0 AND NOT attisdropped ORDER BY attnum", f'{self.schema}."{table}"') \
            if table != "nothing" else []

    def name(self, prefix):
        self.serial += 1
        return f"{prefix}{self.serial}"

    def kind(self):
        draw = self.random.random()
        return self.random.choice(COMMON if draw < 0.6 else KINDS if draw < 0.9 else ARRAYS)

    def value(self, kind):
        """A literal for a type as format_type() spells it."""
        if self.random.random() < 0.1:
            return "NULL"
        aliases = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
                   "timestamp(0) without time zone": "timestamp(0)", "time without time zone": "time",
                   "time(3) without time zone": "time(3)", "time with time zone": "timetz", "character varying(10)": "varchar(10)",
                   "character(5)": "char(5)", "bit varying": "varbit", "bit varying(8)": "varbit(8)", "bit(1)": "bit"}
        kind = aliases.get(kind, kind)
        if kind == "integer" and self.random.random() < 0.8:
            return str(self.random.randint(0, 200))
        if kind == "text" and self.random.random() < 0.5:
            size = self.random.choice((1, 10, 100, 3000, 20000))
            return self.random.choice((f"repeat('{self.random.choice('abc')}', {size})",
                                       f"(SELECT string_agg(md5(i::text), '') FROM generate_series({size}, {size + size // 32}) i)"))
        values = ALL_VALUES.get(kind)
        return f"({self.random.choice(values)})::{kind}" if values else "DEFAULT"

    def condition(self, table):
        integers = [name for name, kind in self.columns(table) if kind == "integer"]
        draw = self.random.random()
        if integers and draw < 0.8:
            column, low = self.random.choice(integers), self.random.randint(0, 200)
            return f'"{column}" BETWEEN {low} AND {low + self.random.choice((0, 1, 5, 50))}'
        return f"(('x' || substr(md5(ctid::text || {self.random.randint(0, 9)}), 1, 4))::bit(16)::int) % {self.random.choice((2, 5, 20))} = 0"

    # Rows.

    def rows(self, table, count):
        columns = self.columns(table)
        return ", ".join("(" + ", ".join(self.value(kind) for _, kind in columns) + ")" for _ in range(count)) if columns else None

    def do_insert(self, count=1):
        table = self.table()
        rows = self.rows(table, count)
        if rows is None:
            self.run(f'INSERT INTO "{table}" DEFAULT VALUES')
        else:
            self.run(f'INSERT INTO "{table}" VALUES {rows}')

    def do_insert_many(self):
        self.do_insert(self.random.randint(2, 40))

    def do_insert_from(self):
        table = self.table()
        self.run(f'INSERT INTO "{table}" SELECT * FROM "{table}" LIMIT 200')

    def do_update(self, condition=True):
        table = self.table()
        columns = self.columns(table)
        if not columns:
            return
        chosen = self.random.sample(columns, min(len(columns), self.random.choice((1, 1, 1, 2, 3))))
        sets = ", ".join(f'"{name}" = {self.value(kind)}' for name, kind in chosen)
        self.run(f'UPDATE "{table}" SET {sets}' + (f" WHERE {self.condition(table)}" if condition else ""))

    def do_update_all(self):
        self.do_update(condition=False)

    def do_delete(self):
        table = self.table()
        self.run(f'DELETE FROM "{table}" WHERE {self.condition(table)}')

    def do_upsert(self):
        table = self.table()
        columns = self.columns(table)
        if columns and columns[0][0] == "id":
            rows = self.rows(table, 3)
            last, kind = columns[-1]
            self.run(f'INSERT INTO "{table}" VALUES {rows} ON CONFLICT ("id") DO UPDATE SET "{last}" = {self.value(kind)}')

    def do_merge(self):
        table = self.table()
        columns = self.columns(table)
        if columns and columns[0] == ("id", "integer"):
            last, kind = columns[-1]
            self.run(f'MERGE INTO "{table}" t USING generate_series(0, 60) g ON t."id" = g WHEN MATCHED AND g % 3 = 0 THEN DELETE '
                     f'WHEN MATCHED THEN UPDATE SET "{last}" = {self.value(kind)} WHEN NOT MATCHED AND g % 7 = 0 THEN INSERT ("id") VALUES (g)')

    def do_truncate(self):
        self.run(f'TRUNCATE "{self.table()}"')

    # Tables.

    def definition(self):
        columns = [f'"{self.name("c")}" {self.kind()}' for _ in range(self.random.randint(0, 6))]
        if self.random.random() < 0.7:
            columns.insert(0, '"id" integer' + self.random.choice(("", "", " PRIMARY KEY")))
        return ", ".join(columns)

    def do_create(self):
        options = self.random.choice(("", "", " WITH (fillfactor = 60)"))
        kind = self.random.choice(("", "", "", "", "", "UNLOGGED "))
        self.run(f'CREATE {kind}TABLE {self.name("t")} ({self.definition()}){options}')

    def do_create_as(self):
        self.run(f'CREATE TABLE {self.name("t")} AS SELECT * FROM "{self.table()}" LIMIT 100')

    def do_create_partitioned(self):
        name = self.name("p")
        more = "".join(f', "{self.name("c")}" {self.kind()}' for _ in range(self.random.randint(0, 3)))
        if self.run(f'CREATE TABLE {name} ("id" integer, "k" integer{more}) PARTITION BY RANGE ("id")'):
            self.run(f"CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (50)")
            self.run(f"CREATE TABLE {name}_b PARTITION OF {name} FOR VALUES FROM (50) TO (120)")
            self.run(f"CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT")

    def do_detach_attach(self):
        parents = self.tables("p")
        if not parents:
            return
        parent = self.random.choice(parents)
        parts = [row[0] for row in self.ask("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1",
                                            f'{self.schema}."{parent}"')]
        if f"{parent}_b" in parts and self.random.random() < 0.7:
            self.run(f"ALTER TABLE {parent} DETACH PARTITION {parent}_b")
        elif f"{parent}_b" not in parts:
            self.run(f"ALTER TABLE {parent} ATTACH PARTITION {parent}_b FOR VALUES FROM (50) TO (120)")

    def do_drop(self):
        if len(self.tables()) > 4:
            self.run(f'DROP TABLE "{self.table()}" CASCADE')

    def do_recreate(self):
        table = self.table("r")
        if self.run(f'DROP TABLE "{table}" CASCADE'):
            self.run(f'CREATE TABLE "{table}" ({self.definition()})')

    def do_add_column(self):
        kind = self.kind()
        default = f" DEFAULT {self.value(kind)}" if self.random.random() < 0.5 else ""
        if default != " DEFAULT DEFAULT":
            self.run(f'ALTER TABLE "{self.table()}" ADD "{self.name("c")}" {kind}{default}')

    def column(self):
        table = self.table()
        columns = self.columns(table)
        return (table, *self.random.choice(columns)) if columns else (table, None, None)

    def do_drop_column(self):
        table, column, _ = self.column()
        if column:
            self.run(f'ALTER TABLE "{table}" DROP "{column}" CASCADE')

    def do_rename_column(self):
        table, column, _ = self.column()
        if column:
            self.run(f'ALTER TABLE "{table}" RENAME "{column}" TO "{self.name("r")}"')

    def do_retype(self):
        table, column, kind = self.column()
        if column:
            new = self.random.choice(("text", "text", "varchar", "bigint", "numeric", "numeric(30,5)", "text[]", "integer"))
            using = f'NULL::{new}' if self.random.random() < 0.2 else \
                f'ARRAY["{column}"::text]' if new == "text[]" else f'"{column}"::text::{new}'
            self.run(f'ALTER TABLE "{table}" ALTER "{column}" TYPE {new} USING {using}')

    def do_set_default(self):
        table, column, kind = self.column()
        if column and (value := self.value(kind)) != "DEFAULT":
            self.run(f'ALTER TABLE "{table}" ALTER "{column}" SET DEFAULT {value}')

    def do_rename_table(self):
        self.run(f'ALTER TABLE "{self.table()}" RENAME TO {self.name("n")}')

    def do_storage(self):
        table, column, _ = self.column()
        if column:
            self.run(f'ALTER TABLE "{table}" ALTER "{column}" SET STORAGE {self.random.choice(("EXTERNAL", "EXTENDED", "MAIN"))}')

    def do_logged(self):
        self.run(f'ALTER TABLE "{self.table("r")}" SET {self.random.choice(("LOGGED", "LOGGED", "UNLOGGED"))}')

    def do_vacuum(self):
        self.run(f'VACUUM "{self.table()}"')

    def do_vacuum_full(self):
        self.run(f'VACUUM FULL "{self.table()}"')

    def do_cluster(self):
        table = self.table("r")
        indexes = [row[0] for row in self.ask("SELECT indexname FROM pg_indexes WHERE schemaname = %s AND tablename = %s", self.schema, table)]
        if indexes:
            self.run(f'CLUSTER "{table}" USING "{self.random.choice(indexes)}"')

    def do_index(self):
        table, column, _ = self.column()
        if column:
            self.run(f'CREATE INDEX ON "{table}" ("{column}")')

    def do_matview(self):
        self.run(f'CREATE MATERIALIZED VIEW {self.name("m")} AS SELECT * FROM "{self.table()}"')

    def do_refresh(self):
        views = self.tables("m")
        if views:
            self.run(f'REFRESH MATERIALIZED VIEW "{self.random.choice(views)}"')

    def do_schema(self):
        other = f"{self.schema}_{self.random.choice('xy')}"
        self.run(f"CREATE SCHEMA IF NOT EXISTS {other}")
        self.run(f'ALTER TABLE "{self.table("r")}" SET SCHEMA {other}')

    # Transactions.

    def do_begin(self):
        if not self.in_transaction:
            self.savepoints = []
            self.run("BEGIN")

    def do_commit(self):
        if self.in_transaction:
            self.savepoints = []
            self.run("COMMIT")

    def do_rollback(self):
        if self.in_transaction:
            self.savepoints = []
            self.run("ROLLBACK")

    def do_savepoint(self):
        if self.in_transaction:
            name = self.name("s")
            if self.run(f"SAVEPOINT {name}"):
                self.savepoints.append(name)

    def do_release(self):
        if self.in_transaction and self.savepoints:
            at = self.random.randrange(len(self.savepoints))
            if self.run(f"RELEASE {self.savepoints[at]}"):
                del self.savepoints[at:]

    def do_rollback_to(self):
        if self.in_transaction and self.savepoints:
            at = self.random.randrange(len(self.savepoints))
            if self.run(f"ROLLBACK TO {self.savepoints[at]}"):
                del self.savepoints[at + 1:]

    def do_prepare(self):
        if self.in_transaction and len(self.prepared) < 3:
            name = f"{self.schema}_{self.name('x')}"
            self.savepoints = []
            if self.run(f"PREPARE TRANSACTION '{name}'"):
                self.prepared.append(name)
                # Its locks would stop us: end it soon.
                if self.random.random() < 0.8:
                    self.do_commit_prepared()

    def do_commit_prepared(self, verb="COMMIT"):
        if self.prepared and not self.in_transaction:
            self.run(f"{verb} PREPARED '{self.prepared.pop(0)}'")

    def do_rollback_prepared(self):
        self.do_commit_prepared("ROLLBACK")
