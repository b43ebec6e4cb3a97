"""Strategies for schemas and columns, a slow obvious row layout, and bit comparison."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from tiffin.wire.checks import fold_rows, seed_of
from tiffin.wire.encodings import Ragged, Values, canonical, int_lists, parse_encoding, strings, to_int_lists, to_strings
from tiffin.wire.schema import Column, RowSchema

# more words than a byte can count
LARGE = "cat:" + json.dumps([f"w{number}" for number in range(300)], separators=(",", ":"))
INTS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}
ENCODINGS = (
    *INTS,
    "f16",
    "f32",
    "bool",
    "ts",
    "str:24",
    "step:0.01:i32",
    "step:0.25:i8",
    "step:1e-07:i16",
    "vec:3:f32",
    "vec:2:f16",
    "vec:4:i8",
    "ints:6",
    'cat:["UA","AA","","é","a longer word"]',
    LARGE,
    "str:64:zip",
    "ints:40:zip",
)

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
text24 = st.text(max_size=6).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))


def cell(encoding: str) -> st.SearchStrategy:
    """A value that this encoding takes; floats may be NaN, which is null."""
    form = parse_encoding(encoding)
    if encoding in INTS:
        return st.integers(-(2 ** (INTS[encoding] - 1)), 2 ** (INTS[encoding] - 1) - 1)
    if encoding == "ts":
        return st.integers(-(2**62), 2**62)
    if encoding == "bool":
        return st.booleans()
    if encoding == "f32":
        return st.one_of(float32s, st.just(float("nan")), st.just(-0.0))
    if encoding == "f16":
        return st.one_of(st.floats(-65504, 65504), st.just(float("nan")))
    if form.kind == "step":
        reach = min(np.iinfo(form.stored).max, 2**23 - 1)
        return st.floats(-reach * form.step, reach * form.step, allow_nan=False).map(lambda x: x * (1 - 1e-9))
    if form.kind == "vec":
        element = float32s if "f16" not in encoding else st.floats(-65504, 65504)
        return st.lists(element, min_size=form.size, max_size=form.size)
    if form.kind == "ints":
        alike = st.builds(lambda number, times: [number] * times, st.integers(-(2**63), 2**63 - 1), st.integers(0, form.size))
        return st.one_of(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=min(form.size, 8)), alike)
    if form.vocabulary is not None:
        return st.sampled_from(form.vocabulary.words)
    if form.codec:
        return st.one_of(text24, st.builds(lambda text, times: (text * times)[:16], text24, st.integers(0, 16)))
    return text24


def column_of(column: Column, cells: list) -> Values | Ragged:
    """Cells (None is null) as a column, not yet canonical."""
    form = parse_encoding(column.encoding)
    if form.kind == "str":
        return strings(cells)
    if form.kind == "ints":
        return int_lists(cells)
    valid = np.array([item is not None for item in cells], dtype=bool)
    if form.kind == "vec":
        return Values(np.array([item or [0.0] * form.size for item in cells], dtype=np.float64).reshape(len(cells), form.size), valid)
    dtype = {"bool": bool, "int": np.int64, "ts": np.int64}.get(form.kind, np.float64)
    return Values(np.array([0 if item is None else item for item in cells], dtype=dtype), valid)


@st.composite
def batches(draw, *, max_rows: int = 6) -> tuple[RowSchema, dict[str, Values | Ragged], np.ndarray]:
    """A schema, columns that it takes, and event times."""
    encodings = draw(st.lists(st.sampled_from(ENCODINGS), min_size=1, max_size=6))
    columns = tuple(Column(f"c{place}", encoding, draw(st.booleans())) for place, encoding in enumerate(encodings))
    unit, epoch = draw(st.sampled_from([(1_000_000, 0), (1000, 86_400_000_000), (60_000_000, -1_000_000)]))
    schema = RowSchema(draw(st.integers(1, 255)), columns, unit, epoch)
    rows = draw(st.integers(0, max_rows))
    made = {}
    for column in columns:
        values = cell(column.encoding)
        values = st.one_of(values, st.none()) if column.nullable else values.filter(lambda item: item == item)
        made[column.name] = column_of(column, draw(st.lists(values, min_size=rows, max_size=rows)))
    counts = draw(st.lists(st.integers(0, 2**32 - 1), min_size=rows, max_size=rows))
    return schema, made, np.array(counts, dtype=np.int64) * unit + epoch


def same_bits(found: Values | Ragged, expected: Values | Ragged) -> bool:
    """Type, shape, every bit, every null."""
    parts = [(found.data, expected.data), (found.valid, expected.valid)]
    if isinstance(found, Ragged) and isinstance(expected, Ragged):
        parts.append((found.offsets, expected.offsets))
    return type(found) is type(expected) and all(
        (a is None and b is None)
        or (a is not None and b is not None and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
        for a, b in parts
    )


def varint(number: int) -> bytes:
    """One zigzag LEB128 number, digit by digit."""
    rest, out = (number << 1) ^ (number >> 63), b""
    rest &= 2**64 - 1
    while rest >= 128:
        out += bytes([rest & 127 | 128])
        rest >>= 7
    return out + bytes([rest])


def slow_rows(schema: RowSchema, columns: Mapping[str, Values | Ragged], event_time_us: np.ndarray) -> list[bytes]:
    """The row layout, value by value, as its description reads."""
    named = {column.name: canonical(column, columns[column.name]) for column in schema.columns}
    out = []
    for row, time in enumerate(event_time_us.tolist()):
        nulls, bools, fixed, tails = [], [], b"", []
        for column in schema.columns:
            values, form = named[column.name], parse_encoding(column.encoding)
            null = values.valid is not None and not values.valid[row]
            if column.nullable:
                nulls.append(null)
            if form.kind == "bool":
                bools.append(bool(values.data[row]))
            elif encoding_words := words_of(column.encoding):
                text = to_strings(values)[row]
                code = 0 if text is None else encoding_words.index(text) + 1
                fixed += struct.pack("<B" if len(encoding_words) < 256 else "<H", code)
            elif form.kind == "str":
                tails.append(slow_codec(form.codec, (to_strings(values)[row] or "").encode()))
            elif form.kind == "ints":
                tails.append(slow_codec(form.codec, b"".join(varint(number) for number in to_int_lists(values)[row] or [])))
            elif form.kind == "vec":
                numbers = values.data[row].tolist()
                if column.encoding.endswith("i8"):
                    scale = slow_scale(max(map(abs, numbers)))
                    fixed += struct.pack("<f", scale) + struct.pack(
                        f"<{len(numbers)}b", *[round(x / scale) if scale else 0 for x in numbers]
                    )
                else:
                    fixed += struct.pack(f"<{len(numbers)}{'e' if column.encoding.endswith('f16') else 'f'}", *numbers)
            elif form.kind == "step":
                letter = {"i8": "b", "i16": "h", "i32": "i"}[column.encoding.rpartition(":")[2]]
                fixed += struct.pack("<" + letter, round(float(values.data[row]) / form.step))
            else:
                letter = {"i8": "b", "i16": "h", "i32": "i", "i64": "q", "ts": "q", "f16": "e", "f32": "f"}[column.encoding]
                fixed += struct.pack("<" + letter, values.data[row].item())
        stops = list(itertools.accumulate(map(len, tails)))
        head = bytes([schema.number, 0]) + struct.pack("<I", (time - schema.epoch_us) // schema.unit_us)
        body = head + slow_bits(nulls) + slow_bits(bools) + fixed + struct.pack(f"<{len(stops)}H", *stops) + b"".join(tails)
        check = fold_rows(np.frombuffer(body, dtype=np.uint8), np.array([0, len(body)]), seed_of(schema))[0]
        out.append(body[:1] + bytes([check]) + body[2:])
    return out


def slow_codec(codec: bool, piece: bytes) -> bytes:
    """A value with its codec byte, in the shorter form unless it is short anyway."""
    if not codec or not piece:
        return piece
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    small = press.compress(piece) + press.flush()
    return b"\1" + small if len(piece) >= 12 and len(small) < len(piece) else b"\0" + piece


def words_of(encoding: str) -> list[str]:
    """The words of a category; none of another encoding."""
    return json.loads(encoding[4:]) if encoding.startswith("cat:") else []


def slow_bits(flags: list[bool]) -> bytes:
    """Flags as bits, the first the lowest of its byte."""
    return bytes(sum(flag << place for place, flag in enumerate(flags[start : start + 8])) for start in range(0, len(flags), 8))


def slow_scale(largest: float) -> float:
    """largest / 127, cut to 17 binary digits; it is so already when `largest` was restored."""
    if largest == 0:
        return 0.0
    return largest / 127
