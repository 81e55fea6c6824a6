#!/usr/bin/python3
"""Random kill -9 under a bank-transfer load with known acknowledgements.

    python3 tests/crash/bank.py --rounds 200 --seed 7 [--durability acceptor]

Clients move money between accounts and write a journal row with an id of their own in the same
transaction. Each id is known to be *doomed* (COMMIT was never sent), *sent* (COMMIT was sent, the
answer may be lost) or *acknowledged*. After every round, in one snapshot: every acknowledged id is
there, no doomed one is, no id nobody sent, every balance is what the journal says, the sum is what
it was. At the end, and every tenth round: amcheck, pg_visibility, tide fsck.
"""
import argparse
import contextlib
import pathlib
import random
import sys
import threading
import time

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from instance import Instance, wait_for  # noqa: E402

ACCOUNTS = 2000
INITIAL = 1000
BRANCHES = 10
RECOVERY_TIMEOUT = 120

SCHEMA = f"""
CREATE EXTENSION IF NOT EXISTS amcheck;
CREATE EXTENSION IF NOT EXISTS pg_visibility;
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, changes int NOT NULL, note text);
CREATE INDEX ON account (balance);
CREATE INDEX ON account USING hash (note);
CREATE TABLE reserve (id int PRIMARY KEY, amount bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE journal (id bigint PRIMARY KEY, debit int, credit int, amount bigint NOT NULL, memo text);
CREATE INDEX ON journal (debit, credit);
CREATE INDEX ON journal USING gin (string_to_array(memo, ' '));
CREATE TABLE scratch (id bigserial PRIMARY KEY, body text);
INSERT INTO account SELECT i, {INITIAL}, 0, md5(i::text) FROM generate_series(1, {ACCOUNTS}) i;
INSERT INTO reserve SELECT i, 0 FROM generate_series(1, {BRANCHES}) i;
"""


class Client(threading.Thread):
    """One connection at a time, one transaction after the other, until told to stop."""

    def __init__(self, number, url, seed):
        super().__init__(daemon=True)
        self.number = number
        self.url = url
        self.random = random.Random(seed)
        self.next_id = number * 10**9
        self.sent = set()          # COMMIT was sent
        self.acknowledged = set()  # and answered
        self.doomed = 0
        self.stop = threading.Event()
        self.strange = []          # errors that a crash does not explain

    def run(self):
        while not self.stop.is_set():
            try:
                connection = psycopg2.connect(self.url, connect_timeout=5)
            except psycopg2.Error:
                time.sleep(0.05)
                continue
            try:
                while not self.stop.is_set():
                    self.transact(connection)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                if connection.closed == 0 and not isinstance(error, psycopg2.errors.AdminShutdown):
                    self.strange.append(repr(error))
            except psycopg2.Error as error:
                self.strange.append(repr(error))
            finally:
                with contextlib.suppress(psycopg2.Error):
                    connection.close()

    def transact(self, connection):
        self.next_id += 1
        number = self.next_id
        kind = self.random.choices(("transfer", "reserve", "savepoint", "rollback", "bulk"), (60, 20, 10, 5, 5))[0]
        self.doomed += 1
        try:
            with connection.cursor() as cursor:
                self.work(cursor, kind, number)
            if kind == "rollback":
                connection.rollback()
                return
            self.sent.add(number)
            self.doomed -= 1
            connection.commit()
            self.acknowledged.add(number)
        except psycopg2.errors.DeadlockDetected:
            connection.rollback()

    def work(self, cursor, kind, number):
        debit, credit = self.random.sample(range(1, ACCOUNTS + 1), 2)
        amount = self.random.randint(1, 50)
        move = "UPDATE account SET balance = balance + %s, changes = changes + 1 WHERE id = %s"
        if kind == "reserve":
            credit = -self.random.randint(1, BRANCHES)
        steps = [(move, (-amount, debit))]
        if credit > 0:
            steps.append((move, (amount, credit)))
        else:
            steps.append(("UPDATE reserve SET amount = amount + %s WHERE id = %s", (amount, -credit)))
        if kind == "savepoint":
            cursor.execute("SAVEPOINT s")
            cursor.execute("INSERT INTO journal VALUES (%s, 0, 0, 1, 'undone')", (-number,))
            cursor.execute(move, (10**6, credit))
            cursor.execute("ROLLBACK TO s")
            cursor.execute("SAVEPOINT t")
            cursor.execute("UPDATE account SET note = md5(note || id) WHERE id = %s", (debit,))
            cursor.execute("RELEASE t")
        if kind == "bulk":
            cursor.execute("INSERT INTO scratch (body) SELECT repeat(md5(i::text), 1 + i %% 40) "
                           "FROM generate_series(1, %s) i", (self.random.randint(1, 300),))
            cursor.execute("DELETE FROM scratch WHERE id IN (SELECT id FROM scratch WHERE id > "
                           "(SELECT last_value FROM scratch_id_seq) - 1500 ORDER BY id LIMIT 250 FOR UPDATE SKIP LOCKED)")
        for statement, values in steps:
            cursor.execute(statement, values)
        cursor.execute("INSERT INTO journal VALUES (%s, %s, %s, %s, %s)",
                       (number, debit, credit, amount, f"m{number} {kind} k{number % 97}"))


