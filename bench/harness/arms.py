"""The servers that are compared: stock PostgreSQL 15 and Tidewater, with one interface.

Both lie below one directory, so on one disk; both listen on loopback, ask for a SCRAM password and
run as an unprivileged user. What an arm starts it ends by process id.
"""
import contextlib
import http.client
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

from instance import Instance, free_port, wait_for  # noqa: E402

from harness.lake import Lake, lsn_number  # noqa: E402
from harness.processes import descendants, drop_from_page_cache, pss_bytes  # noqa: E402

POSTGRES = pathlib.Path(os.environ.get("PG_BINDIR", "/usr/lib/postgresql/15/bin"))


def unprivileged():
    """What subprocess needs to run a program as the user PostgreSQL may run as."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam(os.environ.get("PGUSER_OS", "postgres"))
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give_away(path):
    """Hands a directory to that user."""
    who = unprivileged()
    if who:
        os.chown(path, who["user"], who["group"])


class Arm:
    """A server. Subclasses set name, port, user, password, database."""

    host = "127.0.0.1"

    def connect(self, port=None):
        connection = psycopg2.connect(host=self.host, port=port or self.port, user=self.user, password=self.password,
                                      dbname=self.database, connect_timeout=60)
        connection.autocommit = True
        return connection

    def connect_soon(self, process=None, timeout=60):
        """Tries until the server answers."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.connect()
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                    raise
                time.sleep(0.0005)

    def sql(self, statement, parameters=None):
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement, parameters=None):
        return self.sql(statement, parameters)[0][0]

    def environment(self):
        """For programs of libpq: pgbench, psql."""
        return dict(os.environ, PGHOST=self.host, PGPORT=str(self.port), PGUSER=self.user,
                    PGPASSWORD=self.password, PGDATABASE=self.database)

    def set_and_restart(self, settings):
        """ALTER SYSTEM, then a new life of the server."""
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = %s", (value,))
        self.stop()
        self.start()

    def wal_position(self):
        return lsn_number(self.value("SELECT pg_current_wal_insert_lsn()"))

    def prepare_for_writes(self):
        """The state each measured run of writes begins in."""
        self.sql("CHECKPOINT")
        self.settle()


