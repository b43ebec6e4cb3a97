"""The fixed parts of rows, verified and read: as few numpy calls as the schema allows, none per row.

Columns that stand side by side in one stored form are read together, null bits and bools all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.checks import CHECK_AT
from tiffin.wire.columns import Mask, Ragged, Values
from tiffin.wire.encodings import restore
from tiffin.wire.flaws import refuse
from tiffin.wire.layouts import HEADER, Layout, Slot, layout_of
from tiffin.wire.quantise import restore_steps
from tiffin.wire.schema import RowSchema

__all__ = ["Plan", "plan_of", "read_fixed", "read_times", "verify"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """Single bits of a row, read together.

    Args:
        places: which of the wanted columns each belongs to.
        at, last: the bytes of the row that hold them: `at` to before `last`.
        byte: `(bits,)` in which of those bytes each stands.
        bit: `(bits, 1)` uint8 with that bit set.
    """

    places: tuple[int, ...]
    at: int
    last: int
    byte: npt.NDArray[np.intp]
    bit: Bytes

    @classmethod
    def of(cls, places: Sequence[int], at: int, bits: Sequence[int]) -> Bits:
        """Bits counted from the lowest of byte `at`."""
        numbers = np.array(bits, dtype=np.intp)
        first = int(numbers.min(initial=8 * 8192)) // 8 if len(numbers) else 0
        last = int(numbers.max()) // 8 + 1 if len(numbers) else 0
        masks = (1 << (numbers % 8)).astype(np.uint8)[:, None]
        return cls(tuple(places), at + first, at + last, numbers // 8 - first, masks)

    def read(self, head: Bytes) -> tuple[Bytes, Bytes]:
        """`(bits, rows)` zero where the bit is not set, and the bytes that hold them, `(bytes, rows)`."""
        raw = np.ascontiguousarray(head[:, self.at : self.last].T)
        found = raw.take(self.byte, axis=0)
        found &= self.bit
        return found, raw

    def some(self, raw: Bytes) -> list[int]:
        """For each bit: not zero where any row's is set."""
        found: list[int] = (np.bitwise_or.reduce(raw, axis=1).take(self.byte) & self.bit[:, 0]).tolist()
        return found


