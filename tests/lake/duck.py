"""DuckDB as a reader of Parquet files: with replay.py a second, exact reader of Delta tables."""
import ctypes
import json
import pathlib
import tempfile

if __package__:
    from . import canonical
    from .child import NODE_MODULES, Engine, QueryError, serve
else:
    from child import NODE_MODULES, QueryError, serve
    Engine = object

LIBRARY = NODE_MODULES / "@duckdb/node-bindings-linux-x64/libduckdb.so"


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + str(text).replace("'", "''") + "'"


def expression(kind, value, depth=0):
    """SQL that turns a value into what JSON can hold exactly."""
    name = kind[0]
    if name in ("decimal", "float", "double"):
        return f"CAST({value} AS VARCHAR)"
    if name == "binary":
        return f"lower(hex({value}))"
    if name == "date":
        return f"date_diff('day', DATE '1970-01-01', {value})"
    if name in ("timestamp", "timestamp_ntz"):
        return f"epoch_us({value})"
    if name == "array":
        inner = expression(kind[1], f"x{depth}", depth + 1)
        return f"list_transform({value}, lambda x{depth}: {inner})"
    if name == "map":
        key = expression(kind[1], f"x{depth}.key", depth + 1)
        item = expression(kind[2], f"x{depth}.value", depth + 1)
        return f"list_transform(map_entries({value}), lambda x{depth}: struct_pack(key := {key}, value := {item}))"
    if name == "struct":
        fields = ", ".join(f"f{i} := " + expression(field.kind, f"({value}).{quoted(field.physical)}", depth)
                           for i, field in enumerate(kind[1]))
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE struct_pack({fields}) END"
    return value


class Duck(Engine):
    def __init__(self, timeout=60.0):
        super().__init__(__file__, timeout)

    def execute(self, sql):
        """A statement without rows."""
        self.query("\0" + sql)

    def schema(self, path):
        """[(name, DuckDB type, field id)] of a Parquet file's top-level columns."""
        types = {row[0]: row[1] for row in self.query(
            f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet({literal(path)}))")}
        nested = self.query("SELECT name, field_id, num_children FROM "
                            f"parquet_schema({literal(path)})")
        found, position = [], 1

        def skip(at):
            children = nested[at][2] or 0
            at += 1
            for _ in range(children):
                at = skip(at)
            return at

        for _ in range(nested[0][2] or 0):
            name, field_id, _children = nested[position]
            found.append((name, types[name], field_id))
            position = skip(position)
        return found

    def file_rows(self, path, columns):
        """(row number, canonical values) of a Parquet file. Columns are found by their physical name; one
        that the file does not have is NULL."""
        have = {name.lower() for name, _, _ in self.schema(path)}
        what = ["file_row_number"]
        for column in columns:
            there = column.physical.lower() in have
            what.append(expression(column.kind, quoted(column.physical)) if there else "NULL")
        named = ", ".join(f"{text} AS __judge_{i}" for i, text in enumerate(what))
        for row in self.query(f"SELECT {named} FROM read_parquet({literal(path)}, file_row_number = true)"):
            yield row[0], tuple(canonical.from_json(column.kind, value) for column, value in zip(columns, row[1:]))


class _Result(ctypes.Structure):
    _fields_ = [("counts", ctypes.c_uint64 * 3), ("columns", ctypes.c_void_p), ("error", ctypes.c_char_p),
                ("internal", ctypes.c_void_p)]


def _child():
    library = ctypes.CDLL(str(LIBRARY))
    pointer = ctypes.c_void_p
    library.duckdb_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(pointer)]
    library.duckdb_connect.argtypes = [pointer, ctypes.POINTER(pointer)]
    library.duckdb_query.argtypes = [pointer, ctypes.c_char_p, ctypes.POINTER(_Result)]
    library.duckdb_result_error.argtypes = [ctypes.POINTER(_Result)]
    library.duckdb_result_error.restype = ctypes.c_char_p
    library.duckdb_destroy_result.argtypes = [ctypes.POINTER(_Result)]
    database, connection = pointer(), pointer()
    if library.duckdb_open(None, ctypes.byref(database)) or library.duckdb_connect(database, ctypes.byref(connection)):
        raise SystemExit("cannot open DuckDB")

    def execute(sql):
        result = _Result()
        failed = library.duckdb_query(connection, sql.encode(), ctypes.byref(result))
        error = library.duckdb_result_error(ctypes.byref(result)) if failed else None
        library.duckdb_destroy_result(ctypes.byref(result))
        if failed:
            raise QueryError((error or b"unknown error").decode(errors="replace"))

    directory = tempfile.TemporaryDirectory(prefix="tide-duck-")
    out = pathlib.Path(directory.name) / "rows"

    def answer(sql):
        if sql.startswith("\0"):
            execute(sql[1:])
            return b""
        # Column names must differ: each row comes as an object.
        execute(f"COPY ({sql}) TO {literal(out)} (FORMAT json)")
        with out.open("rb") as rows:
            return b"\n".join(json.dumps(list(json.loads(line).values())).encode() for line in rows)

    execute("SET TimeZone = 'UTC'")
    execute("SET threads = 2")
    execute("SET memory_limit = '2GB'")
    serve(answer)


if __name__ == "__main__":
    _child()
