"""Branches: at head, at an LSN, at a time; independent both ways."""
import datetime
import time

import psycopg2
import pytest

from instance import Failed


def names(tide):
    answer = tide.json("branch", "list")
    branches = answer["branches"] if isinstance(answer, dict) else answer
    return {branch["name"] for branch in branches}


def numbers(tide, table, target=None):
    return [row[0] for row in tide.sql(f"SELECT id FROM {table} ORDER BY id", target)]


def test_branch_at_head_is_independent(tide):
    tide.sql("CREATE TABLE head (id int PRIMARY KEY)")
    tide.sql("INSERT INTO head VALUES (1), (2)")
    tide.run("branch", "create", "dev")
    assert "dev" in names(tide) and "main" in names(tide)
    assert numbers(tide, "head", "@dev") == [1, 2]
    tide.sql("INSERT INTO head VALUES (3)", "@dev")
    tide.sql("INSERT INTO head VALUES (4)")
    tide.sql("CREATE TABLE only_dev (id int)", "@dev")
    assert numbers(tide, "head", "@dev") == [1, 2, 3]
    assert numbers(tide, "head") == [1, 2, 4]
    assert tide.value("SELECT to_regclass('only_dev')") is None
    tide.run("branch", "delete", "dev")
    assert "dev" not in names(tide)
    assert numbers(tide, "head") == [1, 2, 4]


def test_branch_at_an_lsn_and_at_a_time(tide):
    tide.sql("CREATE TABLE past (id int)")
    tide.sql("INSERT INTO past VALUES (1)")
    lsn = tide.lsn()
    time.sleep(0.05)
    moment = tide.value("SELECT clock_timestamp()").astimezone(datetime.timezone.utc)
    time.sleep(0.05)
    tide.sql("INSERT INTO past VALUES (2)")
    tide.run("branch", "create", "at-lsn", "--lsn", lsn)
    tide.run("branch", "create", "at-time", "--time", moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert numbers(tide, "past", "@at-lsn") == [1]
    assert numbers(tide, "past", "@at-time") == [1]
    assert numbers(tide, "past") == [1, 2]
    tide.sql("INSERT INTO past VALUES (10)", "@at-lsn")
    assert numbers(tide, "past", "@at-lsn") == [1, 10]
    for branch in ("at-lsn", "at-time"):
        tide.run("branch", "delete", branch)


def test_branch_of_a_branch_after_a_restart(tide):
    tide.sql("CREATE TABLE nested (id int)")
    tide.sql("INSERT INTO nested VALUES (1)")
    tide.run("branch", "create", "one")
    tide.sql("INSERT INTO nested VALUES (2)", "@one")
    tide.run("branch", "create", "two", "--from", "one")
    tide.sql("INSERT INTO nested VALUES (3)", "@two")
    with pytest.raises(Failed):
        tide.run("branch", "delete", "one")
    tide.down()
    tide.up()
    assert numbers(tide, "nested") == [1]
    assert numbers(tide, "nested", "@one") == [1, 2]
    assert numbers(tide, "nested", "@two") == [1, 2, 3]
    tide.run("branch", "delete", "two")
    tide.run("branch", "delete", "one")


def test_reset_and_restore(tide):
    tide.sql("CREATE TABLE changed (id int)")
    tide.sql("INSERT INTO changed VALUES (1)")
    tide.run("branch", "create", "work")
    tide.sql("INSERT INTO changed VALUES (99)", "@work")
    tide.sql("INSERT INTO changed VALUES (2)")
    tide.run("branch", "reset", "work")
    assert numbers(tide, "changed", "@work") == [1, 2]
    lsn = tide.lsn("@work")
    tide.sql("DELETE FROM changed", "@work")
    tide.run("branch", "restore", "work", "--lsn", lsn)
    assert numbers(tide, "changed", "@work") == [1, 2]
    tide.run("branch", "delete", "work")


def test_mistakes_are_named(tide):
    for arguments, part in ((("branch", "create", "main"), "main"),
                            (("branch", "delete", "no-such"), "no-such"),
                            (("branch", "create", "x", "--from", "no-such"), "no-such"),
                            (("branch", "create", "x", "--lsn", "nonsense"), "nonsense"),
                            (("branch", "create", "x", "--lsn", "FFFF/0"), "FFFF/0"),
                            (("branch", "create", "x", "--time", "1999-01-01T00:00:00Z"), "history"),
                            (("url", "@no-such"), "no-such")):
        with pytest.raises(Failed) as failed:
            tide.run(*arguments)
        assert part in failed.value.output, arguments
    assert "x" not in names(tide)


def test_page_command_yields_a_page(tide):
    tide.sql("CREATE TABLE paged AS SELECT generate_series(1, 10) AS id")
    path = tide.value("SELECT pg_relation_filepath('paged')").split("/")
    spc = tide.value("SELECT oid FROM pg_tablespace WHERE spcname = 'pg_default'")
    lsn = tide.lsn()
    page = tide.run("page", "main", f"{spc}/{path[1]}/{path[2]}", "0", "--lsn", lsn, binary=True).stdout
    assert len(page) == 8192
    assert int.from_bytes(page[18:20], "little") == 8192 + 4, "pd_pagesize_version"
