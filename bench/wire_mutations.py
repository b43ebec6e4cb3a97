"""Ways to spoil packed rows, whole batches at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiffin.wire.checks import CHECK_AT, fold_rows, seed_of
from tiffin.wire.columns import ends, spans
from tiffin.wire.layouts import layout_of
from tiffin.wire.packed import Packed
from tiffin.wire.schema import RowSchema

__all__ = ["MUTATIONS", "with_checks"]

SPECIAL = np.array([0, 1, 2, 3, 0x41, 0x7C, 0x7F, 0x80, 0xA9, 0xBF, 0xC3, 0xE2, 0xF0, 0xFC, 0xFF], dtype=np.uint8)
Mutation = Callable[[Packed, RowSchema, np.random.Generator], Packed]


def places(packed: Packed, rng: np.random.Generator) -> np.ndarray:
    """One byte of every row, by its place in the data; rows are not empty."""
    lengths = np.diff(packed.offsets)
    return packed.offsets[:-1] + (rng.random(len(packed)) * lengths).astype(np.int64)


def kept(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Nothing: these must be read."""
    return packed


def one_bit(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """One bit of every row."""
    data = packed.data.copy()
    data[places(packed, rng)] ^= (1 << rng.integers(0, 8, len(packed))).astype(np.uint8)
    return Packed(data, packed.offsets)


def some_bytes(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Up to eight bytes of every row, to anything."""
    data = packed.data.copy()
    for _ in range(int(rng.integers(2, 9))):
        data[places(packed, rng)] = rng.integers(0, 256, len(packed), dtype=np.uint8)
    return Packed(data, packed.offsets)


def swapped(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Two bytes of every row in each other's place."""
    data = packed.data.copy()
    one, other = places(packed, rng), places(packed, rng)
    data[one], data[other] = packed.data[other], packed.data[one]
    return Packed(data, packed.offsets)


def cut(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Every row without its end; sometimes nothing is left."""
    lengths = (rng.random(len(packed)) * np.diff(packed.offsets)).astype(np.int64)
    return Packed(packed.data[spans(packed.offsets[:-1], lengths)], ends(lengths))


def longer(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Every row with something behind it."""
    before, more = np.diff(packed.offsets), rng.integers(1, 9, len(packed))
    offsets = ends(before + more)
    data = rng.integers(0, 256, offsets[-1], dtype=np.uint8)
    data[spans(offsets[:-1], before)] = packed.data
    return Packed(data, offsets)


def shifted(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Rows cut at other places than where they end: each begins in one and ends in the next."""
    if len(packed.data) < 2:
        return packed
    return Packed(np.roll(packed.data, int(rng.integers(1, len(packed.data)))), packed.offsets)


def alien(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Random bytes of the right length."""
    return Packed(rng.integers(0, 256, len(packed.data), dtype=np.uint8), packed.offsets)


def alien_numbered(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Random bytes of the right length behind the right schema number: only the check byte and the inner structure tell."""
    data = rng.integers(0, 256, len(packed.data), dtype=np.uint8)
    data[packed.offsets[:-1]] = schema.number
    return Packed(data, packed.offsets)


def text(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Somebody else's text in our keys."""
    return Packed(rng.integers(0x20, 0x7F, len(packed.data), dtype=np.uint8), packed.offsets)


def forged(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Some bytes changed by somebody who computes the check as well: the inner structure is all that is left."""
    return with_checks(some_bytes(packed, schema, rng) if rng.random() < 0.5 else one_bit(packed, schema, rng), schema)


def forged_length(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Cut or lengthened by the same."""
    spoiled = cut(packed, schema, rng) if rng.random() < 0.5 else longer(packed, schema, rng)
    return with_checks(spoiled, schema)


def forged_values(packed: Packed, schema: RowSchema, rng: np.random.Generator) -> Packed:
    """Every second byte behind the header and the bits is one that is special somewhere: an end of a number, half a character, a codec."""
    layout = layout_of(schema)
    begin = layout.bools_at + (layout.bools + 7) // 8
    rows = np.repeat(packed.offsets[:-1], np.diff(packed.offsets))
    place = np.arange(len(packed.data)) - rows
    # ends that do not fit are refused at once: leave them, so that the values behind them are looked at
    open_to = (place >= begin) & ((place < layout.ends_at) | (place >= layout.fixed)) & (rng.random(len(place)) < rng.choice([0.02, 0.5]))
    data = packed.data.copy()
    data[open_to] = rng.choice(SPECIAL, int(open_to.sum()))
    return with_checks(Packed(data, packed.offsets), schema)


def with_checks(packed: Packed, schema: RowSchema) -> Packed:
    """Rows of at least a header get the schema's number and the right check byte."""
    lengths = np.diff(packed.offsets)
    whole = np.flatnonzero(lengths >= 6)
    data = packed.data.copy()
    starts = packed.offsets[:-1][whole]
    data[starts] = schema.number
    rows = Packed(data[spans(starts, lengths[whole])], ends(lengths[whole]))
    data[starts + CHECK_AT] = fold_rows(rows.data, rows.offsets, seed_of(schema))
    return Packed(data, packed.offsets)


# name: mutation and how often it is chosen; forged rows are read twice, once slowly, so they are few
MUTATIONS: dict[str, tuple[Mutation, float]] = {
    "kept": (kept, 0.3),
    "one_bit": (one_bit, 4),
    "some_bytes": (some_bytes, 4),
    "swapped": (swapped, 2),
    "cut": (cut, 2),
    "longer": (longer, 2),
    "shifted": (shifted, 2),
    "alien": (alien, 2),
    "alien_numbered": (alien_numbered, 4),
    "text": (text, 2),
    "forged": (forged, 2),
    "forged_length": (forged_length, 1),
    "forged_values": (forged_values, 4),
}
