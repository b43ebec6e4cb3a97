"""Segments: one immutable file of packed rows, sorted by key, named by its digest.

Segment v1: `magic (8) | header length u32 | header JSON | key lengths u16 | row lengths u32 | keys | rows | sha256 (32)`,
little-endian, the digest over all that stands before it. Equal rows make equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.columns import ends
from tiffin.wire.packed import Packed, join_rows, rank, split_rows, take_rows
from tiffin.wire.schema import RowSchema

__all__ = ["Segment", "SegmentMeta", "build_segment", "read_segment"]

MAGIC = b"tifseg1\n"
DIGEST = 32
LONGEST_KEY = 0xFFFF


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
    ranked = take_rows(joined, order)
    if twice is not None:
        key = ranked.data[ranked.offsets[twice] : ranked.offsets[twice + 1]].tobytes()
        raise Invalid(f"segment of {team}/{view}: key {key!r} occurs twice", fix="publish one row per key: the newest")
    lengths = np.diff(ranked.offsets)
    if len(ranked) and not 0 < lengths.min() <= lengths.max() <= LONGEST_KEY:
        raise Invalid(
            f"segment of {team}/{view}: a key has {lengths.min()} or {lengths.max()} bytes", fix=f"use keys of 1 to {LONGEST_KEY} bytes"
        )
    rows = take_rows(packed, order)
    header = canonical_json(
        {"schema": schema.to_json(), "team": team, "view": view, "rows": len(ranked), "start_us": int(start_us), "end_us": int(end_us)}
    )
    body = b"".join(
        [
            MAGIC,
            len(header).to_bytes(4, "little"),
            header,
            lengths.astype("<u2").tobytes(),
            np.diff(rows.offsets).astype("<u4").tobytes(),
            ranked.data.tobytes(),
            rows.data.tobytes(),
        ]
    )
    return body + hashlib.sha256(body).digest()


def read_segment(data: bytes, *, name: str) -> Segment:
    """Read what `build_segment` wrote; `name` is what the error calls it.

    Raises:
        Corrupt: cut, altered, or not a segment.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise corrupt(name, f"it begins with {data[: len(MAGIC)]!r}, expected {MAGIC!r}")
    if len(data) < len(MAGIC) + 4 + DIGEST or hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
        raise corrupt(name, "its bytes do not match the digest at its end")
    at = len(MAGIC) + 4
    size = int.from_bytes(data[len(MAGIC) : at], "little")
    try:
        header: dict[str, Any] = json.loads(data[at : at + size])
        schema = RowSchema.from_json(header["schema"])
        meta = SegmentMeta(header["team"], header["view"], header["rows"], header["start_us"], header["end_us"])
        at += size
        key_ends = ends(np.frombuffer(data, dtype="<u2", count=meta.rows, offset=at).astype(np.int64))
        at += 2 * meta.rows
        row_ends = ends(np.frombuffer(data, dtype="<u4", count=meta.rows, offset=at).astype(np.int64))
        at += 4 * meta.rows
    except (ValueError, KeyError, TypeError) as err:
        raise corrupt(name, "its header is not one of a segment") from err
    rows_at = at + int(key_ends[-1])
    if rows_at + int(row_ends[-1]) + DIGEST != len(data):
        raise corrupt(name, f"its lengths add up to {rows_at + int(row_ends[-1]) + DIGEST} bytes, it has {len(data)}")
    keys = np.frombuffer(data, dtype=np.uint8, count=int(key_ends[-1]), offset=at)
    rows = np.frombuffer(data, dtype=np.uint8, count=int(row_ends[-1]), offset=rows_at)
    return Segment(schema, Packed(keys, key_ends), Packed(rows, row_ends), meta)


def corrupt(name: str, found: str) -> Corrupt:
    """One error for all damage."""
    return Corrupt(f"segment {name} has changed: {found}", fix="restore it, or publish the view again", context={"name": name})
