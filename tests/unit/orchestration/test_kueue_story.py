"""Who took a step's quota, also where the cluster does not let one see the other team's Workload."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, EngineEventData

from tiffin.compute.messages import Preemptor
from tiffin.core.errors import Denied
from tiffin.orchestration.kueue_story import JOB_UID, Story

NOW = datetime.now(UTC)


class Cluster:
    """Lists the Workloads of the namespaces that it may show, and counts how often it was asked."""

    def __init__(self, shown: dict[str, list[dict[str, Any]]]) -> None:
        self.shown, self.asked = shown, 0

    def list(self, api: str, kind: str, namespace: str | None, *, selector: str) -> list[dict[str, Any]]:
        self.asked += 1
        if namespace not in self.shown:
            raise Denied(f"may not list {kind}", fix="ask for the right")
        return [one for one in self.shown[namespace] if selector.endswith(f"={one['uid']}")]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def make_run(instance: dg.DagsterInstance, *jobs: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> str:
    """A run whose step has told of these Jobs, in this order."""
    run = instance.create_run_for_job(dg.GraphDefinition(name="j", node_defs=[]).to_job(), status=status)
    for uid in jobs:
        event = DagsterEvent("ENGINE_EVENT", run.job_name, step_key=f"of-{uid}", event_specific_data=EngineEventData({JOB_UID: uid}))
        instance.report_dagster_event(event, run.run_id)
    return run.run_id


def run_of(story: Story, instance: dg.DagsterInstance, uid: str, *, now: datetime = NOW) -> tuple[str, str] | None:
    return story.run_of(Preemptor("w", uid, "reclamation within the cohort", "eta"), "team-network", instance, now)


def workload(uid: str, run: str) -> dict[str, Any]:
    return {"uid": uid, "metadata": {"labels": {"dagster/run-id": run, "dagster/op": "made"}}}


def test_the_clusters_word_counts_where_it_may_be_seen(instance: dg.DagsterInstance) -> None:
    story = Story(Cluster({"team-network": [workload("job-1", "run-1")]}))  # type: ignore[arg-type]  # our own in its place

    assert run_of(story, instance, "job-1") == ("run-1", "made")


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS])
def test_another_teams_run_is_found_in_dagsters_own_log(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    make_run(instance, "job-1", "job-2")
    theirs = make_run(instance, "job-3", "job-4", status=status)
    story = Story(Cluster({"team-network": []}))  # type: ignore[arg-type]  # as above

    assert run_of(story, instance, "job-3") == (theirs, "of-job-3")
    assert run_of(story, instance, "job-4") == (theirs, "of-job-4")


def test_what_is_no_step_of_ours_has_no_run(instance: dg.DagsterInstance) -> None:
    make_run(instance, "job-1")
    cluster = Cluster({})
    story = Story(cluster)  # type: ignore[arg-type]  # as above

    assert run_of(story, instance, "somebody's") is None
    assert cluster.asked == 2
    assert run_of(story, instance, "") is None
    assert cluster.asked == 2


def test_who_speaks_later_is_found_at_the_next_look(instance: dg.DagsterInstance) -> None:
    story = Story(Cluster({}))  # type: ignore[arg-type]  # as above
    assert run_of(story, instance, "job-1") is None
    theirs = make_run(instance, "job-1")

    assert run_of(story, instance, "job-1", now=NOW + timedelta(seconds=1)) is None
    assert run_of(story, instance, "job-1", now=NOW + timedelta(seconds=4)) == (theirs, "of-job-1")
