"""Steps that no cluster admitted, as Dagster's GraphQL tells them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tiffin.compute.cost import bill_of
from tiffin.compute.prices import LOCAL, Prices
from tiffin.orchestration.cost_local import local_usage, usage_of_run

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
RANGE = [
    {"key": "dagster/asset_partition_range_start", "value": "2013-01-01"},
    {"key": "dagster/asset_partition_range_end", "value": "2013-01-04"},
]


def step(key: str, start: float | None, seconds: float = 3600, *made: tuple[str, str | None]) -> dict[str, Any]:
    end = None if start is None else start + seconds
    events = [{"assetKey": {"path": asset.split("/")}, "partition": partition} for asset, partition in made]
    return {"stepKey": key, "startTime": start, "endTime": end, "materializations": events}


def run(name: str, *steps: dict[str, Any], tags: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"runId": name, "tags": tags or [], "repositoryOrigin": {"repositoryLocationName": "fleet"}, "stepStats": list(steps)}


class Told:
    """A webserver that answers from lists, a page at a time."""

    def __init__(self, pages: list[list[dict[str, Any]]]) -> None:
        self.pages = pages

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        if "assetNodes" in query:
            nodes = [("fleet/planes", ["python", "arrow", "deltalake"]), ("fleet/late", ["lightgbm", "python"])]
            return {"assetNodes": [{"assetKey": {"path": name.split("/")}, "kinds": kinds} for name, kinds in nodes]}
        return {"runsOrError": {"__typename": "Runs", "results": self.pages.pop(0)}}


def test_a_local_step_is_its_teams_its_assets_and_its_partitions() -> None:
    (record,) = usage_of_run(run("r", step("planes", NOON.timestamp(), 3600, ("fleet/planes", "2013-01-01")), tags=RANGE))

    bill = bill_of([record], (), Prices(flavors={"cpu": {"cpu": "0.04", "memory": "0.01"}}))

    assert bill.usd_micro == 50_000
    assert bill.by("team", "asset", "run", "flavor") == {("fleet", "fleet/planes", "r", LOCAL): 50_000}
    assert len(bill.by("partition")) == 4


def test_a_step_that_has_not_ended_and_one_outside_of_the_period_are_left_out() -> None:
    start, end = NOON, NOON.replace(hour=13)
    pages = [
        [
            run("a", step("planes", NOON.timestamp() + 60, 5, ("fleet/planes", None)), step("open", None)),
            run("b", step("planes", NOON.timestamp() - 60, 5)),
            run("c", step("late", NOON.timestamp() + 90, 5, ("fleet/late", None))),
        ]
    ]

    found = local_usage(Told(pages), start, end)  # type: ignore[arg-type]  # all that it is asked

    assert [(one.run_id, one.assets) for one in found] == [("a", ("fleet/planes",)), ("c", ("fleet/late",))]
    assert [one.models for one in found] == [(), ("fleet/late",)]
