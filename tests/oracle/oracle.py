"""The page oracle: a stock PostgreSQL standby replays all WAL that an instance ever wrote; then every
block of every relation and every SLRU page is compared with what the page store answers.

    with PageOracle(tide) as oracle:      # before the workload: it keeps the WAL that will be trimmed
        ...
        report = oracle.compare()         # suspends the branch, replays, compares
        assert not report.differences
"""
import collections
import ctypes
import http.client
import io
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import struct
import subprocess
import tarfile
import threading

import psycopg2

from instance import ROOT, free_port, wait_for
from pages import BLOCK, FORKS, MAX_BLOCKS, Pages

SEGMENT = 16 << 20
PG = pathlib.Path("/usr/lib/postgresql/15/bin")
KINDS = {"bthandler": "btree", "hashhandler": "hash", "ginhandler": "gin", "gisthandler": "gist", "spghandler": "spgist",
         "brinhandler": "brin", "blhandler": "bloom", "heap_tableam_handler": "heap", None: "heap"}
RELATION = re.compile(r"(\d+)(?:_(fsm|vm|init))?(?:\.(\d+))?")


def as_postgres(command, **options):
    """Runs a PostgreSQL program, which refuses to run as root."""
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *map(str, command)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def give_to_postgres(path):
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam("postgres")
    for directory, _, files in os.walk(path):
        os.chown(directory, user.pw_uid, user.pw_gid)
        for name in files:
            os.chown(os.path.join(directory, name), user.pw_uid, user.pw_gid)


def parse_lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def show_lsn(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Storage(http.client.HTTPConnection):
    """The storage API (docs/formats/storage-api.md)."""

    def __init__(self, tide):
        super().__init__("storage")
        self.path = str(tide.data / "run/storage.sock")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self.path)

    def get(self, target):
        self.request("GET", target)
        answer = self.getresponse()
        body = answer.read()
        assert answer.status == 200, (target, answer.status, body[:500])
        return body

    def json(self, target):
        return json.loads(self.get(target))


class Masks:
    """tests/redo/page_mask.cc, compiled for ctypes."""

    def __init__(self, directory):
        library = directory / "mask.so"
        subprocess.run(["g++", "-std=c++20", "-O2", "-shared", "-fPIC", "-I", ROOT / "src", "-I", ROOT / "tests/redo",
                        "-o", library, pathlib.Path(__file__).parent / "mask.cc"], check=True)
        self.differ = ctypes.CDLL(str(library)).tide_pages_differ

    def same(self, kind, block, a, b):
        one, two = (ctypes.create_string_buffer(page, BLOCK) for page in (a, b))
        result = self.differ(kind.encode(), ctypes.c_uint32(block), one, two)
        assert result >= 0, kind
        return result == 0, one.raw, two.raw


class Report:
    def __init__(self):
        self.compared = collections.Counter()     # blocks by kind
        self.masked = collections.Counter()       # of them equal only after masking
        self.differences = []
        self.free_space = collections.Counter()   # free space maps: not in WAL, so only told
        self.explained = collections.Counter()

    def __str__(self):
        total = sum(self.compared.values())
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.compared.items()))
        masked = ", ".join(f"{kind} {count}" for kind, count in sorted(self.masked.items()))
        return (f"{total} blocks compared ({kinds}); {sum(self.masked.values())} equal after masking ({masked}); "
                f"free space maps: {dict(self.free_space)}; explained: {dict(self.explained)}; "
                f"{len(self.differences)} differences" + "".join(f"\n  {line}" for line in self.differences[:40]))


