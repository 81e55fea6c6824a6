"""An old compute that was frozen and comes back: it commits nothing and reads nothing."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import psycopg2
import pytest

from instance import wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))
from pages import Pages, Refused  # noqa: E402

PG = pathlib.Path("/usr/lib/postgresql/15/bin")


def compute_processes(tide, postmaster):
    """The postmaster and all its children."""
    found = [postmaster]
    for pid in tide.processes():
        with contextlib.suppress(OSError):
            if int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]) == postmaster:
                found.append(pid)
    return found


def signal_all(pids, what):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def answers(tide):
    try:
        return tide.value("SELECT count(*) FROM kept") >= 1
    except (psycopg2.Error, AssertionError):
        return False


class Committer(threading.Thread):
    """Commits on a connection to the old compute and says what was acknowledged."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection = connection
        self.acknowledged = []
        self.error = None

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                for number in range(1000000, 1000000000):
                    cursor.execute("INSERT INTO kept VALUES (%s)", (number,))
                    self.acknowledged.append(number)
        except psycopg2.Error as error:
            self.error = error


@pytest.mark.parametrize("durability", ["local", "acceptor"])
def test_restart_of_a_frozen_compute_leaves_nothing_of_it(instance, durability):
    """`endpoint restart` kills what hangs before the next one begins: nobody of the old one survives."""
    instance.up("--durability", durability)
    instance.sql("CREATE TABLE kept AS SELECT 1 AS id")
    old = Committer(instance.connect())
    postmaster = instance.postmaster()
    old.start()
    wait_for(lambda: len(old.acknowledged) > 20)
    frozen = compute_processes(instance, postmaster)
    signal_all(frozen, signal.SIGSTOP)
    time.sleep(0.3)
    before = list(old.acknowledged)
    instance.run("endpoint", "restart", "main", timeout=180)
    wait_for(lambda: answers(instance), 120, "the new compute")
    assert not set(frozen) & set(instance.processes()), "processes of the old compute are left"
    signal_all(frozen, signal.SIGCONT)
    old.join(timeout=30)
    present = {row[0] for row in instance.sql("SELECT id FROM kept")}
    assert set(old.acknowledged) <= present
    # What the kernel still held for us when everything stopped may arrive late; nothing may be added.
    assert len(old.acknowledged) - len(before) <= 1


