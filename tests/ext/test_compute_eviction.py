"""Eviction: a cache of a few megabytes, and pages that come back as PostgreSQL's recovery makes them."""
import os
import signal
import subprocess
import threading
import time

import psycopg2
import pytest

from compute_server import BIN, as_postgres
from test_compute_extension import assert_same_as_standby, wait_for_standby

SMALL = {"shared_buffers": "1MB", "tidewater.cache_size": "4MB"}


def used_kb(cluster):
    return int(cluster.compute.value("show tidewater.cache_used_kb"))


def evicted(cluster):
    return int(cluster.compute.value("show tidewater.evicted_blocks"))


def press(cluster, rounds=1):
    """Makes everything else leave the cache."""
    for _ in range(rounds):
        cluster.compute.query("select sum(length(filler)) from big; select sum(length(doc)) from wide")
        time.sleep(0.2)


def disk_kb(cluster):
    total = 0
    for directory, _, names in os.walk(cluster.compute.data + "/base"):
        total += sum(os.stat(f"{directory}/{name}").st_blocks // 2 for name in names)
    return total


def test_cache_stays_within_its_limit(new_cluster):
    cluster = new_cluster(**SMALL)
    press(cluster, 3)
    assert evicted(cluster) > 1000
    assert used_kb(cluster) < 4096 * 1.3
    assert disk_kb(cluster) < 4096 * 2


def test_limit_can_change(new_cluster):
    cluster = new_cluster(shared_buffers="1MB")
    press(cluster)
    assert used_kb(cluster) > 12000
    cluster.compute.query("alter system set tidewater.cache_size = '2MB'")
    cluster.compute.query("select pg_reload_conf()")
    for _ in range(100):
        if used_kb(cluster) <= 2048 * 1.1:
            break
        time.sleep(0.1)
    assert used_kb(cluster) <= 2048 * 1.1
    assert cluster.compute.value("select count(*) from big") == 40000


def test_rewritten_pages_come_back(new_cluster):
    cluster = new_cluster(**SMALL)
    for i in range(5):
        cluster.compute.query(f"update big set filler = md5((id + {i})::text) where id between {i} * 4000 and {i} * 4000 + 1500")
        cluster.compute.query("checkpoint")
        press(cluster)
    cluster.compute.query("vacuum big")
    press(cluster)
    assert evicted(cluster) > 3000
    assert_same_as_standby(cluster, "big", "wide")


def test_fetch_waits_for_what_was_given_up(new_cluster):
    """A page store that lags behind must not give the page as it was before."""
    cluster = new_cluster(**SMALL, autovacuum="off")
    press(cluster, 2)
    cluster.compute.query("vacuum (freeze) big")
    wait_for_standby(cluster)
    cluster.standby.query("select pg_wal_replay_pause()")
    # It goes on by itself: any of these statements may have to wait for it.
    timer = threading.Timer(5, cluster.standby.query, ["select pg_wal_replay_resume()"])
    timer.start()
    cluster.compute.query("update big set filler = 'late' where id <= 500")
    cluster.compute.query("checkpoint")
    before = evicted(cluster)
    cluster.compute.query("select sum(length(filler)) from big where id between 2000 and 30000")
    assert evicted(cluster) > before
    assert cluster.compute.value("select count(*) from big where filler = 'late' and id + 0 <= 500") == 500
    timer.join()


def test_own_changes_of_a_running_transaction(new_cluster):
    """Command ids are not in WAL: a page with them must stay while they count."""
    cluster = new_cluster(**SMALL)
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("begin")
    cursor.execute("create table mine (a int, b int, pad text)")
    cursor.execute("insert into mine select i, 0, repeat('p', 300) from generate_series(1, 5000) i")
    cursor.execute("declare c cursor for select a, b from mine")
    cursor.execute("update mine set b = b + 1 where a % 2 = 0")
    cursor.execute("delete from mine where a % 3 = 0")
    cursor.execute("update mine set b = b + 10 where a % 5 = 0")
    cursor.execute("savepoint s; delete from mine where a % 7 = 0; rollback to s")
    cluster.compute.query("checkpoint")
    press(cluster, 3)
    cursor.execute("fetch all from c")
    seen = cursor.fetchall()
    assert len(seen) == 5000 and all(b == 0 for _, b in seen)
    expected = sum((a % 2 == 0) + 10 * (a % 5 == 0) for a in range(1, 5001) if a % 3)
    cursor.execute("select count(*), sum(b) from mine")
    assert cursor.fetchone() == (5000 - 1666, expected)
    cursor.execute("update mine set b = 0")     # sees each row once
    assert cursor.rowcount == 5000 - 1666
    cursor.execute("commit")
    cluster.compute.query("checkpoint")
    press(cluster, 3)
    assert_same_as_standby(cluster, "mine")


def test_long_transaction_does_not_hold_the_cache(new_cluster):
    """Only the pages it wrote stay, not all that were written meanwhile."""
    cluster = new_cluster(**SMALL)
    connection = cluster.compute.connect()
    cursor = connection.cursor()
    cursor.execute("begin; create table held (a int); insert into held values (1)")
    cluster.compute.query("create table other as select i, repeat('x', 200) t from generate_series(1, 60000) i")
    cluster.compute.query("checkpoint")
    for _ in range(50):
        if used_kb(cluster) < 4096 * 1.3:
            break
        time.sleep(0.1)
    assert used_kb(cluster) < 4096 * 1.3
    cursor.execute("select count(*) from held; commit")
    assert_same_as_standby(cluster, "other", "held")


def test_sequences_keep_counting(new_cluster):
    cluster = new_cluster(**SMALL)
    values = []
    for _ in range(5):
        values.append(cluster.compute.value("select nextval('numbers')"))
        cluster.compute.query("checkpoint")
        press(cluster)
    # Only the first may jump: the template's WAL had logged ahead, as after a restart.
    assert values == list(range(values[0], values[0] + 5))


def test_index_builds_of_every_kind(new_cluster):
    cluster = new_cluster(**SMALL)
    cluster.compute.query("create table built as select i, md5(i::text) t, point(i % 100, i) p, "
                          "array[i % 7, i % 11] a from generate_series(1, 30000) i")
    for method, column in (("btree", "t"), ("hash", "t"), ("gist", "p"), ("spgist", "p"), ("gin", "a"),
                           ("brin", "i")):
        cluster.compute.query(f"create index built_{method} on built using {method} ({column})")
        press(cluster)
    cluster.compute.query("update built set t = md5(t), a = array[i % 5] where i % 4 = 1")
    cluster.compute.query("vacuum built")
    press(cluster, 2)
    for condition in ("t = md5('777')", "t between 'a' and 'b'", "p <@ box '((10,0),(20,30000))'",
                      "a @> array[3]", "i between 500 and 600"):
        counts = set()
        for scan in ("off", "on"):
            connection = cluster.compute.connect()
            cursor = connection.cursor()
            cursor.execute(f"set enable_seqscan = {scan}")
            if scan == "on":
                cursor.execute("set enable_indexscan = off; set enable_bitmapscan = off; "
                               "set enable_indexonlyscan = off")
            cursor.execute(f"select count(*) from built where {condition}")
            counts.add(cursor.fetchone()[0])
            connection.close()
        assert len(counts) == 1, condition
    assert_same_as_standby(cluster, "built")


def test_visibility_map_agrees_with_the_heap(new_cluster):
    """Setting PD_ALL_VISIBLE is logged without raising the page's LSN."""
    cluster = new_cluster(**SMALL)
    cluster.compute.query("create extension pg_visibility")
    for i in range(4):
        cluster.compute.query(f"update big set filler = 'round {i}' where id % 50 = {i}")
        cluster.compute.query("vacuum big")
        cluster.compute.query("checkpoint")
        press(cluster, 2)
        cluster.compute.query(f"insert into big select 200000 + i + {i} * 1000, 'v' from generate_series(1, 500) i")
        assert cluster.compute.query("select * from pg_check_visible('big')") == []
        assert cluster.compute.query(
            "select blkno from pg_visibility('big') where all_visible and not pd_all_visible") == []
    assert_same_as_standby(cluster, "big")


def pgbench(cluster, *options):
    result = subprocess.run([BIN + "/pgbench", "-h", cluster.compute.sockets, "-p", str(cluster.compute.port),
                             "-U", "postgres", *options, "postgres"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, cwd="/tmp", **as_postgres())
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_tpcb_under_pressure(new_cluster):
    """Many writers, vacuums and checkpoints, on a cache of a tenth of the data; nothing lost or changed."""
    cluster = new_cluster(**SMALL, autovacuum_naptime="1s", checkpoint_timeout="30s")
    cluster.compute.query("create extension amcheck")
    pgbench(cluster, "-i", "-s", "3", "-q")
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            cluster.compute.query("checkpoint")
            cluster.compute.query("vacuum pgbench_accounts")
            time.sleep(0.5)

    thread = threading.Thread(target=disturb)
    thread.start()
    pgbench(cluster, "-c", "8", "-j", "2", "-T", "15")
    stop.set()
    thread.join()
    before = evicted(cluster)
    assert before > 3000
    totals = {cluster.compute.value(f"select sum({column}) from {table}") for table, column in (
        ("pgbench_accounts", "abalance"), ("pgbench_branches", "bbalance"), ("pgbench_tellers", "tbalance"),
        ("pgbench_history", "delta"))}
    assert len(totals) == 1
    for index in ("pgbench_accounts_pkey", "pgbench_tellers_pkey"):
        cluster.compute.query(f"select bt_index_parent_check('{index}', true)")
    assert cluster.compute.query("select * from verify_heapam('pgbench_accounts')") == []
    assert_same_as_standby(cluster, "pgbench_accounts", "pgbench_tellers", "pgbench_branches",
                           "pgbench_history")


def test_btree_splits_during_vacuum(new_cluster):
    """The cycle id of a split page is not in WAL; a vacuum that misses it leaves dangling entries."""
    cluster = new_cluster(**SMALL, autovacuum="off", vacuum_cost_delay="2ms", vacuum_cost_limit="200")
    cluster.compute.query("create extension amcheck")
    cluster.compute.query("create table split (a int, t text)")
    cluster.compute.query("insert into split select i, md5(i::text) from generate_series(1, 60000) i")
    cluster.compute.query("create index split_t on split (t)")
    cluster.compute.query("delete from split where a % 3 = 0")
    failed = []

    def vacuum():
        try:
            for _ in range(3):
                cluster.compute.query("vacuum (index_cleanup on) split")
        except psycopg2.Error as error:
            failed.append(error)

    thread = threading.Thread(target=vacuum)
    thread.start()
    i = 0
    while thread.is_alive():
        cluster.compute.query(f"insert into split select i, md5(i::text) from "
                              f"generate_series({100000 + i}, {100500 + i}) i")
        cluster.compute.query(f"delete from split where a between {100000 + i} and {100200 + i}")
        i += 501
    thread.join()
    assert not failed
    cluster.compute.query("vacuum split")
    cluster.compute.query("select bt_index_parent_check('split_t', true)")
    assert cluster.compute.query("select * from verify_heapam('split')") == []
    assert_same_as_standby(cluster, "split")


def test_full_map_makes_room(new_cluster):
    """More relations than the map can describe at once."""
    cluster = new_cluster(**{"shared_buffers": "1MB", "tidewater.cache_map_chunks": "1024"})
    cluster.compute.query("do $$ begin for i in 1..1500 loop "
                          "execute 'create table many' || i || ' as select ' || i || ' as a'; "
                          "if i % 100 = 0 then commit; end if; end loop; end $$")
    cluster.compute.query("checkpoint")
    cluster.compute.query("do $$ declare n int; begin for i in 1..1500 loop "
                          "execute 'select a from many' || i into n; "
                          "if n <> i then raise 'table % has %', i, n; end if; end loop; end $$")
    assert cluster.compute.value("select count(*) from big") == 40000


def test_wait_for_standbys_survives_cancel_and_terminate(new_cluster):
    cluster = new_cluster(synchronous_standby_names="*")
    cluster.compute.query("create table promised (a int)")
    receiver = int(cluster.standby.value("select pid from pg_stat_wal_receiver"))
    for how in ("pg_cancel_backend", "pg_terminate_backend"):
        os.kill(receiver, signal.SIGSTOP)
        try:
            connection = cluster.compute.connect()
            cursor = connection.cursor()
            pid = connection.get_backend_pid()
            outcome = []

            def insert():
                try:
                    cursor.execute("insert into promised values (1)")
                    outcome.append("done")
                except psycopg2.Error as error:
                    outcome.append(error)

            thread = threading.Thread(target=insert)
            thread.start()
            time.sleep(0.5)
            before = cluster.compute.value("select count(*) from promised")
            cluster.compute.query(f"select {how}({pid})")
            time.sleep(1)
            assert not outcome, "no answer before the acknowledgement"
            assert cluster.compute.value("select count(*) from promised") == before
        finally:
            os.kill(receiver, signal.SIGCONT)
        thread.join(10)
        assert len(outcome) == 1
        assert cluster.compute.value("select count(*) from promised") == before + 1
        if how == "pg_cancel_backend":
            assert outcome == ["done"] and connection.notices == []


def rest_in_a_scan(cluster):
    """A session whose sequential scan of big rests with the next chunk asked for: (connection, cursor, chunk's first block)."""
    connection = cluster.compute.connect()
    connection.autocommit = False
    cursor = connection.cursor("scan")
    cursor.itersize = 1
    cursor.execute("select ctid::text, id from big")
    while True:
        block = int(cursor.fetchone()[0].strip("()").split(",")[0])
        *_, first, count, _ = cluster.pages.asked[-1]
        if block >= 64 and first > block and count > 16:
            return connection, cursor, first


def test_a_scan_asks_before_it_misses(new_cluster):
    cluster = new_cluster()
    connection, cursor, _ = rest_in_a_scan(cluster)
    assert sum(1 for _ in cursor) > 10000
    connection.close()
    big = cluster.compute.value("select pg_relation_filenode('big')")
    blocks = [block for spc, db, rel, fork, first, count, _ in cluster.pages.asked if (rel, fork) == (big, 0)
              for block in range(first, first + count)]
    assert len(blocks) == len(set(blocks)), "a block came twice"
    assert_same_as_standby(cluster, "big")


def test_pages_asked_ahead_may_be_too_old(new_cluster):
    """While a scan rests with pages on their way, these are fetched, changed and given up by others."""
    cluster = new_cluster(**SMALL, autovacuum="off")
    connection, cursor, first = rest_in_a_scan(cluster)
    change = (f"update big set filler = 'newer' where ctid >= '({first},0)' and ctid < '({first + 32},0)' "
              "and filler <> 'newer'")
    cluster.compute.query(change)
    changed = cluster.compute.value("select count(*) from big where filler = 'newer'")
    assert changed > 100
    cluster.compute.query("checkpoint")
    press(cluster, 3)
    assert sum(1 for _ in cursor) > 10000  # goes on where it rested, with its old snapshot
    with connection.cursor() as again:
        again.execute("select count(*) from big where filler = 'newer'")
        assert again.fetchone() == (changed,)
    connection.close()
    assert_same_as_standby(cluster, "big")


def test_other_questions_may_come_between(new_cluster):
    cluster = new_cluster(**SMALL)
    connection, cursor, _ = rest_in_a_scan(cluster)
    with connection.cursor() as other:
        other.execute("select count(*), sum(length(doc)) from wide")
        assert other.fetchone() == (200, 200 * 9600)
    assert sum(1 for _ in cursor) > 10000
    connection.close()


def test_pages_asked_ahead_may_be_lost(new_cluster):
    cluster = new_cluster(**SMALL)
    connection, cursor, _ = rest_in_a_scan(cluster)
    cluster.pages.stop()
    cluster.pages.start()
    assert sum(1 for _ in cursor) > 10000
    connection.close()
    connection, cursor, _ = rest_in_a_scan(cluster)
    cluster.pages.corrupt_tag = True
    assert sum(1 for _ in cursor) > 10000
    connection.close()
    assert_same_as_standby(cluster, "big")
