"""Columns in memory, their declared encodings, and the canonical value of each.

A value is brought to its encoding once, when the offline partition is written; from then on
training, the online store, the log and a replay hold the same bits.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.columns import Mask, Ragged, Values, ends, gather, int_lists, join, strings, take, to_int_lists, to_strings
from tiffin.wire.quantise import (
    Array,
    restore_scaled,
    restore_steps,
    scaled_dtype,
    store_floats,
    store_scaled,
    store_steps,
    store_whole,
)
from tiffin.wire.schema import Column
from tiffin.wire.vocabularies import Vocabulary, code_dtype, vocabulary_of

__all__ = [
    "Encoding",
    "Ragged",
    "Values",
    "canonical",
    "int_lists",
    "parse_encoding",
    "restore",
    "strings",
    "take",
    "to_int_lists",
    "to_stored",
    "to_strings",
]

Kind = Literal["int", "float", "bool", "ts", "str", "step", "vec", "ints"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A parsed `Column.encoding`.

    Args:
        kind: which rules apply.
        stored: dtype of one row in the fixed part; None for bool (a bit) and what varies in length.
        dtype: of the values in memory.
        size: numbers per vector, most bytes of a string, or longest list.
        step: distance between two values, for `step`.
        vocabulary: of text that is stored as codes; None for all else.
        codec: whether each value carries a codec byte, see `tiffin.wire.codecs`.
    """

    kind: Kind
    stored: np.dtype[Any] | None
    dtype: np.dtype[Any]
    size: int = 1
    step: float = 0.0
    vocabulary: Vocabulary | None = None
    codec: bool = False

    @property
    def ragged(self) -> bool:
        """Whether rows differ in length in memory."""
        return self.kind in ("str", "ints")

    @property
    def in_tail(self) -> bool:
        """Whether rows differ in length as they are stored."""
        return self.ragged and self.stored is None


FIXED: dict[str, tuple[Kind, str, str]] = {
    "i8": ("int", "i1", "i1"),
    "i16": ("int", "<i2", "i2"),
    "i32": ("int", "<i4", "i4"),
    "i64": ("int", "<i8", "i8"),
    "f16": ("float", "<f2", "f4"),
    "f32": ("float", "<f4", "f4"),
    "ts": ("ts", "<i8", "i8"),
}
SIZED = re.compile(r"(str|ints):([1-9][0-9]{0,5})(:zip)?")
STEP = re.compile(r"step:([0-9.e+-]+):(i8|i16|i32)")
VECTOR = re.compile(r"vec:([1-9][0-9]{0,4}):(f32|f16|i8)")
SMALLEST_STEP = 2.0**-126


@lru_cache(maxsize=4096)
def parse_encoding(text: str) -> Encoding:
    """Read the text form of an encoding.

    Raises:
        Invalid: not one of the forms that this build knows.

    Example:
        >>> parse_encoding("step:0.01:i32").step
        0.01
    """
    if text in FIXED:
        kind, stored, dtype = FIXED[text]
        return Encoding(kind, np.dtype(stored), np.dtype(dtype))
    if text == "bool":
        return Encoding("bool", None, np.dtype(np.bool_))
    if match := SIZED.fullmatch(text):
        kind, dtype = ("str", "u1") if match[1] == "str" else ("ints", "i8")
        return Encoding(kind, None, np.dtype(dtype), size=int(match[2]), codec=match[3] is not None)
    if match := VECTOR.fullmatch(text):
        size = int(match[1])
        row = scaled_dtype(size) if match[2] == "i8" else np.dtype((np.dtype("<f4" if match[2] == "f32" else "<f2"), (size,)))
        return Encoding("vec", row, np.dtype("f4"), size=size)
    if match := STEP.fullmatch(text):
        step = read_step(match[1], text)
        return Encoding("step", np.dtype({"i8": "i1", "i16": "<i2", "i32": "<i4"}[match[2]]), np.dtype("f4"), step=step)
    if text.startswith("cat:"):
        words = vocabulary_of(text[4:])
        return Encoding("str", code_dtype(len(words.words)), np.dtype("u1"), size=words.padded.shape[1], vocabulary=words)
    raise Invalid(
        f"encoding {text[:60]!r} is not known",
        fix="use i8 i16 i32 i64 f16 f32 bool ts str:MAX[:zip] cat:[...] step:STEP:iW vec:N:f32|f16|i8 ints:MAX[:zip], or a newer tiffin",
    )


