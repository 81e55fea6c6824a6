"""A dump of a database as text that compares equal when the database does."""
import hashlib
import pathlib
import subprocess

PG = pathlib.Path("/usr/lib/postgresql/15/bin")


def dump(url):
    """SHA-256 of pg_dump's lines; \\restrict lines are random."""
    digest = hashlib.sha256()
    process = subprocess.Popen([PG / "pg_dump", "-d", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if not line.startswith((b"\\restrict", b"\\unrestrict")):
            digest.update(line)
    message = process.stderr.read()
    assert process.wait() == 0, message.decode()
    return digest.hexdigest()
