"""Writes a snapshot of a PostgreSQL database as Delta tables, through DuckDB.

Not the product's way and not fast: it gives the oracle and the validity check something to judge
that is right by construction, so that they are proven before they judge the mirror.
"""
import json
import os
import pathlib
import time
import uuid

from . import canonical, mapping
from .duck import literal, quoted

DUCK = {"boolean": "BOOLEAN", "short": "SMALLINT", "integer": "INTEGER", "long": "BIGINT", "float": "FLOAT",
        "double": "DOUBLE", "string": "VARCHAR", "binary": "BLOB", "date": "DATE", "timestamp": "TIMESTAMPTZ",
        "timestamp_ntz": "TIMESTAMP"}


def duck_type(kind):
    if kind[0] == "decimal":
        return f"DECIMAL({kind[1]},{kind[2]})"
    if kind[0] == "array":
        return duck_type(kind[1]) + "[]"
    if kind[0] == "struct":
        return "STRUCT(" + ", ".join(f"{quoted(field.name)} {duck_type(field.kind)}" for field in kind[1]) + ")"
    return DUCK[kind[0]]


def duck_value(kind, value):
    """A canonical value as SQL."""
    if value is None:
        return "NULL"
    name = kind[0]
    if name == "array":
        return f"CAST([{', '.join(duck_value(kind[1], item) for item in value)}] AS {duck_type(kind)})"
    if name == "struct":
        return "struct_pack(" + ", ".join(f"{quoted(field.name)} := {duck_value(field.kind, item)}"
                                          for field, item in zip(kind[1], value)) + ")"
    if name == "binary":
        return f"unhex('{value}')"
    if name == "date":
        return f"DATE '1970-01-01' + INTEGER '{value}'"
    if name == "timestamp":
        return f"make_timestamptz({value})"
    if name == "timestamp_ntz":
        return f"make_timestamp({value})"
    if name == "string":
        return literal(value)
    if name == "decimal":
        value = format(value, "f")
    return f"CAST('{value}' AS {duck_type(kind)})"


def spec_of(kind, counter):
    """The type in a schema's JSON, with column-mapping ids."""
    if kind[0] == "array":
        return {"type": "array", "elementType": spec_of(kind[1], counter), "containsNull": True}
    if kind[0] == "struct":
        return {"type": "struct", "fields": [field_spec(field.name, field.kind, True, counter) for field in kind[1]]}
    return canonical.spelled(kind)


def field_spec(name, kind, nullable, counter):
    counter[0] += 1
    number = counter[0]
    return {"name": name, "type": spec_of(kind, counter), "nullable": nullable, "metadata": {
        "delta.columnMapping.id": number, "delta.columnMapping.physicalName": name}}


def field_ids(specs):
    """DuckDB's FIELD_IDS for a schema."""
    def one(spec):
        number = str(spec["metadata"]["delta.columnMapping.id"])
        inner = of_type(spec["type"])
        return f"{{__duckdb_field_id: {number}, {inner}}}" if inner else number

    def of_type(kind):
        if isinstance(kind, dict) and kind["type"] == "struct":
            return ", ".join(f"{quoted(spec['name'])}: {one(spec)}" for spec in kind["fields"])
        if isinstance(kind, dict):
            inner = of_type(kind["elementType"])
            return f"element: {{{inner}}}" if inner else ""
        return ""
    return "{" + ", ".join(f"{quoted(spec['name'])}: {one(spec)}" for spec in specs) + "}"


class Writer:
    """One Delta table per PostgreSQL table below `root`, each with one file and one commit."""

    def __init__(self, root, duck):
        self.root = pathlib.Path(root)
        self.duck = duck
        self.now = int(time.time() * 1000)

    def path(self, table):
        return self.root / table.schema / table.name

    def write(self, dump, table, change=lambda rows: rows):
        """`change` may falsify the rows, to see whether anybody notices."""
        kinds = [mapping.expected_kind(column.type) for column in table.columns]
        rows = []
        for texts in dump.rows(table):
            row = []
            for column, text in zip(table.columns, texts):
                try:
                    row.append(mapping.value(column.type, text))
                except mapping.NoHome:
                    row.append(None)
            rows.append(tuple(row))
        rows = change(rows)
        counter = [0]
        specs = [field_spec(column.name, kind, not column.not_null, counter)
                 for column, kind in zip(table.columns, kinds)]
        directory = self.path(table)
        (directory / "_delta_log").mkdir(parents=True)
        actions = self._head(table, specs, counter[0], kinds)
        if rows:
            name = f"part-0-{uuid.uuid4()}.parquet"
            self._file(directory / name, table, kinds, specs, rows)
            actions.append({"add": {
                "path": name, "partitionValues": {}, "size": os.path.getsize(directory / name),
                "modificationTime": int(time.time() * 1000), "dataChange": True,
                "stats": json.dumps({"numRecords": len(rows), "tightBounds": True,
                                     "nullCount": {column.name: sum(row[i] is None for row in rows)
                                                   for i, column in enumerate(table.columns)
                                                   if kinds[i][0] != "struct"}})}})
        (directory / f"_delta_log/{0:020d}.json").write_text("\n".join(map(json.dumps, actions)) + "\n")

    def _file(self, path, table, kinds, specs, rows):
        names = [*(column.name for column in table.columns), "__tide_ctid"]
        place = f"w{uuid.uuid4().hex}"
        types = ", ".join(f"{quoted(name)} {kind}" for name, kind in
                          zip(names, [*map(duck_type, kinds), "BIGINT"]))
        self.duck.execute(f"CREATE TEMP TABLE {place} ({types})")
        for start in range(0, len(rows), 500):
            values = ", ".join("(" + ", ".join([*map(duck_value, kinds, row), str((start + i) << 16 | 1)]) + ")"
                               for i, row in enumerate(rows[start:start + 500]))
            self.duck.execute(f"INSERT INTO {place} VALUES {values}")
        self.duck.execute(f"COPY {place} TO {literal(path)} (FORMAT parquet, FIELD_IDS {field_ids(specs)})")
        self.duck.execute(f"DROP TABLE {place}")

    def _head(self, table, specs, largest, kinds):
        features = ["deletionVectors", "columnMapping"]
        if any("timestamp_ntz" in canonical.spelled(kind) for kind in kinds):
            features.append("timestampNtz")
        now = self.now
        return [
            {"commitInfo": {"timestamp": now, "inCommitTimestamp": now, "operation": "WRITE"}},
            {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features,
                          "writerFeatures": [*features, "inCommitTimestamp", "domainMetadata"]}},
            {"metaData": {"id": str(uuid.uuid4()), "name": table.name, "format": {"provider": "parquet", "options": {}},
                          "schemaString": json.dumps({"type": "struct", "fields": specs}), "partitionColumns": [],
                          "configuration": {"delta.columnMapping.mode": "name",
                                            "delta.columnMapping.maxColumnId": str(largest),
                                            "delta.enableDeletionVectors": "true",
                                            "delta.enableInCommitTimestamps": "true"}, "createdTime": now}},
            {"txn": {"appId": "test", "version": 1}},
        ]
