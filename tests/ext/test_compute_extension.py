"""The compute role of tidewater.so against a page service that is a stock standby."""
import glob
import os
import struct
import threading
import time

import psycopg2
import pytest

from compute_server import LIBRARY, Server
from page_server import GET_PAGES


def test_starts_without_relation_files(cluster):
    assert cluster.compute.value("select count(*) from big") == 40000
    assert cluster.compute.value("select count(*) from big where filler = repeat(md5('77'), 8)") == 1


def wait_for_standby(cluster):
    """Until the standby has replayed all that the compute did."""
    target = cluster.compute.value("select pg_current_wal_flush_lsn()")
    for _ in range(500):
        if cluster.standby.value(f"select pg_last_wal_replay_lsn() >= '{target}'"):
            return
        time.sleep(0.02)
    raise AssertionError("the standby does not follow")


def assert_same_as_standby(cluster, *tables):
    wait_for_standby(cluster)
    for table in tables:
        # Row by row, by sequential scan and by index where there is one.
        query = f"select count(*), md5(string_agg(t::text, ',' order by t::text)) from {table} t"
        assert cluster.compute.query(query) == cluster.standby.query(query), table


def test_sequential_scan_asks_for_runs(cluster):
    before = dict(cluster.pages.counts)
    assert cluster.compute.value("select sum(length(doc)) from wide") == 200 * 9600
    asked = cluster.pages.counts[GET_PAGES] - before[GET_PAGES]
    pages = cluster.pages.counts["pages"] - before["pages"]
    assert pages >= 200, "the toast table was fetched"
    # Toast chunks come by index, in order of the heap: runs of up to 64 blocks.
    assert asked < pages / 4


def test_second_read_is_local(cluster):
    cluster.compute.query("select count(*) from big")
    before = cluster.pages.counts["pages"]
    cluster.compute.query("select count(*) from big")
    assert cluster.pages.counts["pages"] == before


def test_writes_and_reads(cluster):
    cluster.compute.query("update big set filler = 'changed' where id % 100 = 3")
    cluster.compute.query("delete from big where id % 100 = 4")
    cluster.compute.query("insert into big select i, 'new' from generate_series(100001, 105000) i")
    assert cluster.compute.value("select count(*) from big where filler = 'changed'") == 400
    assert cluster.compute.value("select count(*) from big where filler = 'new'") == 5000
    cluster.compute.query("vacuum (freeze, analyze) big")
    assert_same_as_standby(cluster, "big")


def test_rewrites_and_index_builds(cluster):
    cluster.compute.query("create table built as select i, md5(i::text) t, point(i, i) p, "
                          "array[i % 7, i % 11] a, int4range(i, i + 5) r from generate_series(1, 20000) i")
    for method, column in (("btree", "t"), ("hash", "t"), ("gist", "p"), ("spgist", "p"), ("gin", "a"),
                           ("brin", "i"), ("gist", "r")):
        cluster.compute.query(f"create index on built using {method} ({column})")
    cluster.compute.query("vacuum full built")
    cluster.compute.query("cluster built using built_t_idx")
    cluster.compute.query("reindex table built")
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("set enable_seqscan = off; set enable_bitmapscan = on")
    cursor.execute("select count(*) from built where a @> array[3, 4]")
    by_index = cursor.fetchone()[0]
    cursor.execute("set enable_seqscan = on; set enable_indexscan = off; set enable_bitmapscan = off")
    cursor.execute("select count(*) from built where a @> array[3, 4]")
    assert cursor.fetchone()[0] == by_index > 0
    assert_same_as_standby(cluster, "built")


def test_vacuum_full_of_catalogs(cluster):
    cluster.compute.query("vacuum full pg_class")
    cluster.compute.query("vacuum full pg_attribute")
    cluster.compute.query("reindex system postgres")
    assert cluster.compute.value("select count(*) from pg_class") > 300


def test_truncate(cluster):
    cluster.compute.query("create table cut as select * from big where id < 20000")
    cluster.compute.query("delete from cut where id > 500")
    cluster.compute.query("vacuum (truncate on) cut")
    assert cluster.compute.value("select pg_relation_size('cut')") < 300 * 8192
    cluster.compute.query("insert into cut select i, 'again' from generate_series(30000, 40000) i")
    assert cluster.compute.value("select count(*) from cut where filler = 'again'") == 10001
    cluster.compute.query("truncate cut")
    assert cluster.compute.value("select count(*) from cut") == 0
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("begin; create table cut2 (a int); insert into cut2 select generate_series(1, 9999); "
                   "truncate cut2; insert into cut2 values (1); create index on cut2 (a); commit")
    assert cluster.compute.value("select sum(a) from cut2") == 1
    assert_same_as_standby(cluster, "cut", "cut2")


def test_truncation_of_a_sparse_relation(new_cluster):
    cluster = new_cluster()
    # Nothing of it is local but what the delete touches.
    cluster.compute.query("delete from big where id > 1000")
    cluster.compute.query("vacuum (truncate on) big")
    assert cluster.compute.value("select pg_relation_size('big')") < 100 * 8192
    cluster.compute.query("insert into big select i, 'again' from generate_series(50000, 70000) i")
    assert cluster.compute.value("select count(*) from big") == 1000 + 20001
    assert_same_as_standby(cluster, "big")


