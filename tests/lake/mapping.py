"""The documented mapping from PostgreSQL to Delta, in Python: types, and texts to canonical values.

Texts are those of the output functions under postgres.SETTINGS. A value that its column's type
cannot hold raises NoHome: the lake must show NULL and keep the text aside.
"""
import datetime
import decimal
import re

from . import canonical
from .canonical import Field

SIMPLE = {"bool": "boolean", "int2": "short", "int4": "integer", "int8": "long", "oid": "long", "xid": "long",
          "cid": "long", "float4": "float", "float8": "double", "bytea": "binary", "date": "date",
          "timestamp": "timestamp_ntz", "timestamptz": "timestamp"}
EPOCH = datetime.date(1970, 1, 1).toordinal()
MICROS = 1_000_000


class NoHome(Exception):
    """The column's type has no place for the value."""


def expected_kind(pg):
    """The Delta type of a column or part of one."""
    if pg.element is not None:
        return ("array", expected_kind(pg.element))
    if pg.kind == "c":
        names = [name.lower() for name, _ in pg.fields]
        if not names or len(names) != len(set(names)):
            return ("string",)
        return ("struct", tuple(Field(name, expected_kind(kind), True, name, None) for name, kind in pg.fields))
    if pg.kind in "erm":
        return ("string",)
    if pg.name == "numeric":
        return _numeric(pg.typmod)
    if pg.name == "money":
        return ("decimal", 19, 2)
    return (SIMPLE.get(pg.name, "string"),)


def _numeric(typmod):
    if typmod < 4:
        return ("string",)
    precision, scale = (typmod - 4) >> 16, (typmod - 4) & 0x7FF
    scale = (scale ^ 0x400) - 0x400
    return ("decimal", precision, scale) if 1 <= precision <= 38 and 0 <= scale <= precision else ("string",)


def same_kind(expected, actual):
    """Equal but for ids and physical names."""
    if expected[0] != actual[0]:
        return False
    if expected[0] == "struct":
        return len(expected[1]) == len(actual[1]) and all(
            mine.name == theirs.name and same_kind(mine.kind, theirs.kind)
            for mine, theirs in zip(expected[1], actual[1]))
    if expected[0] in ("array", "map"):
        return all(map(same_kind, expected[1:], actual[1:]))
    return expected == actual


def value(pg, text):
    """The canonical value of a text; NULL is None."""
    if text is None:
        return None
    if pg.element is not None:
        return _array(pg, text)
    if pg.kind == "c" and expected_kind(pg)[0] == "struct":
        return tuple(value(kind, part) for (_, kind), part in zip(pg.fields, record(text)))
    name = pg.name
    if pg.kind in "cerm":
        return text
    if name in ("int2", "int4", "int8", "oid", "xid", "cid"):
        return int(text)
    if name == "bool":
        return text == "t"
    if name in ("float4", "float8"):
        return canonical.number(("float",) if name == "float4" else ("double",), text)
    if name in ("numeric", "money"):
        return _decimal(expected_kind(pg), text.replace("$", "").replace(",", "") if name == "money" else text)
    if name == "bytea":
        return text[2:]
    if name == "date":
        return days(text)
    if name in ("timestamp", "timestamptz"):
        return microseconds(text)
    if name == "bpchar":
        return text.rstrip(" ")
    return text


def _decimal(kind, text):
    if kind[0] == "string":
        return text
    number = decimal.Decimal(text)
    if not number.is_finite():
        raise NoHome(text)
    return canonical.scaled(kind, number)


def _array(pg, text):
    bounds, items = array(text, pg.element.delimiter)
    if bounds is not None or any(isinstance(item, list) for item in items):
        raise NoHome(text)
    return tuple(value(pg.element, item) for item in items)


# Dates beyond what Python's datetime holds.

_DATE = re.compile(r"(\d+)-(\d\d)-(\d\d)( BC)?")
_STAMP = re.compile(r"(\d+-\d\d-\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?(\+00)?( BC)?")
LARGEST = (1 << 63) - 1


def days(text):
    """Days since 1970-01-01 of a proleptic Gregorian date."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise NoHome(text)  # infinity
    year = int(match[1])
    year = 1 - year if match[4] else year
    # The calendar repeats every 400 years of 146,097 days.
    cycles, year = divmod(year - 1, 400)
    day = datetime.date(year + 1, int(match[2]), int(match[3])).toordinal() + cycles * 146097 - EPOCH
    if not -(1 << 31) <= day < 1 << 31:
        raise NoHome(text)
    return day


def microseconds(text):
    match = _STAMP.fullmatch(text)
    if match is None:
        raise NoHome(text)
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4])
    fraction = int((match[5] or "").ljust(6, "0"))
    result = (days(match[1] + (match[7] or "")) * 86400 + seconds) * MICROS + fraction
    # The largest number means infinity to DuckDB.
    if not -LARGEST <= result < LARGEST:
        raise NoHome(text)
    return result


# Literals of arrays and rows.

def array(text, delimiter=","):
    """(bounds or None, nested lists of texts and None) of an array literal."""
    bounds = None
    if text.startswith("["):
        bounds, _, text = text.partition("=")
    items, at = _list(text, 0, delimiter)
    if at != len(text):
        raise ValueError(f"array literal: {text!r}")
    return bounds, items


def _list(text, at, delimiter):
    if text[at] != "{":
        raise ValueError(f"array literal: {text!r}")
    at += 1
    items = []
    if text[at] == "}":
        return items, at + 1
    while True:
        if text[at] == "{":
            item, at = _list(text, at, delimiter)
        elif text[at] == '"':
            item, at = _quoted(text, at)
        else:
            end = at
            while text[end] not in (delimiter, "}"):
                end += 1
            item = None if text[at:end] == "NULL" else text[at:end]
            at = end
        items.append(item)
        if text[at] == "}":
            return items, at + 1
        if text[at] != delimiter:
            raise ValueError(f"array literal: {text!r} at {at}")
        at += 1


def _quoted(text, at):
    """A quoted element from its quote: backslashes escape; a doubled quote is one (rows)."""
    out = []
    at += 1
    while True:
        character = text[at]
        if character == "\\":
            out.append(text[at + 1])
            at += 2
        elif character == '"':
            if text[at + 1:at + 2] == '"':
                out.append('"')
                at += 2
                continue
            return "".join(out), at + 1
        else:
            out.append(character)
            at += 1


def record(text):
    """The fields of a row literal."""
    if text[0] != "(" or text[-1] != ")":
        raise ValueError(f"row literal: {text!r}")
    fields, at = [], 1
    while True:
        if text[at] == '"':
            item, at = _quoted(text, at)
            while text[at] not in ",)":  # quoted and unquoted runs may follow each other
                more, at = _quoted(text, at) if text[at] == '"' else (text[at], at + 1)
                item += more
        else:
            end = at
            while text[end] not in ",)":
                end += 1
            item = text[at:end] if end > at else None
            at = end
        fields.append(item)
        if at == len(text) - 1:
            return fields
        at += 1
