"""A row read by its description, byte by byte: slow, obvious, and sharing nothing with the library but the schema."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from functools import lru_cache
from typing import Any

from tiffin.wire.schema import RowSchema

__all__ = ["SlowFlaw", "slow_check", "slow_read"]

MASK = 0xFFFF_FFFF
NUMBERS = {"i8": "b", "i16": "h", "i32": "i", "i64": "q", "ts": "q", "f16": "e", "f32": "f"}


class SlowFlaw(Exception):
    """These bytes are no row: what is wrong, of which column, and all else that is wrong at the same depth."""

    def __init__(self, what: str, column: str | None = None, *more: tuple[str, str | None]) -> None:
        super().__init__(what, column)
        self.what, self.column = what, column
        self.all = ((what, column), *more)


@lru_cache(maxsize=4096)
def factors(place: int) -> tuple[int, int, int]:
    """The constants of a byte's position."""
    x = (place * 0x9E3779B1 + 0x7F4A7C15) & MASK
    x = (x ^ (x >> 15)) * 0x85EBCA77 & MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE3D & MASK
    x ^= x >> 16
    return (x & 255) | 1, (x >> 8 & 255) | 1, x >> 16 & 255


@lru_cache(maxsize=256)
def seed(schema: RowSchema) -> int:
    """What the schema adds to a check."""
    columns = "".join(f"\n{c.name} {c.encoding} {int(c.nullable)}" for c in schema.columns)
    text = f"tiffin row v1\n{schema.number} {schema.unit_us} {schema.epoch_us}{columns}"
    return hashlib.sha256(text.encode()).digest()[0]


def slow_check(schema: RowSchema, row: bytes) -> int:
    """What the check byte of a row must be."""
    total = seed(schema)
    for place, byte in enumerate(row):
        if place != 1:
            first, second, turn = factors(place)
            x = (byte ^ turn) * first & 255
            x ^= x >> 4
            x = x * second & 255
            x ^= x >> 3
            x = x * first & 255
            total += x ^ (x >> 4)
    return total & 255


@lru_cache(maxsize=256)
def words_of(encoding: str) -> tuple[str, ...]:
    """The vocabulary of a category."""
    return tuple(json.loads(encoding[4:])) if encoding.startswith("cat:") else ()


def width_of(encoding: str) -> int:
    """Bytes in the fixed part."""
    kind, *rest = encoding.split(":", 2)
    if kind in NUMBERS:
        return struct.calcsize(NUMBERS[kind])
    if kind == "step":
        return struct.calcsize(NUMBERS[rest[1]])
    if kind == "vec":
        return int(rest[0]) + 4 if rest[1] == "i8" else int(rest[0]) * struct.calcsize(NUMBERS[rest[1]])
    if kind == "cat":
        return 1 if len(words_of(encoding)) < 256 else 2
    return 0