def read_step(text: str, encoding: str) -> float:
    """A step that float32 can multiply without leaving its normal range."""
    try:
        step = float(text)
    except ValueError:
        step = math.nan
    if not SMALLEST_STEP <= step <= 1e30:
        raise Invalid(f"encoding {encoding!r} has step {text}", fix="use a step between 2**-126 and 1e30")
    return step


def check_mask(column: Column, valid: Mask | None, rows: int) -> Mask:
    """The null mask as an array of the right length."""
    if valid is None:
        return np.ones(rows, dtype=np.bool_)
    mask = np.asarray(valid)
    if mask.shape != (rows,) or mask.dtype != np.bool_:
        raise Invalid(
            f"column {column.name!r}: its null mask is {mask.dtype.name} {mask.shape}, expected bool ({rows},)",
            fix="give one bool per row, True where the value is present",
        )
    return mask


def settle_nulls(column: Column, valid: Mask) -> Mask | None:
    """None when no row is null; refuse a null where the schema allows none."""
    if valid.all():
        return None
    if not column.nullable:
        row = int(np.argmin(valid))
        raise Invalid(
            f"column {column.name!r}, row {row}: value null is not allowed: expected a value",
            fix="fill it in the transform, or declare the feature nullable",
            context={"column": column.name, "row": row},
        )
    return valid


def to_stored(column: Column, form: Encoding, values: Values | Ragged) -> tuple[Array | Ragged, Mask | None]:
    """A column in its stored form, and its nulls: `(rows,)` of `Encoding.stored`, bool for bits, canonical `Ragged` for a tail.

    Raises:
        Invalid: names column, row, value and what is allowed.
    """
    if form.ragged != isinstance(values, Ragged):
        found, wanted = type(values).__name__, "Ragged" if form.ragged else "Values"
        raise Invalid(f"column {column.name!r} is {found}: expected {wanted} for {column.encoding!r}", fix=f"pass {wanted}")
    if not isinstance(values, Ragged):
        return quantise(column, form, values)
    text = canonical_ragged(column, form, values)
    return text if form.vocabulary is None else form.vocabulary.encode(column.name, text), text.valid


def quantise(column: Column, form: Encoding, values: Values) -> tuple[Array, Mask | None]:
    """Numbers, flags and vectors in their stored form, and which are there."""
    data = np.asarray(values.data)
    shape = (len(data), form.size) if form.kind == "vec" else (len(data),)
    if data.ndim == 0 or data.shape != shape:
        raise Invalid(
            f"column {column.name!r} has shape {data.shape}: expected {shape} for {column.encoding!r}", fix="give one value per row"
        )
    mask = check_mask(column, values.valid, len(data))
    if form.kind in ("float", "step") and data.dtype.kind == "f":
        mask = mask & ~np.isnan(data)
    valid = settle_nulls(column, mask)
    if valid is not None:
        data = np.where(valid.reshape((-1,) + (1,) * (data.ndim - 1)), data, np.zeros((), data.dtype))
    return store(column, form, data), valid


def store(column: Column, form: Encoding, data: Array) -> Array:
    """Choose the quantiser of the kind."""
    if form.kind == "bool":
        if data.dtype != np.bool_:
            raise Invalid(f"column {column.name!r} holds {data.dtype.name}: expected bool", fix="cast it to bool in the transform")
        return data
    assert form.stored is not None
    if form.kind in ("int", "ts"):
        return store_whole(column.name, data, form.stored)
    if form.kind == "step":
        return store_steps(column.name, data, form.step, form.stored)
    if form.stored.fields is not None:
        return store_scaled(column.name, data)
    return store_floats(column.name, data, form.stored.base)


def restore(form: Encoding, stored: Array) -> Array:
    """The values that a stored fixed-width column means."""
    if form.kind == "step":
        return restore_steps(stored, form.step)
    if stored.dtype.fields is not None:
        return restore_scaled(stored)
    return stored.astype(form.dtype)


def check_offsets(column: Column, ragged: Ragged) -> npt.NDArray[np.int64]:
    """Offsets that can be trusted with the data they point into."""
    offsets = np.asarray(ragged.offsets)
    right = offsets.ndim == 1 and len(offsets) > 0 and offsets.dtype.kind in "iu"
    if not right or offsets[0] < 0 or offsets[-1] > len(ragged.data) or (np.diff(offsets) < 0).any():
        raise Invalid(f"column {column.name!r}: its offsets do not fit its data", fix="give rows + 1 growing offsets into data")
    return offsets.astype(np.int64)