def storage_call(tide, method, target, body=None):
    import http.client
    import json
    import socket

    class Connection(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(60)
            self.sock.connect(str(tide.data / "run/storage.sock"))

    connection = Connection("storage")
    connection.request(method, target, json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def history(tide):
    return storage_call(tide, "GET", "/v1/timelines")[1][0]


def test_local_storage_refuses_an_epoch_while_the_old_compute_lives(instance):
    """The lock that every process of a compute holds proves it alive: no new epoch before it is dead."""
    instance.up()
    instance.sql("CREATE TABLE kept AS SELECT 1 AS id")
    postmaster = instance.postmaster()
    frozen = compute_processes(instance, postmaster)
    # Without control nobody comes between.
    supervisor = instance.find(" supervise ")[0]
    os.kill(supervisor, signal.SIGSTOP)
    for pid in instance.find("tide control"):
        instance.kill(pid)
    signal_all(frozen, signal.SIGSTOP)
    epoch = history(instance)["epoch"]
    body = {"epoch": epoch + 1, "durability": "local"}
    status, answer = storage_call(instance, "POST", "/v1/timelines/1/epochs", body)
    assert status == 409 and answer["error"]["code"] == "CONFLICT", answer
    assert str(postmaster) in answer["error"]["detail"], answer
    # The promise holds already: no page for the old one, thawed or not.
    with pytest.raises(Refused) as refused:
        Pages(instance.data / "run/pages.sock", 1, epoch)
    assert refused.value.code == 3
    # One child left is one too many, too.
    signal_all(frozen[:-1], signal.SIGKILL)
    wait_for(lambda: instance.postmaster() is None)
    status, answer = storage_call(instance, "POST", "/v1/timelines/1/epochs", body)
    assert status == 409 and str(frozen[-1]) in answer["error"]["detail"], answer
    signal_all(frozen, signal.SIGKILL)
    wait_for(lambda: storage_call(instance, "POST", "/v1/timelines/1/epochs", body)[0] == 200, 10, "the new epoch")
    os.kill(supervisor, signal.SIGCONT)
    wait_for(lambda: answers(instance), 60, "a new compute")
    instance.sql("INSERT INTO kept VALUES (2)")


def test_acceptor_a_thawed_compute_commits_nothing_and_gets_no_page(instance):
    """Another machine cannot kill: the new epoch begins while the old compute is only frozen, then that goes on."""
    instance.up("--durability", "acceptor")
    instance.sql("CREATE TABLE kept AS SELECT 1 AS id")
    instance.sql("CREATE TABLE cold AS SELECT i, repeat(md5(i::text), 20) AS v FROM generate_series(1, 20000) i")
    old = Committer(instance.connect())
    reader = instance.connect()
    postmaster = instance.postmaster()
    old.start()
    wait_for(lambda: len(old.acknowledged) > 20)
    frozen = compute_processes(instance, postmaster)
    # Nobody may kill the old compute: control and supervisor stand still.
    standing = instance.find(" supervise ") + instance.find("tide control")
    signal_all(frozen, signal.SIGSTOP)
    signal_all(standing, signal.SIGSTOP)
    time.sleep(0.3)
    epoch = history(instance)["epoch"]
    status, begun = storage_call(instance, "POST", "/v1/timelines/1/epochs",
                                 {"epoch": epoch + 1, "durability": "acceptor"})
    assert status == 200, begun
    acknowledged = list(old.acknowledged)
    signal_all(frozen, signal.SIGCONT)
    time.sleep(3)
    late = [number for number in old.acknowledged if number not in acknowledged]
    # At most the answer that was on its way already.
    assert len(late) <= 1, late
    with pytest.raises(Refused) as refused:
        Pages(instance.data / "run/pages.sock", 1, epoch)
    assert refused.value.code == 3
    # Back to a whole instance; control finds its compute's epoch gone and starts the next.
    signal_all(compute_processes(instance, postmaster), signal.SIGKILL)
    signal_all(standing, signal.SIGCONT)
    wait_for(lambda: answers(instance), 60, "a new compute")
    present = {row[0] for row in instance.sql("SELECT id FROM kept")}
    assert set(old.acknowledged) <= present, "an acknowledged commit is lost"
    unacknowledged = present - set(old.acknowledged) - {1}
    assert len(unacknowledged) <= 1, unacknowledged
    with contextlib.suppress(psycopg2.Error):
        reader.close()


def test_acceptor_plain_operation(instance):
    instance.up("--durability", "acceptor")
    url = instance.url()
    assert instance.value("SELECT sync_state FROM pg_stat_replication") in ("sync", "quorum")
    assert instance.value("SHOW synchronous_standby_names") != ""

    def pgbench(*arguments):
        return subprocess.run([PG / "pgbench", *arguments, url], capture_output=True, text=True)

    assert pgbench("-i", "-q", "-s", "1").returncode == 0
    for _ in range(2):
        done = pgbench("-n", "-c", "4", "-T", "2")
        assert done.returncode == 0, done.stderr
        load = threading.Thread(target=pgbench, args=("-n", "-c", "4", "-T", "30"))
        load.start()
        time.sleep(1)
        instance.kill(instance.postmaster())
        load.join()
        wait_for(lambda: answer(instance), 60, "a new compute")
        sums = instance.sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM "
                            "pgbench_branches), (SELECT sum(tbalance) FROM pgbench_tellers), "
                            "(SELECT sum(delta) FROM pgbench_history)")[0]
        assert len(set(sums)) == 1, sums
    instance.run("endpoint", "suspend", "main")
    instance.run("endpoint", "start", "main")
    assert instance.value("SELECT count(*) FROM pgbench_accounts") == 100000
    instance.down()
    instance.up()
    assert instance.value("SELECT sum(abalance) FROM pgbench_accounts") == sums[0]


def test_acceptor_commits_go_on_after_the_storage_role_died(instance):
    instance.up("--durability", "acceptor")
    instance.sql("CREATE TABLE kept AS SELECT 1 AS id")
    for pid in instance.find("tide storage"):
        instance.kill(pid)

    # A commit cannot be cancelled while it waits for the acceptor: so not in this thread.
    old = Committer(instance.connect())
    old.start()
    wait_for(lambda: len(old.acknowledged) > 3, 20, "commits")


def answer(tide):
    try:
        return tide.value("SELECT 1") == 1
    except (psycopg2.Error, AssertionError):
        return False
