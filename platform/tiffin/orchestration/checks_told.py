"""Series that were judged as one finding: a sentence, the figures of the worst, one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiffin.orchestration.checks import Finding
from tiffin.orchestration.checks_history import MIN_EARLIER, Series
from tiffin.orchestration.plot_lines import series_png

__all__ = ["told"]

WORST = 10


def told(
    series: Sequence[Series], outside: Sequence[np.ndarray], here: np.ndarray, *, what: str, fix: str, accept: str, more: str = ""
) -> Finding:
    """One finding about several series of the same P partitions.

    Args:
        outside: per series (P,) bool, the partitions at fault.
        here: (P,) bool, the partitions of this run.
        what: the figure, as a sentence names it.
        accept: the check's name, for the tag that lets a run pass all the same.
        more: the end of the sentence.
    """
    faults = sorted((int(place), index) for index, one in enumerate(outside) for place in np.flatnonzero(one))
    judged = int(here.sum())
    compared = int((here & (series[0].earlier >= MIN_EARLIER)).sum()) if series else 0
    shown = faults[0][1] if faults else tightest(series, here)
    if faults:
        numbers = [figures(series[index], place) for place, index in faults[:WORST]]
        description = sentence(what, numbers[0], others=len(faults) - 1)
    else:
        numbers = [] if shown is None or not judged else [figures(series[shown], int(np.flatnonzero(here)[-1]))]
        description = f"{what} as usual in {judged} partitions"
        description += "" if compared else " (too few earlier ones to compare with)"
    return Finding(
        passed=not faults,
        evidence={"partitions": judged, "compared_with_earlier": compared, "outside": len(faults), "figures": numbers},
        description=description + more,
        fix=f"{fix}. If it is real, launch again with the run tag tiffin/accept={accept}",
        partitions=tuple(dict.fromkeys(series[index].partitions[place] for place, index in faults)),
        picture=None if shown is None else picture(series[shown], outside[shown], here),
    )


def sentence(what: str, worst: dict[str, object], *, others: int) -> str:
    """`arr_delay_mean_7d: median size of 2013-05-01 is 480, usual 8, allowed 2 to 35 and 3 more`."""
    name = f"{worst['feature']}: " if worst["feature"] else ""
    bounds = f"usual {worst['usual']:g}, allowed {worst['low']:g} to {worst['high']:g}"
    return f"{name}{what} of {worst['partition']} is {worst['found']:g}, {bounds}{f' and {others} more' if others else ''}"


def figures(series: Series, place: int) -> dict[str, object]:
    """One partition's numbers, short enough to read; None where there is no number."""
    numbers = {name: float(getattr(series, name)[place]) for name in ("found", "usual", "low", "high")}
    short = {name: float(f"{value:.4g}") if np.isfinite(value) else None for name, value in numbers.items()}
    return {"partition": series.partitions[place], "feature": series.feature or "", **short, "earlier": int(series.earlier[place])}


def tightest(series: Sequence[Series], here: np.ndarray) -> int | None:
    """Position of the series that comes closest to its upper bound in this run."""

    def reach(one: Series) -> float:
        comparable = here & np.isfinite(one.found) & np.isfinite(one.high) & (one.high > 0)
        return float(np.max(one.found[comparable] / one.high[comparable], initial=0.0))

    return max(range(len(series)), key=lambda index: reach(series[index]), default=None)


def picture(series: Series, outside: np.ndarray, here: np.ndarray) -> bytes:
    """The series with its band; faults in red, earlier partitions pale."""
    return series_png(series.found, series.low, series.high, outside, judged_from=int(np.argmax(here)))
