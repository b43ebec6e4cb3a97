"""Files that land in a real S3 service start their source's asset, once per burst."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pytest

from sensors.landing import landing_sensor, list_landed
from tiffin.compute import Team
from tiffin.core.errors import Invalid
from tiffin.core.settings import Settings
from tiffin.embedded.seaweed import Seaweed, start_seaweed
from tiffin.features import Source
from tiffin.orchestration.sensors_files import file_backlog
from tiffin.storage.s3 import S3Store

TEAM = Team("yard", owner="team:yard")
SOURCE = Source("raw/bookings", time="booked_at", load=lambda: pa.table({"booked_at": []}))


@dg.asset(key=["raw", "bookings"])
def bookings() -> None: ...


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = start_seaweed(tmp_path_factory.mktemp("landing"))
    yield server
    server.stop()


@pytest.fixture
def store(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """The dev bucket, and the environment in which the sensor finds it."""
    monkeypatch.setenv("TIFFIN_S3_ENDPOINT", seaweed.endpoint)
    monkeypatch.setenv("TIFFIN_DEV_ACCESS_KEY", seaweed.keys.dev.access_key)
    monkeypatch.setenv("TIFFIN_DEV_SECRET_KEY", seaweed.keys.dev.secret_key)
    return S3Store("dev", seaweed.endpoint, seaweed.keys.dev.access_key, seaweed.keys.dev.secret_key)


def evaluate(sensor: dg.SensorDefinition, cursor: str | None, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str]:
    definitions = dg.Definitions(assets=[bookings], sensors=[sensor])
    found = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions))
    return list(found.run_requests or []), str(found.cursor)


def test_a_burst_of_files_is_one_run_and_a_rewritten_one_another(store: S3Store) -> None:
    sensor = landing_sensor(TEAM, SOURCE, prefix="landing/bookings/")
    with dg.DagsterInstance.ephemeral() as instance:
        store.put("landing/other/0.csv", b"not ours")
        for part in range(20):
            store.put(f"landing/bookings/{part:02d}.csv", b"first")
        noted, cursor = evaluate(sensor, None, instance)
        (asked,), after = evaluate(sensor, cursor, instance)
        (again,), _ = evaluate(sensor, cursor, instance)
        store.put("landing/bookings/07.csv", b"second")
        _, cursor = evaluate(sensor, after, instance)
        (rewritten,), cursor = evaluate(sensor, cursor, instance)
        nothing, _ = evaluate(sensor, cursor, instance)

    assert (noted, nothing) == ([], [])
    assert asked.run_key == again.run_key
    assert asked.asset_selection == [dg.AssetKey(["raw", "bookings"])]
    assert asked.tags["tiffin/landed_files"] == "20"
    assert rewritten.tags["tiffin/first_file"] == "landing/bookings/07.csv"
    assert file_backlog(cursor) == {"runs_started": 2, "files_seen": 20, "waiting": []}


def test_no_key_of_the_store_is_part_of_the_sensor(store: S3Store, seaweed: Seaweed) -> None:
    sensor = landing_sensor(TEAM, SOURCE, prefix="landing/bookings/")

    assert list_landed(Settings.from_environment(), "nothing/") == []
    assert sensor.required_resource_keys == set()
    assert seaweed.keys.dev.secret_key not in f"{sensor.description} {sensor.tags} {sensor.metadata}"


def test_only_who_lands_a_source_may_have_its_sensor() -> None:
    with pytest.raises(Invalid, match="landed by somebody else"):
        landing_sensor(TEAM, Source("raw/flights", time="landed_at"), prefix="landing/")
