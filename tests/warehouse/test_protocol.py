"""Messages, message by message."""
import struct
import threading
import time

import pytest

from protocol import Wire


@pytest.fixture
def wire(stand):
    return Wire(stand.port)


def test_the_start_tells_what_drivers_want_to_know(wire):
    for name in ("server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
                 "integer_datetimes", "standard_conforming_strings", "is_superuser", "session_authorization",
                 "in_hot_standby", "default_transaction_read_only"):
        assert name in wire.parameters
    assert wire.parameters["server_version"].startswith("15.")
    assert wire.parameters["default_transaction_read_only"] == "on"


def test_wrong_password_unknown_role_and_database(stand):
    for options, code in (({"password": "x"}, "28P01"), ({"user": "nobody"}, "28P01"),
                          ({"database": "nothing.lake"}, "3D000"), ({"database": "app@none.lake"}, "3D000")):
        with pytest.raises(AssertionError, match=code):
            Wire(stand.port, **options)


def test_simple_query_of_the_lake(wire):
    messages = wire.query("SELECT id, name FROM customer WHERE id <= 2 ORDER BY id")
    assert wire.kinds(messages) == "TDDCZ"
    assert wire.fields(messages[0][1]) == [("id", 23, 0), ("name", 25, 0)]
    assert wire.rows(messages) == [[b"1", b"customer 1"], [b"2", b"customer 2"]]
    assert messages[3][1] == b"SELECT 2\0"
    assert messages[4][1] == b"I"


def test_several_statements_in_one_query(wire):
    assert wire.kinds(wire.query("SELECT 1; SELECT count(*) FROM customer; SHOW tidewater.freshness")) == "TDCTDCTDCZ"
    assert wire.kinds(wire.query("")) == "IZ"
    assert wire.kinds(wire.query("SELECT count(*) FROM customer; SELECT nope FROM customer; SELECT 1")) == "TDCEZ"


def test_errors_point_at_the_place(wire):
    messages = wire.query("SELECT 'ä', 1 FROM customer; SELECT x FROM nothere")
    error = wire.error([body for kind, body in messages if kind == "E"][0])
    assert error["C"] == "42P01" and error["P"] == "44"
    messages = wire.query("SELECT count(*) FROM customer; SELECT nope()")
    error = wire.error([body for kind, body in messages if kind == "E"][0])
    assert error["C"] == "42501" or error["C"] == "42883"


def test_extended_query_in_text_and_binary(wire):
    wire.parse("SELECT id, total, placed, note FROM orders WHERE id = $1 AND customer = $2", types=(20, 0))
    wire.describe("S")
    wire.bind([struct.pack("!q", 7), struct.pack("!i", 8)], formats=(1,), results=(1,))
    wire.describe("P")
    wire.execute()
    messages = wire.sync()
    assert wire.kinds(messages) == "1tT2TDCZ"
    assert struct.unpack("!H2I", messages[1][1]) == (2, 20, 23)  # PostgreSQL knows what was left open
    assert [field[1:] for field in wire.fields(messages[4][1])] == [(20, 1), (1700, 1), (1184, 1), (25, 1)]
    id_, total, placed, note = wire.rows(messages)[0]
    assert struct.unpack("!q", id_)[0] == 7
    assert total == struct.pack("!HhHHHH", 2, 0, 0, 2, 554, 3300)
    assert struct.unpack("!q", placed)[0] == (8766 * 24 + 12 + 7) * 3600 * 10**6
    assert note is None


def test_a_portal_gives_its_rows_in_portions(wire):
    wire.parse("SELECT id FROM orders ORDER BY id", "all")
    wire.query("BEGIN")
    wire.bind(portal="p", statement="all")
    seen = []
    for expected in ("2" + "D" * 2000 + "sZ", "D" * 2000 + "sZ", "D" * 1000 + "CZ"):
        wire.execute("p", 2000)
        messages = wire.sync()
        kinds = wire.kinds(messages)
        assert kinds in (expected, "1" + expected)
        seen += [int(row[0]) for row in wire.rows(messages)]
        wire.query("SELECT count(*) FROM customer")  # others may run in between
    assert seen == list(range(1, 5001))
    wire.close_portal("p")
    assert wire.kinds(wire.sync()) == "3Z"
    wire.query("COMMIT")


def test_after_an_error_everything_up_to_sync_is_skipped(wire):
    wire.parse("SELECT id FROM nothere")
    wire.bind()
    wire.describe("P")
    wire.execute()
    assert wire.kinds(wire.sync()) in ("12EZ", "1EZ", "EZ")
    wire.parse("SELECT 1 / 0")
    wire.bind()
    wire.execute()
    assert wire.kinds(wire.sync()) in ("12EZ", "1EZ")
    assert wire.kinds(wire.query("SELECT count(*) FROM empty")) == "TDCZ"


