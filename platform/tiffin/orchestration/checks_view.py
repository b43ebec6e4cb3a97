"""What is asked of a view's computed rows before they are written: plain findings by name of the check.

The rows are judged in memory, beside the partitions that the table holds already: a run that does not
pass has written nothing, so nothing of it can be published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.features.compute import EVENT_TIME
from tiffin.features.expectations import GoldenRow
from tiffin.features.partitions import Stepped, Window
from tiffin.features.view import Feature, FeatureView
from tiffin.orchestration.checks import Finding, unique_keys
from tiffin.orchestration.checks_history import EARLIER, null_shares, row_counts, season_of, sizes
from tiffin.orchestration.checks_profile import Profile, profile
from tiffin.orchestration.checks_told import told
from tiffin.storage.content import PARTITION
from tiffin.wire.encodings import canonical

__all__ = ["CHECKS", "earlier_partitions", "judge_rows"]

CHECKS = {
    "schema": "the columns are those that the table has and the view declares",
    "row_count": "no partition has far more or fewer rows than the ones before it",
    "null_rate": "no feature lacks values far more often than before, or than it declares",
    "value_range": "every value lies within the bounds that its feature declares",
    "value_size": "the values of no feature all became larger or smaller at once, as they do in another unit",
    "keys_unique": "one row per key and event time",
    "golden_rows": "rows that are known by other means are what they should be",
}


def earlier_partitions(view: FeatureView, windows: Sequence[Window]) -> list[str]:
    """The partitions that these are judged against and that are not among them: for each the 28 before it, of its season."""
    cut = view.partitions
    if not isinstance(cut, Stepped):
        return []
    run = {window.partition for window in windows}
    first = cut.windows(until=windows[-1].end)
    by_season: dict[str, list[str]] = {}
    for window in first:
        by_season.setdefault(season_of(window.partition), []).append(window.partition)
    found: set[str] = set()
    for names in by_season.values():
        places = [place for place, name in enumerate(names) if name in run]
        for place in places:
            found.update(names[max(0, place - EARLIER) : place])
    return sorted(found - run)


def judge_rows(
    view: FeatureView,
    rows: pa.Table,
    *,
    judged: Sequence[str],
    before: pa.Table | None,
    source_rows: Callable[[str], int],
) -> dict[str, Finding]:
    """Every finding about the rows of a run, by the name of its check.

    Args:
        rows: all computed rows, in their declared encodings, with a column `partition` unless it is a snapshot.
        judged: the run's partitions.
        before: rows of `earlier_partitions` with features and `partition`; None when there is no table yet.
        source_rows: how many rows the source has within a partition; asked only about partitions without rows.
    """
    if PARTITION not in rows.column_names:
        rows = rows.append_column(PARTITION, pa.repeat(pa.scalar(""), rows.num_rows))
    names = [feature.name for feature in view.features]
    columns = [PARTITION, *names]
    known = rows.select(columns) if before is None else pa.concat_tables([before.select(columns), rows.select(columns)])
    found = profile(known, names, sorted({*judged, *(pc.unique(before[PARTITION]).to_pylist() if before is not None else [])}))
    expected = {feature.name: feature for feature in view.features}
    run = frozenset(judged)
    here = np.array([name in run for name in found.partitions], np.bool_)
    return {
        "schema": Finding(True, {"columns": len(rows.column_names) - 1}, f"{len(names)} features as declared"),
        "row_count": counted(found, here, source_rows),
        "null_rate": lacking(found, here, expected),
        "value_range": bounded(found, here, expected),
        "value_size": sized(found, here, expected),
        "keys_unique": unique_keys(rows, [*view.entity.key_names, EVENT_TIME]),
        "golden_rows": golden(view, rows, run),
    }


def counted(found: Profile, here: np.ndarray, source_rows: Callable[[str], int]) -> Finding:
    """Rows per partition. One that is empty because its source is empty is late, which is not this check's question."""
    series = row_counts(found)
    outside = series.outside & here
    silent = [place for place in np.flatnonzero(outside) if not series.found[place] and not source_rows(series.partitions[place])]
    outside[silent] = False
    more = f"; {len(silent)} without rows because the source has none in them, first {series.partitions[silent[0]]}" if silent else ""
    fix = "see whether the source landed whole, and whether a filter or a join of the transform changed"
    return told([series], [outside], here, what="rows", fix=fix, more=more, accept="row_count")


