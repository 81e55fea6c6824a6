"""Clusters for the tests: a stock template, a standby of it behind a page server, a compute on top."""
import glob
import os
import pwd
import re
import shutil
import socket
import struct
import subprocess
import time

import psycopg2
import pytest

from page_server import PageServer

BIN = os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIBRARY = os.environ.get("TIDEWATER_SO", os.path.join(ROOT, "build/release/lib/tidewater.so"))
SCRATCH = os.environ.get("TIDEWATER_SCRATCH", "/tmp/tidewater-ext-tests")
HERE = os.path.dirname(os.path.abspath(__file__))


def as_postgres():
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd="/tmp", **as_postgres(), **options).stdout


def free_port():
    for port in range(20000 + os.getpid() % 9000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


class Server:
    """A running postgres on a Unix socket in its data directory's parent."""

    def __init__(self, data, port, settings):
        self.data, self.port, self.log = data, port, data + ".log"
        self.sockets = os.path.dirname(data)
        self.settings = dict(settings, port=port, unix_socket_directories=self.sockets,
                             listen_addresses="", fsync="off")
        self.process = None

    def start(self, wait=True):
        options = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN + "/postgres", "-D", self.data, *options], stdout=log,
                                            stderr=log, cwd="/tmp", **as_postgres())
        if not wait:
            return self
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError("server ended:\n" + self.log_text())
            try:
                self.connect().close()
                return self
            except psycopg2.OperationalError:
                time.sleep(0.05)
        raise RuntimeError("server does not start:\n" + self.log_text())

    def stop(self, how=2):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def dsn(self, database="postgres"):
        return f"host={self.sockets} port={self.port} dbname={database} user=postgres"

    def connect(self, database="postgres"):
        connection = psycopg2.connect(self.dsn(database))
        connection.autocommit = True
        return connection

    def query(self, text, database="postgres"):
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def value(self, text, database="postgres"):
        return self.query(text, database)[0][0]

    def log_text(self):
        with open(self.log, errors="replace") as log:
            return log.read()


@pytest.fixture(scope="session")
def scratch():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    if os.getuid() == 0:
        shutil.chown(SCRATCH, "postgres", "postgres")
    yield SCRATCH


@pytest.fixture(scope="session")
def reader_library(scratch):
    """standby_pages.so for the standby."""
    target = os.path.join(scratch, "standby_pages.so")
    include = subprocess.run([BIN + "/pg_config", "--includedir-server"], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.strip()
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", target, "-isystem", include,
                    HERE + "/standby_pages.c"], check=True)
    return target


TEMPLATE_SQL = """
create table big (id int primary key, filler text) with (fillfactor = 90);
insert into big select i, repeat(md5(i::text), 8) from generate_series(1, 40000) i;
create table wide (id int, doc text);
alter table wide alter doc set storage external;
insert into wide select i, repeat(md5(i::text), 300) from generate_series(1, 200) i;
create sequence numbers;
select nextval('numbers') from generate_series(1, 5);
create unlogged table scrap (id int primary key, note text);
insert into scrap select i, 'n' from generate_series(1, 1000) i;
create index on big using hash (filler);
create table dropped_later as select * from big limit 1000;
vacuum analyze;
"""


@pytest.fixture(scope="session")
def template(scratch, reader_library):
    """A stock cluster, stopped cleanly: what the page store knows when a compute starts."""
    data = os.path.join(scratch, "template")
    run(BIN + "/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C.UTF-8")
    server = Server(data, free_port(), {"wal_level": "logical", "full_page_writes": "off"}).start()
    connection = server.connect()
    cursor = connection.cursor()
    for statement in TEMPLATE_SQL.strip().split(";"):
        if statement.strip():
            cursor.execute(statement)
    for name, result, arguments in (
            ("standby_pages", "bytea", "oid, oid, oid, int, bigint, int"),
            ("standby_size", "bigint", "oid, oid, oid, int")):
        cursor.execute(f"create function {name}({arguments}) returns {result} "
                       f"as '{reader_library}' language c strict")
    cursor.execute("checkpoint")
    connection.close()
    server.stop()
    return data


