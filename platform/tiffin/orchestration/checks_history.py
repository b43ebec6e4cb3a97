"""A partition beside the ones before it: row counts, null rates, sizes of values. Robust, and vectorised over a range.

Each partition is judged against at most 28 earlier ones of its season (an hour of the day beside the
same hour of other days). Until there are seven, everything is usual. The constants are set so that a
year of real flights (holidays, storms, days without an hour) raises nothing; see docs/adr/0027.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tiffin.orchestration.checks_profile import FeatureProfile, Profile

__all__ = ["EARLIER", "MIN_EARLIER", "Series", "null_shares", "row_counts", "season_of", "sizes"]

EARLIER = 28
MIN_EARLIER = 7
MAD_TO_SIGMA = 1.4826

ROWS_SIGMAS, ROWS_SHARE, ROWS_FEW = 8.0, 0.5, 5.0
NULLS_TIMES, NULLS_SIGMAS, NULLS_BEYOND, NULLS_FEW = 4.0, 3.0, 1.2, 3.0
SIZE_LEAST, SIZE_LEAST_OF_FEW = np.log(1.4), np.log(3.0)
FEW_VALUES = 10
# an hour holds few rows and repeats its weekdays less well than a day
HOURLY = 2.0


@dataclass(frozen=True, slots=True)
class Series:
    """A figure of P partitions in time order, each with what the earlier ones allow.

    Args:
        feature: None for the partition as a whole.
        found, usual, low, high: (P,) float64 in the figure's own unit; NaN where nothing was found or known.
        earlier: (P,) int64, how many partitions each was judged against.
        outside: (P,) bool.
    """

    feature: str | None
    partitions: tuple[str, ...]
    found: np.ndarray
    usual: np.ndarray
    low: np.ndarray
    high: np.ndarray
    earlier: np.ndarray
    outside: np.ndarray


def season_of(partition: str) -> str:
    """What a partition is compared with: the same hour of other days; days with all days.

    Example:
        >>> season_of("2013-02-08"), season_of("2013-02-08-06:00")
        ('', '06:00')
    """
    return partition[11:]


def seasons(partitions: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Positions of the partitions of each season, in time order."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(partitions):
        found.setdefault(season_of(name), []).append(index)
    return (np.array(places, np.int64) for places in found.values())


def gentle(partitions: tuple[str, ...]) -> float:
    """How much wider the bounds of these partitions are."""
    return HOURLY if partitions and season_of(partitions[0]) else 1.0


def earlier(values: np.ndarray) -> np.ndarray:
    """(P, 28, ...) of (P, ...): the values before each one, oldest first; NaN before the first."""
    pad = np.full((EARLIER, *values.shape[1:]), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([pad, values])[:-1], EARLIER, axis=0)
    return np.moveaxis(windows, -1, 1)


def middle(windows: np.ndarray) -> np.ndarray:
    """Median over the earlier ones, NaN where there is none."""
    ordered = np.sort(windows, axis=1)  # NaN last
    count = (~np.isnan(windows)).sum(axis=1)
    last = windows.shape[1] - 1
    places = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, last))
    first, second = (np.take_along_axis(ordered, np.expand_dims(at, 1), 1).squeeze(1) for at in places)
    found: np.ndarray = (first + second) / 2
    return found


def row_counts(profile: Profile) -> Series:
    """Rows per partition: outside is what lies far from the median, by MAD and by share."""
    count = len(profile.partitions)
    rows = profile.rows.astype(np.float64)
    usual, low, high = (np.full(count, np.nan) for _ in range(3))
    known = np.zeros(count, np.int64)
    for places in seasons(profile.partitions):
        before = earlier(np.where(rows[places] > 0, rows[places], np.nan))  # an empty partition says nothing about the next
        known[places] = (~np.isnan(before)).sum(axis=1)
        usual[places] = middle(before)
        sigma = MAD_TO_SIGMA * middle(np.abs(before - usual[places, None]))
        margin = np.fmax(np.fmax(ROWS_SIGMAS * sigma, ROWS_SHARE * usual[places]), ROWS_FEW) * gentle(profile.partitions)
        low[places], high[places] = np.fmax(usual[places] - margin, 1.0), usual[places] + margin
    outside = (known >= MIN_EARLIER) & ((rows < low) | (rows > high))
    return Series(None, profile.partitions, rows, usual, low, high, known, outside)


def null_shares(profile: Profile, declared: Mapping[str, float]) -> list[Series]:
    """Share of nulls per feature: outside is more than `most_nulls`, or than what is declared.

    Args:
        declared: by feature the largest share; it replaces the comparison with history.
    """
    return [null_share(profile, name, one, declared.get(name)) for name, one in profile.features.items()]


def null_share(profile: Profile, name: str, one: FeatureProfile, declared: float | None) -> Series:
    """One feature."""
    count = len(profile.partitions)
    rows = np.where(profile.rows > 0, profile.rows, np.nan).astype(np.float64)
    share = one.nulls / rows
    usual, high = np.zeros(count), np.full(count, np.nan)
    known = np.zeros(count, np.int64)
    for places in seasons(profile.partitions):
        before_rows, before_nulls = earlier(rows[places]), earlier(share[places] * rows[places])
        known[places] = (~np.isnan(before_rows)).sum(axis=1)
        total, nulls = np.nansum(before_rows, axis=1), np.nansum(before_nulls, axis=1)
        usual[places] = np.divide(nulls, total, out=np.zeros(len(places)), where=total > 0)
        learnt = most_nulls(before_nulls, before_rows, rows[places])
        high[places] = learnt * gentle(profile.partitions)
    judged = (known >= MIN_EARLIER) & (profile.rows >= FEW_VALUES)  # of three rows one is no rate
    if declared is not None:
        high, judged = np.full(count, declared), profile.rows > 0
    return Series(name, profile.partitions, share, usual, np.zeros(count), np.fmin(high, 1.0), known, judged & (share > high))


def most_nulls(nulls: np.ndarray, rows: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(P,) the largest share of nulls that `now` rows may have, by what earlier partitions had.

    Several times the pooled share, and what chance adds to it: a binomial's spread, widened by how much more the earlier ones
    vary than a binomial does (a storm takes many rows at once). Nothing up to the largest of them, and a little, is new;
    and a few nulls are no rate.

    Args:
        nulls, rows: (P, 28), NaN where there is none.
        now: (P,) rows of the partitions that are judged.
    """
    share = (np.nansum(nulls, axis=1) + 0.5) / (np.nansum(rows, axis=1) + 1.0)
    variance = share * (1 - share)
    count = np.maximum((~np.isnan(rows)).sum(axis=1), 1)
    spread = np.nansum((nulls / rows - share[:, None]) ** 2 * rows, axis=1) / count / variance
    chance = NULLS_SIGMAS * np.sqrt(np.fmax(spread, 1.0) * variance / now)
    most = np.max(np.nan_to_num(nulls / rows), axis=1)
    seen = NULLS_BEYOND * most + (2 * np.sqrt(share * now) + 1) / now
    found: np.ndarray = np.fmax(np.fmax(NULLS_TIMES * share + chance, seen), NULLS_FEW / now)
    return found


