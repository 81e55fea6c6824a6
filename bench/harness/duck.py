"""DuckDB, the library that Tidewater uses, inside this process: a reader of Parquet files."""
import ctypes

from harness.arms import ROOT

LIBRARY = ROOT / "third_party/duckdb/node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so"


class _Result(ctypes.Structure):
    _fields_ = [("counts", ctypes.c_uint64 * 3), ("columns", ctypes.c_void_p), ("error", ctypes.c_char_p),
                ("internal", ctypes.c_void_p)]


class Duck:
    """A database in memory and one connection."""

    def __init__(self, threads=2):
        library = self.library = ctypes.CDLL(str(LIBRARY))
        pointer = ctypes.c_void_p
        result = ctypes.POINTER(_Result)
        library.duckdb_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(pointer)]
        library.duckdb_connect.argtypes = [pointer, ctypes.POINTER(pointer)]
        library.duckdb_disconnect.argtypes = library.duckdb_close.argtypes = [ctypes.POINTER(pointer)]
        library.duckdb_query.argtypes = [pointer, ctypes.c_char_p, result]
        library.duckdb_result_error.argtypes = library.duckdb_destroy_result.argtypes = [result]
        library.duckdb_result_error.restype = ctypes.c_char_p
        library.duckdb_row_count.argtypes = library.duckdb_column_count.argtypes = [result]
        library.duckdb_row_count.restype = library.duckdb_column_count.restype = ctypes.c_uint64
        library.duckdb_value_varchar.argtypes = [result, ctypes.c_uint64, ctypes.c_uint64]
        library.duckdb_value_varchar.restype = pointer
        library.duckdb_free.argtypes = [pointer]
        self.database, self.connection = pointer(), pointer()
        if library.duckdb_open(None, ctypes.byref(self.database)) or \
                library.duckdb_connect(self.database, ctypes.byref(self.connection)):
            raise RuntimeError("cannot open DuckDB")
        self.query(f"SET threads = {threads}")

    def query(self, sql):
        """Rows; values as text, None for NULL."""
        result = _Result()
        try:
            if self.library.duckdb_query(self.connection, sql.encode(), ctypes.byref(result)):
                raise RuntimeError(f"DuckDB: {self.library.duckdb_result_error(ctypes.byref(result)).decode()}\n{sql}")
            return [[self._text(result, column, row) for column in range(self.library.duckdb_column_count(result))]
                    for row in range(self.library.duckdb_row_count(result))]
        finally:
            self.library.duckdb_destroy_result(ctypes.byref(result))

    def _text(self, result, column, row):
        at = self.library.duckdb_value_varchar(ctypes.byref(result), column, row)
        if not at:
            return None
        try:
            return ctypes.string_at(at).decode()
        finally:
            self.library.duckdb_free(at)

    def close(self):
        self.library.duckdb_disconnect(ctypes.byref(self.connection))
        self.library.duckdb_close(ctypes.byref(self.database))


def file_list(paths):
    """For read_parquet()."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
