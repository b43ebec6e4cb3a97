"""No view of the example teams uses what was known only later: on real days, the odd ones among them."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from assets.fleet.team import specs as fleet_specs
from assets.network.team import specs as network_specs
from tiffin.features import FeatureView
from tiffin.features.leakage import check_window

SPECS = (*network_specs, *fleet_specs)
# a unit test starts no JVM: what runs on Spark gives equal rows on DuckDB (tests/integration/test_spark_routes.py)
VIEWS = [spec.with_changes(engine="duckdb") if spec.engine == "spark" else spec for spec in SPECS if isinstance(spec, FeatureView)]
# an ordinary night, a blizzard, the days on which New York's clock moves, the last day that has weather
DAYS = ("2013-06-10", "2013-02-09", "2013-03-10", "2013-11-03", "2013-12-30")
NOW = datetime(2013, 12, 31, tzinfo=UTC)


def keys(view: FeatureView) -> list[str]:
    """A few partitions of each kind; hours in which flights that left the day before are still landing."""
    return {"daily": list(DAYS), "hourly": [f"{day}-{hour}" for day in DAYS for hour in ("04:00", "22:00")], "snapshot": [""]}[
        view.partitions.kind
    ]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_of_the_real_year_uses_nothing_that_was_known_later(view: FeatureView, sources: dict[str, pa.Table]) -> None:
    rows = sources[view.source.name]

    findings = [check_window(view, window, rows) for window in view.windows_of(keys(view), until=NOW)]

    assert len(findings) == len(keys(view))
    assert [str(finding) for finding in findings if finding is not None] == []
