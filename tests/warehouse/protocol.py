"""A small client of PostgreSQL's protocol that shows every message: for what drivers hide."""
import base64
import hashlib
import hmac
import os
import socket
import struct


class Wire:
    def __init__(self, port, user="ada", database="app.lake", password="se cret", **parameters):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.buffer = b""
        fields = {"user": user, "database": database, **parameters}
        body = b"".join(f"{k}\0{v}\0".encode() for k, v in fields.items()) + b"\0"
        self.socket.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
        self.login(password)

    def login(self, password):
        kind, body = self.read()
        assert (kind, body[:4]) == ("R", b"\0\0\0\x0a"), (kind, body)
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        initial = ("n,," + first).encode()
        self.send("p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(initial)) + initial)
        kind, body = self.read()
        assert kind == "R", (kind, body)
        answer = body[4:].decode()
        parts = dict(item.split("=", 1) for item in answer.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c=biws,r={parts['r']}"
        message = f"{first},{answer},{without}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send("p", f"{without},p={proof}".encode())
        self.parameters = {}
        while True:
            kind, body = self.read()
            if kind == "E":
                raise AssertionError(self.error(body))
            if kind == "S":
                name, value = body[:-1].split(b"\0")
                self.parameters[name.decode()] = value.decode()
            if kind == "K":
                self.key = struct.unpack("!ii", body)
            if kind == "Z":
                return

    def send(self, kind, body=b""):
        self.socket.sendall(kind.encode() + struct.pack("!I", len(body) + 4) + body)

    def read(self):
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack("!I", self.buffer[1:5])[0]:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self.buffer += piece
        length = struct.unpack("!I", self.buffer[1:5])[0]
        kind, body = chr(self.buffer[0]), self.buffer[5:1 + length]
        self.buffer = self.buffer[1 + length:]
        return kind, body

    def until(self, end="Z"):
        """[(type, body)] up to a message of this type."""
        messages = []
        while not messages or messages[-1][0] != end:
            messages.append(self.read())
        return messages

    # Requests.

    def query(self, sql):
        self.send("Q", sql.encode() + b"\0")
        return self.until()

    def parse(self, sql, name="", types=()):
        self.send("P", name.encode() + b"\0" + sql.encode() + b"\0" + struct.pack(f"!H{len(types)}I", len(types), *types))

    def bind(self, parameters=(), portal="", statement="", formats=(), results=()):
        body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack(f"!H{len(formats)}H", len(formats), *formats)
        body += struct.pack("!H", len(parameters))
        for value in parameters:
            body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        self.send("B", body + struct.pack(f"!H{len(results)}H", len(results), *results))

    def describe(self, kind, name=""):
        self.send("D", kind.encode() + name.encode() + b"\0")

    def execute(self, portal="", limit=0):
        self.send("E", portal.encode() + b"\0" + struct.pack("!i", limit))

    def close_portal(self, name=""):
        self.send("C", b"P" + name.encode() + b"\0")

    def sync(self):
        self.send("S")
        return self.until()

    # Answers.

    @staticmethod
    def kinds(messages):
        return "".join(kind for kind, _ in messages)

    @staticmethod
    def error(body):
        return {field[:1].decode(): field[1:].decode() for field in body.split(b"\0") if field}

    @staticmethod
    def row(body):
        count, at, values = struct.unpack("!H", body[:2])[0], 2, []
        for _ in range(count):
            size = struct.unpack("!i", body[at:at + 4])[0]
            at += 4
            values.append(None if size < 0 else body[at:at + size])
            at += max(size, 0)
        return values

    @staticmethod
    def fields(body):
        """[(name, type, format)]"""
        count, at, fields = struct.unpack("!H", body[:2])[0], 2, []
        for _ in range(count):
            end = body.index(b"\0", at)
            _, _, type_, _, _, format_ = struct.unpack("!IhIhih", body[end + 1:end + 19])
            fields.append((body[at:end].decode(), type_, format_))
            at = end + 19
        return fields

    def rows(self, messages):
        return [self.row(body) for kind, body in messages if kind == "D"]
