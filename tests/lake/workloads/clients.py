"""Loads by concurrent clients: pgbench, a TPC-C-like mix, transfers. Seeds make the choices repeatable, not the timing."""
import contextlib
import pathlib
import random
import subprocess
import threading
import time

import psycopg2
import psycopg2.errors

PGBIN = pathlib.Path("/usr/lib/postgresql/15/bin")


def pgbench(url, *arguments, timeout=600):
    done = subprocess.run([PGBIN / "pgbench", *map(str, arguments), url], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Client(threading.Thread):
    """Calls transact(cursor, random) in transactions until stopped; reconnects when the server goes away."""

    def __init__(self, connect, seed, transact):
        super().__init__(daemon=True)
        self.connect = connect
        self.random = random.Random(seed)
        self.transact = transact
        self.stopping = threading.Event()
        self.commits = self.retries = 0
        self.strange = []

    def run(self):
        while not self.stopping.is_set():
            try:
                connection = self.connect()
                connection.autocommit = False
            except psycopg2.Error:
                time.sleep(0.05)
                continue
            try:
                while not self.stopping.is_set():
                    try:
                        with connection.cursor() as cursor:
                            self.transact(cursor, self.random)
                        connection.commit()
                        self.commits += 1
                    except (psycopg2.errors.SerializationFailure, psycopg2.errors.DeadlockDetected,
                            psycopg2.errors.UniqueViolation):
                        connection.rollback()
                        self.retries += 1
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                pass  # the server went away
            except Exception as error:
                self.strange.append(repr(error))
            finally:
                with contextlib.suppress(psycopg2.Error):
                    connection.close()


@contextlib.contextmanager
def running(clients):
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(60)
    strange = [text for client in clients for text in client.strange]
    assert not strange, strange[:5]


# A small order-entry mix in the spirit of TPC-C, with its consistency conditions.

ORDERS_SCHEMA = """
CREATE SCHEMA oe;
CREATE TABLE oe.warehouse (w int PRIMARY KEY, name varchar(10), tax numeric(4,4), ytd numeric(12,2) NOT NULL);
CREATE TABLE oe.district (w int, d int, tax numeric(4,4), ytd numeric(12,2) NOT NULL, next_o int NOT NULL, PRIMARY KEY (w, d));
CREATE TABLE oe.customer (w int, d int, c int, name text, credit char(2), balance numeric(12,2) NOT NULL,
  ytd numeric(12,2) NOT NULL, payments int NOT NULL, deliveries int NOT NULL, data text, PRIMARY KEY (w, d, c));
CREATE TABLE oe.item (i int PRIMARY KEY, name text, price numeric(5,2) NOT NULL, data text);
CREATE TABLE oe.stock (w int, i int, quantity int NOT NULL, ytd bigint NOT NULL, orders int NOT NULL, data text,
  PRIMARY KEY (w, i)) WITH (fillfactor = 80);
CREATE TABLE oe.orders (w int, d int, o int, c int, entry timestamptz, carrier int, lines int, PRIMARY KEY (w, d, o));
CREATE TABLE oe.new_order (w int, d int, o int, PRIMARY KEY (w, d, o));
CREATE TABLE oe.order_line (w int, d int, o int, n int, i int, delivered timestamptz, quantity int, amount numeric(8,2),
  info char(24)) PARTITION BY HASH (w);
CREATE TABLE oe.order_line_0 PARTITION OF oe.order_line FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE oe.order_line_1 PARTITION OF oe.order_line FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON oe.order_line (w, d, o);
CREATE TABLE oe.history (c int, d int, w int, at timestamptz, amount numeric(8,2), data text);
INSERT INTO oe.warehouse SELECT w, 'w' || w, 0.1, 0 FROM generate_series(1, {w}) w;
INSERT INTO oe.district SELECT w, d, 0.05, 0, 1 FROM generate_series(1, {w}) w, generate_series(1, {d}) d;
INSERT INTO oe.customer SELECT w, d, c, md5(c::text), CASE WHEN c % 10 = 0 THEN 'BC' ELSE 'GC' END, 0, 0, 0, 0, repeat('c', 200)
  FROM generate_series(1, {w}) w, generate_series(1, {d}) d, generate_series(1, {c}) c;
INSERT INTO oe.item SELECT i, md5(i::text), (i % 100) + 0.99, repeat('i', 40) FROM generate_series(1, {i}) i;
INSERT INTO oe.stock SELECT w, i, 50, 0, 0, repeat('s', 50) FROM generate_series(1, {w}) w, generate_series(1, {i}) i;
"""
SIZES = {"w": 2, "d": 4, "c": 60, "i": 400}

ORDERS_CONDITIONS = {
    "warehouse.ytd = sum(district.ytd)":
        "SELECT w FROM oe.warehouse JOIN (SELECT w, sum(ytd) AS s FROM oe.district GROUP BY w) x USING (w) WHERE ytd <> s",
    "district.next_o = max(orders.o) + 1":
        "SELECT w, d FROM oe.district LEFT JOIN (SELECT w, d, max(o) AS m FROM oe.orders GROUP BY w, d) x USING (w, d) "
        "WHERE next_o <> coalesce(m, 0) + 1",
    "sum(orders.lines) = count(order_line)":
        "SELECT w, d FROM (SELECT w, d, sum(lines) AS s FROM oe.orders GROUP BY w, d) x LEFT JOIN "
        "(SELECT w, d, count(*) AS n FROM oe.order_line GROUP BY w, d) y USING (w, d) WHERE s <> coalesce(n, 0)",
    "orders without carrier are the new ones":
        "SELECT w, d, o FROM oe.orders FULL JOIN (SELECT w, d, o, 1 AS is_new FROM oe.new_order) x USING (w, d, o) "
        "WHERE (carrier IS NULL) <> (is_new IS NOT NULL)",
    "district.ytd = sum(history.amount)":
        "SELECT w, d FROM oe.district LEFT JOIN (SELECT w, d, sum(amount) AS s FROM oe.history GROUP BY w, d) x USING (w, d) "
        "WHERE ytd <> coalesce(s, 0)",
}


def order_entry(cursor, chooser):
    """One transaction of the mix."""
    w, d = chooser.randint(1, SIZES["w"]), chooser.randint(1, SIZES["d"])
    c = chooser.randint(1, SIZES["c"])
    kind = chooser.choices(("new", "payment", "delivery", "status", "rollback"), (45, 40, 6, 5, 4))[0]
    if kind in ("new", "rollback"):
        cursor.execute("UPDATE oe.district SET next_o = next_o + 1 WHERE w = %s AND d = %s RETURNING next_o - 1", (w, d))
        o = cursor.fetchone()[0]
        lines = chooser.randint(3, 10)
        cursor.execute("INSERT INTO oe.orders VALUES (%s, %s, %s, %s, now(), NULL, %s)", (w, d, o, c, lines))
        cursor.execute("INSERT INTO oe.new_order VALUES (%s, %s, %s)", (w, d, o))
        for n, i in enumerate(sorted(chooser.sample(range(1, SIZES["i"] + 1), lines)), 1):
            quantity = chooser.randint(1, 10)
            cursor.execute("UPDATE oe.stock SET quantity = CASE WHEN quantity > %s + 10 THEN quantity - %s ELSE quantity - %s + 91 END, "
                           "ytd = ytd + %s, orders = orders + 1 WHERE w = %s AND i = %s", (quantity,) * 4 + (w, i))
            cursor.execute("INSERT INTO oe.order_line SELECT %s, %s, %s, %s, i, NULL, %s, price * %s, 'info' FROM oe.item WHERE i = %s",
                           (w, d, o, n, quantity, quantity, i))
        if kind == "rollback":
            cursor.connection.rollback()
    elif kind == "payment":
        amount = chooser.randint(100, 500000) / 100
        cursor.execute("UPDATE oe.warehouse SET ytd = ytd + %s WHERE w = %s", (amount, w))
        cursor.execute("UPDATE oe.district SET ytd = ytd + %s WHERE w = %s AND d = %s", (amount, w, d))
        cursor.execute("UPDATE oe.customer SET balance = balance - %s, ytd = ytd + %s, payments = payments + 1, "
                       "data = CASE WHEN credit = 'BC' THEN left(%s || data, 500) ELSE data END WHERE w = %s AND d = %s AND c = %s",
                       (amount, amount, f"{w} {d} {amount} ", w, d, c))
        cursor.execute("INSERT INTO oe.history VALUES (%s, %s, %s, now(), %s, 'paid')", (c, d, w, amount))
    elif kind == "delivery":
        for d in range(1, SIZES["d"] + 1):
            cursor.execute("DELETE FROM oe.new_order WHERE w = %s AND d = %s AND o = (SELECT min(o) FROM oe.new_order "
                           "WHERE w = %s AND d = %s) RETURNING o", (w, d, w, d))
            row = cursor.fetchone()
            if row is None:
                continue
            cursor.execute("SAVEPOINT s")
            cursor.execute("UPDATE oe.orders SET carrier = 7 WHERE w = %s AND d = %s AND o = %s RETURNING c", (w, d, row[0]))
            customer = cursor.fetchone()[0]
            cursor.execute("UPDATE oe.order_line SET delivered = now() WHERE w = %s AND d = %s AND o = %s", (w, d, row[0]))
            cursor.execute("UPDATE oe.customer SET balance = balance + (SELECT sum(amount) FROM oe.order_line WHERE w = %s AND d = %s "
                           "AND o = %s), deliveries = deliveries + 1 WHERE w = %s AND d = %s AND c = %s", (w, d, row[0], w, d, customer))
            cursor.execute("RELEASE s")
    else:
        cursor.execute("SELECT sum(amount) FROM oe.order_line WHERE w = %s AND d = %s", (w, d))


def orders_clients(connect, seed, count):
    return [Client(connect, seed * 1000 + number, order_entry) for number in range(count)]


def broken_conditions(cursor):
    """Consistency conditions that do not hold, with the first row that breaks each."""
    found = []
    for name, sql in ORDERS_CONDITIONS.items():
        cursor.execute(sql)
        rows = cursor.fetchall()
        if rows:
            found.append(f"{name}: {rows[:3]}")
    return found


# Transfers between two tables: the sum over both never changes.

TRANSFER_SCHEMA = """
CREATE SCHEMA bank;
CREATE TABLE bank.here (id int PRIMARY KEY, amount bigint NOT NULL);
CREATE TABLE bank.there (id int PRIMARY KEY, amount bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE bank.journal (id bigint, at timestamptz DEFAULT clock_timestamp());
INSERT INTO bank.here SELECT i, 1000 FROM generate_series(1, 500) i;
INSERT INTO bank.there SELECT i, 1000 FROM generate_series(1, 500) i;
"""
TRANSFER_TOTAL = 1_000_000


class Transfers(Client):
    """Moves amounts between the tables; each commit has a journal number of its own."""

    def __init__(self, connect, seed, number):
        super().__init__(connect, seed, self.transfer)
        self.next_id = number * 10**9
        self.acknowledged = []

    def transfer(self, cursor, chooser):
        self.next_id += 1
        amount, a, b = chooser.randint(1, 50), chooser.randint(1, 500), chooser.randint(1, 500)
        first, second = ("here", "there") if chooser.random() < 0.5 else ("there", "here")
        for table, sign, row in sorted([(first, -1, a), (second, 1, b)]):
            cursor.execute(f"UPDATE bank.{table} SET amount = amount + %s WHERE id = %s", (sign * amount, row))
        cursor.execute("INSERT INTO bank.journal (id) VALUES (%s)", (self.next_id,))
        if chooser.random() < 0.05:
            cursor.connection.rollback()
            return
        cursor.connection.commit()
        self.acknowledged.append(self.next_id)
