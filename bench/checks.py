"""What the checks of a partition catch: faults planted on every day of the real year, and the alarms of the year as it was.

    make bench BENCH=checks

Every daily view of the example teams is computed once. Then, feature by feature and day by day, one fault is planted in that day alone
and it is judged beside the real ones before it; the first seven days, which are never judged, are left out.
"""

from __future__ import annotations

import functools
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from assets.fleet.team import specs as fleet
from assets.network.team import specs as network
from bench.report import print_json, print_table
from tiffin.features import Source
from tiffin.features.compute import ViewEngine
from tiffin.features.source_rows import ViewRows
from tiffin.features.view import FeatureView
from tiffin.orchestration.checks_history import MIN_EARLIER, null_shares, row_counts, sizes
from tiffin.orchestration.checks_profile import FeatureProfile, Profile, profile
from tiffin.orchestration.checks_view import bounds_of, judge_rows
from tiffin.storage.content import PARTITION

# what runs on Spark runs here on DuckDB: equal rows (tests/integration/test_spark_routes.py), and no JVM for 365 windows one by one
SPECS = [
    spec.with_changes(engine="duckdb") if isinstance(spec, FeatureView) and spec.engine == "spark" else spec for spec in (*network, *fleet)
]
END = datetime(2014, 1, 1, tzinfo=UTC)
FACTORS = {"x60": 60.0, "/60": 1 / 60, "x1.6": 1.609}


@functools.cache
def landed(name: str) -> pa.Table:
    """A raw table as its owner lands it."""
    return next(spec.load() for spec in SPECS if isinstance(spec, Source) and spec.name == name and spec.load is not None)


def year_of(view: FeatureView) -> pa.Table:
    """All partitions of a view."""
    source = ViewRows.of(view, landed(view.source.name), {one.table: landed(one.name) for one in view.inputs})
    engine, parts = ViewEngine(view), []
    for window in view.windows(until=END):
        part = engine.compute(window, source.given(window), source.beside(window))
        parts.append(part.append_column(PARTITION, pa.repeat(pa.scalar(window.partition), part.num_rows)))
    return pa.concat_tables(parts).combine_chunks()


def planted_alone(year: Profile, name: str, day: int, changed: FeatureProfile) -> Profile:
    """The real days before `day`, and that day with another profile of one feature."""
    first = max(0, day - 28)
    real = year.features[name]
    cut = {
        field: np.concatenate([getattr(real, field)[first:day], getattr(changed, field)[day : day + 1]])
        for field in ("nulls", "present", "sizes", "low", "high")
    }
    return Profile(year.partitions[first : day + 1], year.rows[first : day + 1], {name: FeatureProfile(**cut)})


def caught_sizes(year: Profile, name: str, factor: float) -> float:
    """Share of days on which another unit is caught; NaN where the feature has no size."""
    one = year.features[name]
    shifted = replace(one, sizes=one.sizes + np.log(factor))
    days = [day for day in range(MIN_EARLIER, len(year.partitions)) if np.isfinite(one.sizes[day, 0])]
    hits = [bool(sizes(planted_alone(year, name, day, shifted))[0].outside[-1]) for day in days]
    return float(np.mean(hits)) if hits else float("nan")


def caught_nulls(year: Profile, name: str) -> tuple[float, int]:
    """Share of days on which ten times the usual nulls are caught, of those where that is at least three rows."""
    one, hits = year.features[name], []
    for day in range(MIN_EARLIER, len(year.partitions)):
        before = slice(max(0, day - 28), day)
        wanted = round(min(10 * one.nulls[before].sum() / year.rows[before].sum(), 1.0) * year.rows[day])
        if wanted >= 3:
            planted = replace(one, nulls=np.full_like(one.nulls, wanted))
            hits.append(bool(null_shares(planted_alone(year, name, day, planted), {})[0].outside[-1]))
    return (float(np.mean(hits)) if hits else float("nan")), len(hits)


def caught_rows(year: Profile, kept: float) -> float:
    """Share of days on which a partition that kept this share of its rows is caught."""
    hits = []
    for day in range(MIN_EARLIER, len(year.partitions)):
        first = max(0, day - 28)
        rows = np.append(year.rows[first:day], int(year.rows[day] * kept))
        hits.append(bool(row_counts(Profile(year.partitions[first : day + 1], rows, {})).outside[-1]))
    return float(np.mean(hits))


def shown(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0%}"


def main() -> int:
    rows: list[list[str]] = []
    alarms, judged_s, units, counts, found_nulls = 0, 0.0, [], [], []
    for view in SPECS:
        if not isinstance(view, FeatureView) or view.partitions.kind != "daily":
            continue
        data = year_of(view)
        names = [window.partition for window in view.windows(until=END)]
        started = time.perf_counter()
        findings = judge_rows(view, data, judged=names, before=None, source_rows=lambda _: 1)
        judged_s += time.perf_counter() - started
        alarms += sum(len(one.partitions) for one in findings.values())
        year = profile(data, [feature.name for feature in view.features], names)
        counts.append(caught_rows(year, 0.4))
        rows.append([f"{view.name} (rows kept: 40 %)", *[""] * len(FACTORS), "", shown(counts[-1])])
        for feature in view.features:
            bounded = None not in bounds_of(feature)
            shares = {label: float("nan") if bounded else caught_sizes(year, feature.name, factor) for label, factor in FACTORS.items()}
            nulls, days = caught_nulls(year, feature.name)
            if not np.isnan(shares["x60"]):
                units.append(shares["x60"])
            if days:
                found_nulls.append(nulls)
            cells = ["bounded" if bounded else shown(share) for share in shares.values()]
            rows.append([f"  {feature.name}", *cells, shown(nulls), ""])
    print_table("faults caught, of all days of 2013", ["feature", *FACTORS, "nulls x10", "rows"], rows)
    figures = {
        "false_alarms": alarms,
        "unit_x60_caught": float(np.mean(units)),
        "rows_lost_60_percent_caught": float(np.mean(counts)),
        "nulls_x10_caught": float(np.mean(found_nulls)),
        "judge_seven_years_s": judged_s,
    }
    print_json("checks", figures=figures, detail={"views": len(counts), "features": len(units)}, packages=["numpy", "pyarrow"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
