"""What the command line reads of Dagster's runs, whatever happens between two questions."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.orchestration.backfill_client import ACTIVE, Dagster, PartitionedAsset, RunTold
from tiffin.orchestration.backfill_ranges import RANGE_END, RANGE_START, RETRY, RETRY_ROOT

DAYS = tuple(f"2013-01-{day:02d}" for day in range(1, 11))
LOAD = PartitionedAsset("demo/load", "demo", "__repository__", "v2", DAYS, frozenset())


def make_run(run_id: str, status: str, *, asset: str = "demo/load", **tags: str) -> RunTold:
    return RunTold(run_id, status, {RANGE_START: DAYS[0], RANGE_END: DAYS[4], **tags}, (asset,))


class Told(Dagster):
    """Its runs are another picture at every question; the last one stays."""

    def __init__(self, *pictures: list[RunTold]) -> None:
        self.pictures = list(pictures)

    def runs(self, **filters: Any) -> list[RunTold]:
        picture = self.pictures.pop(0) if len(self.pictures) > 1 else self.pictures[0]
        return [run for run in picture if run.status in filters["statuses"]]


ROOT, FAILED = make_run("root", "STARTED"), make_run("root", "FAILURE")
SETTLED, CHILD = make_run("root", "FAILURE", **{RETRY: "in halves"}), make_run("child", "QUEUED", **{RETRY_ROOT: "root"})


@pytest.mark.parametrize(
    ("pictures", "unfinished"),
    [
        pytest.param([[ROOT]], {"root"}, id="at work"),
        pytest.param([[FAILED]], {"root"}, id="failed, and nobody has looked at it"),
        pytest.param([[SETTLED]], set(), id="settled, its retries have ended"),
        pytest.param([[SETTLED, CHILD]], {"child"}, id="its retry is at work"),
        pytest.param([[ROOT], [FAILED], [SETTLED, CHILD]], {"root", "child"}, id="it fails while we ask"),
        pytest.param([[ROOT], [SETTLED, CHILD], [SETTLED]], {"root"}, id="it fails and its retry ends while we ask"),
        pytest.param([[FAILED], [SETTLED, CHILD], [SETTLED, CHILD]], {"child"}, id="it is settled while we ask"),
        pytest.param([[make_run("other", "STARTED", asset="demo/else")]], set(), id="another asset's"),
    ],
)
def test_no_unfinished_run_is_missed_between_two_questions(pictures: list[list[RunTold]], unfinished: set[str]) -> None:
    assert {run.run_id for run in Told(*pictures).unfinished_runs(LOAD)} == unfinished


def test_a_failed_run_is_unsettled_until_the_sensor_has_looked_at_it() -> None:
    assert [run.settled for run in (ROOT, FAILED, SETTLED)] == [False, False, True]
    assert all(make_run("r", status).active for status in ACTIVE)