def sizes(profile: Profile) -> list[Series]:
    """Size of values per feature: outside is where they are all larger, or all smaller, than ever before: another unit.

    A storm stretches the upper values; another unit moves every quartile and the mean by one factor.
    So all four must have left what they were, by more than they vary.
    """
    return [size(profile, name, one) for name, one in profile.features.items()]


def size(profile: Profile, name: str, one: FeatureProfile) -> Series:
    """One feature; shown is the median of the absolute values."""
    count = len(profile.partitions)
    usual, low, high = (np.full(count, np.nan) for _ in range(3))
    known, outside = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    for places in seasons(profile.partitions):
        found, many = one.sizes[places], one.present[places] >= FEW_VALUES
        before = earlier(found)
        known[places] = (~np.isnan(before[:, :, 0])).sum(axis=1)
        top = np.max(np.where(np.isnan(before), -np.inf, before), axis=1)
        bottom = np.min(np.where(np.isnan(before), np.inf, before), axis=1)
        wide = np.where(np.isfinite(top), top - bottom, 0.0)
        least = np.expand_dims(np.where(many, SIZE_LEAST, SIZE_LEAST_OF_FEW), 1)
        margin = np.fmax(wide, least) * gentle(profile.partitions)
        above = (found > top + margin).all(axis=1)
        # a few values may all be small at once (fog at three airports); many never are
        below = (found < bottom - margin).all(axis=1) & many
        outside[places] = (known[places] >= MIN_EARLIER) & (above | below)
        usual[places] = np.exp(middle(before[:, :, 1]))
        high[places] = np.exp(top[:, 1] + margin[:, 1])
        low[places] = np.where(many, np.exp(bottom[:, 1] - margin[:, 1]), 0.0)
    return Series(name, profile.partitions, np.exp(one.sizes[:, 1]), usual, low, high, known, outside)
