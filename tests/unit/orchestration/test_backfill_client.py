"""What the command line reads of Dagster's runs, whatever happens between two questions."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.core.errors import NotFound, NotReady
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


class Loading(Dagster):
    """Its code locations come after some questions, or never."""

    def __init__(self, answers: int, *, loading_s: float) -> None:
        super().__init__("http://127.0.0.1:1", loading_s=loading_s)
        self.answers = answers

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        if "assetNodes" in query:
            self.answers -= 1
            return {"assetNodes": [] if self.answers >= 0 else [{"assetKey": {"path": ["demo", "loaf"]}, "isPartitioned": True}]}
        return {"assetNodeOrError": {"__typename": "AssetNotFoundError"}}


def test_a_webserver_that_is_still_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.orchestration.backfill_client.LOADING_EVERY_S", 0.0)

    with pytest.raises(NotFound, match="no asset 'demo/load'") as found:
        Loading(3, loading_s=60).asset("demo/load")
    assert "demo/loaf" in str(found.value.fix)
    with pytest.raises(NotReady, match="no code location"):
        Loading(10**9, loading_s=0.01).asset("demo/load")


def test_a_failed_run_is_unsettled_until_the_sensor_has_looked_at_it() -> None:
    assert [run.settled for run in (ROOT, FAILED, SETTLED)] == [False, False, True]
    assert all(make_run("r", status).active for status in ACTIVE)
