"""The real year raises no alarm: holidays, storms, days of 23 and 25 hours, the last day of weather that is not there."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from assets.eta.team import specs as eta
from assets.fleet.team import specs as fleet
from assets.network.team import specs as network
from tiffin.features import Source
from tiffin.features.compute import ViewEngine
from tiffin.features.source_rows import ViewRows
from tiffin.features.view import FeatureView
from tiffin.orchestration.checks_view import judge_rows
from tiffin.storage.content import PARTITION

SPECS = (*network, *fleet, *eta)
# what runs on Spark runs here on DuckDB: equal rows (test_spark_routes.py), and no JVM for 365 windows one by one
VIEWS = [spec.with_changes(engine="duckdb") if spec.engine == "spark" else spec for spec in SPECS if isinstance(spec, FeatureView)]
END = datetime(2014, 1, 1, tzinfo=UTC)


@functools.cache
def landed(name: str) -> pa.Table:
    """A raw table as its owner lands it."""
    return next(spec.load() for spec in SPECS if isinstance(spec, Source) and spec.name == name and spec.load is not None)


@pytest.mark.parametrize("view", [pytest.param(view, id=view.name) for view in VIEWS])
def test_the_whole_real_year_passes_every_check(view: FeatureView) -> None:
    source = ViewRows.of(view, landed(view.source.name), {one.table: landed(one.name) for one in view.inputs})
    windows = {window.partition: window for window in view.windows(until=END)}
    engine = ViewEngine(view)
    parts = [engine.compute(window, source.given(window), source.beside(window)) for window in windows.values()]
    rows = pa.concat_tables(
        part.append_column(PARTITION, pa.repeat(pa.scalar(name), part.num_rows)) for name, part in zip(windows, parts, strict=True)
    )

    findings = judge_rows(
        view,
        rows,
        judged=list(windows),
        before=None,
        source_rows=lambda name: source.source.between(windows[name].start, windows[name].end).num_rows,
    )

    assert [f"{name}: {one.description}" for name, one in findings.items() if not one.passed] == []
    assert findings["row_count"].evidence["partitions"] == len(windows)