class Bank:
    def __init__(self, tide, seed, clients=6):
        self.tide = tide
        self.random = random.Random(seed)
        tide.sql(SCHEMA)
        self.url = tide.url()
        self.clients = [Client(n + 1, self.url, seed * 1000 + n) for n in range(clients)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        for client in self.clients:
            client.stop.set()
        for client in self.clients:
            client.join(timeout=120)
            assert not client.is_alive(), "a client hangs"

    def acknowledged(self):
        return sum(len(client.acknowledged) for client in self.clients)

    # What is killed.

    def victims(self):
        """{name: process ids}"""
        found = {"postmaster": [], "backend": [], "helper": [], "storage": [], "control": [], "supervise": [],
                 "redo": []}
        for pid, text in self.tide.processes().items():
            words = text.split()
            if not words:
                continue  # it is ending, and has no arguments any more
            if text.startswith("postgres:"):
                found["helper" if text.split(": ")[-1] in HELPERS else "backend"].append(pid)
            elif "--single" in words:
                found["redo"].append(pid)
            elif "postgres" in words[0]:
                found["postmaster"].append(pid)
            elif len(words) > 1 and words[1] in found:
                found[words[1]].append(pid)
        return found

    def kill(self):
        """Kills something and says what."""
        names = ["postmaster", "backend", "helper", "storage", "control", "supervise", "redo", "everything",
                 "storage+postmaster", "storage+redo", "control+postmaster", "supervise+storage"]
        choice = self.random.choice(names)
        if choice == "everything":
            self.tide.kill_everything()
            return choice
        victims = self.victims()
        chosen = [self.random.choice(sorted(victims[name])) for name in choice.split("+") if victims[name]]
        for pid in chosen:
            self.tide.kill(pid)
        # A process that is ending still looks alive.
        wait_for(lambda: not set(chosen) & set(self.tide.processes()), 10, f"end of {choice}")
        return choice

    def revive(self):
        """What a user does: `tide up`, where nothing supervises any more."""
        if self.victims()["supervise"]:
            return
        done = self.tide.up(check=False)
        assert done.returncode == 0, f"tide up: {done.stdout}{done.stderr}"

    def wait_until_it_answers(self):
        started = time.monotonic()
        last = None
        while True:
            try:
                connection = psycopg2.connect(self.url, connect_timeout=5)
                try:
                    with connection, connection.cursor() as cursor:
                        cursor.execute("UPDATE reserve SET amount = amount WHERE id = 1")
                    return time.monotonic() - started
                finally:
                    connection.close()
            except psycopg2.Error as error:
                last = error
            assert time.monotonic() - started < RECOVERY_TIMEOUT, f"no answer: {last}"
            time.sleep(0.02)

    # What must be true.

    def check(self):
        """The bank's books, in one snapshot, while clients go on. Raises AssertionError."""
        must = set().union(*(frozenset(client.acknowledged.copy()) for client in self.clients))
        with contextlib.closing(psycopg2.connect(self.url)) as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off")
                cursor.execute("SELECT id FROM journal")
                present = [row[0] for row in cursor]
                cursor.execute("SELECT sum(balance) + (SELECT sum(amount) FROM reserve) FROM account")
                total = cursor.fetchone()[0]
                cursor.execute("""
                  SELECT a.id, a.balance, b.balance FROM
                    (SELECT id, balance FROM account UNION ALL SELECT -id, amount FROM reserve) a
                    FULL JOIN
                    (SELECT id, sum(delta) AS balance FROM
                       (SELECT debit AS id, -amount AS delta FROM journal
                        UNION ALL SELECT credit, amount FROM journal
                        UNION ALL SELECT id, %s FROM account
                        UNION ALL SELECT -id, 0 FROM reserve) d GROUP BY id) b USING (id)
                  WHERE a.balance IS DISTINCT FROM b.balance""", (INITIAL,))
                wrong = cursor.fetchall()
        assert len(present) == len(set(present)), "a journal row is there twice"
        present = set(present)
        may = set().union(*(frozenset(client.sent.copy()) for client in self.clients))
        lost, invented = must - present, present - may
        assert not lost, f"{len(lost)} acknowledged transactions are lost: {sorted(lost)[:10]}"
        assert not invented, f"{len(invented)} transactions appeared that nobody committed: {sorted(invented)[:10]}"
        assert not wrong, f"{len(wrong)} balances differ from the journal: {wrong[:10]}"
        assert total == ACCOUNTS * INITIAL, f"the sum is {total}"
        strange = [text for client in self.clients for text in client.strange]
        assert not strange, strange[:10]
        return len(present)

    def check_structure(self):
        """amcheck and pg_visibility over everything, fsck over the storage."""
        problems = []
        with contextlib.closing(self.tide.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am m ON m.oid = c.relam "
                           "WHERE relkind = 'i' AND amname = 'btree' AND relpersistence = 'p'")
            for (index,) in cursor.fetchall():
                try:
                    cursor.execute("SELECT bt_index_parent_check(%s::regclass, true)", (index,))
                except psycopg2.Error as error:
                    problems.append(f"{index}: {error}")
            cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 't', 'm') "
                           "AND relpersistence = 'p'")
            for (table,) in cursor.fetchall():
                for question in ("SELECT * FROM verify_heapam(%s::regclass)",
                                 "SELECT * FROM pg_check_visible(%s::regclass)",
                                 "SELECT * FROM pg_check_frozen(%s::regclass)"):
                    if "verify" not in question and table.startswith("pg_toast"):
                        continue
                    try:
                        cursor.execute(question, (table,))
                        problems += [f"{table}: {question}: {row}" for row in cursor.fetchmany(3)]
                    except psycopg2.Error as error:
                        problems.append(f"{table}: {error}")
        assert not problems, problems[:10]
        self.tide.run("fsck")


