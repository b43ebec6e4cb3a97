"""The benchmark's two workloads, made from a seed.

W1: 20 mixed scalars an entity (9 float, 5 whole, 3 bool, 3 short strings of a vocabulary), 88.7 % non-null, half of
four float columns zero; its packed row is 43 bytes. W3: a 64-d unit vector and a list of whole numbers, 17 in the mean.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tiffin.manifests.records import EntityRecord, KeyField, ViewRecord
from tiffin.online.views import OnlineView
from tiffin.wire.encodings import Ragged, Values, canonical
from tiffin.wire.schema import Column, RowSchema

__all__ = ["KEY", "T0_US", "VALUES", "Rows", "make_mixed", "make_vectors", "online_view", "view_record"]

DAY_US = 86_400_000_000
T0_US = 15_700 * DAY_US
KEY = "entity"
NON_NULL = 0.887
CARRIERS = tuple(f"C{place:x}" for place in range(16))
AIRPORTS = tuple(f"A{place:02x}" for place in range(200))
TAILS = tuple(f"N{place:03x}QX" for place in range(1000))
FLOATS = tuple(f"f{place}" for place in range(9))
WHOLE = {"i0": "i32", "i1": "i16", "i2": "i16", "i3": "i16", "i4": "i8"}
BOOLS = ("b0", "b1", "b2")
TEXTS = {"s0": CARRIERS, "s1": AIRPORTS, "s2": TAILS}
VALUES = len(FLOATS) + len(WHOLE) + len(BOOLS) + len(TEXTS)


def vocabulary_encoding(words: tuple[str, ...]) -> str:
    """Strings of a declared vocabulary."""
    return f"cat:{json.dumps(words, separators=(',', ':'))}"


MIXED = RowSchema(
    1,
    (
        *(Column(name, "f16") for name in FLOATS),
        *(Column(name, encoding) for name, encoding in WHOLE.items()),
        *(Column(name, "bool") for name in BOOLS),
        *(Column(name, vocabulary_encoding(words)) for name, words in TEXTS.items()),
    ),
)
VECTORS = RowSchema(1, (Column("vector", "vec:64:i8", nullable=False), Column("ids", "ints:200", nullable=False)))


@dataclass(frozen=True)
class Rows:
    """Rows of one view: `(rows,)` int32 ids, canonical columns, event times."""

    view: str
    schema: RowSchema
    ids: npt.NDArray[Any]
    columns: Mapping[str, Values | Ragged]
    event_time_us: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def texts(self) -> list[list[bytes | None]]:
        """Decimal text of every value, row by row, as the published layout stores it; None is null."""
        return [list(row) for row in zip(*(texts_of(column) for column in self.columns.values()), strict=True)]


def texts_of(column: Values | Ragged) -> list[bytes | None]:
    """The shortest decimal text that gives the same bits once it is a half again: the peer stores no digit more than it needs."""
    if isinstance(column, Ragged):
        raw, stops = column.data.tobytes(), column.offsets.tolist()
        found: list[bytes | None] = [raw[start:end] for start, end in itertools.pairwise(stops)]
    elif column.data.dtype == np.float32:
        found = [b"%g" % item if item == int(item) else str(item).encode() for item in column.data.astype(np.float16)]
    else:
        found = [b"%d" % item for item in column.data.tolist()]
    if column.valid is not None:
        for row in np.flatnonzero(~column.valid).tolist():
            found[row] = None
    return found


def make_ids(count: int) -> npt.NDArray[np.int32]:
    """Distinct ids in no order."""
    return np.random.default_rng(count).permutation(count).astype(np.int32)


def words_of(words: tuple[str, ...], codes: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]) -> Ragged:
    """Strings of one length each vocabulary."""
    table = np.array([word.encode() for word in words])
    lengths = np.where(valid, table.itemsize, 0)
    data = table[codes[valid]].view(np.uint8)
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]), data, valid)


def make_mixed(count: int, *, seed: int = 0, at_us: int = T0_US) -> Rows:
    """W1 with `count` entities."""
    rng = np.random.default_rng([seed, count])

    def valid() -> npt.NDArray[np.bool_]:
        return rng.random(count, dtype=np.float32) < NON_NULL

    columns: dict[str, Values | Ragged] = {}
    for place, name in enumerate(FLOATS):
        data = rng.standard_normal(count, dtype=np.float32) * np.float32(10.0 ** (place % 3))
        if place < 4:
            data[rng.random(count, dtype=np.float32) < 0.5] = 0.0
        columns[name] = Values(data, valid())
    for name, encoding in WHOLE.items():
        high = {"i32": 1_000_000, "i16": 10_000, "i8": 100}[encoding]
        columns[name] = Values(rng.integers(0, high, count, dtype=np.int32), valid())
    for name in BOOLS:
        columns[name] = Values(rng.random(count, dtype=np.float32) < 0.5, valid())
    for name, words in TEXTS.items():
        columns[name] = words_of(words, rng.integers(0, len(words), count), valid())
    return Rows("mixed", MIXED, make_ids(count), settled(MIXED, columns), np.full(count, at_us, dtype=np.int64))


def make_vectors(count: int, *, seed: int = 0) -> tuple[Rows, npt.NDArray[np.float32]]:
    """W3 with `count` entities, and its vectors before they are stored as int8."""
    rng = np.random.default_rng([seed, count, 3])
    exact = rng.standard_normal((count, 64), dtype=np.float32)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    lengths = np.minimum(rng.poisson(17, count), 200)
    ids = np.minimum(rng.zipf(1.3, int(lengths.sum())), 10_000_000)
    columns: dict[str, Values | Ragged] = {"vector": Values(exact), "ids": Ragged(np.concatenate([[0], np.cumsum(lengths)]), ids)}
    rows = Rows("vectors", VECTORS, make_ids(count), settled(VECTORS, columns), np.full(count, T0_US, dtype=np.int64))
    return rows, exact


def settled(schema: RowSchema, columns: Mapping[str, Values | Ragged]) -> dict[str, Values | Ragged]:
    """Every value as the encoding keeps it."""
    return {column.name: canonical(column, columns[column.name]) for column in schema.columns}


def view_record(rows: Rows, *, layout: Literal["plain", "dense"] = "plain") -> ViewRecord:
    """The compiled view of these rows."""
    return ViewRecord(
        team="bench",
        name=rows.view,
        owner="bench@example.com",
        description="",
        entity=EntityRecord(name=KEY, keys=(KeyField.model_validate({"name": KEY, "type": "int32"}),)),
        row_schema=rows.schema.to_json(),
        partition_start="2013-01-01",
        delay_us=0,
        ttl_us=None,
        definition="0" * 64,
        layout=layout,
    )


def online_view(rows: Rows) -> OnlineView:
    """What its reader is configured with."""
    return OnlineView("bench", rows.view, ((KEY, "int32"),), rows.schema, None)
