"""Branches: the time to make one, and to a first row on it, in a small and in a big database."""
import contextlib
import json
import time

import psycopg2

from harness.figures import Bar, Figure
from harness.load import BULK_TABLE, write_copy_file


def run(bench):
    options = bench.options
    created = {}
    with bench.pair() as (stock, tide):
        for megabytes in dict.fromkeys((10, options.branch_mb)):
            file = bench.directory / "rows.copy"
            write_copy_file(file, megabytes)
            for arm in (stock, tide):
                arm.sql("DROP TABLE IF EXISTS bulk")
                arm.sql(BULK_TABLE.format("bulk"))
                arm.sql("COPY bulk FROM %s", (str(file),))
                arm.sql("VACUUM bulk")
                arm.sql("CHECKPOINT")
                arm.settle()
            file.unlink()
            label = f"{tide.value('SELECT pg_database_size(current_database())') / 2**20:.0f} MB"

            times = {"api": [], "command": [], "row": [], "start": [], "both": []}
            for i in range(options.branches):
                name = f"branch-{i}"
                by_command = i % 2 == 1
                begin = time.monotonic()
                if by_command:
                    tide.instance.run("branch", "create", name)
                    times["command"].append((time.monotonic() - begin) * 1000)
                else:
                    _, seconds = tide.ask("POST", "/v1/branches", {"name": name})
                    times["api"].append(seconds * 1000)
                made = time.monotonic()
                endpoint, seconds = tide.ask("POST", f"/v1/endpoints/{name}/start")
                times["start"].append(seconds * 1000)
                with contextlib.closing(tide.connect(endpoint["port"])) as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT account FROM bulk LIMIT 1")
                    assert cursor.fetchall()
                end = time.monotonic()
                times["row"].append((end - made) * 1000)
                times["both"].append((end - begin) * 1000)
                tide.ask("POST", f"/v1/endpoints/{name}/suspend")
                tide.ask("DELETE", f"/v1/branches/{name}")
                bench.progress(f"{label}: " + json.dumps({what: round(found[-1], 1) for what, found in times.items() if found}))
            created[label] = times["api"]

            copies = [stock_copy(stock) for _ in range(options.rounds)]
            bench.add(Figure(f"create, {label} (stock: CREATE DATABASE ... TEMPLATE, file_copy)", "ms",
                             {"stock": copies, "tide": times["api"]}, Bar("value", "<", 20, "ms")))
            bench.add(Figure(f"create, {label}, p99", "ms", {"tide": times["api"]}, Bar("value", "<", 20, "ms"), 99))
            if times["command"]:
                bench.add(Figure(f"create by the command tide branch create, {label}", "ms", {"tide": times["command"]}))
            for percent in (50, 99):
                bench.add(Figure(f"start of it and first row, {label}, p{percent}", "ms", {"tide": times["row"]},
                                 Bar("value", "<", 150, "ms"), percent))
            bench.add(Figure(f"of it: start, {label}", "ms", {"tide": times["start"]}))
            bench.add(Figure(f"create to first row, {label}", "ms", {"tide": times["both"]}))
        if len(created) == 2:
            (small, few), (big, many) = created.items()
            bench.add(Figure(f"create, {big} to {small}", "x", {"tide": [
                sorted(many)[len(many) // 2] / sorted(few)[len(few) // 2]]}, Bar("value", "<=", 1.5, "x")))


def stock_copy(stock):
    """A copy of the database the stock way, in milliseconds; nobody may be connected to the original."""
    maintenance = psycopg2.connect(host=stock.host, port=stock.port, user=stock.user, password=stock.password,
                                   dbname="template1")
    maintenance.autocommit = True
    with contextlib.closing(maintenance), maintenance.cursor() as cursor:
        begin = time.monotonic()
        cursor.execute(f"CREATE DATABASE copied TEMPLATE {stock.database} STRATEGY file_copy")
        seconds = time.monotonic() - begin
        cursor.execute("DROP DATABASE copied")
        return seconds * 1000