def test_extension_of_a_sparse_relation(new_cluster):
    cluster = new_cluster()
    cluster.compute.query("insert into big select i, repeat('x', 900) from generate_series(50000, 60000) i")
    assert cluster.compute.value("select count(*) from big") == 50001
    assert_same_as_standby(cluster, "big")


def test_drop_and_create(cluster):
    cluster.compute.query("drop table dropped_later")
    cluster.compute.query("create table dropped_later (a int)")
    cluster.compute.query("insert into dropped_later select generate_series(1, 1000)")
    cluster.compute.query("checkpoint")
    cluster.compute.query("drop table dropped_later")
    cluster.compute.query("checkpoint")
    assert cluster.compute.query("select 1 from pg_class where relname = 'dropped_later'") == []


def test_aborted_creation(cluster):
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("begin; create table gone as select * from generate_series(1, 10000); rollback")
    cursor.execute("create table stays as select * from generate_series(1, 10000)")
    cursor.execute("select count(*) from stays")
    assert cursor.fetchone()[0] == 10000


def test_temporary_and_unlogged(cluster):
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("create temp table t as select * from generate_series(1, 50000) i; create index on t (i)")
    cursor.execute("select count(*) from t where i between 100 and 199")
    assert cursor.fetchone()[0] == 100
    # The template's unlogged table was reset, as after a crash.
    assert cluster.compute.value("select count(*) from scrap") == 0
    cluster.compute.query("insert into scrap select i, 'x' from generate_series(1, 5000) i")
    assert cluster.compute.value("select count(*) from scrap where id between 1 and 50") == 50
    cluster.compute.query("create unlogged table u (id int primary key, t text)")
    cluster.compute.query("insert into u select i, md5(i::text) from generate_series(1, 20000) i")
    cluster.compute.query("create index on u using gin (string_to_array(t, 'a'))")
    cluster.compute.query("checkpoint")
    assert cluster.compute.value("select count(*) from u") == 20000
    cluster.compute.query("alter table u set logged")
    assert_same_as_standby(cluster, "u")
    cluster.compute.query("alter table u set unlogged; truncate u; drop table u")


def test_sequences_do_not_jump(cluster):
    assert [cluster.compute.value("select nextval('numbers')") for _ in range(3)][-1] >= 8
    first = cluster.compute.value("select nextval('numbers')")
    cluster.compute.query("checkpoint")
    assert cluster.compute.value("select nextval('numbers')") == first + 1


def test_size_functions_see_what_was_not_touched(new_cluster, template):
    cluster = new_cluster()
    sizes = ("select pg_relation_size('big'), pg_relation_size('big', 'fsm'), pg_relation_size('big', 'vm'), "
             "pg_table_size('wide'), pg_indexes_size('big'), pg_total_relation_size('wide')")
    assert cluster.compute.query(sizes) == cluster.standby.query(sizes)
    ours = cluster.compute.value("select pg_database_size('postgres')")
    theirs = cluster.standby.value("select pg_database_size('postgres')")
    assert abs(ours - theirs) < 2 << 20
    assert cluster.compute.value("select pg_database_size(oid) from pg_database "
                                 "where datname = 'template1'") > 5 << 20
    assert cluster.compute.value("select pg_relation_size(0)") is None


def test_create_and_drop_database(cluster):
    cluster.compute.query("create database copy1")
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("create database copy2 strategy file_copy template template0")
    assert any("wal_log" in notice for notice in connection.notices)
    cluster.compute.query("create table t as select generate_series(1, 1000)", "copy2")
    assert cluster.compute.value("select count(*) from t", "copy2") == 1000
    cluster.compute.query("drop database copy2")
    cluster.compute.query("create database copy2")
    assert cluster.compute.value("select count(*) from pg_class", "copy2") > 300
    cluster.compute.query("drop database copy1")
    with pytest.raises(psycopg2.Error, match="does not exist"):
        cluster.compute.query("drop database copy1")
    cluster.compute.query("checkpoint")


def test_tablespaces_are_refused(cluster):
    for statement in ("create tablespace s location '/tmp'",
                      "set allow_in_place_tablespaces = on; create tablespace s location ''"):
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match="tablespaces are not supported"):
            cluster.compute.query(statement)


def test_cancel_and_retry_while_the_page_server_is_away(new_cluster):
    cluster = new_cluster()
    cluster.compute.query("select 1 from big limit 1")
    cluster.pages.stop()
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("set statement_timeout = '500ms'")
    begin = time.time()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        cursor.execute("select count(*) from wide, big where filler = doc")
    assert time.time() < begin + 5
    cursor.execute("set statement_timeout = 0")
    timer = threading.Timer(6, cluster.pages.start)
    timer.start()
    cursor.execute("select count(*) from wide")
    assert cursor.fetchone()[0] == 200
    timer.join()
    assert "the page store does not answer, retrying" in cluster.compute.log_text()
    # The conversation that the cancel broke off is not continued in the middle.
    cursor.execute("select count(*), max(length(filler)) from big")
    assert cursor.fetchone() == (40000, 256)