def lacking(found: Profile, here: np.ndarray, features: Mapping[str, Feature]) -> Finding:
    """Share of nulls per feature."""
    declared = {name: one.expect.max_null_share for name, one in features.items() if one.expect.max_null_share is not None}
    series = null_shares(found, declared)
    fix = "see which column of the source lacks values; where nulls follow events, declare expect=Expect(max_null_share=...)"
    return told(series, [one.outside & here for one in series], here, what="share of nulls", fix=fix, accept="null_rate")


def sized(found: Profile, here: np.ndarray, features: Mapping[str, Feature]) -> Finding:
    """Sizes of the features that have no declared bounds on both sides and are not declared to follow events."""
    chosen = {name: one for name, one in found.features.items() if features[name].expect.steady and None in bounds_of(features[name])}
    series = sizes(Profile(found.partitions, found.rows, chosen))
    fix = "see whether a column changed its unit; where values follow events, declare expect=Expect(steady=False) or bounds"
    return told(series, [one.outside & here for one in series], here, what="median size", fix=fix, accept="value_size")


def bounds_of(feature: Feature) -> tuple[float | None, float | None]:
    """What the feature declares: its type's bounds, narrowed by what is expected."""
    low, high = feature.expect.low, feature.expect.high
    return low if low is not None else getattr(feature.type, "low", None), high if high is not None else getattr(feature.type, "high", None)


def bounded(found: Profile, here: np.ndarray, features: Mapping[str, Feature]) -> Finding:
    """Smallest and largest value per feature; a list or text is measured by its length, a vector by its norm."""
    broken: list[tuple[str, str]] = []
    spans: dict[str, list[float]] = {}
    for name, one in found.features.items():
        low, high = bounds_of(features[name])
        if not (here & np.isfinite(one.low)).any():
            continue
        spans[name] = [float(np.nanmin(one.low[here])), float(np.nanmax(one.high[here]))]
        # a float32 may lie a hair outside of the bound that it was rounded to
        slack = 1e-6 * max(abs(low or 0.0), abs(high or 0.0), 1e-12)
        under = here & (one.low < low - slack) if low is not None else np.zeros_like(here)
        over = here & (one.high > high + slack) if high is not None else np.zeros_like(here)
        for place in np.flatnonzero(under | over):
            value = one.low[place] if under[place] else one.high[place]
            span = f"[{'' if low is None else f'{low:g}'}, {'' if high is None else f'{high:g}'}]"
            broken.append((found.partitions[place], f"{name} of {found.partitions[place]} reaches {value:g}, allowed are {span}"))
    broken.sort()
    return Finding(
        passed=not broken,
        evidence={"bounded_features": sum(bounds_of(one) != (None, None) for one in features.values()), "found": spans},
        description="; ".join(text for _, text in broken[:3]) or "every value within its declared bounds",
        fix="correct the transform or its source, or widen the declared bounds",
        partitions=tuple(dict.fromkeys(name for name, _ in broken)),
    )


def golden(view: FeatureView, rows: pa.Table, judged: frozenset[str]) -> Finding:
    """The declared golden rows of these partitions, compared in the features' own encodings."""
    asked = [row for row in view.golden if row.partition in judged]
    wrong = [(row.partition, text) for row in asked for text in differences(view, row, rows)]
    return Finding(
        passed=not wrong,
        evidence={"golden_rows": len(asked)},
        description="; ".join(text for _, text in wrong[:3]) or f"{len(asked)} golden rows are as declared",
        fix="the transform or its source changed what this row is; correct it, or correct the golden row",
        partitions=tuple(dict.fromkeys(name for name, _ in wrong)),
    )


def differences(view: FeatureView, wanted: GoldenRow, rows: pa.Table) -> list[str]:
    """What is not as a golden row says; of several rows of the key the newest counts."""
    keep = pc.equal(rows[PARTITION], wanted.partition)
    for name, value in wanted.key.items():
        keep = pc.and_(keep, pc.equal(rows[name], pa.scalar(value, rows.schema.field(name).type)))
    at = f"{', '.join(f'{name}={value!r}' for name, value in wanted.key.items())} of {wanted.partition}"
    found = rows.filter(keep)
    if not found.num_rows:
        return [f"there is no row {at}"]
    found = found.slice(found.num_rows - 1)  # rows of a key lie in order of their event times
    told = []
    for name, value in wanted.values.items():
        feature = view.feature(name)
        expected = to_arrow(canonical(feature.column, to_values(pa.array([value], feature.type.arrow), feature.column)), feature.type.arrow)
        if not found[name].combine_chunks().equals(expected):
            told.append(f"{name} of {at} is {found[name][0].as_py()!r}, expected {expected[0].as_py()!r}")
    return told