RELATION_FILE = re.compile(r"^(\d+)(_(fsm|vm|init))?(\.\d+)?$")


def strip_relation_files(data):
    """Leaves what a base backup of the page store has: unlogged relations, as after a reset."""
    for directory in [data + "/global", *glob.glob(data + "/base/*")]:
        names = [name for name in os.listdir(directory) if RELATION_FILE.match(name)]
        unlogged = {name[:-5] for name in names if name.endswith("_init")}
        for name in names:
            number = RELATION_FILE.match(name).group(1)
            if number in unlogged and name.endswith("_init"):
                shutil.copy(f"{directory}/{name}", f"{directory}/{number}")
                if os.getuid() == 0:
                    shutil.chown(f"{directory}/{number}", "postgres", "postgres")
            elif number not in unlogged or name != number:
                os.unlink(f"{directory}/{name}")
        for name in os.listdir(directory):
            if name == "pg_internal.init":
                os.unlink(f"{directory}/{name}")


def checkpoint_lsn(data):
    text = run(BIN + "/pg_controldata", data)
    return re.search(r"Latest checkpoint location:\s+(\S+)", text).group(1)


def make_feed(path, epoch):
    with open(path, "wb") as feed:
        feed.write(struct.pack("<IIQ", 0x44454546, 1, epoch).ljust(4096, b"\0"))
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")


class Cluster:
    """Standby, page server and compute."""

    def __init__(self, directory, template, epoch=7, **settings):
        os.makedirs(directory)
        if os.getuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        for name in ("standby", "compute"):
            run("cp", "-a", template, f"{directory}/{name}")
        strip_relation_files(directory + "/compute")
        self.directory = directory
        self.feed = directory + "/feed"
        make_feed(self.feed, epoch)
        port = free_port()
        self.compute = Server(directory + "/compute", port, dict({
            "shared_preload_libraries": LIBRARY, "tidewater.role": "compute",
            "tidewater.page_socket": directory + "/pages", "tidewater.timeline": 3,
            "tidewater.epoch": epoch, "tidewater.start_lsn": checkpoint_lsn(template),
            "tidewater.feed_file": self.feed, "wal_level": "logical", "full_page_writes": "off",
            "restart_after_crash": "off", "max_connections": 100, "wal_keep_size": "4GB",
            "max_prepared_transactions": 10, "wal_sender_timeout": 0}, **settings))
        run("touch", directory + "/standby/standby.signal")
        self.standby = Server(directory + "/standby", port, {
            "primary_conninfo": f"host={directory} port={port} user=postgres",
            "unix_socket_directories": directory + "/standby", "max_connections": 100,
            "max_prepared_transactions": 10,
            "hot_standby": "on", "wal_retrieve_retry_interval": "100ms",
            "max_standby_streaming_delay": "100ms", "wal_receiver_status_interval": 1})
        self.standby.sockets = directory + "/standby"
        self.standby.settings["unix_socket_directories"] = self.standby.sockets
        self.standby.start()
        self.pages = PageServer(directory + "/pages", self.standby.dsn(), 3, epoch)
        self.pages.start()
        self.compute.start()

    def stop(self):
        self.compute.stop(how=2)
        self.pages.stop()
        self.standby.stop(how=3)


@pytest.fixture(scope="module")
def cluster(scratch, template, request):
    made = Cluster(f"{scratch}/{request.module.__name__}", template)
    yield made
    made.stop()


@pytest.fixture
def new_cluster(scratch, template, request):
    """Makes clusters with settings of the test's own."""
    made = []

    def make(**settings):
        made.append(Cluster(f"{scratch}/{request.node.name}-{len(made)}", template, **settings))
        return made[-1]

    yield make
    for each in made:
        each.stop()