HELPERS = {"checkpointer", "background writer", "walwriter", "autovacuum launcher", "logical replication launcher",
           "tidewater keeper", "autovacuum worker"}


def run(tide, rounds, seed, clients=6, say=print):
    bank = Bank(tide, seed, clients)
    bank.start()
    recoveries = []
    started = time.monotonic()
    for number in range(1, rounds + 1):
        time.sleep(bank.random.uniform(0.2, 2.0))
        what = [bank.kill()]
        # Sometimes a second blow lands while the first one heals.
        while bank.random.random() < 0.25 and len(what) < 3:
            time.sleep(bank.random.uniform(0.0, 1.0))
            if bank.random.random() < 0.5:
                bank.revive()
            what.append(bank.kill())
        bank.revive()
        recovery = bank.wait_until_it_answers()
        # A role may be down while PostgreSQL answers: all must come back by themselves.
        recoveries.append(recovery)
        present = bank.check()
        if number % 10 == 0:
            bank.check_structure()
        say(f"round {number} seed {seed}: killed {', then '.join(what)}; answered after {recovery:.2f} s; "
            f"{present} in the journal, {bank.acknowledged()} acknowledged")
    bank.stop()
    bank.wait_until_it_answers()
    present = bank.check()
    bank.check_structure()
    tide.down()
    tide.up()
    assert bank.check() == present
    recoveries.sort()
    doomed = sum(client.doomed for client in bank.clients)
    say(f"{rounds} rounds, seed {seed}, {time.monotonic() - started:.0f} s: {bank.acknowledged()} acknowledged, "
        f"{present} present, {doomed} never committed; lost 0, invented 0; answers after a kill: "
        f"median {recoveries[len(recoveries) // 2]:.2f} s, longest {recoveries[-1]:.2f} s; "
        f"amcheck, pg_visibility and fsck clean")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--seed", type=int, default=int(time.time()) % 100000)
    options.add_argument("--clients", type=int, default=6)
    options.add_argument("--durability", choices=("local", "acceptor"), default="local")
    chosen = options.parse_args()
    tide = Instance()
    try:
        tide.up("--durability", chosen.durability)
        run(tide, chosen.rounds, chosen.seed, chosen.clients, lambda text: print(text, flush=True))
        alarms = tide.alarms()
        assert not alarms, "\n".join(alarms[:20])
    except BaseException:
        tide.owns_base = False
        print(tide.logs(60), "\n\nkept for a look:", tide.base, flush=True)
        for pid, text in tide.processes().items():
            print(pid, text[:200])
        raise
    finally:
        tide.close()


if __name__ == "__main__":
    main()
