"""One part of many entity keys at a time: the same bytes whatever the values came in, see `tiffin.wire.keys`.

Whole numbers and ASCII text are encoded a column at a time. Text beyond ASCII, with a zero byte, or of mixed Python types
goes row by row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.columns import Mask, Ragged, Values, ends, gather, spans, to_strings
from tiffin.wire.kernel import whole_keys
from tiffin.wire.packed import Packed, from_matrix, join_rows

__all__ = ["WHOLE", "Part", "encode_texts", "encode_whole", "join_parts"]

Bytes = npt.NDArray[np.uint8]
WHOLE = {"int8": (b"b", 8), "int16": (b"h", 16), "int32": (b"i", 32), "int64": (b"q", 64)}

Part = Sequence[Any] | npt.NDArray[Any] | Values | Ragged


def join_parts(parts: Sequence[tuple[Packed, Mask | None]]) -> tuple[Packed, Mask]:
    """Whole keys of their parts, and which rows have all of them; the bytes of the others mean nothing."""
    rows = len(parts[0][0])
    valid = np.ones(rows, dtype=np.bool_)
    for _, mask in parts:
        if mask is not None:
            valid &= mask
    if len(parts) == 1:
        return parts[0][0], valid
    matrices = [part.matrix for part, _ in parts]
    if all(matrix is not None for matrix in matrices):
        return from_matrix(np.concatenate(matrices, axis=1)), valid  # type: ignore[arg-type]  # none of them is None
    lengths = [np.diff(part.offsets) for part, _ in parts]
    offsets = ends(np.add.reduce(lengths))
    data = np.empty(offsets[-1], dtype=np.uint8)
    start = offsets[:-1]
    for (part, _), mine in zip(parts, lengths, strict=True):
        data[spans(start, mine)] = part.data
        start = start + mine
    return Packed(data, offsets), valid


def encode_texts(name: str, given: Part, *, last: bool) -> tuple[Packed, Mask | None]:
    """A string part: tag, NFC, escaped zero bytes, end mark; and which rows have one."""
    if isinstance(given, Values):
        raise Invalid(f"key part {name!r} holds {given.data.dtype.name}: expected text", fix="cast it to string")
    plain = plain_ragged(given) if isinstance(given, Ragged) else plain_array(given) if isinstance(given, np.ndarray) else plain_list(given)
    ending = b"" if last else b"\0"
    if plain is not None:
        return wrap(plain, b"s", ending), plain.valid
    items = to_strings(given) if isinstance(given, Ragged) else given.tolist() if isinstance(given, np.ndarray) else given
    found = [
        None if item is None else b"s" + text_bytes(name, row, item).replace(b"\0", b"\0\xff") + ending for row, item in enumerate(items)
    ]
    if None not in found:
        return join_rows(found), None  # type: ignore[arg-type]  # none of them is None
    return join_rows([piece or b"" for piece in found]), np.array([piece is not None for piece in found], dtype=np.bool_)


def text_bytes(name: str, row: int, item: Any) -> bytes:
    """One text, in NFC, as UTF-8."""
    try:
        text = item.decode() if isinstance(item, bytes) else item
        plain: bytes = text.encode() if text.isascii() else unicodedata.normalize("NFC", text).encode()
    except (UnicodeError, AttributeError, TypeError) as err:
        raise Invalid(
            f"key part {name!r}, row {row}: value {item!r} is not allowed: expected text in UTF-8",
            fix="decode or cast it before",
            context={"part": name, "row": row},
        ) from err
    return plain


def is_plain(data: Bytes) -> bool:
    """ASCII without a zero byte: it is in NFC, and nothing is escaped."""
    return not len(data) or bool(data.min() > 0 and data.max() < 0x80)


def plain_ragged(given: Ragged) -> Ragged | None:
    """Compact text of rows that are plain; None when one is not."""
    lengths = np.diff(given.offsets)
    if given.valid is not None:
        lengths = np.where(given.valid, lengths, 0)
    data = gather(given.data, given.offsets[:-1], lengths)
    return Ragged(ends(lengths), data, given.valid) if is_plain(data) else None


def plain_list(given: Sequence[Any]) -> Ragged | None:
    """The same of Python text, or bytes, with or without None."""
    valid: Mask | None = None
    items = given
    if None in given:
        valid = np.fromiter((item is not None for item in given), dtype=np.bool_, count=len(given))
        blank: Any = b"" if any(isinstance(item, bytes) for item in given) else ""
        items = [blank if item is None else item for item in given]
    kinds = set(map(type, items))
    if kinds == {str}:
        text = "".join(items)
        raw = text.encode() if text.isascii() else None
    elif kinds == {bytes}:
        raw = b"".join(items)
    else:
        raw = b"" if not kinds else None
    if raw is None:
        return None
    data = np.frombuffer(raw, dtype=np.uint8)
    if not is_plain(data):
        return None
    return Ragged(ends(np.fromiter(map(len, items), dtype=np.int64, count=len(items))), data, valid)


def plain_array(given: npt.NDArray[Any]) -> Ragged | None:
    """The same of a numpy array of fixed-size text or bytes, or of objects."""
    if given.ndim != 1:
        return None
    if given.dtype.kind not in "SU":
        return plain_list(given.tolist()) if given.dtype == object else None
    if not given.size or not given.dtype.itemsize or not given.dtype.isnative:
        return None
    unit = np.uint8 if given.dtype.kind == "S" else np.uint32
    cells = np.ascontiguousarray(given).view(unit).reshape(len(given), -1)
    if cells.max(initial=0) >= 0x80:
        return None
    rows, width = cells.shape
    if cells.min(initial=1) > 0:
        return Ragged(np.arange(rows + 1, dtype=np.int64) * width, cells.astype(np.uint8).reshape(-1), None)
    filled = cells != 0
    if (filled[:, 1:] > filled[:, :-1]).any():
        return None  # a zero byte within a text
    return Ragged(ends(np.count_nonzero(filled, axis=1)), cells[filled].astype(np.uint8), None)


def wrap(text: Ragged, tag: bytes, ending: bytes) -> Packed:
    """Every text between a tag and an end mark."""
    rows, more = len(text), len(tag) + len(ending)
    packed = Packed(text.data, text.offsets)
    matrix = packed.matrix
    if matrix is not None:
        made = np.empty((rows, matrix.shape[1] + more), dtype=np.uint8)
        made[:, 0] = tag[0]
        made[:, 1 : 1 + matrix.shape[1]] = matrix
        made[:, 1 + matrix.shape[1] :] = 0
        return from_matrix(made)
    offsets = text.offsets + np.arange(rows + 1, dtype=np.int64) * more
    data = np.zeros(offsets[-1], dtype=np.uint8)
    data[offsets[:-1]] = tag[0]
    data[spans(offsets[:-1] + 1, np.diff(text.offsets))] = text.data
    return Packed(data, offsets)


def encode_whole(name: str, kind: str, given: Part) -> tuple[Packed, Mask | None]:
    """A whole-number part: tag and big-endian bytes, sign bit turned; and which rows have one."""
    tag, bits = WHOLE[kind]
    numbers, valid = whole_numbers(name, kind, given)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if numbers.size and not (numbers.dtype.kind == "i" and numbers.dtype.itemsize * 8 <= bits):
        bad = (numbers < low) | (numbers > high)
        if valid is not None:
            bad &= valid
        if bad.any():
            row = int(np.argmax(bad))
            raise Invalid(
                f"key part {name!r}, row {row}: value {int(numbers[row])} is not allowed: expected {low}..{high} ({kind})",
                fix="declare a wider key type, or correct the value",
                context={"part": name, "row": row},
            )
    width = bits // 8
    made = whole_keys(numbers, width, tag) if numbers.dtype.kind == "i" else None
    if made is not None:
        return from_matrix(made), valid
    turned = (numbers.astype(np.int64).view(np.uint64) ^ np.uint64(1 << (bits - 1))).astype(f">u{width}")
    made = np.empty((len(numbers), 1 + width), dtype=np.uint8)
    made[:, 0] = tag[0]
    made[:, 1:] = turned.view(np.uint8).reshape(len(numbers), width)
    return from_matrix(made), valid


def whole_numbers(name: str, kind: str, given: Part) -> tuple[npt.NDArray[Any], Mask | None]:
    """Numbers and which of them are there; None is null, anything but a whole number is refused."""
    valid: Mask | None = None
    if isinstance(given, Values):
        numbers, valid = np.asarray(given.data), given.valid
    elif isinstance(given, np.ndarray) and given.dtype != object:
        numbers = given
    else:
        items = list(given) if not isinstance(given, Ragged) else [None]
        kinds = set(map(type, items))
        if kinds - {int, type(None)}:
            for row, item in enumerate(items):
                if item is not None and (isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer)):
                    raise Invalid(
                        f"key part {name!r}, row {row}: value {item!r} is not allowed: expected a whole number ({kind})",
                        fix="cast it before",
                        context={"part": name, "row": row},
                    )
        if type(None) in kinds:
            valid = np.fromiter((item is not None for item in items), dtype=np.bool_, count=len(items))
            items = [0 if item is None else item for item in items]
        try:
            numbers = np.array(items, dtype=np.int64)
        except OverflowError:
            numbers = np.array(items, dtype=object)
    if numbers.dtype.kind not in "iuO" or numbers.ndim != 1:
        raise Invalid(f"key part {name!r} holds {numbers.dtype.name} {numbers.shape}: expected (rows,) {kind}", fix=f"cast it to {kind}")
    return numbers, valid