def canonical_ragged(column: Column, form: Encoding, ragged: Ragged) -> Ragged:
    """Strings in NFC, lists of int64; compact, nulls empty, lengths within the declared limit."""
    offsets = check_offsets(column, ragged)
    rows = len(offsets) - 1
    mask = check_mask(column, ragged.valid, rows)
    valid = settle_nulls(column, mask)
    data = np.asarray(ragged.data)
    if form.kind == "ints":
        data = store_whole(column.name, data, np.dtype(np.int64)) if data.size else data.astype(np.int64)
    elif data.dtype != np.uint8:
        raise Invalid(f"column {column.name!r} holds {data.dtype.name}: expected UTF-8 bytes", fix="use tiffin.wire.encodings.strings")
    lengths = np.where(mask, np.diff(offsets), 0)
    compact = gather(data, offsets[:-1], lengths)
    found = Ragged(ends(lengths), compact, valid)
    if form.kind == "str":
        found = compose(column, found)
    if form.vocabulary is None:
        check_lengths(column, form, found)
    return found


def check_lengths(column: Column, form: Encoding, ragged: Ragged) -> None:
    """No string or list longer than declared."""
    unit = "bytes of UTF-8" if form.kind == "str" else "numbers"
    lengths = np.diff(ragged.offsets)
    too_long = lengths > form.size
    if too_long.any():
        row = int(np.argmax(too_long))
        piece = ragged.data[ragged.offsets[row] : ragged.offsets[row + 1]][:24]
        shown = piece.tobytes().decode(errors="replace") if form.kind == "str" else piece.tolist()
        raise Invalid(
            f"column {column.name!r}, row {row}: value starting {shown!r} has {lengths[row]} {unit}: expected at most {form.size}",
            fix="shorten it in the transform, or declare a larger limit",
            context={"column": column.name, "row": row},
        )


def compose(column: Column, ragged: Ragged) -> Ragged:
    """Check UTF-8 and bring to NFC the rows that hold more than ASCII; the others are already both."""
    if ragged.data.max(initial=0) < 0x80:
        return ragged
    high = np.concatenate([[0], np.cumsum(ragged.data >= 0x80)])
    suspects = np.flatnonzero(high[ragged.offsets[1:]] - high[ragged.offsets[:-1]])
    changed: dict[int, bytes] = {}
    for row in suspects.tolist():
        piece = ragged.data[ragged.offsets[row] : ragged.offsets[row + 1]].tobytes()
        try:
            normal = unicodedata.normalize("NFC", piece.decode()).encode()
        except UnicodeDecodeError as err:
            message = f"column {column.name!r}, row {row}: value {piece[:24]!r} is not allowed: expected UTF-8"
            raise Invalid(message, fix="decode it to text in the transform", context={"column": column.name, "row": row}) from err
        if normal != piece:
            changed[row] = normal
    if not changed:
        return ragged
    pieces = [changed.get(row) for row in range(len(ragged))]
    whole = [
        ragged.data[start:end].tobytes() if piece is None else piece
        for piece, start, end in zip(pieces, ragged.offsets[:-1].tolist(), ragged.offsets[1:].tolist(), strict=True)
    ]
    return join(whole, ragged.valid)


@overload
def canonical(column: Column, values: Values) -> Values: ...
@overload
def canonical(column: Column, values: Ragged) -> Ragged: ...
@overload
def canonical(column: Column, values: Values | Ragged) -> Values | Ragged: ...
def canonical(column: Column, values: Values | Ragged) -> Values | Ragged:
    """The values as they will be read back: rounded, -0.0 as 0.0, NaN as null, text in NFC. Idempotent.

    Raises:
        Invalid: names column, row, value and what is allowed.
    """
    form = parse_encoding(column.encoding)
    if isinstance(values, Ragged) and form.ragged:
        found = canonical_ragged(column, form, values)
        if form.vocabulary is not None:
            form.vocabulary.encode(column.name, found)  # raises: a text that is no word
        return found
    stored, valid = to_stored(column, form, values)
    assert not isinstance(stored, Ragged)
    return Values(restore(form, stored), valid)