class Stock(Arm):
    """PostgreSQL 15 from Debian, with judges' settings: fsync on, wal_level=logical."""

    name = "stock"
    user = "postgres"
    password = "stock"
    database = "postgres"

    def __init__(self, base, shared_buffers):
        self.base = pathlib.Path(base) / "stock"
        self.data = self.base / "data"
        self.log = self.base / "log"
        self.port = free_port()
        self.process = None
        self.receiver = None
        self.base.mkdir(parents=True)
        give_away(self.base)
        secret = self.base / "password"
        secret.write_text(self.password)
        give_away(secret)
        # Locale as Tidewater's template: comparing text costs the same.
        self._run("initdb", "-D", self.data, "-U", self.user, "-A", "scram-sha-256", "--pwfile", secret,
                  "--locale=C.UTF-8", "--encoding=UTF8")
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nport = {self.port}\n"
                       f"shared_buffers = {shared_buffers}\nmax_connections = 120\nfsync = on\n"
                       "synchronous_commit = on\nwal_level = logical\nmax_wal_size = 4GB\n"
                       "checkpoint_timeout = 15min\nmax_prepared_transactions = 8\nwal_keep_size = 1GB\n")
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run([str(POSTGRES / program), *map(str, arguments)], capture_output=True, text=True,
                              cwd="/", **unprivileged())
        if done.returncode != 0:
            raise RuntimeError(f"{program}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def spawn(self):
        """The postmaster, not yet answering."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(POSTGRES / "postgres"), "-D", str(self.data)], cwd="/",
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, **unprivileged())

    def start(self):
        self.spawn()
        self.connect_soon(self.process).close()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=600)

    def kill(self):
        """kill -9 of the postmaster alone."""
        self.process.kill()
        self.process.wait()

    def start_after_kill(self):
        """Again and again: the orphans of the old postmaster hold its shared memory for a moment. Yields a connection."""
        deadline = time.monotonic() + 60
        while True:
            self.spawn()
            try:
                return self.connect_soon(self.process)
            except psycopg2.OperationalError:
                if self.process.poll() is None or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def attach_synchronous_receiver(self):
        """Commits wait from here on for a receiver that fsyncs."""
        directory = self.base / "received"
        directory.mkdir()
        give_away(directory)
        with open(self.base / "receiver.log", "ab") as log:
            self.receiver = subprocess.Popen(
                [str(POSTGRES / "pg_receivewal"), "-D", str(directory), "--synchronous", "-w"],
                cwd="/", env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **unprivileged())
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'")
        self.sql("SELECT pg_reload_conf()")
        wait_for(lambda: self.sql("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"),
                 message=f"a synchronous receiver; see {self.base}/receiver.log")

    def settle(self):
        return 0.0

    def drop_page_cache(self):
        drop_from_page_cache(self.data / "base")

    def memory(self):
        """{role: bytes}"""
        return {"PostgreSQL": sum(map(pss_bytes, descendants(self.process.pid)))}

    def close(self):
        if self.receiver is not None:
            # The server's stop would wait for it.
            self.receiver.kill()
            self.receiver.wait()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.base, ignore_errors=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Tide(Arm):
    """`tide up`, with branch main. `mirror`: "on" or "off"."""

    def __init__(self, base, shared_buffers, durability="local", mirror="on", name="tide"):
        self.name = name
        self.base = pathlib.Path(base) / name
        self.base.mkdir(parents=True)
        self.instance = Instance(base=self.base)
        self.lake = Lake(self.instance) if mirror == "on" else None
        try:
            self.instance.up("--durability", durability, "--mirror", mirror)
            where = psycopg2.extensions.parse_dsn(self.instance.url())
            self.port = int(where["port"])
            self.user, self.password, self.database = where["user"], where["password"], where["dbname"]
            self.token = (self.instance.data / "secrets/token").read_text().strip()
            self.set_and_restart({"shared_buffers": shared_buffers})
        except BaseException:
            self.close()
            raise

    def start(self):
        self.instance.run("endpoint", "start", "main", timeout=600)

    def stop(self):
        self.instance.run("endpoint", "suspend", "main", timeout=600)

    def kill(self):
        """kill -9 of the postmaster alone."""
        self.instance.kill(self.instance.postmaster())

    def ask(self, method, path, body=None):
        """The control API. Yields the answer and the seconds it took."""
        connection = http.client.HTTPConnection("127.0.0.1", self.instance.http_port, timeout=120)
        return self._ask(connection, method, path, body, {"Authorization": f"Bearer {self.token}"})

    def ask_storage(self, method, path, body=None):
        """The storage API."""
        return self._ask(UnixConnection(self.instance.data / "run/storage.sock"), method, path, body, {})[0]

    @staticmethod
    def _ask(connection, method, path, body, headers):
        with contextlib.closing(connection):
            begin = time.monotonic()
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            seconds = time.monotonic() - begin
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {text.decode(errors='replace')}")
            kind = response.headers.get("Content-Type", "")
            return (json.loads(text) if text and "json" in kind else text.decode(errors="replace")), seconds

    def timeline(self, id=1):
        """What the storage says of a branch."""
        return next(found for found in self.ask_storage("GET", "/v1/timelines") if found["id"] == id)

    def settle(self):
        """Waits until the page store and the lake have all WAL, so that no other arm's run pays for ours. Yields the
        page store's seconds."""
        seconds = self.wait_ingested()
        if self.lake is not None:
            self.lake.wait_for(self.value("SELECT pg_current_wal_flush_lsn()"), "published_lsn")
        return seconds

    def wait_ingested(self, target=None, timeout=600):
        """Waits until the page store has all WAL. Yields the seconds."""
        begin = time.monotonic()
        if target is None:
            self.sql("SELECT txid_current()")
            target = self.value("SELECT pg_current_wal_flush_lsn()")
        goal = lsn_number(target)

        def ingested():
            try:
                return lsn_number(self.timeline()["ingested_lsn"]) >= goal
            except (OSError, http.client.HTTPException, RuntimeError, StopIteration):
                return False  # the storage role is just starting

        wait_for(ingested, timeout=timeout, message=f"page store at {target}")
        return time.monotonic() - begin

    def drop_page_cache(self):
        """Of the storage; a stopped compute has no cache: its directory is made anew at the start."""
        drop_from_page_cache(self.instance.data)

    def memory(self):
        """{role: bytes}"""
        roles = {}
        for pid, arguments in self.instance.processes().items():
            try:
                directory = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                continue
            words = arguments.split()
            if "/redo/" in directory or "--single" in words:
                role = "redo helpers"
            elif words[0].endswith("tide") and len(words) > 1:
                role = {"supervise": "supervisor"}.get(words[1], words[1])
            elif words[0].startswith("postgres") or words[0].endswith("/postgres"):
                role = "compute (PostgreSQL)"
            else:
                role = "other"
            roles[role] = roles.get(role, 0) + pss_bytes(pid)
        return roles

    def log(self, name):
        """Lines of a log file."""
        path = self.instance.data / "log" / name
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def close(self):
        self.instance.close()
        shutil.rmtree(self.base, ignore_errors=True)
