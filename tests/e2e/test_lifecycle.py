"""up, down, kill, again: nothing acknowledged is lost."""
import os
import shutil
import signal
import socket
import threading

import psycopg2
import pytest

from instance import Instance, free_port, wait_for


def test_up_twice_is_harmless_and_down_ends_everything(instance):
    first = instance.up()
    assert "postgresql://" in first.stdout
    before = instance.postmaster()
    assert before
    second = instance.up()
    assert "postgresql://" in second.stdout
    assert instance.postmaster() == before, "a running compute is left alone"
    assert instance.value("SELECT 1") == 1
    instance.down()
    assert instance.processes() == {}
    instance.run("down", "--data", instance.data, check=False)  # a second one does not hang


def test_every_process_carries_the_data_directory(instance):
    instance.up()
    data = os.path.realpath(instance.data)
    roles = [arguments for arguments in instance.processes().values() if not arguments.startswith("postgres:")]
    assert len(roles) >= 3, roles
    for arguments in roles:
        assert data in arguments or "psql" in arguments, arguments


def test_url_and_psql(instance):
    instance.up()
    url = instance.url()
    assert url.startswith("postgresql://") and f":{instance.port}/" in url
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        assert cursor.fetchone()[0].startswith("15.")
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (True,)
        cursor.execute("SHOW password_encryption")
        assert cursor.fetchone() == ("scram-sha-256",)
    connection.close()
    for words in (["-Atc", "SELECT 42"], ["tide", "-Atc", "SELECT 42"], ["@main", "--", "-Atc", "SELECT 42"]):
        assert instance.output("psql", *words) == "42"
    shown = instance.run("psql", input="SELECT 6 * 7 AS answer;\n")
    assert "42" in shown.stdout
    wrong = url.replace("://", "://nobody:wrong@", 1) if "@" not in url else None
    if wrong is None:
        head, tail = url.split("@", 1)
        wrong = head.rsplit(":", 1)[0] + ":wrong@" + tail
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(wrong)


def test_down_and_up_keep_data(instance):
    instance.up()
    instance.sql("CREATE TABLE kept (id int PRIMARY KEY, text text)")
    instance.sql("INSERT INTO kept SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 5000) i")
    instance.sql("ALTER SYSTEM SET work_mem = '7MB'")
    url = instance.url()
    for _ in range(2):
        instance.down()
        instance.up()
        assert instance.url() == url
        assert instance.sql("SELECT count(*), sum(id), max(length(text)) FROM kept") == [(5000, 12502500, 640)]
        assert instance.value("SHOW work_mem") == "7MB"
    instance.sql("INSERT INTO kept VALUES (0, 'more')")


class Writer(threading.Thread):
    """Inserts numbers one by one and remembers which were acknowledged."""

    def __init__(self, instance):
        super().__init__(daemon=True)
        self.instance = instance
        self.next = 1
        self.acknowledged = 0
        self.stop = threading.Event()

    def run(self):
        try:
            connection = self.instance.connect()
            with connection.cursor() as cursor:
                while not self.stop.is_set():
                    cursor.execute("INSERT INTO acknowledged VALUES (%s)", (self.next,))
                    self.acknowledged = self.next
                    self.next += 1
        except psycopg2.Error:
            pass

    def check(self):
        rows = [row[0] for row in self.instance.sql("SELECT id FROM acknowledged ORDER BY id")]
        # At most the one in flight may be there beyond what was acknowledged.
        assert rows == list(range(1, len(rows) + 1))
        assert self.acknowledged <= len(rows) <= self.next
        self.next = len(rows) + 1
        self.acknowledged = len(rows)


def write_a_while(instance, writer, count=200):
    writer.start()
    target = writer.acknowledged + count
    wait_for(lambda: writer.acknowledged >= target or not writer.is_alive(), message="inserts")
    assert writer.acknowledged >= target


def continued(old):
    writer = Writer(old.instance)
    writer.next, writer.acknowledged = old.next, old.acknowledged
    return writer


def test_kill_9_of_everything_keeps_acknowledged_data(instance):
    instance.up()
    instance.sql("CREATE TABLE acknowledged (id int PRIMARY KEY)")
    writer = Writer(instance)
    for _ in range(3):
        write_a_while(instance, writer)
        instance.kill_everything()
        writer.join(timeout=30)
        instance.up()
        writer.check()
        writer = continued(writer)


