"""What a learner (a process beside storage) is told of a real compute's WAL."""
import contextlib
import socket
import statistics
import struct
import threading
import time

import pytest

from instance import wait_for

HELLO, READ_WAL, FLUSHED, CONFIRM, TIMELINE = 1, 20, 21, 22, 23


class Learner:
    """docs/formats/page-service.md, spoken by hand."""

    def __init__(self, instance, timeline=1):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(instance.data / "run/pages.sock"))
        self.number = 0
        self.ask(HELLO, struct.pack("<IIIIQ", 0x45444954, 1, timeline, 0, 0))

    def close(self):
        self.socket.close()

    def ask(self, kind, body=b""):
        self.number += 1
        self.socket.sendall(struct.pack("<IHHQ", len(body), kind, 0, self.number) + body)
        length, answered, _, number = struct.unpack("<IHHQ", self.take(16))
        body = self.take(length)
        assert number == self.number
        assert answered == kind + 100, body
        return body

    def take(self, size):
        taken = b""
        while len(taken) < size:
            piece = self.socket.recv(size - len(taken))
            assert piece, "storage hung up"
            taken += piece
        return taken

    def flushed(self):
        return struct.unpack("<Q", self.ask(FLUSHED))[0]

    def read_wal(self, at, boundary, epoch, wait_ms):
        """(begin, flushed, epoch, its start), bytes"""
        answer = self.ask(READ_WAL, struct.pack("<QQQIIII", at, boundary, epoch, 1 if epoch else 0, 1 << 20, wait_ms, 0))
        begin, flushed, epoch, start, _, count = struct.unpack("<QQQQII", answer[:40])
        assert len(answer) == 40 + count
        return (begin, flushed, epoch, start), answer[40:]


def lsn_value(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


@pytest.mark.parametrize("durability", ["local", "acceptor"])
def test_commits_reach_a_waiting_learner(instance, durability):
    tide = instance
    tide.up("--durability", durability)
    tide.sql("CREATE TABLE learned (i int)")
    with contextlib.closing(Learner(tide)) as waits, contextlib.closing(Learner(tide)) as asks, \
            contextlib.closing(tide.connect()) as connection, connection.cursor() as cursor:
        at = asks.flushed()
        seen, stop, delays = [at], [False], []
        arrived = threading.Condition()

        def follow():
            position, epoch = at, 0
            while not stop[0]:
                # The WAL's end is a record's end here, as nothing is torn.
                (begin, _, epoch, _), wal = waits.read_wal(position, at, epoch, 5000)
                assert begin == position
                position += len(wal)
                with arrived:
                    seen[0] = position
                    arrived.notify()

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            for i in range(300):
                cursor.execute("INSERT INTO learned VALUES (%s)", (i,))
                committed = time.perf_counter()
                flushed = asks.flushed()
                with arrived:
                    assert arrived.wait_for(lambda: seen[0] >= flushed, 20)
                delays.append(time.perf_counter() - committed)
                cursor.execute("SELECT pg_current_wal_flush_lsn()")
                assert asks.flushed() >= flushed
        finally:
            stop[0] = True
            tide.sql("INSERT INTO learned VALUES (0)")  # ends the wait
            thread.join()
        print(f"\n{durability}: commit to learner: median {statistics.median(delays) * 1e3:.2f} ms, "
              f"99 % {sorted(delays)[int(len(delays) * .99)] * 1e3:.2f} ms")


def test_the_next_epoch_is_told(instance):
    instance.up()
    instance.sql("CREATE TABLE lives (i int)")
    with contextlib.closing(Learner(instance)) as learner:
        at = learner.flushed()
        (_, _, epoch, _), wal = learner.read_wal(at, at, 0, 0)
        at += len(wal)
        told = []
        thread = threading.Thread(target=lambda: told.append(learner.read_wal(at, at, epoch, 60000)))
        thread.start()
        instance.kill(instance.postmaster())
        wait_for(lambda: instance.postmaster(), message="the next life")
        wait_for(lambda: told, timeout=60, message="its first WAL")
        thread.join()
        (begin, _, next_epoch, start), wal = told[0]
        assert next_epoch > epoch
        assert begin == start == at
        assert wal


def test_flushed_covers_every_commit(tide):
    with contextlib.closing(Learner(tide)) as learner, contextlib.closing(tide.connect()) as connection, \
            connection.cursor() as cursor:
        for _ in range(50):
            cursor.execute("SELECT txid_current()")
            flushed = learner.flushed()
            cursor.execute("SELECT pg_current_wal_flush_lsn()")
            # At most background WAL came in between.
            assert lsn_value(cursor.fetchone()[0]) - flushed < 4096
