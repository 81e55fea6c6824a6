"""A child process that answers SQL with rows, one request at a time.

The engines run in children because they may hang or crash on a table (ClickHouse on variant
columns) and because libchdb allows one session per process. A time-out kills the child; the next
query starts another one.

On the wire: a line of JSON {"sql": ...}, answered by "<ok|error> <bytes>\n" and that many bytes:
JSON lines, one array per row, or the error's text.
"""
import json
import os
import pathlib
import select
import subprocess
import sys
import time

NODE_MODULES = pathlib.Path(__file__).resolve().parent / "node_modules"


class QueryError(Exception):
    """The engine refused, crashed or took too long."""


class Engine:
    """Parent's side. `program` is the file whose main runs serve()."""

    def __init__(self, program, timeout=60.0):
        self.program = program
        self.timeout = timeout
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def query(self, sql, timeout=None):
        """Rows as lists of JSON values; numbers with a fraction come as text where it matters."""
        if self.process is None or self.process.poll() is not None:
            self.close()
            # ClickHouse accepts paths inside its working directory only.
            self.process = subprocess.Popen([sys.executable, self.program], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/")
        limit = timeout or self.timeout
        deadline = time.monotonic() + limit
        try:
            self.process.stdin.write(json.dumps({"sql": sql}).encode() + b"\n")
            self.process.stdin.flush()
            verdict, size = self._line(deadline).split()
            answer = self._exactly(int(size), deadline)
        except TimeoutError:
            self.close()
            raise QueryError(f"no answer within {limit} s: {sql}") from None
        except (OSError, ValueError, EOFError) as error:
            code = self.process.wait()
            self.close()
            raise QueryError(f"the engine's process ended ({code}, {error}): {sql}") from None
        if verdict != b"ok":
            raise QueryError(answer.decode(errors="replace").strip() + f"\nquery: {sql}")
        return [json.loads(line) for line in answer.splitlines()]

    def _read(self, size, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            raise TimeoutError
        data = os.read(self.process.stdout.fileno(), size)
        if not data:
            raise EOFError("end of output")
        return data

    def _line(self, deadline):
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1, deadline)
        return line

    def _exactly(self, size, deadline):
        parts = []
        while size:
            parts.append(self._read(min(size, 1 << 20), deadline))
            size -= len(parts[-1])
        return b"".join(parts)


def serve(answer):
    """The child's main: `answer(sql)` yields bytes or raises QueryError."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with answers
    for line in sys.stdin.buffer:
        try:
            verdict, data = b"ok", answer(json.loads(line)["sql"])
        except QueryError as error:
            verdict, data = b"error", str(error).encode()
        out.write(b"%s %d\n" % (verdict, len(data)))
        out.write(data)
        out.flush()
