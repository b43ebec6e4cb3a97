"""Numbers to their stored form and back: one function pair per kind, whole columns at a time.

The law is `store(restore(store(x))) == store(x)`: a restored value keeps its bits for ever, so that
training, the online store and the log can be compared with `==`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid

__all__ = [
    "MAX_STEPS",
    "Array",
    "restore_scaled",
    "restore_steps",
    "scaled_dtype",
    "store_floats",
    "store_scaled",
    "store_steps",
    "store_whole",
]

Array = npt.NDArray[Any]

# A float32 has 24 bits: up to this count of steps its rounding error stays below half a step, so
# that the count is found again from the value.
MAX_STEPS = 2**23 - 1

# An int8 has 7 bits, a float32 24: a scale of 17 bits makes every product exact.
SCALE_MASK = np.uint64(0xFFFF_FFF0_0000_0000)
SMALLEST_SCALE = 2.0**-100


def refuse_first(column: str, bad: npt.NDArray[np.bool_], data: Array, allowed: str, fix: str) -> None:
    """Raise Invalid for the first row that is bad; `bad` is `(rows,)` or `(rows, size)`."""
    if not bad.any():
        return
    where = np.argwhere(bad)[0]
    row, rest = int(where[0]), [int(part) for part in where[1:]]
    place = f"row {row}" + (f", element {rest[0]}" if rest else "")
    raise Invalid(
        f"column {column!r}, {place}: value {data[tuple(where)].item()!r} is not allowed: expected {allowed}",
        fix=fix,
        context={"column": column, "row": row},
    )


def store_whole(column: str, data: Array, dtype: np.dtype[Any]) -> Array:
    """Whole numbers in the range of `dtype`; nothing is rounded or wrapped."""
    if data.dtype.kind not in "iu":
        raise Invalid(
            f"column {column!r} holds {data.dtype.name}: expected whole numbers",
            fix=f"cast it to {dtype.name} in the transform, and say there how to round",
        )
    if data.size:
        info = np.iinfo(dtype)
        bad = (data < info.min) | (data > info.max)
        refuse_first(column, bad, data, f"{info.min}..{info.max} ({dtype.name})", "declare a wider type, or clip it in the transform")
    return data.astype(dtype)


def real(column: str, data: Array) -> Array:
    """Floats as they are, whole numbers as float64."""
    if data.dtype.kind in "iu":
        return data.astype(np.float64)
    if data.dtype.kind != "f":
        raise Invalid(f"column {column!r} holds {data.dtype.name}: expected numbers", fix="cast it to float32 in the transform")
    return data


def store_floats(column: str, data: Array, dtype: np.dtype[Any]) -> Array:
    """Round to nearest even; -0.0 becomes 0.0; NaN, infinity and overflow are refused."""
    data = real(column, data)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        stored = data.astype(dtype)
    largest = np.finfo(dtype).max
    refuse_first(column, ~np.isfinite(stored), data, f"a finite number up to ±{largest}", "clip it, or declare a wider type")
    stored += dtype.type(0)  # -0.0 + 0.0 is 0.0
    return stored


def store_steps(column: str, data: Array, step: float, dtype: np.dtype[Any]) -> Array:
    """The nearest count of steps, ties to even.

    Raises:
        Invalid: infinite, outside the width, or so large that a float32 cannot tell two steps apart.
    """
    data = real(column, data)
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(data.astype(np.float64) / step)
    reach = min(int(np.iinfo(dtype).max), MAX_STEPS)
    bad = ~(np.abs(counts) <= reach)
    refuse_first(
        column,
        bad,
        data,
        f"at most {reach} steps of {step} from 0 (±{reach * step})",
        "widen low and high, use a larger step, or Float32()",
    )
    return counts.astype(dtype)


def restore_steps(counts: Array, step: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """`float32(count * step)`, the product taken in float64."""
    with np.errstate(over="ignore"):  # of alien bytes, which the reader refuses
        return (counts.astype(np.float64) * step).astype(np.float32)


def scaled_dtype(size: int) -> np.dtype[Any]:
    """One stored int8 vector: its scale, then its numbers."""
    return np.dtype([("scale", "<f4"), ("numbers", "i1", (size,))])


def store_scaled(column: str, data: Array) -> Array:
    """Vectors `(rows, size)` as int8 with one float32 scale per row.

    The scale is the largest magnitude / 127, truncated to 17 bits: then `127 * scale` is exact and
    gives the same scale again. A vector whose scale is below 2**-100 is stored as zeros.
    """
    data = real(column, data)
    bad = ~(np.abs(data) <= np.finfo(np.float32).max)
    refuse_first(column, bad, data, "a finite float32", "clip it in the transform")
    wide = data.astype(np.float64)
    scale = np.abs(wide).max(axis=1) / 127.0
    scale = (scale.view(np.uint64) & SCALE_MASK).view(np.float64)
    scale[scale < SMALLEST_SCALE] = 0.0
    numbers = np.rint(wide / np.where(scale == 0.0, 1.0, scale)[:, None])
    numbers[scale == 0.0] = 0.0
    stored = np.zeros(len(data), dtype=scaled_dtype(data.shape[1]))
    stored["scale"] = scale
    stored["numbers"] = numbers
    return stored


def restore_scaled(stored: Array) -> npt.NDArray[np.float32]:
    """`(rows, size)` float32, every product exact."""
    with np.errstate(over="ignore", invalid="ignore"):  # of alien bytes, which the reader refuses
        product: npt.NDArray[np.float32] = stored["numbers"].astype(np.float32) * stored["scale"].astype(np.float32)[:, None]
    return product
