"""A partition in a few numbers: rows, nulls and the size of its values, per feature. One pass for a whole range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.storage.content import PARTITION

__all__ = ["SIZES", "FeatureProfile", "Profile", "profile", "readings"]

SIZES = ("lower quartile", "median", "upper quartile", "mean")
QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One feature over P partitions.

    Args:
        nulls: (P,) int64, rows without a value.
        present: (P,) int64, values that are neither null nor zero: what `sizes` stand on.
        sizes: (P, 4) float64, natural logarithm of lower quartile, median, upper quartile and mean of
            the absolute values that are not zero; NaN where there is none. Another unit shifts all
            four by one number, whatever the values are.
        low, high: (P,) float64, smallest and largest value; NaN where there is none.
    """

    nulls: np.ndarray
    present: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Profile:
    """P partitions in order of their names, which is time.

    Args:
        partitions: their names.
        rows: (P,) int64.
        features: by name.
    """

    partitions: tuple[str, ...]
    rows: np.ndarray
    features: Mapping[str, FeatureProfile]


def profile(rows: pa.Table, features: Sequence[str], partitions: Sequence[str]) -> Profile:
    """Profile every partition at once.

    Args:
        rows: with the features and a column `partition` whose values are all in `partitions`.
        partitions: those to profile, also the ones that have no rows.
    """
    names = tuple(sorted(partitions))
    place = {name: index for index, name in enumerate(names)}
    encoded = rows[PARTITION].combine_chunks().dictionary_encode()
    lookup = np.array([place[name] for name in encoded.dictionary.to_pylist()], np.int64)
    codes = lookup[encoded.indices.to_numpy(zero_copy_only=False)] if rows.num_rows else np.zeros(0, np.int64)
    count = len(names)
    return Profile(
        names,
        np.bincount(codes, minlength=count),
        {name: feature_profile(readings(rows[name]), codes, count) for name in features},
    )


def readings(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) float64, NaN for null: a number as it is, else the length of a text, list or the norm of a vector.

    Instants are read as nothing but present or null: their size means nothing.
    """
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        dense = column.combine_chunks()
        squares = np.square(np.asarray(dense.flatten(), np.float64))
        norms = np.sqrt(np.bincount(np.asarray(pc.list_parent_indices(dense)), squares, minlength=len(dense)))
        return np.where(np.asarray(dense.is_valid()), norms, np.nan)
    if pa.types.is_list(kind):
        column = pc.list_value_length(column)
    elif pa.types.is_string(kind):
        column = pc.binary_length(column)
    elif pa.types.is_timestamp(kind):
        column = pc.if_else(pc.is_valid(column), pa.scalar(0.0), pa.scalar(None, pa.float64()))
    found: np.ndarray = column.cast(pa.float64()).to_numpy()
    return found


def feature_profile(values: np.ndarray, codes: np.ndarray, count: int) -> FeatureProfile:
    """Of `(rows,)` readings whose partition is `codes`."""
    valid = ~np.isnan(values)
    nulls = np.bincount(codes[~valid], minlength=count)
    values, codes = values[valid], codes[valid]
    some = np.bincount(codes, minlength=count) > 0
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    large = values != 0
    present, sizes = log_sizes(np.abs(values[large]), codes[large], count)
    return FeatureProfile(nulls, present, sizes, np.where(some, low, np.nan), np.where(some, high, np.nan))


def log_sizes(values: np.ndarray, codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How many positive values a partition has, and the logarithms of their quartiles and mean."""
    present = np.bincount(codes, minlength=count)
    order = np.lexsort((values, codes))
    ordered = values[order]
    start = np.cumsum(present) - present
    some = present > 0
    sizes = np.full((count, len(SIZES)), np.nan)
    for column, share in enumerate(QUANTILES):
        sizes[some, column] = np.log(ordered[start[some] + np.rint((present[some] - 1) * share).astype(np.int64)])
    sizes[some, -1] = np.log(np.bincount(codes, values, minlength=count)[some] / present[some])
    return present, sizes
