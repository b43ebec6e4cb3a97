"""A failed range of partitions: what of it is worth another run, and how it is cut. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "BACKFILL",
    "GAVE_UP",
    "MAX_RUNS",
    "RANGE_END",
    "RANGE_START",
    "RETRIED_WITHIN_S",
    "RETRY",
    "RETRY_OF",
    "RETRY_ROOT",
    "TRIES",
    "FailedRange",
    "Retry",
    "Verdict",
    "contiguous",
    "in_ranges",
    "judge",
    "named_ranges",
    "read_ranges",
]

# tags of runs, as Dagster and we write them; the command line reads them without loading Dagster
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
BACKFILL = "tiffin/backfill"
RETRY_OF, RETRY_ROOT, TRIES = "tiffin/retry_of", "tiffin/retry_root", "tiffin/tries"
RETRY, GAVE_UP = "tiffin/retry", "tiffin/gave_up"
"""On a failed run, once it is settled: what was done about it, and which partitions nobody tries again."""

RETRIED_WITHIN_S = 600.0
"""How far back the sensor looks for failed runs when it is new: an older one is nobody's any more."""

MAX_RUNS = 64
MAX_TRIES = 2

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailedRange:
    """A failed run over a range of partitions, as its tags and its event log tell.

    Args:
        asked: the partitions it was for, in order.
        made: those of them that it materialised before it failed.
        named: those that its error blames; empty when it does not say.
        error: class name of an error raised on purpose; None for a crash or a bug.
        retryable: whether that error says that the same input may succeed later.
        tries: how often this very range has been run, this run included.
        runs: how many runs were started for the range that all began with, this one included.
    """

    asked: Keys
    made: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    error: str | None = None
    retryable: bool = True
    tries: int = 1
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Retry:
    """One more run over neighbouring partitions."""

    partitions: Keys
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a failed range: runs to start, partitions to leave, and why."""

    retries: tuple[Retry, ...]
    gave_up: Keys
    reason: str


def judge(failed: FailedRange, order: Sequence[str]) -> Verdict:
    """Cut a failed range so that only what failed runs again, and everything that can be made is made.

    At the partitions that the error blames, else in halves: a bad partition is found after log2(n) cuts, and a range
    that is too large for the memory becomes small enough. Bounded: no range is tried more than `MAX_TRIES` times as
    it is, and one backfill starts at most `MAX_RUNS` runs per range.

    Args:
        order: all partitions of the asset; what is neighbouring there can be one run.

    Example:
        >>> days = [f"2030-01-{day:02d}" for day in range(1, 9)]
        >>> found = judge(FailedRange(tuple(days), named=frozenset({days[2]}), error="Invalid", retryable=False), days)
        >>> [len(retry.partitions) for retry in found.retries], found.gave_up
        ([2, 5], ('2030-01-03',))
    """
    rest = tuple(key for key in failed.asked if key not in failed.made)
    named = tuple(key for key in rest if key in failed.named)
    if not rest:
        return Verdict((), (), "all its partitions were made before it failed")
    if failed.runs >= MAX_RUNS:
        return Verdict((), rest, f"gave up: {failed.runs} runs were started already")
    if failed.error == "Conflict":
        return Verdict((), rest, "gave up: another run wrote the same partitions, and only a person knows which one is wanted")
    if failed.error is not None and not failed.retryable:
        pieces = contiguous([key for key in rest if key not in named], order) if named else []
        what = f"gave up {named_ranges(named, order)}" if named else "gave up: the same input would be refused again"
        return Verdict(tuple(map(Retry, pieces)), named or rest, what + (f", {counted(pieces)} again" if pieces else ""))
    if len(rest) < len(failed.asked):
        return again(contiguous(rest, order), "the rest")
    if named and len(rest) > 1:
        good = contiguous([key for key in rest if key not in named], order)
        return again([*good, *((key,) for key in named)], "around what failed")
    if failed.error is not None or len(rest) == 1:
        if failed.tries >= MAX_TRIES:
            return Verdict((), rest, f"gave up after {failed.tries} tries")
        return Verdict((Retry(rest, failed.tries + 1),), (), "the same once more")
    middle = len(rest) // 2
    return again([rest[:middle], rest[middle:]], "in halves")


def again(pieces: Sequence[Keys], how: str) -> Verdict:
    """Every piece becomes a run."""
    return Verdict(tuple(map(Retry, pieces)), (), f"{how}: {counted(pieces)} again")


def counted(pieces: Sequence[Keys]) -> str:
    """Example: `2 ranges`."""
    return f"{len(pieces)} range{'s' if len(pieces) != 1 else ''}"


def contiguous(keys: Collection[str], order: Sequence[str]) -> list[Keys]:
    """Groups of keys that are neighbours in `order`; keys that are not in it are left out.

    Example:
        >>> contiguous(["d", "a", "b"], "abcd")
        [('a', 'b'), ('d',)]
    """
    wanted, found = set(keys), list[list[str]]()
    open_group = False
    for key in order:
        if key in wanted:
            if open_group:
                found[-1].append(key)
            else:
                found.append([key])
        open_group = key in wanted
    return [tuple(group) for group in found]


def named_ranges(keys: Collection[str], order: Sequence[str]) -> str:
    """Short words for many partitions; `read_ranges` is the way back.

    Example:
        >>> named_ranges(["a", "b", "d"], "abcd")
        'a..b, d'
    """
    return ", ".join(group[0] if len(group) == 1 else f"{group[0]}..{group[-1]}" for group in contiguous(keys, order))


def read_ranges(text: str, order: Sequence[str]) -> list[str]:
    """The partitions that `named_ranges` wrote down; those that are gone from `order` are left out."""
    return in_ranges((tuple(part.split("..")) for part in text.split(", ") if part), order)


def in_ranges(ranges: Iterable[Sequence[str]], order: Sequence[str]) -> list[str]:
    """The partitions within `(first, ..., last)` ranges, in order."""
    place = {key: index for index, key in enumerate(order)}
    found: set[str] = set()
    for keys in ranges:
        if keys[0] in place and keys[-1] in place:
            found.update(order[place[keys[0]] : place[keys[-1]] + 1])
    return sorted(found, key=place.__getitem__)
