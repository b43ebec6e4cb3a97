"""Backfills under a real daemon: what fails is cut and tried again, whoever launched it, and whoever is killed meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backfill_case import ASSET, House, started
from tiffin.embedded.processes import wait_until
from tiffin.orchestration.backfill_ranges import GAVE_UP, RETRY, RETRY_OF

DAYS = 40
LAST = "2013-02-09"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with started(tmp_path_factory.mktemp("backfill"), days=DAYS) as found:
        yield found


def test_a_failing_partition_is_named_and_all_others_are_made(house: House) -> None:
    house.mood(bad=["2013-01-08"])

    code, told, shown = house.tiffin("--from", "2013-01-01", "--to", "2013-01-12")

    assert code == 1, shown + house.logs()
    assert [one["partitions"] for one in told["unmade"]] == [["2013-01-08"]]
    assert "the oven of 2013-01-08 is cold" in told["unmade"][0]["error"]
    assert told["made"] == 11
    assert house.dagster.asset(ASSET).made == {f"2013-01-{day:02d}" for day in range(1, 13) if day != 8}
    assert sorted(run["range"] for run in told["runs"]) == [
        ["2013-01-01", "2013-01-07"],
        ["2013-01-01", "2013-01-12"],
        ["2013-01-09", "2013-01-12"],
    ]


def test_the_next_call_makes_only_what_is_missing_and_the_one_after_nothing(house: House) -> None:
    house.mood()
    before = house.commits()

    code, told, shown = house.tiffin("--from", "2013-01-01", "--to", "2013-01-14")
    again = house.tiffin("--from", "2013-01-01", "--to", "2013-01-14")

    assert code == 0, shown
    assert sorted(run["range"] for run in told["runs"]) == [["2013-01-08", "2013-01-08"], ["2013-01-13", "2013-01-14"]]
    assert (again[0], again[1]["runs"], again[1]["why"]) == (0, [], {"up to date": 14})
    assert {key: count for key, count in house.commits().items() if key in before} == before


def test_forced_partitions_run_again_and_equal_content_commits_nothing(house: House) -> None:
    house.tiffin("--from", "2013-01-03", "--to", "2013-01-04")
    before = house.tables.version(ASSET)

    code, told, shown = house.tiffin("--from", "2013-01-03", "--to", "2013-01-04", "--force")

    assert (code, told["made"], len(told["runs"])) == (0, 2, 1), shown
    assert house.tables.version(ASSET) == before


def test_interrupting_the_command_leaves_the_run_and_the_next_call_joins_it(house: House) -> None:
    house.mood(pause_s=1.0)
    assert wait_until(lambda: not house.run_workers(), timeout_s=120), "the worker of an earlier story goes on"
    watching = house.tiffin("--from", "2013-01-15", "--to", "2013-01-20", background=True)
    assert wait_until(lambda: bool(house.run_workers()), timeout_s=120), house.logs()

    watching.send_signal(signal.SIGINT)
    _, shown = watching.communicate(timeout=60)
    code, told, _ = house.tiffin("--from", "2013-01-15", "--to", "2013-01-20")

    assert watching.returncode == 130
    assert "the same command takes them up again" in shown
    assert (code, told["why"], [run["range"] for run in told["runs"]]) == (0, {"being made by a run": 6}, [["2013-01-15", "2013-01-20"]])


def test_a_partition_that_kills_its_process_is_found_by_halves(house: House) -> None:
    house.mood(deadly=["2013-01-22"])

    code, told, shown = house.tiffin("--from", "2013-01-21", "--to", "2013-01-22")

    assert code == 1, shown
    assert [one["partitions"] for one in told["unmade"]] == [["2013-01-22"]]
    assert told["made"] == 1
    assert {run["status"] for run in told["runs"] if run["range"] == ["2013-01-22", "2013-01-22"]} == {"FAILURE"}
    assert len([run for run in told["runs"] if run["range"] == ["2013-01-22", "2013-01-22"]]) == 2


def test_a_backfill_from_the_ui_is_cut_and_retried_by_the_same_sensor(house: House) -> None:
    house.mood(bad=["2013-02-03"])
    backfill = launched_in_the_ui(house, "2013-02-01", LAST)

    assert wait_until(lambda: status_of(house, backfill) not in ("REQUESTED", ""), timeout_s=120, every_s=0.5), house.logs()

    runs = house.dagster.tagged("dagster/backfill", backfill)
    assert {run.status for run in runs} == {"FAILURE", "SUCCESS"}
    failed = next(run for run in runs if run.status == "FAILURE")
    assert failed.tags[GAVE_UP] == "2013-02-03"
    assert "2 ranges again" in failed.tags[RETRY]
    assert {run.tags.get(RETRY_OF) for run in runs if run.status == "SUCCESS"} == {failed.run_id}
    made = house.dagster.asset(ASSET).made
    assert {key for key in made if key.startswith("2013-02")} == {f"2013-02-{day:02d}" for day in range(1, 10) if day != 3}
    assert status_of(house, backfill) == "COMPLETED_FAILED"


STATUS = "query S($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
UI = """mutation B($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


def launched_in_the_ui(house: House, first: str, last: str) -> str:
    """What the UI's backfill dialog sends."""
    keys = house.dagster.asset(ASSET).keys
    names = list(keys[keys.index(first) : keys.index(last) + 1])
    params = {"partitionNames": names, "assetSelection": [{"path": ASSET.split("/")}], "tags": []}
    answer = house.dagster.ask(UI, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", json.dumps(answer)
    return str(answer["backfillId"])


def status_of(house: House, backfill: str) -> str:
    found: dict[str, Any] = house.dagster.ask(STATUS, id=backfill)["partitionBackfillOrError"]
    return str(found.get("status", ""))