def test_pipelined_statements_of_both_engines(wire):
    for sql in ("SELECT 1", "SELECT count(*) FROM customer", "SELECT relname FROM pg_class LIMIT 1", "SHOW tidewater.freshness"):
        wire.parse(sql)
        wire.bind()
        wire.execute()
    assert wire.kinds(wire.sync()) == "12DC" * 4 + "Z"


def test_a_failed_statement_fails_the_transaction(wire):
    assert wire.query("BEGIN")[-1][1] == b"T"
    assert wire.query("SELECT count(*) FROM customer")[-1][1] == b"T"
    assert wire.query("SELECT nope FROM customer")[-1][1] == b"E"
    for sql in ("SELECT count(*) FROM customer", "SELECT 1"):
        messages = wire.query(sql)
        assert wire.error(messages[0][1])["C"] == "25P02"
    assert wire.query("ROLLBACK")[-1][1] == b"I"
    assert wire.kinds(wire.query("SELECT count(*) FROM customer")) == "TDCZ"


def test_savepoints(wire):
    wire.query("BEGIN; SAVEPOINT a")
    assert wire.query("SELECT nope FROM customer")[-1][1] == b"E"
    assert wire.query("ROLLBACK TO a")[-1][1] == b"T"
    assert wire.kinds(wire.query("SELECT count(*) FROM customer")) == "TDCZ"
    wire.query("COMMIT")


def test_cancel(stand, wire):
    other = Wire(stand.port)
    slow = "SELECT count(*) FROM orders a, orders b, orders c WHERE a.id + b.id * c.id % 7 = 3"

    def cancel():
        time.sleep(0.5)
        import socket
        with socket.create_connection(("127.0.0.1", stand.port)) as connection:
            connection.sendall(struct.pack("!IIii", 16, 80877102, *wire.key))
            connection.recv(1)
    thread = threading.Thread(target=cancel)
    began = time.monotonic()
    thread.start()
    messages = wire.query(slow)
    thread.join()
    assert wire.error(messages[-2][1])["C"] == "57014" and time.monotonic() - began < 10
    # A wrong key does nothing, and the session goes on.
    assert wire.kinds(other.query("SELECT count(*) FROM customer")) == "TDCZ"
    assert wire.kinds(wire.query("SELECT count(*) FROM customer")) == "TDCZ"


def test_statement_timeout(wire):
    wire.query("SET statement_timeout = '300ms'")
    began = time.monotonic()
    messages = wire.query("SELECT count(*) FROM orders a, orders b, orders c WHERE a.id + b.id * c.id % 7 = 3")
    error = wire.error(messages[-2][1])
    assert error["C"] == "57014" and "statement timeout" in error["M"] and time.monotonic() - began < 5
    wire.query("RESET statement_timeout")
    assert wire.kinds(wire.query("SELECT count(*) FROM customer")) == "TDCZ"


def test_a_client_that_goes_away_ends_its_query(stand, wire):
    wire.send("Q", b"SELECT count(*) FROM orders a, orders b, orders c WHERE a.id + b.id * c.id % 7 = 3\0")
    time.sleep(0.3)
    wire.socket.close()
    deadline = time.monotonic() + 10
    while True:
        with stand.direct() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ada' AND query ~ 'rolsuper'")
            if cursor.fetchone()[0] == 0:
                break
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nonsense_ends_the_connection_alone(stand):
    import socket
    for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, struct.pack("!II", 8, 131072), struct.pack("!I", 2**31 - 1)):
        with socket.create_connection(("127.0.0.1", stand.port), timeout=10) as connection:
            connection.sendall(bytes_)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1000):
                pass
    wire = Wire(stand.port)
    wire.socket.sendall(b"Q" + struct.pack("!I", 2**32 - 1))
    assert wire.read()[0] == "E"
    assert Wire(stand.port).query("SELECT 1")[-1][0] == "Z"


def test_too_many_sessions_are_refused(stand):
    open_ = []
    try:
        with pytest.raises((AssertionError, EOFError, ConnectionError)):
            for _ in range(25):
                open_.append(Wire(stand.port))
        assert len(open_) >= 5
    finally:
        for wire in open_:
            wire.socket.close()
    time.sleep(0.5)
    assert Wire(stand.port).query("SELECT 1")[-1][0] == "Z"
