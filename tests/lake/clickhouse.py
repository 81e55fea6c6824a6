"""ClickHouse (libchdb) as an independent reader of Delta tables: its own log replay, its own Parquet reader.

    with ClickHouse() as clickhouse:
        clickhouse.rows(table_path, [Column...])   # canonical values, see canonical.py

What it cannot tell apart or hold is blurred on both sides by blurred(): arrays and maps are never
NULL in ClickHouse (they read as empty), a NULL struct reads as a struct of NULLs, dates outside
1900..2299 are clipped.
"""
import ctypes

if __package__:
    from . import canonical
    from .child import NODE_MODULES, Engine, QueryError, serve
else:
    from child import NODE_MODULES, QueryError, serve
    Engine = object

LIBRARY = NODE_MODULES / "@chdb/lib-linux-x64-gnu/libchdb.so"
# Plain count() would be answered from the log without looking at deletion vectors.
SETTINGS = "SETTINGS optimize_trivial_count_query = 0, max_threads = 2, max_memory_usage = 3000000000, "\
           "date_time_overflow_behavior = 'saturate'"
FIRST_DAY, LAST_DAY = -25567, 120529  # 1900-01-01, 2299-12-31; what is outside reads as about one of them
DAY = 86_400_000_000


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text):
    return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def expression(kind, value, depth=0):
    """SQL that turns a value into what JSON can hold exactly."""
    name = kind[0]
    if name in ("decimal", "float", "double"):
        return f"toString({value})"
    if name == "binary":
        return f"lower(hex({value}))"
    if name == "date":
        return f"toInt32({value})"
    if name in ("timestamp", "timestamp_ntz"):
        return f"toUnixTimestamp64Micro({value})"
    if name == "array":
        inner = expression(kind[1], f"x{depth}", depth + 1)
        return f"arrayMap(x{depth} -> {inner}, {value})" if inner != f"x{depth}" else value
    if name == "map":
        key, item = expression(kind[1], f"x{depth}.1", depth + 1), expression(kind[2], f"x{depth}.2", depth + 1)
        return f"arrayMap(x{depth} -> tuple({key}, {item}), arrayZip(mapKeys({value}), mapValues({value})))"
    if name == "struct":
        fields = ", ".join(expression(field.kind, f"tupleElement({value}, {literal(field.name)})", depth)
                           for field in kind[1])
        return f"tuple({fields})"
    return value


def blurred(kind, value):
    """A canonical value as far as ClickHouse can hold it."""
    name = kind[0]
    if name in ("array", "map") and value is None:
        return ()
    if name == "array":
        return tuple(blurred(kind[1], item) for item in value)
    if name == "map":
        return tuple((blurred(kind[1], key), blurred(kind[2], item)) for key, item in value)
    if name == "struct":
        values = value if value is not None else (None,) * len(kind[1])
        return tuple(blurred(field.kind, item) for field, item in zip(kind[1], values))
    if name == "date" and value is not None and not FIRST_DAY < value < LAST_DAY:
        return "out of range"
    if name in ("timestamp", "timestamp_ntz") and value is not None and not (FIRST_DAY + 1) * DAY <= value < LAST_DAY * DAY:
        return "out of range"
    return value


class ClickHouse(Engine):
    def __init__(self, timeout=60.0):
        super().__init__(__file__, timeout)

    @staticmethod
    def source(path):
        return f"deltaLakeLocal({literal(path)})"

    def select(self, path, what, version=None, tail=""):
        at = "" if version is None else f", delta_lake_snapshot_version = {version}"
        return self.query(f"SELECT {what} FROM {self.source(path)} {tail} {SETTINGS}{at}")

    def count(self, path, version=None):
        return self.select(path, "count()", version)[0][0]

    def rows(self, path, columns, version=None):
        """Every row as a tuple of blurred canonical values. `columns`: canonical.Field, of the log."""
        what = ", ".join(f"{expression(column.kind, quoted(column.name))} AS __judge_{i}"
                         for i, column in enumerate(columns)) or "1"
        for row in self.select(path, what, version):
            yield tuple(blurred(column.kind, canonical.from_json(column.kind, value))
                        for column, value in zip(columns, row))


def _child():
    library = ctypes.CDLL(str(LIBRARY))
    library.chdb_connect.restype = ctypes.POINTER(ctypes.c_void_p)
    library.chdb_connect.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    library.chdb_query_n.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    for name, kind in (("query_n", ctypes.c_void_p), ("result_buffer", ctypes.c_void_p),
                       ("result_length", ctypes.c_size_t), ("result_error", ctypes.c_char_p)):
        getattr(library, "chdb_" + name).restype = kind
    for name in ("result_buffer", "result_length", "result_error", "destroy_query_result"):
        getattr(library, "chdb_" + name).argtypes = [ctypes.c_void_p]
    connection = library.chdb_connect(1, (ctypes.c_char_p * 1)(b"clickhouse"))

    def answer(sql):
        text, form = sql.encode(), b"JSONCompactEachRow"
        result = library.chdb_query_n(connection[0], text, len(text), form, len(form))
        try:
            error = library.chdb_result_error(result)
            if error:
                raise QueryError(error.decode(errors="replace"))
            size = library.chdb_result_length(result)
            return ctypes.string_at(library.chdb_result_buffer(result), size) if size else b""
        finally:
            library.chdb_destroy_query_result(result)

    answer("SET output_format_json_quote_64bit_integers = 0, output_format_json_quote_denormals = 1, "
           "output_format_json_escape_forward_slashes = 0, session_timezone = 'UTC', "
           "output_format_json_validate_utf8 = 0")
    serve(answer)


if __name__ == "__main__":
    _child()
