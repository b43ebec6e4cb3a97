"""Rows of one width read by compiled loops (`kernel.c`), where the package was built beside a C compiler; else numpy does it.

Both give the same arrays, bit by bit. The compiled loops never complain: what looks wrong to them is None here, and numpy's
way then finds the row and the words for it. A thousand rows take some sixty calls of numpy, each of which is cold in a server
that does other things in between; compiled it is two.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.wire import compiling
from tiffin.wire.checks import CHECK_AT, seed_of, tables
from tiffin.wire.columns import Ragged, Values
from tiffin.wire.layouts import HEADER, Slot, layout_of
from tiffin.wire.reading import Plan
from tiffin.wire.schema import RowSchema
from tiffin.wire.vocabularies import Vocabulary

__all__ = ["checked_times", "framed", "load", "read_columns", "repeats", "whole_keys"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
VERSION = 1
"""Of what `kernel.c` is called with: a library of another one is left alone."""
# as kernel.c numbers them: (kind, bytes stored)
KINDS = {
    ("int", 1): 0,
    ("int", 2): 1,
    ("int", 4): 2,
    ("int", 8): 3,
    ("ts", 8): 3,
    ("float", 4): 4,
    ("float", 2): 5,
    ("bool", 0): 6,
    ("step", 1): 7,
    ("step", 2): 8,
    ("step", 4): 9,
    ("str", 1): 10,
    ("str", 2): 11,
}
LANES, WIDEST = 16, 8192
PLACE, LONG = ctypes.c_void_p, ctypes.c_int64


def load(path: Path) -> Any:
    """The library; None where there is none that this machine and this version can use."""
    if sys.byteorder != "little":
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.tiffin_version.restype = LONG
        if library.tiffin_version() != VERSION:
            return None
        library.tiffin_check.argtypes = [PLACE, LONG, LONG, LONG, PLACE, PLACE, PLACE]
        library.tiffin_framed.argtypes = [PLACE, LONG, LONG, ctypes.c_char_p, LONG]
        library.tiffin_whole.argtypes = [PLACE, LONG, LONG, LONG, LONG, PLACE]
        library.tiffin_repeats.argtypes = [PLACE, LONG, LONG, PLACE, LONG]
        library.tiffin_columns.argtypes = [PLACE, LONG, PLACE, LONG, PLACE, PLACE, PLACE, LONG, PLACE, PLACE, PLACE, PLACE]
    except (OSError, AttributeError):
        return None
    return library


LIBRARY = load(Path(__file__).with_name(compiling.LIBRARY))


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What `tiffin_check` knows of a schema, and where that stands in memory."""

    about: Longs
    tables: npt.NDArray[np.uint16]
    places: tuple[int, int]

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, schema: RowSchema) -> Check | None:
        """For rows that do not vary in length; None for very wide ones."""
        layout = layout_of(schema)
        if layout.fixed > WIDEST:
            return None
        padding: list[int] = []
        for count, at in ((layout.nulls, HEADER), (layout.bools, layout.bools_at)):
            padding += [at + count // 8 if count % 8 else -1, 1 << (count % 8)]
        wide = -(-layout.fixed // LANES) * LANES
        about = np.array([schema.number, seed_of(schema), schema.unit_us, schema.epoch_us, *padding, wide], dtype=np.int64)
        padded = np.zeros((3, wide), dtype=np.uint16)
        padded[:, : layout.fixed] = tables(layout.fixed)
        padded[0, CHECK_AT] = 0  # whatever stands there counts nothing
        return cls(about, padded, (about.ctypes.data, padded.ctypes.data))


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """What `tiffin_columns` knows of some columns.

    Args:
        columns: `(columns, 8)`, `steps`: `(columns,)`, as it wants them; `absent`: a row that is null in every column.
        places: where those stand in memory.
        texts: the vocabularies of columns of text, which `columns` points into.
        about: of each column its name, the dtype of its numbers (None: text), and the bytes a row that those before it take.
        width: bytes a row of them all.
    """

    columns: Longs
    steps: npt.NDArray[np.float64]
    absent: Bytes
    places: tuple[int, int, int]
    texts: tuple[Vocabulary, ...]
    about: tuple[tuple[str, np.dtype[Any] | None, int], ...]
    width: int

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, plan: Plan) -> Ready | None:
        """None where a column is of a kind that only numpy reads."""
        layout = plan.layout
        if None in map(kind_of, plan.slots):
            return None
        sizes = [slot.form.size if slot.form.vocabulary is not None else slot.form.dtype.itemsize for slot in plan.slots]
        numbers = [slot.form.vocabulary is None for slot in plan.slots]
        before, width = [0] * len(sizes), 0
        # wide numbers first, text last: all stand where their dtype wants it
        for place in sorted(range(len(sizes)), key=lambda place: -sizes[place] if numbers[place] else 1):
            before[place], width = width, width + sizes[place]
        columns = np.zeros((len(sizes), 8), dtype=np.int64)
        for place, slot in enumerate(plan.slots):
            at = 8 * layout.bools_at + slot.at if slot.form.kind == "bool" else slot.at
            null, words = 8 * HEADER + slot.null_bit if slot.null_bit >= 0 else -1, slot.form.vocabulary
            columns[place, :4] = [kind_of(slot) or 0, at, null, before[place]]
            if words is not None:
                columns[place, 4:] = len(words.words), words.padded.shape[1], words.padded.ctypes.data, words.lengths.ctypes.data
        absent = np.zeros(layout.fixed, dtype=np.uint8)
        absent[HEADER : layout.bools_at] = 0xFF
        steps = np.array([slot.form.step for slot in plan.slots], dtype=np.float64)
        return cls(
            columns,
            steps,
            absent,
            (absent.ctypes.data, columns.ctypes.data, steps.ctypes.data),
            tuple(slot.form.vocabulary for slot in plan.slots if slot.form.vocabulary is not None),
            tuple(
                (slot.column.name, slot.form.dtype if is_number else None, at)
                for slot, is_number, at in zip(plan.slots, numbers, before, strict=True)
            ),
            width,
        )


def kind_of(slot: Slot) -> int | None:
    """Its number in `kernel.c`."""
    stored = slot.form.stored
    return KINDS.get((slot.form.kind, 0 if stored is None else stored.itemsize)) if not slot.form.in_tail else None


def whole_keys(numbers: npt.NDArray[np.signedinteger], width: int, tag: bytes) -> Bytes | None:
    """`(rows, 1 + width)` key parts of whole numbers that fit into `width` bytes; None: not compiled, or not int32 or int64."""
    size = numbers.dtype.itemsize
    if LIBRARY is None or size not in (4, 8) or not numbers.dtype.isnative:
        return None
    numbers = np.ascontiguousarray(numbers)
    made = np.empty((len(numbers), 1 + width), dtype=np.uint8)
    LIBRARY.tiffin_whole(numbers.ctypes.data, len(numbers), size, width, tag[0], made.ctypes.data)
    return made


def framed(data: Bytes, start: int, stride: int, rows: int, head: bytes) -> bool | None:
    """Whether so many pieces of `stride` bytes begin with `head` and end with a new line; None: not compiled."""
    if LIBRARY is None:
        return None
    return bool(LIBRARY.tiffin_framed(data.ctypes.data + start, stride, rows, head, len(head)))


def repeats(matrix: Bytes) -> bool | None:
    """Whether two of the rows are equal; None: not compiled."""
    if LIBRARY is None:
        return None
    matrix = np.ascontiguousarray(matrix)
    seen = np.zeros(1 << (2 * len(matrix)).bit_length(), dtype=np.uint32)
    return bool(LIBRARY.tiffin_repeats(matrix.ctypes.data, len(matrix), matrix.shape[1], seen.ctypes.data, len(seen)))


def checked_times(schema: RowSchema, head: Bytes) -> Longs | None:
    """`(rows,)` event times in µs of rows that are all right; None: not compiled, or one of them is not.

    Args:
        head: `(rows, width)`, each row's bytes side by side.
    """
    if LIBRARY is None or head.strides[1] != 1:
        return None
    known = Check.of(schema)
    if known is None:
        return None
    times = np.empty(len(head), dtype=np.int64)
    stride, _ = head.strides
    wrong = LIBRARY.tiffin_check(head.ctypes.data, stride, len(head), head.shape[1], *known.places, times.ctypes.data)
    return None if wrong else times


def read_columns(plan: Plan, head: Bytes, index: Longs | None) -> dict[str, Values | Ragged] | None:
    """The columns of verified rows in the order of `index`; None: not compiled, not of these kinds, or something is wrong.

    Args:
        head: `(rows, width)`, each row's bytes side by side.
        index: `(n,)` positions in `head`, -1 for a row that is null in every column; None: all in order.
    """
    ready = None if LIBRARY is None or head.strides[1] != 1 else Ready.of(plan)
    if ready is None:
        return None
    rows, count = len(head) if index is None else len(index), len(ready.about)
    where = 0
    if index is not None:
        index = np.ascontiguousarray(index, dtype=np.int64)
        where = index.ctypes.data
    made = np.empty(ready.width * rows, dtype=np.uint8)
    valid = np.empty((count, rows), dtype=np.bool_)
    told = np.empty(count, dtype=np.int64)
    stops = np.empty((len(ready.texts), rows + 1), dtype=np.int64)
    after = (count, made.ctypes.data, valid.ctypes.data, told.ctypes.data, stops.ctypes.data)
    if LIBRARY.tiffin_columns(head.ctypes.data, head.strides[0], where, rows, *ready.places, *after):
        return None
    found: dict[str, Values | Ragged] = {}
    text = iter(stops)
    for place, ((name, dtype, before), nulls) in enumerate(zip(ready.about, told.tolist(), strict=True)):
        mask = valid[place] if nulls else None
        if dtype is not None:
            found[name] = Values(np.ndarray((rows,), dtype, made, before * rows), mask)
        else:
            ends = next(text)
            found[name] = Ragged(ends, made[before * rows : before * rows + int(ends[-1])], mask)
    return found
