"""The readers are right about tables that others wrote, before they judge ours."""
import collections
import os
import pathlib
import shutil
import struct
import zlib

import pytest

from lake import canonical, deletion_vectors
from lake.child import QueryError
from lake.clickhouse import blurred
from lake.log import Log, LogError, unmapped
from lake.validity import check_table

GOLDEN = pathlib.Path(os.environ.get("TIDE_DELTA_GOLDEN", pathlib.Path(__file__).parent / "golden"))
TABLES = sorted(path.parent.name for path in GOLDEN.glob("*/expected"))
# Known limits of the readers, not of the tables.
ZONED_PARTITIONS = {"data-reader-partition-values"}  # a partition's timestamp without zone: the reader's
NESTED_MAPPING = {"table-with-columnmapping-mode-id", "table-with-columnmapping-mode-name"}  # ClickHouse 26.5: empty


def expected_rows(duck, table, fields):
    fields = [unmapped(field) for field in fields]
    return collections.Counter(row for file in sorted((GOLDEN / table / "expected").rglob("*.parquet"))
                               for _, row in duck.file_rows(file, fields))


@pytest.mark.parametrize("table", TABLES)
def test_golden_table(duck, clickhouse, table):
    if table in ZONED_PARTITIONS:
        pytest.skip("its timestamps mean the reader's time zone")
    snapshot = Log(GOLDEN / table / "delta", duck).snapshot()
    fields = snapshot.fields
    expected = expected_rows(duck, table, fields)
    assert expected
    assert collections.Counter(snapshot.rows(duck)) == expected
    if table not in NESTED_MAPPING:
        kinds = [field.kind for field in fields]
        seen = collections.Counter(tuple(map(blurred, kinds, row)) for row in expected.elements())
        assert collections.Counter(clickhouse.rows(GOLDEN / table / "delta", fields)) == seen


def test_count_respects_deletion_vectors(clickhouse, duck):
    table = GOLDEN / "log-replay-dv-key-cases/delta"
    assert clickhouse.count(table) == sum(1 for _ in Log(table, duck).snapshot().rows(duck))


def test_older_versions(duck, clickhouse):
    table = GOLDEN / "log-replay-dv-key-cases/delta"
    log = Log(table, duck)
    for version in range(log.last + 1):
        snapshot = log.snapshot(version)
        assert collections.Counter(clickhouse.rows(table, snapshot.fields, version)) == \
            collections.Counter(snapshot.rows(duck))


def test_checkpoint_equals_replay(duck):
    for name in ("dv-with-columnmapping", "v2-checkpoint-json", "multi-part-checkpoint"):
        log = Log(GOLDEN / name / "delta", duck)
        assert log.base(log.last) >= 0
        left, right = log.snapshot(), log.snapshot(use_checkpoint=False)
        assert left.live.keys() == right.live.keys() and left.metadata["id"] == right.metadata["id"]


def test_engine_survives_what_it_refuses(clickhouse):
    with pytest.raises(QueryError):
        clickhouse.query("SELECT no_such_column")
    with pytest.raises(QueryError, match="no answer within"):
        clickhouse.query("SELECT count() FROM numbers(1e12) WHERE NOT ignore(cityHash64(number))", timeout=1)
    assert clickhouse.query("SELECT 1") == [[1]]


def test_values_keep_their_identity(duck, clickhouse):
    """What reports compare: NaN, decimals' scale, binaries, nested nulls."""
    kinds = [("double",), ("float",), ("decimal", 10, 2), ("binary",), ("array", ("double",)), ("date",), ("timestamp",)]
    values = ["CAST('-0.0' AS DOUBLE)", "CAST('nan' AS REAL)", "CAST(1.5 AS DECIMAL(10,2))", "CAST('\\x00\\xff' AS BLOB)",
              "[CAST('-inf' AS DOUBLE), NULL]", "DATE '0044-03-15 (BC)'", "TIMESTAMPTZ '2000-01-01 00:00:00.000001+00'"]
    from lake.duck import expression
    sql = ", ".join(f"{expression(kind, value)} AS c{i}" for i, (kind, value) in enumerate(zip(kinds, values)))
    row, = duck.query(f"SELECT {sql}")
    row = [canonical.from_json(kind, value) for kind, value in zip(kinds, row)]
    assert row[:2] == ["0.0", "nan"] and str(row[2]) == "1.50" and row[3] == "00ff" and row[4] == ("-inf", None)
    assert row[5] == -735160 and row[6] == 946684800000001


# Deletion vectors: every form decodes, every damage is seen.

