"""Deletion vectors, decoded from the Delta protocol's and the Roaring format's descriptions."""
import pathlib
import struct
import urllib.parse
import uuid
import zlib

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGIT = {character: value for value, character in enumerate(Z85)}
PORTABLE, NATIVE = 1681511377, 1681511376


class Broken(Exception):
    """What is wrong with a deletion vector."""


def z85_decode(text):
    if len(text) % 5:
        raise Broken(f"{len(text)} characters of Z85: not a multiple of 5")
    out = bytearray()
    for start in range(0, len(text), 5):
        value = 0
        for character in text[start:start + 5]:
            if character not in _DIGIT:
                raise Broken(f"{character!r} is not a Z85 digit")
            value = value * 85 + _DIGIT[character]
        if value >= 1 << 32:
            raise Broken("Z85 group above 32 bits")
        out += struct.pack(">I", value)
    return bytes(out)


def identity(descriptor):
    """What tells two deletion vectors of one file apart; None without one."""
    if descriptor is None:
        return None
    offset = descriptor.get("offset")
    return descriptor["storageType"] + descriptor["pathOrInlineDv"] + ("" if offset is None else f"@{offset}")


def path_of(descriptor, table):
    """The file of a descriptor; None if it is inline."""
    kind, text = descriptor["storageType"], descriptor["pathOrInlineDv"]
    if kind == "i":
        return None
    if kind == "p":
        parsed = urllib.parse.urlparse(text)
        return pathlib.Path(urllib.parse.unquote(parsed.path if parsed.scheme else text))
    if kind != "u":
        raise Broken(f"storage type {kind!r}")
    prefix, name = text[:-20], uuid.UUID(bytes=z85_decode(text[-20:]))
    return pathlib.Path(table) / prefix / f"deletion_vector_{name}.bin"


def read(descriptor, table):
    """Row numbers as a sorted list, after every check that the format allows."""
    for key in ("storageType", "pathOrInlineDv", "sizeInBytes", "cardinality"):
        if key not in descriptor:
            raise Broken(f"no {key}")
    size = descriptor["sizeInBytes"]
    path = path_of(descriptor, table)
    if path is None:
        if "offset" in descriptor and descriptor["offset"] is not None:
            raise Broken("inline, yet it has an offset")
        data = z85_decode(descriptor["pathOrInlineDv"])
        if not size <= len(data) < size + 4:
            raise Broken(f"inline: {len(data)} bytes for {size}")
        data = data[:size]
    else:
        try:
            file = path.read_bytes()
        except OSError as error:
            raise Broken(str(error)) from None
        if not file or file[0] != 1:
            raise Broken(f"{path.name}: version byte is not 1")
        offset = descriptor.get("offset") or 1
        if offset + 4 + size + 4 > len(file):
            raise Broken(f"{path.name}: {offset} + {size} + 8 is behind its {len(file)} bytes")
        stored, = struct.unpack_from(">I", file, offset)
        if stored != size:
            raise Broken(f"{path.name}@{offset}: size {stored}, descriptor says {size}")
        data = file[offset + 4:offset + 4 + size]
        checksum, = struct.unpack_from(">I", file, offset + 4 + size)
        if checksum != zlib.crc32(data):
            raise Broken(f"{path.name}@{offset}: checksum does not match")
    rows = bitmap(data)
    if len(rows) != descriptor["cardinality"]:
        raise Broken(f"{len(rows)} rows, descriptor says {descriptor['cardinality']}")
    return rows


def bitmap(data):
    try:
        magic, = struct.unpack_from("<I", data)
        if magic == PORTABLE:
            count, = struct.unpack_from("<Q", data, 4)
            at, rows, last = 12, [], -1
            for _ in range(count):
                key, = struct.unpack_from("<I", data, at)
                if key <= last or key >> 31:
                    raise Broken(f"bucket {key} after {last}")
                last = key
                low, at = roaring(data, at + 4)
                rows += [key << 32 | value for value in low]
        elif magic == NATIVE:
            count, = struct.unpack_from("<I", data, 4)
            at, rows = 8, []
            for key in range(count):
                size, = struct.unpack_from("<I", data, at)
                low, end = roaring(data, at + 4)
                if end != at + 4 + size:
                    raise Broken("bucket's size")
                at = end
                rows += [key << 32 | value for value in low]
        else:
            raise Broken(f"magic {magic}")
    except struct.error as error:
        raise Broken(f"too short: {error}") from None
    if at != len(data):
        raise Broken(f"{len(data) - at} bytes too many")
    return rows


def roaring(data, start):
    """A standard 32-bit Roaring bitmap at `start`: its values and where it ends."""
    at = start
    cookie, = struct.unpack_from("<I", data, at)
    at += 4
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        runs = data[at:at + (count + 7) // 8]
        at += (count + 7) // 8
        offsets = count >= 4
    elif cookie == 12346:
        count, = struct.unpack_from("<I", data, at)
        at += 4
        runs = bytes((count + 7) // 8)
        offsets = True
    else:
        raise Broken(f"Roaring cookie {cookie}")
    if count > 65536:
        raise Broken(f"{count} containers")
    heads = [struct.unpack_from("<HH", data, at + 4 * i) for i in range(count)]
    at += 4 * count
    places = struct.unpack_from(f"<{count}I", data, at) if offsets else None
    at += 4 * count if offsets else 0
    values, last_key = [], -1
    for i, (key, size_less_one) in enumerate(heads):
        if key <= last_key:
            raise Broken("containers out of order")
        last_key = key
        if places is not None and places[i] != at - start:
            raise Broken(f"container {i} at {at - start}, header says {places[i]}")
        size = size_less_one + 1
        if runs[i // 8] >> i % 8 & 1:
            pairs, = struct.unpack_from("<H", data, at)
            numbers = struct.unpack_from(f"<{2 * pairs}H", data, at + 2)
            at += 2 + 4 * pairs
            low = [value for begin, more in zip(numbers[::2], numbers[1::2]) for value in range(begin, begin + more + 1)]
        elif size <= 4096:
            low = list(struct.unpack_from(f"<{size}H", data, at))
            at += 2 * size
        else:
            if at + 8192 > len(data):
                raise Broken("bitmap container is cut off")
            whole = int.from_bytes(data[at:at + 8192], "little")
            at += 8192
            bits = bin(whole)[:1:-1]
            low = [position for position, bit in enumerate(bits) if bit == "1"]
        if len(low) != size or low != sorted(set(low)) or low[-1] > 65535:
            raise Broken(f"container {i}: {len(low)} values for {size}, or out of order")
        values += [key << 16 | value for value in low]
    return values, at
