"""Segments: one immutable file of packed rows, sorted by key, named by its digest.

Segment v1: `magic (8) | header length u32 | header JSON | key lengths u16 | row lengths u32 | keys | rows | sha256 (32)`,
little-endian, the digest over all that stands before it. Equal rows make equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.columns import ends
from tiffin.wire.packed import Packed, from_matrix, join_rows, rank, split_rows, take_rows
from tiffin.wire.schema import RowSchema

__all__ = ["Segment", "SegmentMeta", "build_segment", "read_segment"]

MAGIC = b"tifseg1\n"
DIGEST = 32
LONGEST_KEY = 0xFFFF
CHUNK = 1 << 14
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SegmentMeta:
    """Whose rows these are, and their oldest and newest event time in µs."""

    team: str
    view: str
    rows: int
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A segment in memory; key `i` belongs to row `i`, in rising order."""

    schema: RowSchema
    key_bytes: Packed
    packed: Packed
    meta: SegmentMeta

    @property
    def keys(self) -> list[bytes]:
        """The keys one by one: a list made anew each time."""
        return split_rows(self.key_bytes)


def build_segment(
    schema: RowSchema, keys: Sequence[bytes] | Packed, packed: Packed, *, team: str, view: str, start_us: int, end_us: int
) -> bytes:
    """The file of these rows; their order does not matter.

    Raises:
        Invalid: a key occurs twice, is empty or too long.
    """
    if len(keys) != len(packed):
        raise Invalid(f"segment of {team}/{view}: {len(keys)} keys for {len(packed)} rows", fix="give every row its key")
    joined = keys if isinstance(keys, Packed) else join_rows(keys)
    order, twice = rank(joined)
    if twice is not None:
        key = take_rows(joined, order[twice : twice + 1]).data.tobytes()
        raise Invalid(f"segment of {team}/{view}: key {key!r} occurs twice", fix="publish one row per key: the newest")
    shortest, longest = (joined.width, joined.width) if joined.width else span_of(np.diff(joined.offsets))
    if len(joined) and not 0 < shortest <= longest <= LONGEST_KEY:
        raise Invalid(f"segment of {team}/{view}: a key has {shortest} or {longest} bytes", fix=f"use keys of 1 to {LONGEST_KEY} bytes")
    header = canonical_json(
        {"schema": schema.to_json(), "team": team, "view": view, "rows": len(joined), "start_us": int(start_us), "end_us": int(end_us)}
    )
    digest, file = hashlib.sha256(), io.BytesIO()
    lengths = (lengths_in(joined, order, np.dtype("<u2")), lengths_in(packed, order, np.dtype("<u4")))
    head: tuple[bytes | memoryview, ...] = (MAGIC, len(header).to_bytes(4, "little"), header, *lengths)
    for part in itertools.chain(head, rows_in(joined, order), rows_in(packed, order)):
        digest.update(part)
        file.write(part)
    file.write(digest.digest())
    return file.getvalue()


def span_of(lengths: Longs) -> tuple[int, int]:
    """The shortest and the longest; 0 where there is none."""
    return (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0)


def lengths_in(packed: Packed, order: Longs, stored: np.dtype[Any]) -> memoryview:
    """How long the rows are, in this order."""
    lengths = np.full(len(order), packed.width, dtype=stored) if packed.width else np.diff(packed.offsets)[order].astype(stored)
    return lengths.data


def rows_in(packed: Packed, order: Longs) -> Iterator[memoryview]:
    """The bytes of the rows in this order, some rows at a time: what follows finds them in the cache."""
    matrix = packed.matrix
    known = packed if matrix is None else from_matrix(matrix)
    for start in range(0, len(order), CHUNK):
        yield take_rows(known, order[start : start + CHUNK]).data.data


def read_lengths(data: bytes, stored: str, count: int, at: int) -> tuple[Longs, int]:
    """Offsets, and the width of all rows when they have one, else 0."""
    lengths = np.frombuffer(data, dtype=stored, count=count, offset=at)
    if count and lengths[0] and (lengths == lengths[0]).all():
        width = int(lengths[0])
        return np.arange(count + 1, dtype=np.int64) * width, width
    return ends(lengths.astype(np.int64)), 0


def read_segment(data: bytes, *, name: str) -> Segment:
    """Read what `build_segment` wrote; `name` is what the error calls it.

    Raises:
        Corrupt: cut, altered, or not a segment.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise corrupt(name, f"it begins with {data[: len(MAGIC)]!r}, expected {MAGIC!r}")
    if len(data) < len(MAGIC) + 4 + DIGEST or hashlib.sha256(memoryview(data)[:-DIGEST]).digest() != data[-DIGEST:]:
        raise corrupt(name, "its bytes do not match the digest at its end")
    at = len(MAGIC) + 4
    size = int.from_bytes(data[len(MAGIC) : at], "little")
    try:
        header: dict[str, Any] = json.loads(data[at : at + size])
        schema = RowSchema.from_json(header["schema"])
        meta = SegmentMeta(header["team"], header["view"], header["rows"], header["start_us"], header["end_us"])
        at += size
        key_ends, key_width = read_lengths(data, "<u2", meta.rows, at)
        at += 2 * meta.rows
        row_ends, row_width = read_lengths(data, "<u4", meta.rows, at)
        at += 4 * meta.rows
    except (ValueError, KeyError, TypeError) as err:
        raise corrupt(name, "its header is not one of a segment") from err
    rows_at = at + int(key_ends[-1])
    if rows_at + int(row_ends[-1]) + DIGEST != len(data):
        raise corrupt(name, f"its lengths add up to {rows_at + int(row_ends[-1]) + DIGEST} bytes, it has {len(data)}")
    keys = np.frombuffer(data, dtype=np.uint8, count=int(key_ends[-1]), offset=at)
    rows = np.frombuffer(data, dtype=np.uint8, count=int(row_ends[-1]), offset=rows_at)
    return Segment(schema, Packed(keys, key_ends, key_width), Packed(rows, row_ends, row_width), meta)


def corrupt(name: str, found: str) -> Corrupt:
    """One error for all damage."""
    return Corrupt(f"segment {name} has changed: {found}", fix="restore it, or publish the view again", context={"name": name})