def roaring(values):
    """A one-bucket portable bitmap of array containers."""
    groups = collections.defaultdict(list)
    for value in values:
        groups[value >> 16].append(value & 0xFFFF)
    heads = b"".join(struct.pack("<HH", key, len(low) - 1) for key, low in sorted(groups.items()))
    at, offsets, bodies = 8 + 8 * len(groups), b"", b""
    for _, low in sorted(groups.items()):
        offsets += struct.pack("<I", at + len(bodies))
        bodies += struct.pack(f"<{len(low)}H", *low)
    return struct.pack("<IQI", deletion_vectors.PORTABLE, 1, 0) + struct.pack("<II", 12346, len(groups)) + heads + offsets + bodies


def test_deletion_vector_forms():
    rows = [0, 3, 65535, 65536, 200000]
    assert deletion_vectors.bitmap(roaring(rows)) == rows
    runs = struct.pack("<IQI", deletion_vectors.PORTABLE, 1, 0) + struct.pack("<IB", 12347, 1) + \
        struct.pack("<HH", 0, 9) + struct.pack("<HHHHH", 2, 5, 4, 100, 4)
    assert deletion_vectors.bitmap(runs) == [5, 6, 7, 8, 9, 100, 101, 102, 103, 104]
    full = struct.pack("<IQI", deletion_vectors.PORTABLE, 1, 0) + struct.pack("<II", 12346, 1) + \
        struct.pack("<HH", 0, 8191) + struct.pack("<I", 16)
    assert deletion_vectors.bitmap(full + b"\x01" * 8192) == list(range(0, 65536, 8))
    with pytest.raises(deletion_vectors.Broken):
        deletion_vectors.bitmap(full + b"\x55" * 8192)  # 32768 bits, the header says 8192


def test_deletion_vector_damage(tmp_path):
    name, data = "deletion_vector_00000000-0000-0000-0000-000000000000.bin", roaring([1, 2, 3])
    good = b"\x01" + struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    descriptor = {"storageType": "u", "pathOrInlineDv": "0" * 20, "offset": 1, "sizeInBytes": len(data), "cardinality": 3}
    (tmp_path / name).write_bytes(good)
    assert deletion_vectors.read(descriptor, tmp_path) == [1, 2, 3]
    for position in range(len(good)):
        (tmp_path / name).write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1:])
        with pytest.raises(deletion_vectors.Broken):
            deletion_vectors.read(descriptor, tmp_path)
    (tmp_path / name).write_bytes(good)
    for change in ({"cardinality": 4}, {"sizeInBytes": len(data) - 1}, {"offset": 2}, {"storageType": "x"},
                   {"pathOrInlineDv": "0" * 19 + "1"}):
        with pytest.raises(deletion_vectors.Broken):
            deletion_vectors.read({**descriptor, **change}, tmp_path)


# The validator passes good tables and sees what is wrong with bad ones.

def damaged(tmp_path, name, commit, change):
    table = tmp_path / name
    shutil.copytree(GOLDEN / name / "delta", table)
    path = table / f"_delta_log/{commit:020d}.json"
    path.chmod(0o644)
    path.write_text(change(path.read_text()))
    for checkpoint in table.glob("_delta_log/*checkpoint*"):
        checkpoint.unlink()
    return table


@pytest.mark.parametrize("table", ["log-replay-dv-key-cases", "dv-with-columnmapping", "parquet-all-types"])
def test_valid_tables_pass(duck, table):
    assert check_table(GOLDEN / table / "delta", duck, ours=False) == []


@pytest.mark.parametrize("name, commit, change, finding", [
    ("log-replay-dv-key-cases", 1, lambda text: text.replace('"cardinality":1', '"cardinality":2'), "descriptor says 2"),
    ("log-replay-dv-key-cases", 1, lambda text: "\n".join(line for line in text.splitlines() if '"remove"' not in line),
     "while None is live"),
    ("log-replay-dv-key-cases", 2, lambda text: text.replace('"tightBounds\\":false', '"tightBounds\\":true'), "tightBounds"),
    ("dv-with-columnmapping", 0, lambda text: text.replace('columnMapping.id\\":1', 'columnMapping.id\\":2'), "column id 2 twice"),
    ("parquet-all-types", 0, lambda text: text.replace('"size":', '"size":1'), "bytes, the log says"),
    ("parquet-all-types", 0, lambda text: text.replace('\\"numRecords\\":', '\\"numRecords\\":1'), "statistics say"),
])
def test_damaged_tables_fail(duck, tmp_path, name, commit, change, finding):
    problems = check_table(damaged(tmp_path, name, commit, change), duck, ours=False)
    assert any(finding in problem for problem in problems), problems


def test_missing_commit(duck, tmp_path):
    table = damaged(tmp_path, "log-replay-dv-key-cases", 0, lambda text: text)
    (table / f"_delta_log/{1:020d}.json").unlink()
    assert check_table(table, duck, ours=False)
    with pytest.raises(LogError):
        Log(table, duck).snapshot()
