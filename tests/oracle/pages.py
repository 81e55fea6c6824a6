"""Client of the page service (docs/formats/page-service.md) as a reader without an epoch."""
import socket
import struct

BLOCK = 8192
MAX_BLOCKS = 128
LATEST = 2**64 - 1
NO_RELATION = 2**32 - 1
FORKS = {"main": 0, "fsm": 1, "vm": 2, "init": 3}


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"{message} (code {code})")
        self.code = code


class Pages:
    def __init__(self, path, timeline, epoch=0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(str(path))
        self.id = 0
        self.ingested = struct.unpack("<Q", self.ask(1, struct.pack("<IIIIQ", 0x45444954, 1, timeline, 0, epoch), 101))[0]

    def close(self):
        self.socket.close()

    def receive(self, size):
        parts = bytearray()
        while len(parts) < size:
            part = self.socket.recv(min(size - len(parts), 1 << 20))
            if not part:
                raise ConnectionError("page service hung up")
            parts += part
        return bytes(parts)

    def ask(self, kind, body, answer):
        self.id += 1
        self.socket.sendall(struct.pack("<IHHQ", len(body), kind, 0, self.id) + body)
        length, got, _, number = struct.unpack("<IHHQ", self.receive(16))
        data = self.receive(length)
        assert number == self.id
        if got == 199:
            code, size = struct.unpack_from("<II", data)
            raise Refused(code, data[8:8 + size].decode())
        assert got == answer, got
        return data

    def read(self, spc, db, rel, fork, first, count, at=LATEST, least=0):
        data = self.ask(2, struct.pack("<IIIIIIQQ", spc, db, rel, fork, first, count, at, least), 102)
        return data[32:]

    def size(self, spc, db, rel, fork, at=LATEST, least=0):
        """Blocks, or None."""
        blocks = struct.unpack_from("<IIIII", self.ask(3, struct.pack("<IIIIQQ", spc, db, rel, fork, at, least), 103))[4]
        return None if blocks == NO_RELATION else blocks

    def database_bytes(self, db, at=LATEST, least=0):
        return struct.unpack_from("<Q", self.ask(4, struct.pack("<IIQQ", db, 0, at, least), 104))[0]
