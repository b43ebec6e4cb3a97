"""Whoever holds published views up is named once, on its own page."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest

from tests.flight_views import START, make_view
from tiffin.compute import Team
from tiffin.features import Online, Source
from tiffin.orchestration.metadata import COMPLETE_TO
from tiffin.orchestration.resource_keys import StackClock
from tiffin.orchestration.sensors_lateness import late_sensors, promises_of
from tiffin.orchestration.sensors_notices import pack_told, unpack_told

TEAM = Team("network", owner="team:network")
RAW = Source("raw/landings", time="landed_at", load=lambda: None)  # type: ignore[arg-type,return-value]  # it is never called
VIEWS = [make_view(name=name, online=Online(ttl="14d", freshness="26h")) for name in ("delays", "cancelled", "gates")]
SPECS = [RAW, *VIEWS]
NOW = START + timedelta(days=10)
EVERYTHING = ("raw/landings", *(f"network/{view.name}{end}" for view in VIEWS for end in ("", "_online")))


def got_to(instance: dg.DagsterInstance, **days: float) -> None:
    """Materialise everything as complete to day 10, or to another day by the last part of its name."""
    for ref in EVERYTHING:
        day = days.get(ref.rpartition("/")[2], days.get("everything", 10.0))
        name = "watermark" if ref.endswith("_online") else COMPLETE_TO
        shown = {name: dg.MetadataValue.timestamp(START + timedelta(days=day))}
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(ref.split("/")), metadata=shown))


def tick(
    instance: dg.DagsterInstance, *, cursor: str | None = None, now: datetime = NOW, team: Team = TEAM
) -> tuple[list[str], str | None]:
    """What is told, and the cursor."""
    (sensor,) = late_sensors(team, SPECS)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"clock": StackClock(now)})
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
    return [event.asset_key.to_user_string() for event in result.asset_events], result.cursor


def test_a_late_source_is_one_notice_not_one_per_view() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance, everything=8.0)
        told, cursor = tick(instance)
        again = [tick(instance, cursor=cursor, now=NOW + timedelta(hours=hour))[0] for hour in range(5)]

        (record,) = instance.fetch_observations(dg.AssetKey(["raw", "landings"]), limit=10).records

    assert told == ["raw/landings"]
    assert again == [[]] * 5
    observation = record.asset_observation
    assert observation is not None
    assert observation.metadata["owner"].value == "team:network"
    assert "network/cancelled_online" in str(observation.metadata["affects"].value)


def test_a_view_that_has_not_used_what_is_there_is_itself_the_cause() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance, gates=8.0, gates_online=8.0)

        assert tick(instance)[0] == ["network/gates"]


def test_an_edition_that_nobody_published_is_itself_the_cause() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance, delays_online=8.0)

        assert tick(instance)[0] == ["network/delays_online"]


def test_a_cursor_that_was_lost_tells_nobody_twice() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance, everything=8.0)
        tick(instance)

        assert tick(instance, cursor=None)[0] == []
        assert tick(instance, cursor="{")[0] == []


def test_what_got_further_and_stopped_again_is_told_again() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance, everything=8.0)
        _, cursor = tick(instance)
        got_to(instance, everything=10.0)
        quiet, cursor = tick(instance, cursor=cursor)
        late, _ = tick(instance, cursor=cursor, now=NOW + timedelta(days=2))

    assert (quiet, late) == ([], ["raw/landings"])


def test_what_is_as_fresh_as_promised_is_not_named() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        got_to(instance)

        assert tick(instance)[0] == []


def test_only_a_team_that_promises_a_freshness_has_the_sensor() -> None:
    assert late_sensors(TEAM, [RAW, make_view(online=Online(ttl="3d"))]) == []


def test_another_teams_source_is_named_by_what_it_is() -> None:
    promises = promises_of(TEAM, [VIEWS[0]], {})

    assert promises["raw/landings"].owner == "whoever lands raw/landings"
    assert promises["network/delays"].owner == "team:network"


@pytest.mark.parametrize("told", [set(), {("raw/landings", "2030-01-09T00:00:00+00:00"), ("network/gates", "")}])
def test_what_was_told_is_remembered(told: set[tuple[str, str]]) -> None:
    assert unpack_told(pack_told(told)) == told
