"""A reader of the page service (docs/formats/page-service.md): asks without an epoch, as tools do."""
import contextlib
import multiprocessing
import random
import socket
import struct
import time

HEADER = struct.Struct("<IHHQ")
HELLO = struct.Struct("<IIIIQ")
GET_PAGES = struct.Struct("<IIIIIIQQ")
MAGIC, VERSION, LATEST, PAGE = 0x45444954, 1, 2**64 - 1, 8192
TYPE_HELLO, TYPE_GET_PAGES, TYPE_HELLO_OK, TYPE_PAGES = 1, 2, 101, 102


class PageClient:
    def __init__(self, path, timeline):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.request = 0
        self.buffer = memoryview(bytearray(129 * PAGE))
        self._ask(TYPE_HELLO, HELLO.pack(MAGIC, VERSION, timeline, 0, 0), TYPE_HELLO_OK)

    def close(self):
        self.socket.close()

    def _receive(self, count):
        part = self.buffer[:count]
        done = 0
        while done < count:
            got = self.socket.recv_into(part[done:])
            if got == 0:
                raise RuntimeError("page service: connection closed")
            done += got
        return part

    def _ask(self, kind, body, expected):
        self.request += 1
        self.socket.sendall(HEADER.pack(len(body), kind, 0, self.request) + body)
        length, answer, _, echo = HEADER.unpack(self._receive(HEADER.size))
        content = self._receive(length)
        if answer != expected or echo != self.request:
            raise RuntimeError(f"page service: answer {answer}: {bytes(content[8:])!r}")
        return content

    def pages(self, relation, first, count):
        """`relation` is (tablespace, database, relation, fork). Yields the pages' bytes, valid until the next call."""
        content = self._ask(TYPE_GET_PAGES, GET_PAGES.pack(*relation, first, count, LATEST, 0), TYPE_PAGES)
        if len(content) != 32 + count * PAGE:
            raise RuntimeError(f"page service: {len(content)} bytes for {count} pages")
        return content[32:]


def _read_for(path, timeline, relation, blocks, batch, seconds, seed, results):
    chance = random.Random(seed)
    with contextlib.closing(PageClient(path, timeline)) as client:
        count = 0
        begin = time.monotonic()
        end = begin + seconds
        while time.monotonic() < end:
            client.pages(relation, chance.randrange(max(1, blocks - batch)), min(batch, blocks))
            count += min(batch, blocks)
        results.put((count, time.monotonic() - begin))


def pages_per_second(path, timeline, relation, blocks, batch, readers, seconds):
    """Runs of `batch` blocks at random places, by processes of their own."""
    results = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=_read_for, daemon=True,
                                       args=(str(path), timeline, relation, blocks, batch, seconds, seed, results))
               for seed in range(readers)]
    for worker in workers:
        worker.start()
    try:
        got = [results.get(timeout=seconds + 60) for _ in workers]
    finally:
        for worker in workers:
            worker.join(timeout=10)
    return sum(count / elapsed for count, elapsed in got)
