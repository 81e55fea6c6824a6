"""tide lake: what the mirror says of itself, for people and programs."""
import pathlib

import pytest

from instance import Failed, wait_for


@pytest.fixture(scope="module")
def lake(tide):
    tide.sql("CREATE TABLE twice (id int PRIMARY KEY, word text)")
    tide.sql("CREATE SCHEMA other")
    tide.sql("CREATE TABLE other.twice (id int)")
    tide.sql("CREATE TABLE other.sole (id int)")
    tide.sql("CREATE UNLOGGED TABLE forgetful (id int)")
    tide.sql("INSERT INTO twice SELECT i, 'x' FROM generate_series(1, 1000) i")
    tide.lsn()
    wait_for(lambda: len(tables(tide)) == 4 and is_published(tables(tide)["tide.public.twice"]), 60,
             "the tables in the lake")
    return tide


def is_published(table):
    """CREATE TABLE and INSERT may have come with one cut or with two."""
    return table.get("rows") == 1000 and table["version"] >= 0 and table["fresh_rows"] == 0 and table["lag_bytes"] == 0


def tables(tide):
    try:
        branches = tide.json("lake", "status")["branches"]
    except Failed:
        return {}
    return {f"{table['database']}.{table['schema']}.{table['table']}": table
            for branch in branches if branch["branch"] == "main" for table in branch.get("tables", [])}


def test_status(lake):
    found = tables(lake)
    assert found["tide.public.twice"]["rows"] == 1000
    assert "unlogged" in found["tide.public.forgetful"]["not_mirrored"]
    text = lake.output("lake", "status")
    for name in found:
        assert name in text
    assert found["tide.public.forgetful"]["not_mirrored"] in text


def test_path(lake):
    path = pathlib.Path(lake.output("lake", "path", "public.twice"))
    assert list((path / "_delta_log").glob("*.json"))
    assert list(path.glob("*.parquet"))
    assert lake.json("lake", "path", "tide.public.twice@main") == {"path": str(path)}
    assert lake.output("lake", "path", "sole").endswith("/other/sole")


@pytest.mark.parametrize("name, says", [
    ("twice", "tide.other.twice"), ("nothing", "no table nothing"), ("sole@dev", "branch dev"),
    ("forgetful", "unlogged"), ("ole", "no table ole")])
def test_no_path(lake, name, says):
    failed = lake.run("lake", "path", name, check=False)
    assert failed.returncode == 1
    assert says in failed.stderr


def test_without_an_instance(lake, tmp_path):
    failed = lake.run("lake", "status", "--data", tmp_path, check=False)
    assert failed.returncode == 3
    assert "tide up" in failed.stderr


def test_exclude_and_include(lake):
    lake.sql("CREATE TABLE leaves (id int)")
    lake.sql("INSERT INTO leaves VALUES (1)")
    wait_for(lambda: tables(lake).get("tide.public.leaves", {}).get("rows") == 1, 60, "the table in the lake")
    lake.run("lake", "exclude", "leaves")
    wait_for(lambda: "not_mirrored" in tables(lake).get("tide.public.leaves", {}), 60, "out of the lake")
    lake.sql("INSERT INTO leaves VALUES (2)")
    lake.run("lake", "include", "leaves@main")
    wait_for(lambda: tables(lake).get("tide.public.leaves", {}).get("rows") == 2, 60, "back in the lake")


def test_warehouse_reads_files_without_their_deleted_rows(lake):
    lake.sql("CREATE TABLE thinned AS SELECT generate_series(1, 1000) AS id")
    wait_for(lambda: tables(lake).get("tide.public.thinned", {}).get("files") == 1, 60, "a file")
    lake.sql("DELETE FROM thinned WHERE id % 3 = 0")
    lake.sql("ALTER TABLE thinned ADD COLUMN word text")
    lake.sql("INSERT INTO thinned VALUES (1001, 'fresh')")
    query = "SELECT count(*), sum(id), count(word) FROM thinned"
    assert lake.sql(query, ".lake") == lake.sql(query)


def roles_of_lake(instance):
    return {role["name"]: (role["state"], role["pid"]) for role in instance.json("status")["roles"]
            if role["name"] in ("mirror", "warehouse")}


def test_mirror_off(instance):
    instance.up("--mirror", "off")
    instance.sql("CREATE TABLE early AS SELECT generate_series(1, 100) AS id")
    assert instance.json("status")["state"] == "ready", "off is no problem"
    assert roles_of_lake(instance) == {"mirror": ("off", None), "warehouse": ("off", None)}
    assert not instance.find("tide mirror ") and not instance.find("tide warehouse ")
    failed = instance.run("lake", "status", check=False)
    assert failed.returncode == 1
    assert "switched off" in failed.stderr and "--mirror on" in failed.stderr
    assert instance.up("--mirror", "on", check=False).returncode != 0, "runs with other settings"
    instance.down()
    instance.up()
    assert roles_of_lake(instance)["mirror"] == ("off", None), "it is remembered"
    instance.down()
    assert "mirror is now on" in instance.up("--mirror", "on").stdout
    wait_for(lambda: tables(instance).get("tide.public.early", {}).get("rows") == 100, 60, "the table in the lake")
