"""What an instance says about its lake, and where the files are.

    lake = Lake(tide)
    lake.wait("main", lsn)                 # until Delta readers see that much
    lake.tables("main", "app")             # [oracle.Mirrored...]
"""
import json
import pathlib
import socket
import struct
import time

from .oracle import Mirrored


def lsn_number(text):
    high, low = str(text).split("/")
    return int(high, 16) << 32 | int(low, 16)


class NotReady(AssertionError):
    """The lake does not get as far as it must in time."""


class Lake:
    def __init__(self, tide):
        self.tide = tide
        self.places = {}

    def ask(self, request):
        """One request to the mirror's own socket; (answer, blobs)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.tide.data / "run/lake.sock"))
            text = json.dumps(request).encode()
            connection.sendall(struct.pack("<II", 4 + len(text), len(text)) + text)

            def exactly(size):
                data = b""
                while len(data) < size:
                    more = connection.recv(size - len(data))
                    if not more:
                        raise ConnectionError("the mirror closed the connection")
                    data += more
                return data
            total, = struct.unpack("<I", exactly(4))
            body = exactly(total)
        size, = struct.unpack_from("<I", body)
        answer = json.loads(body[4:4 + size])
        if "error" in answer:
            raise ConnectionError(f"the mirror: {answer['error']}")
        blobs, at = [], 4 + size
        for length in answer.get("blobs", ()):
            blobs.append(body[at:at + length])
            at += length
        return answer, blobs

    def status(self, branch="main"):
        """The branch's part of the mirror's status; None while it has none."""
        try:
            answer, _ = self.ask({"op": "status"})
        except (OSError, ConnectionError):
            return None
        for entry in answer["branches"]:
            if entry["branch"] == branch:
                return entry
        return None

    def wait(self, branch, lsn, timeout=60.0):
        """Until every commit before `lsn` is in the Delta tables."""
        deadline, status = time.monotonic() + timeout, None
        while time.monotonic() < deadline:
            status = self.status(branch) or status
            if status and status.get("published_lsn") and lsn_number(status["published_lsn"]) >= lsn_number(lsn):
                return status
            time.sleep(0.05)
        brief = {key: value for key, value in (status or {}).items() if key != "tables"}
        raise NotReady(f"{branch} is not at {lsn} within {timeout} s: {brief}")

    def path(self, location):
        """The directory of a Delta table in the object store."""
        if location not in self.places:
            found = [path.parent for path in self.tide.data.glob(f"objects/**/lake/{glob_literal(location)}/_delta_log")]
            if not found:
                return str(self.tide.data / "objects" / "lake" / location)
            self.places[location] = str(found[0])
        return self.places[location]

    def tables(self, branch, database, status=None):
        status = status or self.status(branch)
        found = []
        for table in status["tables"]:
            if table["database"] != database:
                continue
            reason = table.get("not_mirrored")
            left_out = tuple(text.split(":")[0] for text in table.get("left_out", ()))
            found.append(Mirrored(table["schema"], table["table"],
                                  None if reason is not None else self.path(table["location"]), reason,
                                  table.get("last_error"), left_out))
        return found


def glob_literal(text):
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
