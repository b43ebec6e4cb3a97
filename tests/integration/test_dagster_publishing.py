"""Publishing on landing: a new partition goes online as a delta on the live generation, a repair as a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.stack import stack_resources
from tests.backfill_case import CARRIERS, landings
from tests.dagster_case import Case, started
from tiffin.compute import Team
from tiffin.core.units import to_us
from tiffin.features import Entity, Feature, Int32, Online, Source, daily, feature_view
from tiffin.online.fast_source import open_source
from tiffin.online.reader import FeatureReader
from tiffin.online.views import OnlineView
from tiffin.orchestration.definitions import team_assets, team_definitions
from tiffin.wire.schema import RowSchema

TEAM = Team("demo", owner="team:demo")
ENTITY = Entity("carrier", key="carrier: string")
LOAD = feature_view(
    name="load",
    entity=ENTITY,
    source=Source("raw/flights", time="landed_at"),
    features=[Feature("flights", Int32())],
    partitions=daily("2013-01-01", "2013-01-31"),
    online=Online(ttl="30d", publish="daily", freshness="30h"),
    sql="select carrier, count(*)::int as flights from flights group by carrier",
)
ASSETS = team_assets(TEAM, [LOAD])
ONLINE = "demo/load_online"
NOON = datetime(2013, 1, 6, 12, tzinfo=UTC)


@dataclass
class Shop:
    """One view, its table and its server."""

    case: Case

    def land(self, first: int, last: int) -> None:
        days = (f"2013-01-{first:02d}", f"2013-01-{last:02d}")
        assert self.case.materialise(ASSETS, "demo/load", days=days).success

    def publish(self, at: datetime) -> dict[str, Any]:
        self.case.as_of = at
        assert self.case.materialise(ASSETS, ONLINE).success
        return self.case.metadata(ONLINE)

    def served(self, at: datetime) -> list[int]:
        record = LOAD.record(team="demo", owner="team:demo")
        keys = tuple((field.name, field.type) for field in record.entity.keys)
        view = OnlineView("demo", "load", keys, RowSchema.from_json(record.row_schema), record.ttl_us)
        reader = FeatureReader(open_source(self.case.valkey.reader), [view], now_us=lambda: to_us(at))
        found: list[int] = reader.read({"carrier": list(CARRIERS)})["demo/load"].columns["flights"].data.tolist()
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with started(tmp_path) as case:
        case.tables.replace("raw/flights", landings(20), partitions=None)
        yield Shop(case)


def expected(day: int) -> list[int]:
    """Flights of each carrier on one day of January, by the rule of `landings`."""
    return [1 + (day - 1 + place) % 4 for place in range(len(CARRIERS))]


def test_a_landed_day_is_a_delta_and_what_is_served_is_its_rows(shop: Shop) -> None:
    shop.land(1, 5)
    first = shop.publish(NOON)
    shop.land(6, 6)

    second = shop.publish(NOON + timedelta(days=1))

    assert (first["published_as"], second["published_as"]) == ("generation", "delta")
    assert (second["deltas"], second["rows_written"], second["generation"]) == (1, len(CARRIERS), first["generation"])
    assert second["watermark"] == datetime(2013, 1, 7, tzinfo=UTC).timestamp()
    assert shop.served(NOON + timedelta(days=1)) == expected(6)


def test_publishing_again_without_a_landing_changes_nothing(shop: Shop) -> None:
    shop.land(1, 5)
    first = shop.publish(NOON)

    again = shop.publish(NOON)

    assert (again["changed"], again["rows_written"], again["manifest"]) == (False, 0, first["manifest"])


def test_a_repaired_day_is_a_new_generation(shop: Shop) -> None:
    shop.land(1, 5)
    before = shop.publish(NOON)
    shop.case.tables.replace("raw/flights", landings(20).slice(1), partitions=None)
    shop.land(1, 1)

    after = shop.publish(NOON)

    assert (after["published_as"], after["deltas"]) == ("generation", 0)
    assert "first 2013-01-01" in after["why"]
    assert after["manifest"] == before["manifest"], "the repaired day is served by nobody: newer rows hide it"


def test_an_earlier_instant_is_a_whole_generation_of_its_own(shop: Shop) -> None:
    shop.land(1, 6)
    shop.publish(NOON + timedelta(days=1))

    back = shop.publish(NOON - timedelta(days=2))

    assert (back["published_as"], back["watermark"]) == ("generation", datetime(2013, 1, 4, tzinfo=UTC).timestamp())
    assert shop.served(NOON - timedelta(days=2)) == expected(3)


def test_a_burst_of_landings_asks_for_one_publication(shop: Shop) -> None:
    definitions = team_definitions(TEAM, LOAD, resources=stack_resources())
    instance = shop.case.instance
    before = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
    shop.land(1, 5)

    landed = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=before.cursor)
    after = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=landed.cursor)

    assert (before.total_requested, landed.total_requested, after.total_requested) == (0, 1, 0)


def test_the_schedule_and_the_promise_are_declared_on_the_asset() -> None:
    spec = next(spec for asset in ASSETS for spec in asset.specs if spec.key.to_user_string() == ONLINE)
    definitions = team_definitions(TEAM, LOAD, resources=stack_resources())

    assert spec.automation_condition is not None
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=30))
    assert [spec.metadata[name] for name in ("publish", "freshness_s")] == ["daily", 108_000.0]
    assert "publish_landed" in {sensor.name for sensor in definitions.sensors or ()}
