"""Where each column stands in a row: chosen once per schema, then no row is looked at by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tiffin.wire.encodings import Encoding, parse_encoding
from tiffin.wire.schema import Column, RowSchema

__all__ = ["HEADER", "Layout", "Slot", "layout_of"]

HEADER = 6  # schema number u8, check u8, event time u32


@dataclass(frozen=True, slots=True)
class Slot:
    """One column's place.

    Args:
        at: first byte in the fixed part; for a bool, its bit among the bools; for a column that varies
            in length, its number among those.
        null_bit: its bit in the null bitmap, or -1.
    """

    column: Column
    form: Encoding
    at: int
    null_bit: int


@dataclass(frozen=True, slots=True)
class Layout:
    """`header | null bitmap | bool bits | fixed columns | u16 ends of the varying columns | tail`.

    Args:
        slots: in the schema's order.
        nulls, bools: how many bits of each there are.
        bools_at, ends_at: first byte of the bool bits and of the u16 ends.
        tail: the columns that vary in length.
        fixed: bytes before the tail; the whole row when nothing varies.
    """

    slots: tuple[Slot, ...]
    nulls: int
    bools: int
    bools_at: int
    ends_at: int
    tail: tuple[Slot, ...]
    fixed: int


@lru_cache(maxsize=1024)
def layout_of(schema: RowSchema) -> Layout:
    """The layout of a schema; part of the stored format."""
    nulls = sum(column.nullable for column in schema.columns)
    forms = [parse_encoding(column.encoding) for column in schema.columns]
    bools = sum(form.kind == "bool" for form in forms)
    bools_at = HEADER + (nulls + 7) // 8
    at = bools_at + (bools + 7) // 8
    slots: list[Slot] = []
    null_bit = bit = varying = 0
    for column, form in zip(schema.columns, forms, strict=True):
        if form.kind == "bool":
            place, bit = bit, bit + 1
        elif form.stored is None:
            place, varying = varying, varying + 1
        else:
            place, at = at, at + form.stored.itemsize
        slots.append(Slot(column, form, place, null_bit if column.nullable else -1))
        null_bit += column.nullable
    tail = tuple(slot for slot in slots if slot.form.in_tail)
    return Layout(tuple(slots), nulls, bools, bools_at, at, tail, at + 2 * varying)
