"""The as-of kernel: which row each label may see. Numpy only, no I/O, the same in-process and inside Spark."""

from __future__ import annotations

import numpy as np

from tiffin.core.errors import Invalid

__all__ = ["NULL_KEY", "pick"]

NULL_KEY = -1
INT64 = np.iinfo(np.int64)


def pick(
    label_key: np.ndarray,
    label_time_us: np.ndarray,
    row_key: np.ndarray,
    event_time_us: np.ndarray,
    known_at_us: np.ndarray,
    written_at_us: np.ndarray,
    *,
    sequence: np.ndarray | None = None,
    ttl_us: int | None = None,
) -> np.ndarray:
    """Choose for each label the newest row of its key that was known at the label's time.

    Eligible are rows with `known_at <= label time`, and nothing else decides. Among them wins the
    newest event time, then the newest `known_at`, then the newest write, then the highest
    `sequence` (the position when it is not given). TTL counts from the winner: a row is alive iff
    `label time - event time <= ttl`, and an expired winner is no row at all, never an older one.

    Args:
        label_key: `(labels,)` int64; -1 is a null key, which sees nothing.
        label_time_us: `(labels,)` int64 µs, any value, any order, duplicates allowed.
        row_key: `(rows,)` int64; rows with key -1 are seen by nobody.
        event_time_us: `(rows,)` int64 µs.
        known_at_us: `(rows,)` int64 µs; need not grow with the event time.
        written_at_us: `(rows,)` int64 µs; breaks ties only.
        sequence: `(rows,)` int64, the last tie-break.
        ttl_us: µs, 0 or more; None for no limit.

    Returns:
        `(labels,)` int64: index of the chosen row, or -1.

    Raises:
        Invalid: an array is not int64, lengths differ, or the TTL is not in the range of int64.

    Example:
        >>> day = np.array([10, 20])
        >>> pick(np.array([7, 7]), np.array([19, 20]), np.array([7, 7]), day, day, day).tolist()
        [0, 1]
    """
    ties = [written_at_us] if sequence is None else [written_at_us, sequence]
    check_lengths("label", label_key, label_time_us)
    check_lengths("row", row_key, event_time_us, known_at_us, *ties)
    if ttl_us is not None and not 0 <= ttl_us <= INT64.max:
        raise Invalid(f"ttl_us is {ttl_us}", fix="give a TTL of 0 µs or more that fits int64, or None for no limit")
    chosen = np.full(len(label_key), -1, dtype=np.int64)
    asked, offered = np.flatnonzero(label_key != NULL_KEY), np.flatnonzero(row_key != NULL_KEY)
    if not len(asked) or not len(offered):
        return chosen

    order = offered[by_preference(*(array[offered] for array in (row_key, event_time_us, known_at_us, *ties)))]
    key, known, winner = row_key[order], known_at_us[order], order
    if ((known[1:] < known[:-1]) & (key[1:] == key[:-1])).any():
        # A newer event may have become known earlier. Sorted by (key, known_at), the best row so far
        # is a running maximum of the rank; ranks grow with the key, so no reset is needed.
        by_known = np.lexsort((known, key))
        key, known, winner = key[by_known], known[by_known], order[np.maximum.accumulate(by_known)]

    keys, times = label_key[asked], label_time_us[asked]
    last = last_at_most(key, known, keys, times)
    last[key[last] != keys] = -1
    found = np.where(last >= 0, winner[last], -1)
    if ttl_us is not None:
        # label - event could overflow; label - ttl saturates instead, and nothing is older than that
        oldest = np.where(times < INT64.min + ttl_us, INT64.min, times - ttl_us)
        found[event_time_us[found] < oldest] = -1
    chosen[asked] = found
    return chosen


def check_lengths(side: str, *arrays: np.ndarray) -> None:
    """Refuse anything but int64 `(n,)` arrays of one length."""
    for array in arrays:
        if array.dtype != np.int64 or array.shape != arrays[0].shape or array.ndim != 1:
            found = f"{array.dtype} {array.shape} beside {arrays[0].shape}"
            raise Invalid(f"as-of join: a {side} array is {found}", fix=f"give every {side} array as int64 of one length")


def by_preference(key: np.ndarray, event: np.ndarray, *ties: np.ndarray) -> np.ndarray:
    """Positions sorted by key, then worst to best: by event time, then by each tie-break, then by position."""
    joined = packed(key, event)
    if joined is None:
        return np.lexsort((*reversed(ties), event, key))
    order = np.argsort(joined)
    ordered = joined[order]
    if (ordered[1:] == ordered[:-1]).any():
        return np.lexsort((*reversed(ties), joined))
    return order


def packed(key: np.ndarray, time: np.ndarray) -> np.ndarray | None:
    """`(key, time)` as one int64 in the same order, or None when the two ranges do not fit."""
    low_key, low, high = int(key.min()), int(time.min()), int(time.max())
    span = high - low + 1  # Python integers: the check itself can't overflow
    if (int(key.max()) - low_key + 1) * span > INT64.max:
        return None
    joined: np.ndarray = (key - low_key) * span + (time - low)
    return joined


def last_at_most(key: np.ndarray, time: np.ndarray, wanted_key: np.ndarray, wanted_time: np.ndarray) -> np.ndarray:
    """Per wanted pair, the last position whose `(key, time)` is not greater; of another key when there is none.

    Args:
        key: `(rows,)`, sorted, and within it `time`, sorted.

    Returns:
        `(wanted,)` int64, -1 before the first row (which, as an index, names a key too high to match).
    """
    low_key, high_key = int(key[0]), int(key[-1])
    low, high = int(time.min()), int(time.max())
    span = high - low + 2  # one place below `low` for wanted times before every row
    if (high_key - low_key + 1) * span > INT64.max:
        return last_by_rank(key, time, wanted_key, wanted_time)
    rows: np.ndarray = (key - low_key) * span + (time - low) + 1
    place = np.where(wanted_time < low, 0, np.clip(wanted_time, low, high) - low + 1)
    wanted = (np.clip(wanted_key, low_key, high_key) - low_key) * span + place
    last: np.ndarray = np.searchsorted(rows, wanted, side="right") - 1
    return last


def last_by_rank(key: np.ndarray, time: np.ndarray, wanted_key: np.ndarray, wanted_time: np.ndarray) -> np.ndarray:
    """`last_at_most` for any int64: keys and times are replaced by their ranks, which always fit."""
    keys, key_rank = np.unique(key, return_inverse=True)
    times, time_rank = np.unique(time, return_inverse=True)
    span = len(times) + 1
    rows = key_rank * span + time_rank + 1
    wanted = (np.searchsorted(keys, wanted_key, side="right") - 1) * span + np.searchsorted(times, wanted_time, side="right")
    last: np.ndarray = np.searchsorted(rows, wanted, side="right") - 1
    return last
