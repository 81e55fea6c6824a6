"""Everything but the object store may go: caches, compute directories, the whole data directory."""
import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

from dump import PG, dump
from instance import ROOT, Instance, free_port, wait_for

S3 = ROOT / "tests/s3"


@contextlib.contextmanager
def s3_server(directory):
    """An S3 server on loopback and the environment that finds it."""
    if not shutil.which("node") or not (S3 / "node_modules/s3rver").is_dir():
        pytest.skip("node or tests/s3/node_modules is missing: tests/s3/install.sh")
    directory.mkdir(parents=True)
    server = subprocess.Popen(["node", "--openssl-legacy-provider", S3 / "server.js", directory], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "S3RVER",
               "AWS_SECRET_ACCESS_KEY": "S3RVER"}
    finally:
        server.stdin.close()
        server.wait(timeout=30)


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path_factory, monkeypatch):
    base = pathlib.Path(tmp_path_factory.mktemp("store"))
    if request.param == "file":
        # As root our roles run as another user, who must be able to come here.
        base = pathlib.Path("/tmp") / f"tide-store-{os.getpid()}-{free_port()}"
        base.mkdir(mode=0o755)
        yield f"file://{base}/objects"
        shutil.rmtree(base, ignore_errors=True)
        return
    with s3_server(base / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield "s3://tide/project"


def fill(tide):
    subprocess.run([PG / "pgbench", "-i", "-q", "-s", "2", tide.url()], check=True, capture_output=True)
    subprocess.run([PG / "pgbench", "-n", "-c", "4", "-t", "200", tide.url()], check=True, capture_output=True)
    tide.sql("CREATE TABLE documents AS SELECT i, repeat(md5(i::text), 100) AS body FROM generate_series(1, 3000) i")
    tide.sql("CREATE INDEX ON documents USING gin (to_tsvector('simple', left(body, 40)))")
    # After a crash a sequence goes on behind what WAL promised, as in a stock server: compared on its own.
    tide.sql("CREATE DATABASE counting")
    tide.sql("CREATE SEQUENCE numbers", "counting")
    tide.sql("CREATE DATABASE other")
    tide.sql("CREATE TABLE inside AS SELECT generate_series(1, 1000) AS id", "other")
    tide.run("branch", "create", "dev")
    tide.sql("DELETE FROM documents WHERE i % 2 = 0", "@dev")
    tide.sql("CREATE TABLE only_dev AS SELECT 1 AS id", "@dev")


TARGETS = (None, "other", "@dev")


def dumps(tide):
    """What everything looks like; checks on the way that no number is given out twice."""
    number = tide.value("SELECT nextval('numbers')", "counting")
    assert number > getattr(dumps, "number", 0)
    dumps.number = number
    return [dump(tide.url(target)) for target in TARGETS]


def test_caches_and_then_the_data_directory_are_deleted(store):
    dumps.number = 0
    with Instance(object_store=store) as first:
        first.up()
        fill(first)
        before = dumps(first)
        # Killed, and all that computes keep is gone.
        first.kill_everything()
        shutil.rmtree(first.data / "compute")
        first.up()
        assert dumps(first) == before
        first.down()
        shutil.rmtree(first.data)
    with Instance(object_store=store) as second:
        second.up()
        assert dumps(second) == before
        second.run("fsck")
        # It lives on there.
        second.sql("INSERT INTO inside VALUES (4711)", "other")
        second.sql("INSERT INTO only_dev VALUES (2)", "@dev")
        later = dumps(second)
        assert later != before
        second.down()
        shutil.rmtree(second.data)
    with Instance(object_store=store) as third:
        third.up()
        assert dumps(third) == later
        alarms = third.alarms()
        assert not alarms, alarms[:10]


def test_a_killed_machine_loses_nothing_that_was_flushed(store):
    """No `down`: what the last flush put into the object store is there, whole."""
    with Instance(object_store=store) as first:
        first.up()
        first.sql("CREATE TABLE kept AS SELECT generate_series(1, 5000) AS id")
        first.down()
        first.up()
        first.sql("CREATE TABLE later AS SELECT generate_series(1, 100) AS id")
        first.kill_everything()
        shutil.rmtree(first.data)
    with Instance(object_store=store) as second:
        second.up()
        assert second.value("SELECT sum(id) FROM kept") == 5000 * 5001 // 2
        # All of it or nothing.
        if second.value("SELECT to_regclass('later')") is not None:
            assert second.value("SELECT count(*) FROM later") in (0, 100)
        second.sql("INSERT INTO kept VALUES (0)")
