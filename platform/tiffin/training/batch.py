"""From stored rows to a model's matrix, by the same code as inside Triton."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tiffin.core.errors import Invalid, PlatformError, nearest
from tiffin.features.arrow_values import to_values
from tiffin.training.model import Batch, Preprocess
from tiffin.wire.batch import from_wire, stack
from tiffin.wire.encodings import canonical
from tiffin.wire.schema import Column

__all__ = ["check_row_wise", "to_batch", "to_matrix"]


def to_batch(rows: pa.Table, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Stored rows as a preprocess function sees them.

    Args:
        columns: which columns of `rows`, in which encoding (`tiffin.training.columns.batch_columns`).

    Returns:
        See `tiffin.wire.batch.from_wire`.
    """
    for column in columns:
        if column.name not in rows.column_names:
            raise Invalid(f"the rows have no column {column.name!r}", fix=nearest(column.name, rows.column_names))
    return from_wire({column.name: canonical(column, to_values(rows[column.name], column)) for column in columns})


def to_matrix(preprocess: Preprocess, batch: Batch, *, inputs: Sequence[str] | None = None) -> tuple[tuple[str, ...], np.ndarray]:
    """Call a preprocess function and check what it returns.

    Args:
        inputs: the inputs of a trained model, in its order; None takes the function's own.

    Returns:
        The inputs' names, and `(rows, inputs)` float64: finite, or NaN for null.

    Raises:
        Invalid: it raised, or broke a rule of `tiffin.wire.batch.stack`.
    """
    rows = len(next(iter(batch.values())))
    outputs = called(preprocess, "preprocess", batch, known=batch)
    return stack(outputs, rows=rows, function=function_name(preprocess), inputs=inputs)


def check_row_wise(preprocess: Preprocess, batch: Batch, *, at: Sequence[int]) -> None:
    """Refuse a function whose answer for a row depends on the other rows of the batch.

    Online a row comes alone or in any company; its inputs must be the same bits.

    Args:
        at: positions of the rows to ask for one by one.
    """
    alone = [{name: column[row : row + 1].copy() for name, column in batch.items()} for row in at]
    names, together = to_matrix(preprocess, {name: column.copy() for name, column in batch.items()})
    for row, single in zip(at, alone, strict=True):
        matrix = to_matrix(preprocess, single, inputs=names)[1][0]
        differs = matrix.view(np.int64) != together[row].view(np.int64)
        differs &= ~(np.isnan(matrix) & np.isnan(together[row]))
        if differs.any():
            place = int(np.argmax(differs))
            found = f"{float(together[row, place])!r} beside the other rows and {float(matrix[place])!r} alone"
            raise Invalid(
                f"preprocess {function_name(preprocess)!r} gives the input {names[place]!r} of row {row} as {found}",
                fix="compute each row from its own columns only; put means and ranks into a feature view",
            )


def called(function: Callable[..., Any], role: str, *arguments: Any, known: Sequence[str] | Mapping[str, Any] = ()) -> Any:
    """Call a team's function; what it raises becomes one readable error that keeps the cause."""
    try:
        return function(*arguments)
    except PlatformError:
        raise
    except Exception as err:
        wrong_name = isinstance(err, KeyError) and bool(err.args) and isinstance(err.args[0], str)
        fix = nearest(err.args[0], known) if wrong_name and known else f"correct {function_name(function)!r}; the traceback shows the line"
        raise Invalid(f"{role} {function_name(function)!r} raised {type(err).__name__}: {err}", fix=fix) from err


def function_name(function: Callable[..., Any]) -> str:
    """What errors call a team's function."""
    return getattr(function, "__name__", type(function).__name__)
