"""Columns as a preprocess function sees them, and its result as a model matrix: one code for training and Triton."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.columns import Ragged, Values, to_strings

__all__ = ["from_wire", "stack"]

Array = npt.NDArray[Any]


def from_wire(columns: Mapping[str, Values | Ragged]) -> dict[str, Array]:
    """Turn canonical columns into plain arrays; a null is NaN, or None in an object array.

    Args:
        columns: by name, as `unpack`, `FeatureReader.read` or `canonical` give them.

    Returns:
        By name, in the same order: numbers as `(rows,)` float64, booleans as 0.0 and 1.0, instants as
        µs since 1970 (exact to the year 2255), text as object `str | None`, vectors as `(rows, size)`
        float32, integer lists as object `int64 array | None`.
    """
    return {name: plain(column) for name, column in columns.items()}


def plain(column: Values | Ragged) -> Array:
    """One column of `from_wire`, always a new array: a preprocess function may write into it."""
    if isinstance(column, Ragged):
        return objects(to_strings(column) if column.data.dtype == np.uint8 else lists(column))
    made = column.data.astype(np.float32 if column.data.ndim == 2 else np.float64)
    if column.valid is not None:
        made[~column.valid] = np.nan
    return made


def lists(column: Ragged) -> list[Array | None]:
    """The rows of an integer list column."""
    valid = itertools.repeat(True) if column.valid is None else column.valid.tolist()
    spans = itertools.pairwise(column.offsets.tolist())
    return [column.data[start:end].copy() if present else None for (start, end), present in zip(spans, valid, strict=False)]


def objects(items: Sequence[object]) -> Array:
    """A `(rows,)` object array, also when every item is a list of one length."""
    made = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        made[row] = item
    return made


def stack(outputs: Mapping[str, Array], *, rows: int, function: str, inputs: Sequence[str] | None = None) -> tuple[tuple[str, ...], Array]:
    """Check what a preprocess function returned and make the model's matrix of it.

    Args:
        outputs: `{input: (rows,) numbers or booleans}`, finite or NaN.
        rows: rows of the batch that it was given.
        function: what errors call the function.
        inputs: the names and order that a trained model expects; None takes the function's own.

    Returns:
        The names and `(rows, inputs)` float64.

    Raises:
        Invalid: naming the function, the input, what was found and what is allowed.
    """
    if not isinstance(outputs, Mapping) or not outputs:
        refuse(
            function, f"returned {'nothing' if isinstance(outputs, Mapping) else type(outputs).__name__}", "return {input: (rows,) array}"
        )
    names = tuple(outputs) if inputs is None else tuple(inputs)
    for name in outputs:
        if not isinstance(name, str) or not (name.isascii() and name.isidentifier()):
            refuse(function, f"returned the input name {name!r}", "name inputs with letters, digits and underscores")
        if name not in names:
            refuse(function, f"returned the input {name!r}, which the model does not have", nearest(name, names))
    for name in names:
        if name not in outputs:
            refuse(function, f"did not return the input {name!r}", f"return it always; it returned {', '.join(outputs)}")
    matrix = np.empty((rows, len(names)), dtype=np.float64)
    for place, name in enumerate(names):
        matrix[:, place] = numbers(outputs[name], name=name, rows=rows, function=function)
    return names, matrix


def numbers(found: Any, *, name: str, rows: int, function: str) -> Array:
    """One input as float64."""
    if not isinstance(found, np.ndarray):
        refuse(function, f"returned the input {name!r} as {type(found).__name__}", f"return a numpy array of shape ({rows},)")
    if found.shape != (rows,):
        refuse(function, f"returned the input {name!r} with shape {found.shape}", f"return one number per row: shape ({rows},)")
    if found.dtype.kind not in "fiub":
        refuse(function, f"returned the input {name!r} as {found.dtype}", "return numbers or booleans; give each text a number")
    made = found.astype(np.float64)
    infinite = np.isinf(made)
    if infinite.any():
        row = int(np.argmax(infinite))
        refuse(function, f"returned {made[row]} in the input {name!r}, row {row}", "return finite numbers, or NaN for null")
    return made


def refuse(function: str, found: str, fix: str) -> NoReturn:
    """Every complaint about a preprocess function begins alike."""
    raise Invalid(f"preprocess {function!r} {found}", fix=fix)
