"""A real Tidewater instance for tests: `tide up` with a directory and ports of its own.

    with Instance() as tide:
        tide.up()
        tide.sql("SELECT 1")                   # [(1,)] on the main branch
        tide.run("branch", "create", "dev")
        tide.sql("SELECT 1", "@dev")

Everything is found by the data directory: processes carry it in their arguments, PostgreSQL's
backends work inside it. Nothing is ever ended by name.
"""
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TIDE = pathlib.Path(os.environ.get("TIDE_BINARY", ROOT / "build/release/tide"))


def free_port():
    """A port nobody listens on, below the range the kernel gives to clients."""
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what, timeout=30.0, message="condition"):
    """Calls `what` until it yields something true, and yields that."""
    deadline = time.monotonic() + timeout
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{message}: not within {timeout} s")
        time.sleep(0.01)


class Failed(AssertionError):
    """A tide command ended with an error."""

    def __init__(self, arguments, done):
        super().__init__(f"tide {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        self.returncode = done.returncode
        self.output = done.stdout + done.stderr


class Instance:
    def __init__(self, base=None, port=None, http_port=None, object_store=None):
        self.owns_base = base is None
        self.base = pathlib.Path(base or tempfile.mkdtemp(prefix="tide-e2e-", dir="/tmp"))
        # As root our roles run as another user, who must be able to come here.
        self.base.chmod(0o755)
        self.data = self.base / "data"
        self.port = port or free_port()
        self.http_port = http_port or free_port()
        self.warehouse_port = free_port()
        self.object_store = object_store

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        try:
            if self.data.exists() and self.processes():
                self.run("down", check=False, timeout=60)
        finally:
            self.kill_everything()
            if self.owns_base:
                shutil.rmtree(self.base, ignore_errors=True)

    # Commands.

    def start_command(self, *arguments, **options):
        environment = dict(os.environ, TIDE_DATA=str(self.data))
        return subprocess.Popen([str(TIDE), *arguments], env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *arguments, check=True, input=None, timeout=120, binary=False):
        """Runs tide with our data directory and yields what came out."""
        arguments = [str(argument) for argument in arguments]
        done = subprocess.run([str(TIDE), *arguments], env=dict(os.environ, TIDE_DATA=str(self.data)),
                              input=input, stdin=subprocess.DEVNULL if input is None else None,
                              capture_output=True, text=not binary, timeout=timeout)
        if check and done.returncode != 0:
            raise Failed(arguments, done)
        return done

    def output(self, *arguments, **options):
        return self.run(*arguments, **options).stdout.strip()

    def json(self, *arguments):
        return json.loads(self.output(*arguments, "--json"))

    def up(self, *more, check=True):
        arguments = ["up", "--detach", "--data", self.data, "--port", self.port,
                     "--http-port", self.http_port, "--warehouse-port", self.warehouse_port]
        if self.object_store:
            arguments += ["--object-store", self.object_store]
        return self.run(*arguments, *more, check=check)

    def down(self):
        return self.run("down", "--data", self.data)

    def url(self, target=None):
        return self.output("url", *([target] if target else []))

    # SQL.

    def connect(self, target=None, **options):
        """A psycopg2 connection that commits every statement."""
        connection = psycopg2.connect(self.url(target), connect_timeout=30, **options)
        connection.autocommit = True
        return connection

    def sql(self, statement, target=None, parameters=None):
        """Rows of one statement on a connection of its own; None if it yields none."""
        with contextlib.closing(self.connect(target)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement, target=None):
        return self.sql(statement, target)[0][0]

    def lsn(self, target=None):
        """The end of the WAL so far, flushed."""
        self.sql("SELECT txid_current()", target)
        return self.value("SELECT pg_current_wal_flush_lsn()", target)

    # Processes.

    def processes(self):
        """{pid: arguments} of every process of this instance."""
        data = os.path.realpath(self.data)
        inside = re.compile(re.escape(data) + r"(/| \(deleted\)|$)")
        named = re.compile(re.escape(data) + r"(/|,|;|\"|'|\s|$)")
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                arguments = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
                state = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2][0]
                directory = os.readlink(f"/proc/{entry}/cwd")
            except (OSError, IndexError):
                continue
            arguments = arguments.replace("\0", " ").strip()
            if state != "Z" and (named.search(arguments) or inside.match(directory)):
                found[int(entry)] = arguments
        return found

    def find(self, text):
        """Process ids whose arguments contain `text`."""
        return [pid for pid, arguments in self.processes().items() if text in arguments]

    def postmaster(self, branch="main"):
        """The process id of a branch's PostgreSQL."""
        name = re.compile(r"cluster_name=\S*:" + re.escape(branch) + r"(\s|$)")
        for pid, arguments in self.processes().items():
            if "postgres -D" in arguments and name.search(arguments):
                return pid
        return None

    @staticmethod
    def kill(pid, sig=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)

    def kill_everything(self):
        """SIGKILL to every process of this instance, until none is left."""
        deadline = time.monotonic() + 20
        while True:
            processes = self.processes()
            if not processes:
                return
            assert time.monotonic() < deadline, f"do not end: {processes}"
            for pid in processes:
                self.kill(pid)
            time.sleep(0.01)

    # What helps to understand a failure.

    def logs(self, lines=40):
        out = []
        for path in sorted(self.data.glob("log/*")):
            with contextlib.suppress(OSError):
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                out.append(f"--- {path}\n" + "\n".join(tail))
        return "\n".join(out)

    def alarms(self):
        """Log lines that must never appear."""
        bad = re.compile(r"PANIC|TRAP:|invariant|corrupt|could not read block|invalid page|BUG")
        found = []
        for path in sorted(self.data.glob("log/*")):
            with contextlib.suppress(OSError):
                found += [f"{path.name}: {line}" for line in path.read_text(errors="replace").splitlines()
                          if bad.search(line)]
        return found