@lru_cache(maxsize=1)
def halves() -> npt.NDArray[np.float32]:
    """The float32 of every half: looking it up is two to four times as fast as numpy's conversion."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Number columns side by side in one stored form.

    Args:
        places: which of the wanted columns they are.
        at, last: their bytes in the row.
        stored, dtype: of one number, stored and in memory.
        steps: `(columns, 1)` float64 for stepped floats.
    """

    places: tuple[int, ...]
    at: int
    last: int
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    steps: npt.NDArray[np.float64] | None

    def read(self, head: Bytes) -> npt.NDArray[Any]:
        """`(columns, rows)`, a copy."""
        block: npt.NDArray[Any] = head[:, self.at : self.last].view(self.stored).T
        if self.steps is not None:
            return restore_steps(np.ascontiguousarray(block), self.steps)
        if self.stored.kind == "f" and self.stored.itemsize == 2:
            return halves().take(block.view("<u2"))
        return block.astype(self.dtype, order="C")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How to read some columns of a schema.

    Args:
        layout: of the schema.
        slots: the wanted columns.
        groups: numbers.
        others: vectors and words, one by one.
        nulls, bools: bits.
    """

    layout: Layout
    slots: tuple[Slot, ...]
    groups: tuple[Group, ...]
    others: tuple[int, ...]
    nulls: Bits
    bools: Bits


@lru_cache(maxsize=1024)
def plan_of(schema: RowSchema, names: tuple[str, ...] | None = None) -> Plan:
    """The plan for these columns, or all.

    Raises:
        Invalid: the schema has no such column.
    """
    layout = layout_of(schema)
    slots = layout.slots
    if names is not None:
        known = {slot.column.name: slot for slot in slots}
        for name in names:
            if name not in known:
                raise Invalid(f"column {name!r} is not in schema {schema.number}", fix=nearest(name, known))
        slots = tuple(known[name] for name in names)
    numbers = [(slot.at, place, slot) for place, slot in enumerate(slots) if slot.form.kind in ("int", "float", "ts", "step")]
    groups: list[list[tuple[int, int, Slot]]] = []
    for entry in sorted(numbers, key=lambda entry: entry[0]):
        form = entry[2].form
        before = groups[-1][-1] if groups else None
        if before is not None and before[0] + width_of(before[2]) == entry[0] and before[2].form.stored == form.stored:
            beside = (before[2].form.kind == "step") == (form.kind == "step") and before[2].form.dtype == form.dtype
        else:
            beside = False
        if beside:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    others = tuple(place for place, slot in enumerate(slots) if slot.form.kind == "vec" or slot.form.vocabulary is not None)
    null = [(place, slot.null_bit) for place, slot in enumerate(slots) if slot.null_bit >= 0]
    flag = [(place, slot.at) for place, slot in enumerate(slots) if slot.form.kind == "bool"]
    return Plan(
        layout,
        slots,
        tuple(map(group_of, groups)),
        others,
        Bits.of([place for place, _ in null], HEADER, [bit for _, bit in null]),
        Bits.of([place for place, _ in flag], layout.bools_at, [bit for _, bit in flag]),
    )


def group_of(entries: Sequence[tuple[int, int, Slot]]) -> Group:
    """Slots that stand side by side."""
    first, last = entries[0][2], entries[-1][2]
    assert first.form.stored is not None
    steps = np.array([[slot.form.step] for _, _, slot in entries]) if first.form.kind == "step" else None
    places = tuple(place for _, place, _ in entries)
    return Group(places, first.at, last.at + width_of(last), first.form.stored, first.form.dtype, steps)


def width_of(slot: Slot) -> int:
    """Bytes in the fixed part."""
    return 0 if slot.form.stored is None else slot.form.stored.itemsize


def verify(schema: RowSchema, head: Bytes, folded: Bytes, rows: Longs | None = None) -> None:
    """Refuse rows of another schema number, with a wrong check byte, or with bits that no column has.

    Args:
        head: `(rows, fixed)` the rows' fixed parts.
        folded: `(rows,)` what the check bytes must be.
        rows: `(rows,)` what an error calls the rows; None: their places.

    Raises:
        Corrupt: `context` has `row` and `what`: `"schema number"`, `"check byte"` or `"padding"`.
    """
    layout = layout_of(schema)
    wrong = head[:, 0] != schema.number
    wrong |= head[:, CHECK_AT] != folded
    if wrong.any():
        refuse(head[:, 0] != schema.number, "schema number", lambda row: f"{head[row, 0]}, expected {schema.number}", rows=rows)
        refuse(wrong, "check byte", lambda row: f"{head[row, CHECK_AT]}, expected {folded[row]}", rows=rows)
    for count, at in ((layout.nulls, HEADER), (layout.bools, layout.bools_at)):
        last = head[:, at + count // 8] if count % 8 else head[:0, 0]
        if last.max(initial=0) >= 1 << (count % 8):
            refuse(last >= 1 << (count % 8), "padding", lambda row: "not zero", rows=rows)


def read_times(schema: RowSchema, head: Bytes) -> Longs:
    """`(rows,)` event times in µs."""
    times: Longs = head[:, 2:HEADER].view("<u4").reshape(len(head)).astype(np.int64)
    times *= schema.unit_us
    times += schema.epoch_us
    return times


def read_fixed(
    plan: Plan, head: Bytes, present: Mask | None = None, rows: Longs | None = None
) -> tuple[list[Values | Ragged | None], list[Mask | None]]:
    """The wanted columns, None for those in the tail, and the null mask of each.

    Args:
        head: `(rows, fixed)` contiguous, verified.
        present: `(rows,)` False: null in every column; such a row is zeros but for its null bits.
        rows: what an error calls the rows; None: their places in `head`.
    """
    valid: list[Mask | None] = [present] * len(plan.slots)
    if plan.nulls.places:
        unset, raw = plan.nulls.read(head)
        masks = unset == 0
        for at, (place, null) in enumerate(zip(plan.nulls.places, plan.nulls.some(raw), strict=True)):
            valid[place] = masks[at] if null else None
    found: list[Values | Ragged | None] = [None] * len(plan.slots)
    if plan.bools.places:
        flags = plan.bools.read(head)[0] != 0
        for at, place in enumerate(plan.bools.places):
            found[place] = Values(flags[at], valid[place])
    for group in plan.groups:
        numbers = group.read(head)
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            for at, place in enumerate(group.places):
                refuse_infinite(plan.slots[place], numbers[at], rows)
        for at, place in enumerate(group.places):
            found[place] = Values(numbers[at], valid[place])
    for place in plan.others:
        slot = plan.slots[place]
        mask = valid[place]
        found[place] = read_words(slot, head, mask, rows) if slot.form.kind == "str" else read_vector(slot, head, mask, rows)
    return found, valid


def refuse_infinite(slot: Slot, numbers: npt.NDArray[Any], rows: Longs | None) -> None:
    """No value was ever stored that is not finite: NaN is a null, and infinity is refused."""
    finite = np.isfinite(numbers)
    bad = ~(finite if finite.ndim == 1 else finite.all(axis=1))
    refuse(bad, "number", lambda row: "not finite", column=slot.column.name, rows=rows)


def read_vector(slot: Slot, head: Bytes, valid: Mask | None, rows: Longs | None) -> Values:
    """`(rows, size)` float32."""
    assert slot.form.stored is not None
    raw = np.ascontiguousarray(head[:, slot.at : slot.at + slot.form.stored.itemsize])
    if slot.form.stored.subdtype is None:
        numbers = restore(slot.form, raw.view(slot.form.stored).reshape(len(raw)))
    else:
        base, shape = slot.form.stored.subdtype
        numbers = restore(slot.form, raw.view(base).reshape(len(raw), *shape))
    refuse_infinite(slot, numbers, rows)
    return Values(numbers, valid)


def read_words(slot: Slot, head: Bytes, valid: Mask | None, rows: Longs | None) -> Ragged:
    """Text of codes."""
    vocabulary, stored = slot.form.vocabulary, slot.form.stored
    assert vocabulary is not None
    assert stored is not None
    codes = head[:, slot.at : slot.at + stored.itemsize].view(stored)[:, 0]
    picked = codes.copy() if valid is None else codes[valid]
    words = len(vocabulary.words)
    # code 0 wraps to the largest there is
    if int((picked - stored.type(1)).max(initial=0)) >= words:
        bad = (codes - stored.type(1)) >= words
        refuse(
            bad if valid is None else bad & valid,
            "code",
            lambda row: f"{codes[row]}, expected 1..{words}",
            column=slot.column.name,
            rows=rows,
        )
    return vocabulary.decode(picked, valid)
