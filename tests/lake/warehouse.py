"""Rows of a table as the warehouse answers them, in canonical form.

Texts are asked for, under the settings that mapping.py reads. What the warehouse calculates with in
types of its own (intervals, times, JSON) comes back in its spelling: both sides are normalized.
"""
import contextlib
import json

import psycopg2.extensions

from . import mapping
from .child import QueryError
from .postgres import SETTINGS

_PLAIN = psycopg2.extensions.new_type(tuple(range(1, 70000)), "TEXT_AS_IS", lambda value, cursor: value)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


class Warehouse:
    """`connect`: function that yields a psycopg2 connection to one database of one branch, in the lake."""

    def __init__(self, connect):
        self.connect = connect

    def __call__(self, table, kinds):
        """Canonical rows."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for setting in SETTINGS:
                if any(name in setting for name in ("TimeZone", "DateStyle", "IntervalStyle", "extra_float", "bytea_output")):
                    cursor.execute(setting)
            psycopg2.extensions.register_type(_PLAIN, cursor)
            columns = ", ".join(quoted(column.name) for column in table.columns)
            try:
                cursor.execute(f"SELECT {columns} FROM {quoted(table.schema)}.{quoted(table.name)}")
                for row in cursor:
                    yield tuple(self.value(column.type, kind, text)
                                for column, kind, text in zip(table.columns, kinds, row))
            except psycopg2.Error as error:
                raise QueryError(str(error)) from None

    def value(self, pg, kind, text):
        if text is None:
            return None
        try:
            return normal(pg, mapping.value(pg, text))
        except mapping.NoHome as error:
            raise QueryError(f"{pg.name} {error}: has no place in the lake") from None


def normal(pg, value):
    """Spellings that mean one value become one."""
    if value is None or not isinstance(value, str):
        return value
    if pg.name in ("json", "jsonb"):
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(value, parse_float=str, parse_int=str), sort_keys=pg.name == "jsonb")
    return value
