"""What the demo's driver launches, in which runs, and how it tells what went wrong."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[3] / "scripts" / "materialise.py"


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("materialise_script", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


EDGES = {
    "raw/flights": ("network", None, ()),
    "raw/weather": ("network", None, ()),
    "network/carrier_delays": ("network", 365, ("raw/flights",)),
    "network/airport_weather": ("network", 365, ("raw/weather",)),
    "network/carrier_delays_online": ("network", None, ("network/carrier_delays",)),
    "network/airport_weather_online": ("network", None, ("network/airport_weather",)),
    "eta/eta_table": ("eta", None, ("raw/flights", "network/carrier_delays", "network/airport_weather")),
    "eta/eta_model": ("eta", None, ("eta/eta_table",)),
    "eta/eta": ("eta", None, ("eta/eta_model", "network/carrier_delays_online", "network/airport_weather_online")),
}


def key(name: str) -> tuple[str, ...]:
    return tuple(name.split("/"))


def make_assets(driver: ModuleType) -> dict[tuple[str, ...], Any]:
    """All materialised, upstream before downstream."""
    return {
        key(name): driver.Asset(
            key=key(name),
            location=location,
            repository="__repository__",
            version="v1",
            upstream=tuple(map(key, upstream)),
            partitions=partitions,
            materialised=partitions or 1,
            made_at=float(place),
            made_version="v1",
        )
        for place, (name, (location, partitions, upstream)) in enumerate(EDGES.items())
    }


def due(driver: ModuleType, assets: dict[tuple[str, ...], Any]) -> list[str]:
    return ["/".join(found) for found in driver.reasons(assets)]


def test_nothing_is_launched_when_everything_is_up_to_date(driver: ModuleType) -> None:
    assert driver.reasons(make_assets(driver)) == {}


def test_assets_are_grouped_into_four_runs_in_order(driver: ModuleType) -> None:
    groups = [[asset.name for asset in stage] for stage in driver.stages(make_assets(driver))]

    assert [set(group) for group in groups] == [
        {"raw/flights", "raw/weather"},
        {"network/carrier_delays", "network/airport_weather"},
        {"network/carrier_delays_online", "network/airport_weather_online"},
        {"eta/eta_table", "eta/eta_model", "eta/eta"},
    ]


def test_an_empty_instance_needs_everything(driver: ModuleType) -> None:
    assets = {at: replace(asset, made_at=None, made_version=None, materialised=0) for at, asset in make_assets(driver).items()}

    assert set(due(driver, assets)) == set(EDGES)


def test_one_missing_partition_takes_its_downstream_with_it(driver: ModuleType) -> None:
    assets = make_assets(driver)
    weather = key("network/airport_weather")
    assets[weather] = replace(assets[weather], materialised=364)

    assert set(due(driver, assets)) == {
        "network/airport_weather",
        "network/airport_weather_online",
        "eta/eta_table",
        "eta/eta_model",
        "eta/eta",
    }
    assert driver.reasons(assets)[weather] == "1 of 365 partitions missing"


def test_a_changed_code_version_takes_its_downstream_with_it(driver: ModuleType) -> None:
    assets = make_assets(driver)
    assets[key("eta/eta_model")] = replace(assets[key("eta/eta_model")], version="v2")

    assert due(driver, assets) == ["eta/eta_model", "eta/eta"]


def test_a_run_that_failed_half_way_is_taken_up_where_it_stopped(driver: ModuleType) -> None:
    assets = make_assets(driver)
    table = key("eta/eta_table")
    assets[table] = replace(assets[table], made_at=100.0)

    assert due(driver, assets) == ["eta/eta_model", "eta/eta"]


def test_an_asset_that_nobody_here_materialises_is_no_reason(driver: ModuleType) -> None:
    assets = make_assets(driver)
    table = key("eta/eta_table")
    assets[table] = replace(assets[table], upstream=(("somebody", "else"),))

    assert driver.reasons(assets) == {}


def test_the_failing_step_is_told_with_its_fix(driver: ModuleType) -> None:
    run = driver.Run(("eta/eta",), "1")

    driver.read_events(
        run,
        [
            {"__typename": "MaterializationEvent", "message": "", "timestamp": "0"},
            {
                "__typename": "ExecutionStepFailureEvent",
                "stepKey": "eta__eta",
                "message": "failed",
                "error": {"message": "Failure", "className": "Failure", "causes": []},
                "failureMetadata": {"description": "the agent is not ready", "metadataEntries": [{"label": "fix", "text": "tiffin up"}]},
            },
            {"__typename": "RunFailureEvent", "message": "steps failed", "error": None},
        ],
    )

    assert run.materialised == 1
    assert run.problems == ["step eta__eta failed: the agent is not ready\n  fix: tiffin up"]


def test_an_error_nobody_meant_is_told_with_its_cause(driver: ModuleType) -> None:
    run = driver.Run(("eta/eta",), "1")
    cause = {"className": "ZeroDivisionError", "message": "division by zero\n"}

    driver.read_events(
        run,
        [
            {
                "__typename": "ExecutionStepFailureEvent",
                "stepKey": "eta__eta",
                "message": "failed",
                "error": {
                    "message": "Error occurred while executing op",
                    "className": "DagsterExecutionStepExecutionError",
                    "causes": [cause],
                },
                "failureMetadata": None,
            }
        ],
    )

    assert run.problems == ["step eta__eta failed: Error occurred while executing op\n  caused by ZeroDivisionError: division by zero"]


def test_a_webserver_that_does_not_answer_is_named_with_a_fix(driver: ModuleType) -> None:
    with pytest.raises(driver.Failed, match=r"http://127\.0\.0\.1:9/graphql does not answer(.|\n)*tiffin up"):
        driver.Dagster("http://127.0.0.1:9").assets()


def test_the_driver_does_not_import_the_library() -> None:
    assert "tiffin" not in {
        line.split()[1].partition(".")[0] for line in PATH.read_text().splitlines() if line.startswith(("import ", "from "))
    }


def test_with_latest_an_asset_is_complete_with_that_many_partitions(driver: ModuleType) -> None:
    assets = make_assets(driver)
    hours = key("network/carrier_delays")
    assets[hours] = replace(assets[hours], partitions=8760, materialised=744)

    assert driver.reasons(assets, latest=744) == {}
    assert driver.reasons(assets, latest=745)[hours] == "1 of 745 partitions missing"
    assert driver.reasons(assets)[hours] == "8016 of 8760 partitions missing"


class OneAsset:
    """A Dagster that holds one asset of six partitions, and notes what it is asked to run."""

    def __init__(self, asset: Any) -> None:
        self.asset, self.launched = asset, []

    def wait_loaded(self, timeout_s: float) -> None:
        pass

    def assets(self) -> dict[tuple[str, ...], Any]:
        return {self.asset.key: self.asset}

    def partition_keys(self, at: tuple[str, ...]) -> list[str]:
        return [f"2013-01-0{day}" for day in range(1, 7)]

    def launch(self, assets: Any, partitions: Any) -> str:
        self.launched.append(partitions)
        return "run"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        return {"runOrError": {"status": "SUCCESS"}, "logsForRun": {"cursor": None, "hasMore": False, "events": []}}


@pytest.mark.parametrize(
    ("latest", "first"), [pytest.param(None, "2013-01-01", id="all"), pytest.param(2, "2013-01-05", id="two"), (9, "2013-01-01")]
)
def test_the_range_that_is_launched_is_the_latest_one(driver: ModuleType, latest: int | None, first: str) -> None:
    found = make_assets(driver)[key("network/carrier_delays")]
    dagster = OneAsset(replace(found, partitions=6, materialised=0, made_at=None))

    with driver.Progress() as progress:
        driver.drive(dagster, progress, timeout_s=1, latest=latest)

    assert [(asked[0], asked[-1]) for asked in dagster.launched] == [(first, "2013-01-06")]
