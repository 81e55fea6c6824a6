"""Runs SQL scripts with a few directives, each on a line of its own:

    -- @error            the next statement must fail
    -- @session N        what follows runs on connection N (0 at first)
    -- @database NAME    what follows runs on a new connection to that database ('-': the first one)
    -- @pause            the caller may compare now
    -- @restart          the server restarts; connections are made anew

COPY ... FROM STDIN takes the lines up to `\\.`. A statement ends with `;` at the end of a line,
outside of $$ quotes.
"""
import contextlib
import io

import psycopg2


def statements(text):
    """("sql", statement, data or None) or ("@", directive, argument)."""
    buffer, dollars = [], False
    lines = iter(text.splitlines())
    for line in lines:
        stripped = line.strip()
        if not buffer and stripped.startswith("-- @"):
            name, _, argument = stripped[4:].partition(" ")
            yield "@", name, argument
            continue
        if not buffer and (not stripped or stripped.startswith("--")):
            continue
        buffer.append(line)
        if line.count("$$") % 2:
            dollars = not dollars
        if stripped.endswith(";") and not dollars:
            statement = "\n".join(buffer).strip()
            buffer = []
            data = None
            if statement.upper().startswith("COPY") and "FROM STDIN" in statement.upper():
                data = ""
                for row in lines:
                    if row.strip() == "\\.":
                        break
                    data += row.lstrip(" ") + "\n"
            yield "sql", statement, data
    assert not buffer, f"no end: {buffer}"


class Session:
    """Connections of one script."""

    def __init__(self, target, database, setup=()):
        self.target = target
        self.database = database
        self.setup = setup
        self.open = {}

    def connection(self, key, database):
        if (key, database) not in self.open:
            connection = self.target.connect(database)
            with connection.cursor() as cursor:
                for statement in self.setup if database == self.database else ():
                    cursor.execute(statement)
            self.open[key, database] = connection
        return self.open[key, database]

    def close(self):
        for connection in self.open.values():
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        self.open = {}


def run(target, database, text, setup=(), pause=lambda: None):
    """Runs a script; errors name the statement."""
    session, number, where, must_fail = Session(target, database, setup), 0, database, False
    try:
        for kind, what, more in statements(text):
            if kind == "@":
                if what == "error":
                    must_fail = True
                elif what == "session":
                    number = int(more)
                elif what == "database":
                    where = database if more == "-" else more
                elif what == "pause":
                    pause()
                elif what == "restart":
                    session.close()
                    target.restart()
                elif what == "disconnect":
                    session.close()
                else:
                    raise ValueError(f"unknown directive {what}")
                continue
            with session.connection(number, where).cursor() as cursor:
                failed = None
                try:
                    if more is not None:
                        cursor.copy_expert(what, io.StringIO(more))
                    else:
                        cursor.execute(what)
                except psycopg2.Error as error:
                    failed = error
                if failed is not None and not must_fail:
                    raise AssertionError(f"{failed}statement: {what}") from failed
                if failed is None and must_fail:
                    raise AssertionError(f"must have failed: {what}")
                must_fail = False
    finally:
        session.close()
    pause()
