"""A batch whose rows were written under several schemas of one view: read group by group, each as the wanted columns.

Rows carry their schema's number. Rows of one number are unpacked together, whatever stands between them, and what an older schema
lacks becomes the declared default or null. A tombstone is a row that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.wire.columns import Mask, Ragged, Values, concat, take
from tiffin.wire.flaws import refuse
from tiffin.wire.packed import Packed, take_rows
from tiffin.wire.projection import Defaults, check_projection, project
from tiffin.wire.rows import unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.tombstones import TOMBSTONE, tombstone_times

__all__ = ["Mixed", "UnknownSchema", "unpack_mixed"]

Longs = npt.NDArray[np.int64]


class UnknownSchema(NotFound):
    """Rows name a schema that the reader does not have yet: fetch it, then read again."""

    def __init__(self, numbers: Sequence[int], *, row: int, known: Sequence[int]) -> None:
        named = ", ".join(map(str, numbers))
        super().__init__(
            f"packed row {row}: its schema number is {numbers[0]}, known are {', '.join(map(str, known))} (unknown in all: {named})",
            fix="fetch the view's schema of that number and read again; if there is none, these are not the view's bytes",
            context={"row": row, "what": "schema number", "numbers": list(numbers)},
        )
        self.numbers = tuple(numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """What `unpack_mixed` found, in the order of the rows.

    Args:
        columns: the wanted ones by name; null where a row is a tombstone.
        event_time_us: `(rows,)`; of a tombstone, since when there is no row.
        there: `(rows,)` False for a tombstone.
    """

    columns: dict[str, Values | Ragged]
    event_time_us: Longs
    there: Mask


def unpack_mixed(
    schema: RowSchema, packed: Packed, *, others: Mapping[int, RowSchema] | None = None, defaults: Defaults | None = None
) -> Mixed:
    """Read rows of several schemas as the columns of one.

    Args:
        schema: what is wanted; rows of its number and tombstones are its own.
        others: schemas of other numbers, by number.
        defaults: by column name, `(1,)` what rows of a schema without the column have; a column that is not here is null there.

    Raises:
        UnknownSchema: a row's number is of none of them; `numbers` names all such, so that they can be fetched at once.
        Unsupported: a column's encoding changed to one that cannot hold the old values; see `tiffin.wire.projection`.
        Corrupt: as `unpack`; `context["row"]` is the row in `packed`.
        Invalid: a default of a column that is not wanted, or not of its type.
    """
    defaults = {} if defaults is None else defaults
    names = [column.name for column in schema.columns]
    for name, default in defaults.items():
        if name not in names:
            raise Invalid(f"a default is given for column {name!r}, which is not wanted", fix=nearest(name, names))
        if len(default) != 1:
            raise Invalid(f"the default of column {name!r} has {len(default)} rows: expected 1", fix="give one value")
    known = {**(others or {}), schema.number: schema}
    places = by_number(packed, known)
    if set(places) <= {schema.number}:
        columns, times = unpack(schema, packed)
        return Mixed(columns, times, np.ones(len(packed), dtype=np.bool_))
    event_time_us = np.zeros(len(packed), dtype=np.int64)
    there = np.ones(len(packed), dtype=np.bool_)
    pieces: dict[str, list[Values | Ragged]] = {name: [] for name in names}
    for number, rows in places.items():
        part = take_rows(packed, rows)
        if number == TOMBSTONE:
            _, event_time_us[rows] = tombstone_times(schema, part, rows=rows)
            there[rows] = False
            found: dict[str, Values | Ragged] = {}
            unset: Defaults = {}
        else:
            held = [column.name for column in known[number].columns if column.name in pieces]
            check_projection(known[number], schema.columns)
            found, event_time_us[rows] = unpack(known[number], part, held, rows=rows)
            unset = defaults
        for column in schema.columns:
            made = project(column, found.get(column.name), rows=len(rows), default=unset.get(column.name))
            pieces[column.name].append(made)
    order = np.empty(len(packed), dtype=np.int64)
    order[np.concatenate([np.zeros(0, dtype=np.int64), *places.values()])] = np.arange(len(packed))
    return Mixed({column.name: joined(column, pieces[column.name], order) for column in schema.columns}, event_time_us, there)


def by_number(packed: Packed, known: Mapping[int, RowSchema]) -> dict[int, Longs]:
    """Which rows have which number; all numbers are known, or it is a tombstone's."""
    starts, empty = packed.offsets[:-1], np.diff(packed.offsets) == 0
    refuse(empty, "length", lambda row: "0 bytes, expected a row")
    numbers = packed.data[starts]
    found = np.unique(numbers).tolist()
    unknown = [number for number in found if number not in known and number != TOMBSTONE]
    if unknown:
        row = int(np.argmax(numbers == unknown[0]))
        raise UnknownSchema(unknown, row=row, known=sorted(known))
    return {number: np.flatnonzero(numbers == number) for number in found}


def joined(column: Column, pieces: Sequence[Values | Ragged], order: Longs) -> Values | Ragged:
    """One column of its groups, back in the rows' order."""
    return take(concat(pieces), order)