@pytest.mark.parametrize("victim", ["postgres", "storage", "control", "mirror", "warehouse"])
def test_kill_9_of_one_process_heals_by_itself(instance, victim):
    instance.up()
    instance.sql("CREATE TABLE acknowledged (id int PRIMARY KEY)")
    writer = Writer(instance)
    write_a_while(instance, writer)
    if victim == "postgres":
        pids = [instance.postmaster()]
    else:
        pids = [pid for pid, text in instance.processes().items()
                if f"/tide {victim} " in text]
    assert pids, instance.processes()
    for pid in pids:
        instance.kill(pid)
    writer.stop.set()
    writer.join(timeout=60)

    def answers():
        try:
            return instance.value("SELECT count(*) FROM acknowledged") is not None
        except (psycopg2.Error, AssertionError):
            return False

    wait_for(answers, timeout=60, message=f"answers after kill -9 of {victim}")
    writer.check()
    writer = continued(writer)
    write_a_while(instance, writer, 50)
    writer.stop.set()
    writer.join(timeout=30)
    writer.check()


def test_compute_directory_deleted_while_down(instance):
    instance.up()
    instance.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
    instance.down()
    shutil.rmtree(instance.data / "compute")
    instance.up()
    assert instance.value("SELECT sum(id) FROM kept") == 500500


def test_compute_directory_deleted_while_running(instance):
    instance.up()
    instance.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
    instance.kill_everything()
    shutil.rmtree(instance.data / "compute")
    instance.up()
    assert instance.value("SELECT sum(id) FROM kept") == 500500


def test_frozen_compute_is_replaced(instance):
    """SIGSTOP is no death: the next start must kill it first."""
    instance.up()
    instance.sql("CREATE TABLE kept AS SELECT 1 AS id")
    old = instance.postmaster()
    for pid, text in instance.processes().items():
        if "postgres" in text.split()[0] and (pid == old or ":main" in text):
            instance.kill(pid, signal.SIGSTOP)
    for pid, text in list(instance.processes().items()):
        if "/tide" in text.split()[0]:
            instance.kill(pid)
    instance.run("up", "--detach", "--data", instance.data, "--port", instance.port,
                 "--http-port", instance.http_port, timeout=180)

    def replaced():
        try:
            return instance.value("SELECT count(*) FROM kept") == 1
        except (psycopg2.Error, AssertionError):
            pass
        # Taken up again as it was: ask for a new start, which must get rid of it.
        instance.run("endpoint", "suspend", "main", check=False)
        instance.run("endpoint", "start", "main", check=False)
        return False

    wait_for(replaced, timeout=120, message="a new compute")
    assert old not in instance.processes()


def test_suspend_and_start(instance):
    instance.up()
    instance.sql("CREATE TABLE kept AS SELECT generate_series(1, 10) AS id")
    instance.run("endpoint", "suspend", "main")
    assert instance.postmaster() is None
    instance.run("endpoint", "start", "main")
    assert instance.value("SELECT count(*) FROM kept") == 10


def test_two_instances_side_by_side(instance):
    instance.up()
    with Instance() as other:
        other.up()
        instance.sql("CREATE TABLE here (id int)")
        assert other.value("SELECT count(*) FROM pg_class WHERE relname = 'here'") == 0
        other.down()
        assert other.processes() == {}
        assert instance.value("SELECT count(*) FROM here") == 0


def test_port_in_use_is_one_clear_error(instance):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", instance.port))
        listener.listen()
        failed = instance.up(check=False)
        assert failed.returncode != 0
        assert str(instance.port) in failed.stdout + failed.stderr
        assert "Traceback" not in failed.stderr
    instance.up()
    assert instance.value("SELECT 1") == 1


def test_wrong_data_directory_is_one_clear_error(instance):
    a_file = instance.base / "file"
    a_file.write_text("not a directory")
    failed = instance.run("up", "--detach", "--data", a_file, "--port", free_port(),
                          "--http-port", free_port(), "--warehouse-port", free_port(), check=False)
    assert failed.returncode != 0 and str(a_file) in failed.stderr + failed.stdout

    strange = instance.base / "strange"
    strange.mkdir()
    (strange / "PG_VERSION").write_text("15\n")
    (strange / "important").write_text("somebody's")
    failed = instance.run("up", "--detach", "--data", strange, "--port", free_port(),
                          "--http-port", free_port(), "--warehouse-port", free_port(), check=False)
    assert failed.returncode != 0 and str(strange) in failed.stderr + failed.stdout
    assert (strange / "important").read_text() == "somebody's"

    for command in (["status"], ["url"], ["down"], ["branch", "list"]):
        done = instance.run(*command, check=False)
        assert done.returncode != 0 or command == ["down"], command
        assert done.stdout + done.stderr