def test_answer_for_another_block_never_becomes_a_page(new_cluster):
    cluster = new_cluster()
    cluster.pages.corrupt_tag = True
    assert cluster.compute.value("select count(*) from big") == 40000
    assert "answered for another relation" in cluster.compute.log_text()


def test_local_files_stay_sparse(new_cluster):
    cluster = new_cluster()
    path = cluster.compute.value("select pg_relation_filepath('big')")
    assert cluster.compute.value("select filler is not null from big where id = 20000")
    status = os.stat(f"{cluster.compute.data}/{path}")
    assert status.st_size > 10 << 20
    assert status.st_blocks * 512 < 1 << 20


def test_data_directory_serves_one_start(new_cluster):
    cluster = new_cluster()
    cluster.compute.query("select count(*) from big")
    cluster.compute.stop()
    cluster.compute.start(wait=False)
    assert cluster.compute.process.wait(20) == 1
    assert "was used by a compute before" in cluster.compute.log_text()


def feed_value(cluster, offset, format="<Q"):
    with open(cluster.feed, "rb") as feed:
        feed.seek(offset)
        return struct.unpack(format, feed.read(struct.calcsize(format)))[0]


def set_feed(cluster, offset, value, format="<Q"):
    with open(cluster.feed, "r+b") as feed:
        feed.seek(offset)
        feed.write(struct.pack(format, value))


FLUSH, INGESTED, THROTTLE, FENCED, WAITERS, SIGNAL = 64, 128, 144, 152, 192, 196


def lsn_value(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def test_commit_is_in_the_feed_before_the_answer(cluster):
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("create table fed (a int)")
    for i in range(50):
        cursor.execute("insert into fed values (1)")
        published = feed_value(cluster, FLUSH)
        cursor.execute("select pg_current_wal_insert_lsn()")
        # Nothing else writes but the odd background record.
        assert published + 2000 > lsn_value(cursor.fetchone()[0])


def test_a_commit_wakes_who_waits_in_the_feed(cluster):
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("create table waking (a int)")
    quiet = feed_value(cluster, SIGNAL, "<I")
    assert quiet == 0, "nobody waits: no system call"
    set_feed(cluster, WAITERS, 1, "<I")
    for i in range(10):
        before = feed_value(cluster, SIGNAL, "<I")
        cursor.execute("insert into waking values (1)")
        assert feed_value(cluster, SIGNAL, "<I") > before
    set_feed(cluster, WAITERS, 0, "<I")


def test_throttle_slows_writers_only(new_cluster):
    cluster = new_cluster(autovacuum="off")
    cluster.compute.query("create table slow (a int, t text)")
    set_feed(cluster, THROTTLE, 20000)
    begin = time.time()
    cluster.compute.query("insert into slow select i, repeat('x', 500) from generate_series(1, 4000) i")
    writing = time.time() - begin
    begin = time.time()
    cluster.compute.query("select count(*) from slow")
    reading = time.time() - begin
    # 2.3 MB of WAL are 36 units of 20 ms.
    assert 0.5 < writing < 5
    assert reading < 0.2
    set_feed(cluster, THROTTLE, 0)


def test_fenced_by_the_feed(new_cluster):
    cluster = new_cluster()
    set_feed(cluster, FENCED, 1, "<I")
    cluster.compute.process.wait(20)
    assert "was fenced by a newer one" in cluster.compute.log_text()


def test_fenced_by_the_page_store(new_cluster):
    cluster = new_cluster()
    cluster.pages.epoch = 8
    with pytest.raises(psycopg2.Error):
        cluster.compute.query("select count(*) from big")
    cluster.compute.process.wait(20)
    assert "was fenced by a newer one" in cluster.compute.log_text()


def test_settings_are_checked(scratch, template):
    for settings, message in (
            ({}, "tidewater.role is not set"),
            ({"tidewater.role": "compute"}, "tidewater.page_socket is not set"),
            ({"tidewater.role": "compute", "tidewater.page_socket": "/s", "tidewater.timeline": 1,
              "tidewater.epoch": "x"}, "An epoch is a decimal number"),
            ({"tidewater.role": "compute", "tidewater.page_socket": "/s", "tidewater.timeline": 1,
              "tidewater.epoch": "1", "tidewater.start_lsn": "17"}, "An LSN looks like")):
        server = Server(template, 23999, dict(settings, shared_preload_libraries=LIBRARY))
        server.log = scratch + "/settings.log"
        server.start(wait=False)
        assert server.process.wait(20) != 0
        assert message in server.log_text()


def test_not_loadable_into_a_running_server(cluster):
    with pytest.raises(psycopg2.Error, match="tidewater must be loaded when the server starts"):
        cluster.standby.query(f"load '{LIBRARY}'")
