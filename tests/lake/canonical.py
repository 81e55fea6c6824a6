"""Types of a Delta schema and one canonical form of values, in which all readers are compared.

A kind is a tuple: ("long",), ("decimal", p, s), ("array", element), ("map", key, value), ("struct", (Field, ...)).
Canonical values: None; bool; int for whole numbers; Decimal with the column's scale; float text (shortest, nan
and inf by name; the sign of a zero is not looked at: DuckDB's Parquet dictionaries do not keep it); str; hex text of a binary; days of a date; microseconds of a
timestamp; tuples of arrays and structs; tuples of (key, value) sorted by key for maps.
"""
import decimal
import json
import struct
import typing

_EXACT = decimal.Context(prec=200)


class Field(typing.NamedTuple):
    name: str
    kind: tuple
    nullable: bool
    physical: str
    id: typing.Optional[int]


def parse_kind(spec):
    if isinstance(spec, str):
        if spec.startswith("decimal("):
            precision, scale = spec[8:-1].split(",")
            return ("decimal", int(precision), int(scale))
        if spec == "decimal":
            return ("decimal", 10, 0)
        return (spec,)
    if spec["type"] == "array":
        return ("array", parse_kind(spec["elementType"]))
    if spec["type"] == "map":
        return ("map", parse_kind(spec["keyType"]), parse_kind(spec["valueType"]))
    if spec["type"] == "struct":
        return ("struct", tuple(parse_field(field) for field in spec["fields"]))
    raise ValueError(f"unknown type {spec!r}")


def parse_field(spec):
    metadata = spec.get("metadata", {})
    return Field(spec["name"], parse_kind(spec["type"]), spec["nullable"],
                 metadata.get("delta.columnMapping.physicalName", spec["name"]),
                 metadata.get("delta.columnMapping.id"))


def parse_schema(text):
    schema = json.loads(text)
    if schema.get("type") != "struct":
        raise ValueError("a schema must be a struct")
    return [parse_field(field) for field in schema["fields"]]


def spelled(kind):
    """Spark's spelling: array<decimal(10,2)>."""
    if kind[0] == "decimal":
        return f"decimal({kind[1]},{kind[2]})"
    if kind[0] == "array":
        return f"array<{spelled(kind[1])}>"
    if kind[0] == "map":
        return f"map<{spelled(kind[1])},{spelled(kind[2])}>"
    if kind[0] == "struct":
        return "struct<" + ",".join(f"{field.name}:{spelled(field.kind)}" for field in kind[1]) + ">"
    return kind[0]


def single(value):
    """A float32's value, as the double that equals it."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def number(kind, text):
    value = float(str(text).replace("Infinity", "inf"))
    return repr((single(value) if kind[0] == "float" else value) + 0.0)


def scaled(kind, text):
    """The exact decimal, or InvalidOperation if it does not fit."""
    return _EXACT.quantize(decimal.Decimal(text), decimal.Decimal(1).scaleb(-kind[2]))


def from_json(kind, value):
    """What an engine's expression() yielded. Structs as arrays or objects, maps as arrays of pairs."""
    if value is None:
        return None
    name = kind[0]
    if name == "array":
        return tuple(from_json(kind[1], item) for item in value)
    if name == "map":
        pairs = ((pair["key"], pair["value"]) if isinstance(pair, dict) else pair for pair in value)
        return tuple(sorted(((from_json(kind[1], key), from_json(kind[2], item)) for key, item in pairs), key=repr))
    if name == "struct":
        values = value.values() if isinstance(value, dict) else value
        return tuple(from_json(field.kind, item) for field, item in zip(kind[1], values))
    if name in ("float", "double"):
        return number(kind, value)
    if name == "decimal":
        return scaled(kind, value)
    if name in ("byte", "short", "integer", "long", "date", "timestamp", "timestamp_ntz"):
        return int(value)
    return value
