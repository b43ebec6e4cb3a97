"""A client's values as request tensors: checked by name and row before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import numpy as np

from tiffin.core.errors import Invalid, nearest
from tiffin.core.units import parse_instant, to_us
from tiffin.serving.config_text import Tensor
from tiffin.serving.steps.tensors import NULL_TEXT

__all__ = ["encode_request"]

WHOLE = {"TYPE_INT8": np.int8, "TYPE_INT16": np.int16, "TYPE_INT32": np.int32, "TYPE_INT64": np.int64}

LARGEST = float(np.finfo(np.float32).max)


def encode_request(tensors: Sequence[Tensor], rows: Mapping[str, Any], *, of: str, max_rows: int) -> dict[str, np.ndarray]:
    """Columns by name as the endpoint's tensors.

    Args:
        tensors: what the endpoint declares.
        rows: by name, `(rows,)` values each; text is str, a null is None.
        of: what errors call the endpoint.

    Raises:
        Invalid: an unknown or missing name, columns of different length, too many rows, or a value
            that its type does not hold; with the nearest name, row and value.
    """
    known = {tensor.name: tensor for tensor in tensors}
    for name in rows:
        if name not in known:
            raise Invalid(f"{of} has no request field {name!r}", fix=nearest(name, known))
    for name in known:
        if name not in rows:
            raise Invalid(f"{of} needs the request field {name!r}", fix=f"send all of: {', '.join(known)}")
    lengths = {name: len(column(name, rows[name])) for name in known}
    count = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != count:
            raise Invalid(
                f"request field {name!r} has {length} rows, {next(iter(lengths))!r} has {count}", fix="send one value per row in each"
            )
    if not 1 <= count <= max_rows:
        raise Invalid(
            f"the request has {count} rows, {of} takes 1 to {max_rows}", fix="split it into several requests" if count else "send a row"
        )
    return {name: encode_column(tensor, rows[name]) for name, tensor in known.items()}


def column(name: str, items: Any) -> Sequence[Any]:
    """A sequence of values; one text is not a sequence of letters."""
    if isinstance(items, str | bytes) or not hasattr(items, "__len__"):
        raise Invalid(f"request field {name!r} is {items!r}, expected one value per row", fix=f"send a list: [{items!r}]")
    return items  # type: ignore[no-any-return]  # anything with a length and an order


def encode_column(tensor: Tensor, items: Any) -> np.ndarray:
    """One column as `(rows, width)`."""
    values = items.tolist() if isinstance(items, np.ndarray) else list(items)
    if tensor.type == "TYPE_STRING":
        cells = np.empty((len(values), 1), dtype=np.object_)
        for row, value in enumerate(values):
            cells[row, 0] = encode_text(tensor.name, row, value)
        return cells
    if tensor.type == "TYPE_FP32":
        return encode_floats(tensor, values)
    if tensor.type == "TYPE_BOOL":
        for row, value in enumerate(values):
            if not isinstance(value, bool):
                refuse(tensor.name, row, value, "true or false")
        return np.array(values, dtype=np.bool_).reshape(-1, 1)
    dtype: Any = WHOLE[tensor.type]
    bounds = np.iinfo(dtype)
    whole = [encode_whole(tensor.name, row, value, bounds) for row, value in enumerate(values)]
    return np.array(whole, dtype=dtype).reshape(-1, 1)


def encode_text(name: str, row: int, value: Any) -> bytes:
    """UTF-8; None is the single byte 0."""
    if value is None:
        return NULL_TEXT
    if not isinstance(value, str):
        refuse(name, row, value, "text")
    if value == NULL_TEXT.decode():
        refuse(name, row, value, "text other than a lone NUL, which stands for null")
    try:
        return value.encode()
    except UnicodeEncodeError:
        refuse(name, row, value, "text that UTF-8 can hold")


def encode_floats(tensor: Tensor, values: Sequence[Any]) -> np.ndarray:
    """float32; None is NaN. A number beyond float32 is refused, not made infinite."""
    made = np.empty((len(values), tensor.width), dtype=np.float32)
    wanted = "a finite number or null" if tensor.width == 1 else f"a list of {tensor.width} finite numbers, or null"
    for row, value in enumerate(values):
        cells = [value] if tensor.width == 1 and not isinstance(value, list) else value
        cells = [None] * tensor.width if cells is None else cells
        if not isinstance(cells, list | tuple) or len(cells) != tensor.width:
            refuse(tensor.name, row, value, wanted)
        for place, cell in enumerate(cells):
            number = float("nan") if cell is None else cell
            if isinstance(number, bool) or not isinstance(number, int | float) or abs(number) > LARGEST:
                refuse(tensor.name, row, value, wanted)
            made[row, place] = number
    return made


def encode_whole(name: str, row: int, value: Any, bounds: Any) -> int:
    """A whole number in range; an instant is µs since 1970."""
    if isinstance(value, str | datetime) and bounds.bits == 64:
        return to_us(parse_instant(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not bounds.min <= value <= bounds.max:
        refuse(name, row, value, f"a whole number from {bounds.min} to {bounds.max}; it has no null")
    return int(value)


def refuse(name: str, row: int, value: Any, allowed: str) -> NoReturn:
    """Every complaint about a value reads alike."""
    raise Invalid(f"request field {name!r}, row {row}: value {value!r} is not allowed, expected {allowed}", fix="correct the value")
