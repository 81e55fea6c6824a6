"""The lake as its readers see it: the mirror's socket, and the commits in a table's directory."""
import json
import os
import pathlib
import re
import socket
import struct
import time

COMMIT = re.compile(r"(\d{20})\.json")


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


class LakeChannel:
    """A conversation with the mirror; src/net/blob_channel.h has its form. Snapshots end with it."""

    def __init__(self, path, timeout=120):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))

    def close(self):
        self.socket.close()

    def _receive(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise ConnectionError("the mirror has hung up")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def ask(self, op, **members):
        """(the answer, its blobs)"""
        text = json.dumps({"op": op, **members}).encode()
        self.socket.sendall(struct.pack("<II", len(text) + 4, len(text)) + text)
        length, text_length = struct.unpack("<II", self._receive(8))
        answer = json.loads(self._receive(text_length))
        blobs = [self._receive(size) for size in answer.get("blobs", [])]
        if length != 4 + text_length + sum(map(len, blobs)):
            raise RuntimeError("mirror: an answer of another length than it says")
        if "error" in answer:
            raise RuntimeError(f"mirror: {answer['error']}")
        return answer, blobs


def first_column(blob):
    """Values of the first column of encoded rows (src/columns/column.h), a bigint that is never null."""
    count, words = struct.unpack_from("<QQ", blob)
    at = 16 + words
    size, = struct.unpack_from("<Q", blob, at)
    if size != 8 * count:
        raise RuntimeError(f"{size} bytes for {count} values of a bigint")
    return struct.unpack_from(f"<{count}q", blob, at + 8)


class Lake:
    """The mirror of branch main of an instance."""

    TIMELINE = 1

    def __init__(self, instance):
        self.instance = instance

    @property
    def pid(self):
        found = [pid for pid, text in self.instance.processes().items() if "/tide mirror " in text]
        if len(found) != 1:
            raise RuntimeError(f"{len(found)} mirrors")
        return found[0]

    def channel(self):
        return LakeChannel(self.instance.data / "run/lake.sock")

    def status(self, channel):
        """What the mirror says of the branch; None while it starts."""
        branches = channel.ask("status", timeline=self.TIMELINE)[0]["branches"]
        return branches[0] if branches and branches[0]["state"] == "following" else None

    def table(self, name):
        """The status of a table of schema public."""
        channel = self.channel()
        try:
            status = self.status(channel)
            return next((table for table in status["tables"] if table["table"] == name), None) if status else None
        finally:
            channel.close()

    def wait_for(self, lsn, *members, timeout=600):
        """Waits until each of the status's members ("applied_lsn", "published_lsn") has come to the LSN, and yields
        time.monotonic() of each."""
        goal = lsn_number(lsn)
        deadline = time.monotonic() + timeout
        reached = {}
        channel = None
        status = None
        while len(reached) < len(members):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the lake is not at {lsn} within {timeout} s: {status}")
            try:
                channel = channel or self.channel()
                status = self.status(channel)
            except (OSError, RuntimeError):
                channel = None  # the role is just starting
                status = None
            now = time.monotonic()
            for member in members:
                if status and lsn_number(status[member]) >= goal:
                    reached.setdefault(member, now)
            if len(reached) < len(members):
                time.sleep(0.02 if reached else 0.005)  # answering costs the mirror
        channel.close()
        return [reached[member] for member in members]

    def directory(self, table):
        """Of a table's Delta table."""
        return pathlib.Path(self.instance.output("lake", "path", table))


class LogReader:
    """A reader of Delta tables that follows one: lists, and reads commits it does not know. Keeps the live files."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.version = -1
        self.files = {}  # path -> its add
        self.lsn = 0     # of the last commit

    def poll(self):
        """The new commits, as lists of actions."""
        found = []
        for name in sorted(os.listdir(self.directory / "_delta_log")):
            match = COMMIT.fullmatch(name)
            if match and int(match.group(1)) > self.version:
                if int(match.group(1)) != self.version + 1:
                    raise RuntimeError(f"{self.directory}: commit {self.version + 1} is missing")
                actions = [json.loads(line) for line in (self.directory / "_delta_log" / name).read_text().splitlines()]
                self._apply(actions)
                self.version += 1
                found.append(actions)
        return found

    def _apply(self, actions):
        for action in actions:
            if "remove" in action:
                self.files.pop(action["remove"]["path"], None)
        for action in actions:
            if "add" in action:
                self.files[action["add"]["path"]] = action["add"]
            elif "domainMetadata" in action and action["domainMetadata"]["domain"] == "tidewater.mirror":
                self.lsn = lsn_number(json.loads(action["domainMetadata"]["configuration"])["lsn"])