def slow_read(schema: RowSchema, row: bytes) -> tuple[dict[str, Any], int]:
    """Values by name (None is null) and the event time in µs.

    Raises:
        SlowFlaw: these bytes are no row of the schema.
    """
    nulls = sum(column.nullable for column in schema.columns)
    bools = sum(column.encoding == "bool" for column in schema.columns)
    bools_at = 6 + (nulls + 7) // 8
    at = bools_at + (bools + 7) // 8
    starts = []
    for column in schema.columns:
        starts.append(at)
        at += width_of(column.encoding)
    tails = [column for column in schema.columns if column.encoding.startswith(("str:", "ints:"))]
    fixed = at + 2 * len(tails)
    if len(row) < fixed or (not tails and len(row) > fixed):
        raise SlowFlaw("length")
    if row[0] != schema.number:
        raise SlowFlaw("schema number")
    if row[1] != slow_check(schema, row):
        raise SlowFlaw("check byte")
    for count, first in ((nulls, 6), (bools, bools_at)):
        if any(row[first + bit // 8] >> bit % 8 & 1 for bit in range(count, -(-count // 8) * 8)):
            raise SlowFlaw("padding")
    null_bit = bool_bit = 0
    found: dict[str, Any] = {}
    null: dict[str, bool] = {}
    flaws: list[tuple[str, str | None]] = []
    for column, start in zip(schema.columns, starts, strict=True):
        null[column.name] = bool(column.nullable and row[6 + null_bit // 8] >> null_bit % 8 & 1)
        null_bit += column.nullable
        value: Any = None
        if column.encoding == "bool":
            value = bool(row[bools_at + bool_bit // 8] >> bool_bit % 8 & 1)
            bool_bit += 1
        elif column not in tails:
            try:
                value = fixed_value(column.name, column.encoding, row[start : start + width_of(column.encoding)], null[column.name])
            except SlowFlaw as err:
                flaws += err.all
        found[column.name] = None if null[column.name] else value
    if flaws:
        raise SlowFlaw(*flaws[0], *flaws[1:])
    stops = struct.unpack(f"<{len(tails)}H", row[at:fixed])
    if tails and ([*stops] != sorted(stops) or stops[-1] != len(row) - fixed):
        raise SlowFlaw("tail")
    for column, start, stop in zip(tails, (0, *stops), stops, strict=False):
        value = tail_value(column.name, column.encoding, row[fixed + start : fixed + stop])
        if null[column.name] and len(value):
            raise SlowFlaw("tail", column.name)
        found[column.name] = None if null[column.name] else value
    return found, struct.unpack("<I", row[2:6])[0] * schema.unit_us + schema.epoch_us


def fixed_value(name: str, encoding: str, raw: bytes, null: bool) -> Any:
    """A value of the fixed part."""
    kind, *rest = encoding.split(":", 2)
    if kind == "cat":
        code = int.from_bytes(raw, "little")
        if null:
            return None
        if not 1 <= code <= len(words_of(encoding)):
            raise SlowFlaw("code", name)
        return words_of(encoding)[code - 1]
    if kind == "vec" and rest[1] == "i8":
        scale = struct.unpack("<f", raw[:4])[0]
        numbers = [as_float32(number * scale) for number in struct.unpack(f"<{len(raw) - 4}b", raw[4:])]
    elif kind == "vec":
        numbers = [*struct.unpack(f"<{rest[0]}{NUMBERS[rest[1]]}", raw)]
    elif kind == "step":
        numbers = [as_float32(struct.unpack("<" + NUMBERS[rest[1]], raw)[0] * float(rest[0]))]
    else:
        numbers = [*struct.unpack("<" + NUMBERS[kind], raw)]
    if not all(math.isfinite(number) for number in numbers):
        raise SlowFlaw("number", name)
    return numbers if kind == "vec" else numbers[0]


def as_float32(number: float) -> float:
    """The nearest float32, or infinity."""
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.inf


def tail_value(name: str, encoding: str, raw: bytes) -> Any:
    """A string or a list."""
    kind, size, *codec = encoding.split(":")
    limit = int(size)
    if codec and raw:
        most = limit if kind == "str" else 10 * limit
        if raw[0] == 1 and len(raw) > 1:
            raw = inflated(name, raw[1:], most)
        elif raw[0] == 0 and len(raw) > 1:
            raw = raw[1:]
        else:
            raise SlowFlaw("codec", name)
    if kind == "str":
        try:
            text = raw.decode()
        except UnicodeDecodeError as err:
            raise SlowFlaw("UTF-8", name) from err
        if len(raw) > limit:
            raise SlowFlaw("limit", name)
        return text
    numbers = varints(name, raw)
    if len(numbers) > limit:
        raise SlowFlaw("limit", name)
    return numbers


def inflated(name: str, raw: bytes, most: int) -> bytes:
    """One whole deflate stream of 1 to `most` bytes."""
    press = zlib.decompressobj(-15)
    try:
        made = press.decompress(raw)
    except zlib.error as err:
        raise SlowFlaw("codec", name) from err
    if not press.eof or press.unused_data or not 1 <= len(made) <= most:
        raise SlowFlaw("codec", name)
    return made


def varints(name: str, raw: bytes) -> list[int]:
    """Zigzag LEB128 numbers of 64 bits, each in its shortest form."""
    numbers, value, shift = [], 0, 0
    for byte in raw:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if value >= 2**64 or shift > 70 or (byte == 0 and shift > 7):
                raise SlowFlaw("varint", name)
            numbers.append((value >> 1) ^ -(value & 1))
            value = shift = 0
    if shift:
        raise SlowFlaw("varint", name)
    return numbers
