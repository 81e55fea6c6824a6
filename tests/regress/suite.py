"""PostgreSQL 15's own core regression suite against a running server ("installcheck" form).

The suite is part of PostgreSQL's source, which comes from Debian's source package; nothing of it is kept in
this repository. Debian's main archive ships the sources of one minor release and the security archive may ship
a newer server, so some tests differ on stock PostgreSQL too: what counts is the comparison with a stock server.
"""
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

PGBIN = pathlib.Path("/usr/lib/postgresql/15/bin")
CACHE = pathlib.Path(os.environ.get("TIDE_TEST_CACHE", "/var/tmp/tide-pg-regress"))

# Tests that cannot pass here, each with the reason.
REFUSED = {"tablespace": "creates tablespaces, which are refused: all relations live in the page store"}


def _run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@functools.lru_cache
def source():
    """The unpacked source tree, and the psql of the same minor release: a newer psql prints other things.

    Uses a private apt source list, so the system's own configuration stays as it is.
    """
    (CACHE / "apt/lists/partial").mkdir(parents=True, exist_ok=True)
    CACHE.chmod(0o755)
    if not list(CACHE.glob("postgresql-15.*/")):
        lists = [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]
        text = "\n".join(path.read_text() for path in lists if path.is_file())
        mirror = re.search(r"https?://\S+/debian/?(?=\s|$)", text)[0]
        (CACHE / "apt/sources.list").write_text(f"deb-src {mirror} bookworm main\ndeb {mirror} bookworm main\n")
        options = ["-o", f"Dir::Etc::SourceList={CACHE}/apt/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
                   "-o", f"Dir::State::Lists={CACHE}/apt/lists", "-qq"]
        _run("apt-get", *options, "update", cwd=CACHE)
        _run("apt-get", *options, "source", "--download-only", "postgresql-15/bookworm", cwd=CACHE)
        archive, = CACHE.glob("postgresql-15_*.orig.tar.bz2")
        description, = CACHE.glob("postgresql-15_*.dsc")
        version = description.name.removeprefix("postgresql-15_").removesuffix(".dsc")
        _run("apt-get", *options, "download", f"postgresql-client-15={version}", cwd=CACHE)
        package, = CACHE.glob("postgresql-client-15_*.deb")
        _run("dpkg", "-x", package, CACHE / "client", cwd=CACHE)
        _run("tar", "xjf", archive, cwd=CACHE)
    tree, = CACHE.glob("postgresql-15.*/")
    return tree


def run(host, port, user, password=None, connections=20):
    """Runs the parallel schedule; yields {test: what it printed, or None if it printed what is expected}."""
    # The server reads and writes files here (COPY tests), so it must not lie below a closed directory.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tide-regress-", dir="/tmp"))
    try:
        inputs = directory / "in"
        shutil.copytree(source() / "src/test/regress", inputs)
        for name in ("results", "sql", "expected"):
            (directory / name).mkdir()
        (inputs / "testtablespace").mkdir(exist_ok=True)
        headers = _run(PGBIN / "pg_config", "--includedir-server").strip()
        _run("cc", "-O2", "-fPIC", "-shared", f"-I{headers}", "-o", "regress.so", "regress.c", cwd=inputs)
        # The C functions are not in the server's library directory: the tests find ours.
        for path in [*inputs.glob("sql/*.sql"), *inputs.glob("expected/*.out")]:
            text = path.read_bytes()
            if b"set regresslib :libdir" in text:
                path.write_bytes(text.replace(b"set regresslib :libdir", f"set regresslib '{inputs}'".encode()))
        _run("chmod", "-R", "a+rwX", directory)
        environment = dict(os.environ, PGUSER=user, PG_ABS_SRCDIR=str(inputs), PG_ABS_BUILDDIR=str(inputs))
        if password:
            environment["PGPASSWORD"] = password
        psql = CACHE / "client/usr/lib/postgresql/15/bin"
        pg_regress = PGBIN.parent / "lib/pgxs/src/test/regress/pg_regress"
        done = subprocess.run(
            [pg_regress, f"--bindir={psql}", f"--inputdir={inputs}", f"--outputdir={directory}",
             f"--max-connections={connections}", f"--host={host}", f"--port={port}", f"--user={user}",
             f"--schedule={inputs}/parallel_schedule"],
            cwd=inputs, env=environment, capture_output=True, text=True)
        outcome = {}
        for line in done.stdout.splitlines():
            if match := re.match(r"(?:test |     )(\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))", line):
                test, verdict = match[1], match[2]
                printed = directory / "results" / f"{test}.out"
                text = printed.read_text(errors="replace").replace(str(directory), "DIR") if printed.exists() else ""
                outcome[test] = None if verdict == "ok" else text
        assert len(outcome) > 200, done.stdout[-3000:] + done.stderr[-3000:]
        return outcome
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def worse_than(stock, ours):
    """Tests that fail here and print something else than on stock PostgreSQL, but for the refused ones."""
    return sorted(test for test, printed in ours.items()
                  if printed is not None and printed != stock.get(test) and test not in REFUSED)
