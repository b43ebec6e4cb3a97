"""Columns of one schema as another schema wants them: the same value, a default, or null; never a changed value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tiffin.core.errors import Unsupported
from tiffin.wire.columns import Ragged, Values, take
from tiffin.wire.encodings import Encoding, canonical, parse_encoding
from tiffin.wire.schema import Column, RowSchema

__all__ = ["Defaults", "check_projection", "project", "widens"]

Defaults = Mapping[str, Values | Ragged]


def widens(old: str, new: str) -> bool:
    """Whether every value of the old encoding is one of the new encoding, bit for bit in memory but for a wider number.

    Example:
        >>> widens("i8", "i32"), widens("i32", "i8"), widens("f16", "f32"), widens('cat:["UA"]', 'cat:["AA","UA"]')
        (True, False, True, True)
    """
    if old == new:
        return True
    before, after = parse_encoding(old), parse_encoding(new)
    if before.kind == after.kind:
        return same_kind_widens(before, after)
    # a stepped float is a float32
    return before.kind == "step" and new == "f32"


def same_kind_widens(before: Encoding, after: Encoding) -> bool:
    """The same for two encodings of one kind."""
    if before.kind == "int":
        return before.dtype.itemsize <= after.dtype.itemsize
    if before.kind == "float":
        return after.stored == np.dtype("<f4")
    if before.kind == "step":
        assert before.stored is not None
        assert after.stored is not None
        return before.step == after.step and before.stored.itemsize <= after.stored.itemsize
    if before.kind == "vec":
        assert after.stored is not None
        return before.size == after.size and after.stored.base == np.dtype("<f4")
    if before.kind == "ints":
        return before.size <= after.size
    if before.kind == "str":
        if after.vocabulary is None:
            return before.size <= after.size
        return before.vocabulary is not None and set(before.vocabulary.words) <= set(after.vocabulary.words)
    return False


def check_projection(old: RowSchema, wanted: tuple[Column, ...]) -> None:
    """Refuse a schema whose values cannot be what the columns want.

    Raises:
        Unsupported: names the column and both encodings.
    """
    held = {column.name: column.encoding for column in old.columns}
    for column in wanted:
        if column.name in held and not widens(held[column.name], column.encoding):
            was, wants = held[column.name][:60], column.encoding[:60]
            raise Unsupported(
                f"column {column.name!r} is {was} in rows of schema {old.number}: it cannot be read as {wants}",
                fix="publish the view again under the new schema, or give the changed feature a new name",
                context={"column": column.name, "schema": old.number},
            )


def project(column: Column, found: Values | Ragged | None, *, rows: int, default: Values | Ragged | None) -> Values | Ragged:
    """A column as it is wanted.

    Args:
        found: as it was stored, in an encoding that `widens`; None: the old schema does not have it.
        rows: how many.
        default: `(1,)` what rows of a schema without the column have; None: null.
    """
    form = parse_encoding(column.encoding)
    nullable = Column(column.name, column.encoding, nullable=True)
    if found is None:
        if default is not None:
            return take(canonical(column, default), np.zeros(rows, dtype=np.int64))
        return nothing(form, rows)
    if isinstance(found, Ragged) or found.data.dtype == form.dtype:
        return found
    return canonical(nullable, found)


def nothing(form: Encoding, rows: int) -> Values | Ragged:
    """Nulls."""
    none = np.full(rows, -1, dtype=np.int64)
    if form.ragged:
        return take(Ragged(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=form.dtype), None), none)
    shape = (0, form.size) if form.kind == "vec" else (0,)
    return take(Values(np.zeros(shape, dtype=form.dtype), None), none)
