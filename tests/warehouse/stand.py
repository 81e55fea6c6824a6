"""A warehouse beside a PostgreSQL of its own, with doubles of control and mirror (warehouse_stand).

The double asks PostgreSQL for the rows, so every query has two answers to compare.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STAND = pathlib.Path(os.environ.get("TIDE_WAREHOUSE_STAND", ROOT / "build/release/tests/warehouse_stand"))
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PASSWORD = "se cret"

SCHEMA = """
CREATE ROLE ada LOGIN PASSWORD 'se cret';
CREATE ROLE bob LOGIN PASSWORD 'se cret';
CREATE ROLE owner_role LOGIN SUPERUSER PASSWORD 'se cret';
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, since date, tags text[]);
INSERT INTO customer SELECT i, 'customer ' || i, date '2020-01-01' + i, ARRAY['a', 'b ' || i, NULL]
  FROM generate_series(1, 200) i;
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, total numeric(10,2), placed timestamptz, note text);
INSERT INTO orders SELECT i, 1 + i % 200, (i * 7919 % 100000) / 100.0, timestamptz '2024-01-01 12:00:00+00' + i * interval '1 hour',
  CASE WHEN i % 7 = 0 THEN NULL ELSE 'note ' || i END FROM generate_series(1, 5000) i;
CREATE TABLE everything (id int, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(20,5), t text,
  v varchar(20), by bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb,
  ia int[], ta text[]);
INSERT INTO everything VALUES
 (1, true, -32768, -2147483648, -9223372036854775808, 1.5, 1e-5, -12345.67890, 'x''y"z\\', 'v', '\\x00ff10', '2024-02-29',
  '12:34:56.789', '2024-02-29 23:59:59.999999', '2024-07-01 12:00:00+02', '1 year 2 mons -3 days 04:05:06.7',
  '0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9', '{"a": 1}', '{"b": [1, 2]}', '{1,NULL,3}', '{"a b",NULL,""}'),
 (2, false, 32767, 2147483647, 9223372036854775807, 'NaN', 'Infinity', 0, '', 'ünïcode', '', '0044-03-15 BC',
  '00:00:00', '1969-12-31 23:59:59.5', '0001-01-01 00:00:00+00', '-1 days', NULL, NULL, NULL, '{}', '{}'),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, true, 1, 2, 3, 1e20, 123456789012345680, 99999.5, 'tab\tnew\nline', 'w', '\\xdeadbeef', '9999-12-31',
  '23:59:59.999999', '2038-01-19 03:14:08', '2050-07-01 00:00:00+00', '100:00:00', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
  'null', '"text"', '{-1}', '{NULL,"null","{}"}');
CREATE SCHEMA "Mixed";
CREATE TABLE "Mixed"."Case" ("Id" int, "select" text);
INSERT INTO "Mixed"."Case" VALUES (1, 'one'), (2, 'two');
CREATE TABLE "Orders" (what text); INSERT INTO "Orders" VALUES ('not orders');
CREATE TABLE empty (x int);
CREATE UNLOGGED TABLE volatile (x int);
CREATE TABLE secret (x int, y int); INSERT INTO secret VALUES (1, 2);
CREATE TABLE guarded (x int, who text); INSERT INTO guarded VALUES (1, 'ada'), (2, 'bob');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON guarded USING (who = current_user);
CREATE VIEW big_orders AS SELECT o.id, c.name, o.total FROM orders o JOIN customer c ON c.id = o.customer WHERE o.total > 900;
CREATE VIEW secret_view AS SELECT x FROM secret;
CREATE SEQUENCE seq;
CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
GRANT USAGE ON SCHEMA "Mixed" TO ada;
GRANT SELECT ON customer, orders, everything, "Mixed"."Case", "Orders", empty, volatile, guarded, big_orders, secret_view, seq TO ada;
GRANT SELECT (x) ON secret TO ada;
"""


class Stand:
    def __init__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="tide-wh-", dir="/tmp"))
        self.base.chmod(0o755)
        self.pg = self.base / "pg"
        self.pg.mkdir()
        self.data = self.base / "data"
        self.data.mkdir()
        self.process = None
        if os.geteuid() == 0:
            shutil.chown(self.pg, "postgres", "postgres")

    def as_postgres(self, *command):
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run([*prefix, *map(str, command)], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        self.as_postgres(BIN / "initdb", "-N", "-A", "trust", "-U", "tide", "-E", "UTF8", "--locale=C.UTF-8", "-D", self.pg / "data")
        (self.pg / "data/postgresql.conf").open("a").write(
            f"listen_addresses=''\nunix_socket_directories='{self.pg}'\nport=5432\nfsync=off\nautovacuum=off\n"
            "timezone=UTC\nlog_timezone=UTC\nmax_connections=60\n")
        self.as_postgres("sh", "-c", f"{BIN}/pg_ctl -w -s -D {self.pg}/data -l {self.pg}/log start </dev/null >/dev/null 2>&1")
        connection = self.direct("postgres")
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE app")
        connection.close()
        with self.direct() as connection:
            connection.cursor().execute(SCHEMA)
        self.start_warehouse()

    def start_warehouse(self):
        self.log = (self.base / "warehouse.log").open("ab")
        self.process = subprocess.Popen([STAND, self.data, self.pg, "5432", "tide"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        (self.data / "warehouse").mkdir(exist_ok=True)
        port = self.data / "warehouse/port"
        while not port.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.logs()
            time.sleep(0.02)
        self.port = int(port.read_text())

    def logs(self):
        files = [self.base / "warehouse.log", self.pg / "log"]
        return "\n".join(file.read_text(errors="replace")[-5000:] for file in files if file.exists())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, self.logs()
        try:
            self.as_postgres("sh", "-c", f"{BIN}/pg_ctl -w -s -m immediate -D {self.pg}/data stop")
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    def direct(self, database="app", user="tide"):
        """PostgreSQL itself."""
        return psycopg2.connect(host=str(self.pg), port=5432, user=user, dbname=database)

    def lake(self, user="ada", database="app@main.lake", password=PASSWORD, autocommit=True, **options):
        """The warehouse."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=user, dbname=database, password=password, **options)
        connection.autocommit = autocommit
        return connection

    def psql(self, *arguments, user="ada", database="app.lake", input=None, check=True):
        done = subprocess.run(["psql", "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database, *arguments],
                              env=dict(os.environ, PGPASSWORD=PASSWORD, PGCLIENTENCODING="UTF8"), input=input,
                              stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def direct_psql(self, *arguments, user="ada", input=None):
        done = subprocess.run(["psql", "-X", "-h", str(self.pg), "-p", "5432", "-U", user, "-d", "app", *arguments],
                              env=dict(os.environ, PGCLIENTENCODING="UTF8"), input=input,
                              stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done
