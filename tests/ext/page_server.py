"""A page service for tests: a stock PostgreSQL standby answers what the page store would.

The standby replays the compute's WAL by PostgreSQL's own recovery, so its pages are the truth that
an evicted page must come back as. `standby_pages.c` reads them by relation number.
"""
import os
import socket
import struct
import threading
import time

import psycopg2

MAGIC = 0x45444954
NO_RELATION = 0xFFFFFFFF
HELLO, GET_PAGES, REL_SIZE, DB_SIZE = 1, 2, 3, 4
HELLO_OK, PAGES, SIZE, DB_BYTES, ERROR = 101, 102, 103, 104, 199
ERR_INVALID, ERR_RETRY, ERR_STALE_EPOCH, ERR_WAIT_TIMEOUT = 1, 2, 3, 4
PAGE = 8192


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def lsn_text(lsn):
    return "%X/%X" % (lsn >> 32, lsn & 0xFFFFFFFF)


class PageServer:
    """Listens on `path`; `dsn` is the standby's. `counts` counts requests by type, and pages."""

    def __init__(self, path, dsn, timeline, epoch):
        self.path, self.dsn, self.timeline = path, dsn, timeline
        self.epoch = epoch          # raise it to fence
        self.counts = {GET_PAGES: 0, REL_SIZE: 0, DB_SIZE: 0, "pages": 0}
        self.asked = []             # (rel, fork, first, count, min_lsn) of the last GET_PAGES
        self.corrupt_tag = False    # answer the next GET_PAGES for another block
        self.listener = None
        self.connections = set()
        self.lock = threading.Lock()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(128)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Goes away, as after a kill -9."""
        listener, self.listener = self.listener, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        os.unlink(self.path)
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        standby = None
        try:
            while True:
                head = self._receive(connection, 16)
                if head is None:
                    return
                length, kind, _, request = struct.unpack("<IHHQ", head)
                body = self._receive(connection, length)
                try:
                    if kind == HELLO:
                        answer = self._hello(body)
                    else:
                        if standby is None:
                            standby = psycopg2.connect(self.dsn)
                            standby.autocommit = True
                        answer = self._answer(standby.cursor(), kind, body)
                except Refused as refused:
                    text = str(refused).encode()
                    answer = ERROR, struct.pack("<II", refused.code, len(text)) + text
                connection.sendall(struct.pack("<IHHQ", len(answer[1]), answer[0], 0, request) + answer[1])
        except OSError:
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()
            if standby is not None:
                standby.close()

    @staticmethod
    def _receive(connection, length):
        data = b""
        while len(data) < length:
            piece = connection.recv(length - len(data))
            if not piece:
                return None
            data += piece
        return data

    def _hello(self, body):
        magic, version, timeline, _, epoch = struct.unpack("<IIIIQ", body)
        if (magic, version, timeline) != (MAGIC, 1, self.timeline):
            raise Refused(ERR_INVALID, "not a conversation with this timeline")
        if epoch < self.epoch:
            raise Refused(ERR_STALE_EPOCH, "epoch %d is over, %d runs" % (epoch, self.epoch))
        return HELLO_OK, struct.pack("<Q", 0)

    def _answer(self, cursor, kind, body):
        self.counts[kind] += 1
        if kind == GET_PAGES:
            *rel, first, count, _, min_lsn = struct.unpack("<IIIIIIQQ", body)
            self.counts["pages"] += count
            self.asked = (self.asked + [(*rel, first, count, min_lsn)])[-1000:]
            at = self._wait(cursor, min_lsn)
            pages = self._query(cursor, "select standby_pages(%s,%s,%s,%s,%s,%s)", (*rel, first, count))
            if self.corrupt_tag:
                self.corrupt_tag = False
                first += 1
            return PAGES, struct.pack("<IIIIIIQ", *rel, first, count, at) + bytes(pages)
        if kind == REL_SIZE:
            *rel, _, min_lsn = struct.unpack("<IIIIQQ", body)
            at = self._wait(cursor, min_lsn)
            blocks = self._query(cursor, "select standby_size(%s,%s,%s,%s)", rel)
            return SIZE, struct.pack("<IIIIIIQ", *rel, NO_RELATION if blocks is None else blocks, 0, at)
        if kind == DB_SIZE:
            db, _, _, min_lsn = struct.unpack("<IIQQ", body)
            at = self._wait(cursor, min_lsn)
            size = self._query(cursor, "select coalesce(pg_database_size(%s::oid), 0)", (db,))
            return DB_BYTES, struct.pack("<QQ", size, at)
        raise Refused(ERR_INVALID, "unknown request %d" % kind)

    @staticmethod
    def _query(cursor, query, arguments):
        for _ in range(100):
            try:
                cursor.execute(query, arguments)
                return cursor.fetchone()[0]
            except (psycopg2.errors.QueryCanceled, psycopg2.errors.SerializationFailure,
                    psycopg2.errors.UndefinedFile):
                time.sleep(0.01)    # recovery went over it
        raise Refused(ERR_RETRY, "the standby is busy")

    def _wait(self, cursor, min_lsn):
        begin = time.time()
        while time.time() < begin + 20:
            cursor.execute("select pg_last_wal_replay_lsn() - '0/0'")
            at = int(cursor.fetchone()[0])
            if at >= min_lsn:
                return at
            time.sleep(0.002)
        raise Refused(ERR_WAIT_TIMEOUT, "%s has not arrived" % lsn_text(min_lsn))
