"""`kueue_job_executor` on a real Kubernetes with Kueue: steps queue, are refused, fail, are preempted, and say so.

The stories run side by side, each in a namespace of its own: a test reads what its story has left in the event log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests import kueue_jobs
from tests.cluster_case import Cluster, TeamsSpace, teams_space
from tests.kueue_case import Ended, engine_metadata, failure_of, kinds, make_instance, messages, prepare_run, starts, work, workers
from tiffin.orchestration.kueue_story import steps_by_job

TEAMS = ("plain", "huge", "dies", "sigterm", "sigkill", "window", "impatient")
PROD, BACKFILL = {"dagster/sensor_name": "a sensor"}, {"dagster/backfill": "abc"}


@dataclass
class Stories:
    """Runs under way, by name."""

    cluster: Cluster
    space: TeamsSpace
    folder: Path
    pool: ProcessPoolExecutor
    instances: dict[str, dg.DagsterInstance]
    runs: dict[str, Future[Ended]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    handed_in: int = 0
    """Jobs of the run whose window holds one, while nothing is admitted."""

    def instance(self, team: str) -> dg.DagsterInstance:
        return self.instances[team]

    def start(
        self, team: str, job: Any, *, name: str | None = None, tags: dict[str, str] | None = None, gate: str = "", **config: Any
    ) -> None:
        """Begin a run; `gate` is the file that its op waits for."""
        ops: dict[str, Any] = {}
        if gate:
            op = next(iter(job.nodes)).name
            ops = {"ops": {op: {"config": {"folder": str(self.folder), "gate": gate}}}}
        execution = {"config": {**kueue_jobs.EXECUTION["config"], **config}}
        instance, called = self.instance(team), name or team
        run = prepare_run(job, instance, config={"execution": execution, **ops}, tags=tags)
        self.ids[called] = run.run_id
        self.runs[called] = self.pool.submit(work, job.name, str(self.folder / team), run.run_id)

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    def result(self, name: str) -> Ended:
        return self.runs[name].result(timeout=240)

    def jobs(self, team: str) -> list[dict[str, Any]]:
        return self.cluster.items("jobs", "-n", self.space.namespace[team])

    def block(self, team: str) -> None:
        """Take the team's whole quota with a Job of nobody's run."""
        self.cluster.create(self.space.job(team, "blocker", "sleep 300", queue="prod", priority="prod"))
        self.cluster.until("the quota is taken", lambda: any((job["status"].get("ready") or 0) for job in self.jobs(team)))

    def unblock(self, team: str) -> None:
        self.cluster.kubectl("delete", "job", "blocker", "-n", self.space.namespace[team], "--wait=false")

    def preempt(self, team: str, job: Any) -> None:
        """A backfill's step begins; a step of a sensor's run takes its quota, ends, and it comes back."""
        low, high = self.space.priority["backfill"], self.space.priority["prod"]
        self.start(team, job, tags=BACKFILL, gate=f"{team}.go", priority=low)
        run_id = self.ids[team]
        self.cluster.until("the victim works", lambda: starts(self.folder, run_id) == 1, namespaces=[self.space.namespace[team]])
        self.start(team, kueue_jobs.one_gated, name=f"{team} preemptor", tags=PROD, gate=f"{team} preemptor.go", priority=high)
        other = self.ids[f"{team} preemptor"]
        self.cluster.until("the preemptor works", lambda: starts(self.folder, other) == 1, namespaces=[self.space.namespace[team]])
        self.open(f"{team}.go")
        self.open(f"{team} preemptor.go")

    def wait_for_room(self, team: str) -> None:
        """Two steps and no quota: one is queued, the other is held back; then there is room."""
        self.block(team)
        self.start(team, kueue_jobs.two_at_once, admission_window=1)
        run_id, instance = self.ids[team], self.instance(team)
        wanted = ("held back", "queued in queue")
        self.cluster.until("both wait", lambda: all(any(one in words for words in messages(instance, run_id)) for one in wanted))
        self.handed_in = len(self.jobs(team)) - 1
        self.unblock(team)

    def lose_patience(self, team: str) -> None:
        """A step that does not want to wait for long, and no quota."""
        self.block(team)
        self.start(team, kueue_jobs.one_impatient)
        self.result(team)
        self.cluster.until("its Job is gone", lambda: len(self.jobs(team)) == 1)


@pytest.fixture(scope="module")
def stories(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stories]:
    """All runs, started together."""
    quotas = {team: {"cpu": 1} for team in TEAMS}
    alone = {team: {"cpu": 0} for team in TEAMS}
    with (
        workers(len(TEAMS) + 2) as pool,
        ThreadPoolExecutor(len(TEAMS)) as tellers_pool,
        teams_space(cluster, quotas, borrowing=alone) as space,
    ):
        folder = tmp_path_factory.mktemp("stories")
        instances = {team: make_instance(folder / team, cluster, space.namespace[team]) for team in TEAMS}
        told = Stories(cluster, space, folder, pool, instances)
        tellers: list[Callable[[], object]] = [
            lambda: told.start("plain", kueue_jobs.two_steps),
            lambda: told.start("huge", kueue_jobs.one_huge_step),
            lambda: told.start("dies", kueue_jobs.one_that_dies),
            lambda: told.preempt("sigterm", kueue_jobs.one_gated),
            lambda: told.preempt("sigkill", kueue_jobs.one_gated_without_grace),
            lambda: told.wait_for_room("window"),
            lambda: told.lose_patience("impatient"),
        ]
        done = [tellers_pool.submit(one) for one in tellers]
        for one in done:
            one.result()
        yield told
        for instance in told.instances.values():
            instance.dispose()


def test_steps_run_as_jobs_and_say_what_they_waited_and_where_they_ran(stories: Stories) -> None:
    result, instance = stories.result("plain"), stories.instance("plain")

    summaries = [one for one in engine_metadata(instance, result.run_id) if "kueue/evictions" in one and "kueue/state" not in one]
    assert result.success
    assert len(stories.jobs("plain")) == 2
    assert [one["kueue/flavor"] for one in summaries] == [stories.space.flavor] * 2
    assert all(one["kueue/evictions"] == 0 and one["kueue/wait_s"] >= 0 for one in summaries)


def test_what_could_never_be_admitted_is_refused_before_anything_is_created(stories: Stories) -> None:
    result, instance = stories.result("huge"), stories.instance("huge")

    words = failure_of(instance, result.run_id)
    assert not result.success
    assert stories.jobs("huge") == []
    for part in ("step 'huge'", "cpu", "500", stories.space.cluster_queue["huge"], "fix:"):
        assert part in words


def test_a_real_failure_ends_the_step_with_the_pods_last_lines(stories: Stories) -> None:
    result, instance = stories.result("dies"), stories.instance("dies")

    words = failure_of(instance, result.run_id)
    assert not result.success
    assert "its pod failed" in words
    assert "the last words of a pod" in words


@pytest.mark.parametrize("team", ["sigterm", "sigkill"])
def test_a_preempted_step_is_no_failure_uses_no_retry_and_finishes_in_the_same_job(stories: Stories, team: str) -> None:
    result, instance = stories.result(team), stories.instance(team)
    other = stories.result(f"{team} preemptor")

    seen = kinds(instance, result.run_id)
    assert result.success
    assert other.success
    assert starts(stories.folder, result.run_id) == 2
    assert not {"STEP_FAILURE", "STEP_UP_FOR_RETRY"} & set(seen)
    assert seen.count("STEP_SUCCESS") == 1
    assert len([job for job in stories.jobs(team) if job["metadata"]["labels"]["dagster/run-id"] == result.run_id]) == 1
    summary = next(one for one in reversed(engine_metadata(instance, result.run_id)) if "kueue/evictions" in one)
    assert summary["kueue/evictions"] == 1


@pytest.mark.parametrize("team", ["sigterm", "sigkill"])
def test_a_preempted_step_says_whose_run_took_its_place(stories: Stories, team: str) -> None:
    result, instance = stories.result(team), stories.instance(team)
    other = stories.result(f"{team} preemptor")

    told = engine_metadata(instance, result.run_id)
    assert other.run_id in [one.get("preempted by") for one in told]
    assert any(f"by run {other.run_id}" in words for words in messages(instance, result.run_id))
    # what a run worker of another team reads, which may not see the Workload
    uids = {one["metadata"]["uid"] for one in stories.jobs(team) if one["metadata"]["labels"]["dagster/run-id"] == other.run_id}
    named = {uid: run_id for uid, (run_id, _) in steps_by_job(instance, datetime.now(UTC)).items()}
    assert dict.fromkeys(uids, other.run_id).items() <= named.items()


def test_a_polite_preemption_is_told_by_the_pod_itself(stories: Stories) -> None:
    result, instance = stories.result("sigterm"), stories.instance("sigterm")

    assert any(words.startswith("Preempted: the pod was asked to go") for words in messages(instance, result.run_id))


def test_a_queued_step_says_where_and_why_and_is_no_failure(stories: Stories) -> None:
    result, instance = stories.result("window"), stories.instance("window")

    said = [words for words in messages(instance, result.run_id) if words.startswith("Kueue: queued in queue default")]
    assert result.success
    assert any("position 1" in words and f"waits for 1 more of cpu in flavor {stories.space.flavor}" in words for words in said), said


def test_the_admission_window_holds_back_what_would_only_wait(stories: Stories) -> None:
    result, instance = stories.result("window"), stories.instance("window")

    assert stories.handed_in == 1
    assert kinds(instance, result.run_id).count("STEP_SUCCESS") == 2


def test_a_step_that_waits_longer_than_it_wanted_fails_and_leaves_no_job(stories: Stories) -> None:
    result, instance = stories.result("impatient"), stories.instance("impatient")

    assert not result.success
    assert "longer than its max_queue of 2 s" in failure_of(instance, result.run_id)
    assert [job["metadata"]["name"] for job in stories.jobs("impatient")] == ["blocker"]
