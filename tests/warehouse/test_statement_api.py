"""Statements over HTTP in Databricks' form."""
import base64
import http.client
import json
import time

import pytest

SLOW = "SELECT count(*) FROM orders a, orders b, orders c WHERE a.id + b.id * c.id % 7 = 3"


class Api:
    def __init__(self, stand, user="ada", password="se cret"):
        self.port = int((stand.data / "warehouse/http-port").read_text())
        self.headers = {"Content-Type": "application/json"}
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, "/api/2.0/sql/statements" + path, json.dumps(body) if body is not None else None, self.headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def run(self, statement, **more):
        return self.call("POST", "", {"statement": statement, "warehouse_id": "w", **more})


@pytest.fixture
def api(stand):
    return Api(stand)


def test_a_statement_and_its_rows(api):
    status, answer = api.run("SELECT id, name, since FROM customer WHERE id = :id AND name <> :name", parameters=[
        {"name": "id", "value": "2", "type": "INT"}, {"name": "name", "value": "it's"}])
    assert status == 200 and answer["status"] == {"state": "SUCCEEDED"}, answer
    assert answer["manifest"]["schema"]["columns"][0] == {"name": "id", "position": 0, "type_name": "INT", "type_text": "INT"}
    assert answer["result"]["data_array"] == [["2", "customer 2", "2020-01-03"]]
    assert api.call("GET", "/" + answer["statement_id"])[1] == answer


def test_values(api):
    _, answer = api.run("SELECT b, n, ts, tz, by, t FROM everything ORDER BY id LIMIT 1")
    assert answer["result"]["data_array"] == [["true", "-12345.67890", "2024-02-29T23:59:59.999999", "2024-07-01T10:00:00.000Z",
                                               "\\x00ff10", "x'y\"z\\"]]
    assert [column["type_name"] for column in answer["manifest"]["schema"]["columns"]] == [
        "BOOLEAN", "DECIMAL", "TIMESTAMP", "TIMESTAMP", "BINARY", "STRING"]
    assert api.run("SELECT version()")[1]["result"]["data_array"][0][0].startswith("PostgreSQL 15")


def test_chunks(api):
    _, answer = api.run("SELECT o.*, repeat('x', 600) FROM orders o ORDER BY id")
    rows, chunk = [], answer["result"]
    while True:
        rows += chunk["data_array"]
        if "next_chunk_index" not in chunk:
            break
        _, chunk = api.call("GET", f"/{answer['statement_id']}/result/chunks/{chunk['next_chunk_index']}")
    assert [int(row[0]) for row in rows] == list(range(1, 5001)) and answer["manifest"]["total_chunk_count"] >= 2


def test_waiting_and_cancel(api):
    status, answer = api.run(SLOW, wait_timeout="0s")
    assert answer["status"]["state"] in ("PENDING", "RUNNING")
    assert api.call("POST", f"/{answer['statement_id']}/cancel")[0] == 200
    deadline = time.monotonic() + 20
    while True:
        _, now = api.call("GET", "/" + answer["statement_id"])
        if now["status"]["state"] == "CANCELED":
            break
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    _, answer = api.run(SLOW, wait_timeout="5s", on_wait_timeout="CANCEL")
    assert answer["status"]["state"] == "CANCELED"


def test_row_limit(api):
    _, answer = api.run("SELECT id FROM orders", row_limit=10)
    assert answer["manifest"]["truncated"] and answer["manifest"]["total_row_count"] == 10


def test_errors(stand, api):
    _, answer = api.run("SELECT nope FROM customer")
    assert answer["status"]["state"] == "FAILED" and answer["status"]["error"]["error_code"] == "BAD_REQUEST"
    assert answer["status"]["error"]["sql_state"] == "42703"
    assert api.run("INSERT INTO customer VALUES (1)")[1]["status"]["error"]["sql_state"] == "25006"
    for body in ({}, {"statement": " "}, {"statement": "SELECT 1", "wait_timeout": "3s"}, {"statement": "SELECT 1", "format": "CSV"},
                 {"statement": "SELECT :x"}):
        status, answer = api.call("POST", "", body)
        assert status == 400 and answer["error_code"] == "INVALID_PARAMETER_VALUE"
    assert api.call("GET", "/none")[0] == 404
    assert api.run("SELECT 1", catalog="app@none")[0] == 404
    for other in (Api(stand, user=None), Api(stand, password="wrong"), Api(stand, user="nobody")):
        assert other.run("SELECT 1")[0] == 401
    _, answer = api.run("SELECT 1")
    assert Api(stand, user="bob").call("GET", "/" + answer["statement_id"])[0] == 404


def test_schema_and_catalog(api):
    assert api.run('SELECT count(*) FROM "Case"', catalog="app@main", schema="Mixed")[1]["result"]["data_array"] == [["2"]]