class PageOracle:
    def __init__(self, tide, timeline=1, branch="main"):
        self.tide = tide
        self.timeline = timeline
        self.branch = branch
        self.directory = tide.base / "oracle"
        self.archive = self.directory / "archive"
        self.archive.mkdir(parents=True)
        self.standby = self.directory / "standby"
        self.done = threading.Event()
        self.collector = threading.Thread(target=self.collect, daemon=True)
        self.collector.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.set()
        self.collector.join()
        if (self.standby / "postmaster.pid").exists():
            as_postgres([PG / "pg_ctl", "stop", "-m", "immediate", "-D", self.standby])

    # All WAL, also what was trimmed.

    def collect(self):
        while not self.done.wait(0.05):
            self.collect_once()

    def collect_once(self):
        for segment in (self.tide.data / f"wal/t{self.timeline}").glob("e*/" + "[0-9A-F]" * 24):
            kept = self.archive / segment.parent.name / segment.name
            if not kept.exists():
                kept.parent.mkdir(exist_ok=True)
                try:
                    os.link(segment, kept)  # segments are never renamed or used again
                except (FileNotFoundError, FileExistsError):
                    pass

    def assemble(self):
        """One line of segments out of the epochs' parts; yields where it ends."""
        self.collect_once()
        history = json.loads((self.tide.data / f"wal/t{self.timeline}/history.json").read_text())
        out = self.directory / "wal"
        out.mkdir()
        epochs = history["epochs"]
        for number, epoch in enumerate(epochs):
            start, end = parse_lsn(epoch["start"]), parse_lsn(epoch["end"])
            position = start
            while position < end:
                segment = position // SEGMENT
                stop = min(end, (segment + 1) * SEGMENT)
                name = f"{1:08X}{segment >> 8:08X}{segment & 0xFF:08X}"
                # The page header of the very first segment counts too.
                begin = segment * SEGMENT if number == 0 else position
                with open(self.archive / f"e{epoch['epoch']}" / name, "rb") as source:
                    source.seek(begin % SEGMENT)
                    data = source.read(stop - begin)
                assert len(data) == stop - begin, f"{name} of epoch {epoch['epoch']} is short"
                path = out / name
                with open(path, "r+b" if path.exists() else "w+b") as target:
                    target.truncate(SEGMENT)
                    target.seek(begin % SEGMENT)
                    target.write(data)
                position = stop
        return parse_lsn(epochs[-1]["end"]), len(epochs)

    # The standby.

    def backup(self, epoch):
        """{path: content} of the data directory at an epoch's start."""
        body = Storage(self.tide).get(f"/v1/timelines/{self.timeline}/backup?epoch={epoch}")
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar if member.isfile()}

    def make_standby(self):
        shutil.copytree(self.tide.data / "template", self.standby)
        (self.standby / "global/pg_control").write_bytes(self.backup(1)["global/pg_control"])
        self.port = free_port()
        (self.standby / "postgresql.auto.conf").write_text("")
        (self.standby / "postgresql.conf").write_text(f"""
            listen_addresses = ''
            port = {self.port}
            unix_socket_directories = '{self.directory}'
            hot_standby = on
            max_connections = 300
            max_wal_senders = 30
            max_worker_processes = 40
            max_prepared_transactions = 300
            max_locks_per_transaction = 512
            max_standby_archive_delay = 0
            shared_buffers = 256MB
            fsync = off
            wal_retrieve_retry_interval = 100ms
            restore_command = 'cp {self.directory}/wal/%f %p'
            """)
        (self.standby / "pg_hba.conf").write_text("local all all trust\n")
        (self.standby / "standby.signal").write_text("")
        self.directory.chmod(0o755)
        for path in (self.standby, self.directory / "wal"):
            give_to_postgres(path)
        give_to_postgres(self.directory)
        self.standby.chmod(0o700)

    def ask_standby(self, statement, database="template1"):
        connection = psycopg2.connect(host=str(self.directory), port=self.port, user=self.user, dbname=database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        finally:
            connection.close()

    def replay(self, end):
        as_postgres([PG / "pg_ctl", "start", "-D", self.standby, "-l", self.directory / "standby.log", "-t", 600])

        def arrived():
            if not (self.standby / "postmaster.pid").exists():
                raise AssertionError("the standby died:\n" + (self.directory / "standby.log").read_text()[-3000:])
            try:
                return parse_lsn(self.ask_standby("SELECT pg_last_wal_replay_lsn()")[0][0]) >= end
            except psycopg2.OperationalError:
                return False

        self.user = "postgres"
        self.user = self.superuser()
        wait_for(arrived, 1800, f"replay to {show_lsn(end)}")
        self.kinds = self.relation_kinds()
        as_postgres([PG / "pg_ctl", "stop", "-m", "fast", "-D", self.standby, "-t", 600])

    def superuser(self):
        """Whoever initdb made superuser."""
        for name in ("postgres", "tide", "cloud_admin"):
            self.user = name
            try:
                wait_for(lambda: self.ask_standby("SELECT 1"), 5)
                return name
            except (AssertionError, psycopg2.OperationalError):
                continue
        raise AssertionError("no superuser is known:\n" + (self.directory / "standby.log").read_text()[-3000:])

    def relation_kinds(self):
        """{database oid: {relation file number: kind}}; database 0 is the shared catalogue."""
        kinds = {0: {}}
        for oid, name, reachable in self.ask_standby("SELECT oid, datname, datallowconn FROM pg_database"):
            if not reachable:
                continue
            kinds[oid] = {}
            for file, kind, am, shared in self.ask_standby(
                    "SELECT pg_relation_filenode(c.oid), relkind::text, amhandler::regproc::text, relisshared FROM pg_class c "
                    "LEFT JOIN pg_am m ON m.oid = relam WHERE pg_relation_filenode(c.oid) IS NOT NULL", name):
                kinds[0 if shared else oid][file] = "sequence" if kind == "S" else KINDS[am]
        self.template1 = self.ask_standby("SELECT oid FROM pg_database WHERE datname = 'template1'")[0][0]
        return kinds

    # Comparing.

    def compare(self):
        """Suspends the branch, replays all its WAL in a stock standby and compares. Yields a Report."""
        self.tide.run("endpoint", "suspend", self.branch)
        end, self.epochs = self.assemble()
        self.end = end
        self.make_standby()
        self.replay(end)
        report = Report()
        masks = Masks(self.directory)
        pages = Pages(self.tide.data / "run/pages.sock", self.timeline)
        assert pages.ingested >= end, (show_lsn(pages.ingested), show_lsn(end))
        self.compare_database(report, masks, pages, self.standby / "global", 1664, 0)
        for directory in sorted((self.standby / "base").iterdir()):
            if directory.name.isdigit():
                self.compare_database(report, masks, pages, directory, 1663, int(directory.name))
        pages.close()
        # The next life begins exactly where the standby stands.
        self.tide.run("endpoint", "start", self.branch)
        last = max(epoch["epoch"] for epoch in json.loads(
            (self.tide.data / f"wal/t{self.timeline}/history.json").read_text())["epochs"])
        self.compare_small_files(report, self.backup(last))
        return report

    def compare_database(self, report, masks, pages, directory, spc, db):
        files = collections.defaultdict(dict)  # (relation, fork): {part: path}
        for path in directory.iterdir():
            if match := RELATION.fullmatch(path.name):
                rel, fork, part = match.groups()
                files[int(rel), fork or "main"][int(part or 0)] = path
        known = self.kinds.get(db, self.kinds[self.template1])
        total = 0
        space = 0
        for (rel, fork), parts in sorted(files.items()):
            blocks = sum(path.stat().st_size for path in parts.values()) // BLOCK
            stored = pages.size(spc, db, rel, FORKS[fork], at=self.end, least=self.end)
            name = f"{spc}/{db}/{rel}.{fork}"
            if fork == "fsm":
                space += (stored or 0) * BLOCK
                report.free_space["same size" if stored == blocks else "other size"] += 1
                continue
            total += blocks * BLOCK
            if fork == "vm" and stored != blocks:
                # A standby lengthens its map when it clears a bit there, without WAL.
                report.explained["length of a visibility map"] += 1
                total += ((stored or 0) - blocks) * BLOCK
            elif stored != blocks:
                report.differences.append(f"{name}: {stored} blocks, PostgreSQL has {blocks}")
            if stored is None and fork != "vm":
                continue
            kind = fork if fork == "vm" else known.get(rel, "heap")
            for part, path in sorted(parts.items()):
                self.compare_file(report, masks, pages, path, (spc, db, rel, fork), part << 17, kind)
        stored = pages.database_bytes(db, at=self.end, least=self.end)
        if db != 0 and stored - space != total:
            report.differences.append(f"database {db}: {stored - space} bytes without free space maps, PostgreSQL has {total}")

    def compare_file(self, report, masks, pages, path, tag, base, kind):
        spc, db, rel, fork = tag
        with open(path, "rb") as file:
            while chunk := file.read(MAX_BLOCKS * BLOCK):
                count = len(chunk) // BLOCK
                got = pages.read(spc, db, rel, FORKS[fork], base, count, at=self.end, least=self.end)
                report.compared[kind] += count
                if got != chunk:
                    for number in range(count):
                        one, two = (data[number * BLOCK:(number + 1) * BLOCK] for data in (got, chunk))
                        if one != two:
                            self.judge(report, masks, tag, base + number, kind, one, two)
                base += count

    def notices(self, path, at):
        """Whether one flipped byte of PostgreSQL's file would be found: the oracle's own test."""
        report = Report()
        masks = Masks(self.directory)
        pages = Pages(self.tide.data / "run/pages.sock", self.timeline)
        file = self.standby / path
        db, rel = map(int, path.split("/")[1:])
        with open(file, "r+b") as target:
            target.seek(at)
            byte = target.read(1)
            target.seek(at)
            target.write(bytes([byte[0] ^ 0x10]))
        self.compare_file(report, masks, pages, file, (1663, db, rel, "main"), 0, "heap")
        pages.close()
        return len(report.differences) == 1

    def judge(self, report, masks, tag, block, kind, one, two):
        """One block that is not equal byte by byte: `one` is ours, `two` PostgreSQL's."""
        spc, db, rel, fork = tag
        name = f"{spc}/{db}/{rel}.{fork} block {block} ({kind})"
        if kind == "vm":
            # The header's LSN alone may differ; bits may not.
            if one[24:] == two[24:]:
                report.masked[kind] += 1
                return
            a, b = one, two
        else:
            same, a, b = masks.same(kind, block, one, two)
            if same:
                report.masked[kind] += 1
                return
        places = [i for i in range(BLOCK) if a[i] != b[i]]
        lsns = [show_lsn(struct.unpack_from("<I", page)[0] << 32 | struct.unpack_from("<I", page, 4)[0])
                for page in (one, two)]
        report.differences.append(
            f"{name}: {len(places)} bytes from {places[0]} to {places[-1]}; LSN ours {lsns[0]}, PostgreSQL's {lsns[1]}; "
            f"ours {a[places[0]:places[0] + 16].hex()}, PostgreSQL's {b[places[0]:places[0] + 16].hex()}")

    def compare_small_files(self, report, backup):
        """SLRUs page by page (what is not there is zeros), relation maps, prepared transactions."""
        for area in ("pg_xact", "pg_multixact/offsets", "pg_multixact/members"):
            theirs = {path.name: path.read_bytes() for path in (self.standby / area).iterdir()}
            ours = {path.removeprefix(area + "/"): data for path, data in backup.items() if path.startswith(area + "/")}
            for name in sorted(set(theirs) | set(ours)):
                one, two = ours.get(name, b""), theirs.get(name, b"")
                if name not in ours or name not in theirs:
                    report.explained[f"segment only {'there' if name in theirs else 'here'}: {area}"] += 1
                for at in range(0, max(len(one), len(two)), BLOCK):
                    a, b = (data[at:at + BLOCK].ljust(BLOCK, b"\0") for data in (one, two))
                    report.compared[area] += 1
                    if a != b:
                        places = [i for i in range(BLOCK) if a[i] != b[i]]
                        report.differences.append(
                            f"{area}/{name} page {at // BLOCK}: {len(places)} bytes from {places[0]} to {places[-1]}: "
                            f"ours {a[places[0]:places[0] + 16].hex()}, PostgreSQL's {b[places[0]:places[0] + 16].hex()}")
        maps = [path for path in backup if path.endswith("pg_filenode.map")]
        assert maps
        for path in maps + [path for path in backup if path.startswith("pg_twophase/")]:
            theirs = self.standby / path
            report.compared["map" if path.endswith(".map") else "prepared transaction"] += 1
            if not theirs.exists() or theirs.read_bytes() != backup[path]:
                report.differences.append(f"{path}: differs")
        prepared = {f"pg_twophase/{path.name}" for path in (self.standby / "pg_twophase").iterdir()}
        if missing := prepared - set(backup):
            report.differences.append(f"prepared transactions missing: {missing}")
        self.compare_control(report, backup["global/pg_control"])

    def compare_control(self, report, control):
        """What the next start believes: our counters and those at PostgreSQL's last checkpoint."""
        copy = self.directory / "control/global"
        copy.mkdir(parents=True)
        (copy / "pg_control").write_bytes(control)
        shown = []
        for directory in (copy.parent, self.standby):
            text = subprocess.run([PG / "pg_controldata", "-D", directory], capture_output=True, text=True, check=True).stdout
            shown.append(dict(line.split(":", 1) for line in text.splitlines() if ":" in line))
        for name in ("Database system identifier", "Latest checkpoint's NextXID", "Latest checkpoint's NextOID",
                     "Latest checkpoint's NextMultiXactId", "Latest checkpoint's NextMultiOffset",
                     "Latest checkpoint's oldestXID", "Latest checkpoint's oldestXID's DB",
                     "Latest checkpoint's oldestMultiXid", "Latest checkpoint's oldestMulti's DB"):
            report.compared["counter"] += 1
            ours, theirs = (fields[name].strip() for fields in shown)
            if ours != theirs:
                report.differences.append(f"{name}: ours {ours}, PostgreSQL's {theirs}")
