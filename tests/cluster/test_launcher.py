"""`KueueRunLauncher` on a real Kubernetes with Kueue: who waits is no failure, who is cancelled is cancelled, nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sensors.janitor import clean_up, janitor_sensor
from tests import kueue_jobs
from tests.cluster_case import Cluster, TeamsSpace, teams_space
from tests.kueue_case import kinds, launch, make_instance, make_run, messages, starts, status_of
from tiffin.core.errors import Denied, Invalid
from tiffin.orchestration.janitor import Patience
from tiffin.orchestration.kueue_launcher import KueueRunLauncher

TEAMS = ("whole", "queued", "late", "cancelled", "orphan")
LOCATIONS = {team: f"{team}s_code" for team in TEAMS}


class Place:
    """Teams with a namespace each, and one instance that launches into them."""

    def __init__(self, cluster: Cluster, space: TeamsSpace, folder: Path) -> None:
        self.cluster, self.space, self.folder = cluster, space, folder
        namespaces = {LOCATIONS[team]: space.namespace[team] for team in TEAMS}
        queued = {"run_worker_queue": "prod", "run_worker_priority": space.priority["prod"]}
        requests = {"run_k8s_config": {"container_config": {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}}}
        self.instance = make_instance(folder / "home", cluster, space.namespace["whole"], namespaces=namespaces, **queued, **requests)

    @property
    def launcher(self) -> KueueRunLauncher:
        found = self.instance.run_launcher
        assert isinstance(found, KueueRunLauncher)
        return found

    def start(self, team: str, job: Any, *, gate: str = "", tags: dict[str, str] | None = None) -> dg.DagsterRun:
        ops = {"ops": {"gated": {"config": {"folder": str(self.folder), "gate": gate}}}} if gate else {}
        run = make_run(self.instance, job, LOCATIONS[team], run_config={"execution": kueue_jobs.EXECUTION, **ops}, tags=tags or {})
        return launch(self.instance, run)

    def jobs(self, team: str) -> list[dict[str, Any]]:
        return self.cluster.items("jobs", "-n", self.space.namespace[team])

    def until(self, what: str, team: str, run: dg.DagsterRun, *statuses: dg.DagsterRunStatus) -> None:
        self.cluster.until(what, lambda: status_of(self.instance, run) in statuses, namespaces=[self.space.namespace[team]])

    def block(self, team: str) -> None:
        """Take the team's whole quota."""
        job = self.space.job(team, "blocker", "sleep 600", queue="prod", priority="prod", requests={"cpu": "2", "memory": "64Mi"})
        self.cluster.create(job)
        self.cluster.until("the quota is taken", lambda: any((one["status"].get("ready") or 0) for one in self.jobs(team)))


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    quotas, alone = {team: {"cpu": 2} for team in TEAMS}, {team: {"cpu": 0} for team in TEAMS}
    with teams_space(cluster, quotas, borrowing=alone) as space:
        found = Place(cluster, space, tmp_path_factory.mktemp("launcher"))
        yield found
        found.instance.dispose()


@pytest.fixture(scope="module")
def whole(place: Place) -> dg.DagsterRun:
    """A run from launch to end, worker and step as pods."""
    run = place.start("whole", kueue_jobs.one_step)
    place.until("the run has ended", "whole", run, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
    return run


def test_a_run_and_its_steps_go_to_its_teams_namespace_and_queue(place: Place, whole: dg.DagsterRun) -> None:
    jobs = {job["metadata"]["labels"]["app.kubernetes.io/component"]: job for job in place.jobs("whole")}
    worker, step = jobs["run_worker"], jobs["step_worker"]
    labels = {part: job["metadata"]["labels"] for part, job in jobs.items()}

    assert status_of(place.instance, whole) is dg.DagsterRunStatus.SUCCESS, messages(place.instance, whole.run_id)
    assert labels["run_worker"]["kueue.x-k8s.io/queue-name"] == "prod"
    assert labels["run_worker"]["kueue.x-k8s.io/priority-class"] == place.space.priority["prod"]
    assert labels["step_worker"]["kueue.x-k8s.io/queue-name"] == "default"
    for part in labels.values():
        assert (part["dagster/run-id"], part["tiffin.dev/team"]) == (whole.run_id, LOCATIONS["whole"])
        assert part["dagster/code-location"] == LOCATIONS["whole"]
    for job in (worker, step):
        template = job["spec"]["template"]
        assert template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert not any(name.startswith("kueue.x-k8s.io/queue") for name in template["metadata"]["labels"])


def test_a_queued_run_worker_says_where_it_waits_and_is_not_failed(place: Place) -> None:
    place.block("queued")
    run = place.start("queued", kueue_jobs.one_step)
    place.cluster.until("it is queued", lambda: len(place.jobs("queued")) == 2)
    place.cluster.until("Kueue has looked", lambda: "more of cpu" in str(place.launcher.check_run_worker_health(run).msg))

    # the janitor's clock is ten minutes ahead: the worker waits, and nothing is counted
    swept = clean_up(place.instance, patience=Patience(start=timedelta(seconds=0)))

    health = place.launcher.check_run_worker_health(run)
    assert (health.status.value, status_of(place.instance, run)) == ("RUNNING", dg.DagsterRunStatus.STARTING)
    assert str(health.msg).startswith("queued in queue prod")
    debug = str(place.launcher.get_run_worker_debug_info(run))
    assert "suspended" in debug
    assert "Kueue: queued in queue prod" in debug
    assert run.run_id not in swept.fail

    # nobody is alive to end it: the launcher does
    assert place.launcher.terminate(run.run_id)
    assert status_of(place.instance, run) is dg.DagsterRunStatus.CANCELED
    place.cluster.until("its Job is gone", lambda: len(place.jobs("queued")) == 1)


def test_an_admitted_run_worker_that_never_starts_fails_its_run_and_leaves_no_job(place: Place) -> None:
    nowhere = '{"pod_spec_config": {"node_selector": {"no-node": "has-this"}}}'
    run = place.start("late", kueue_jobs.one_step, tags={"dagster-k8s/config": nowhere})
    place.cluster.until("it is admitted", lambda: bool(place.jobs("late")) and not place.jobs("late")[0]["spec"].get("suspend"))

    swept = clean_up(place.instance, patience=Patience(start=timedelta(seconds=0)))

    assert "did not start within" in swept.fail[run.run_id]
    assert status_of(place.instance, run) is dg.DagsterRunStatus.FAILURE
    place.cluster.until("its Job is gone", lambda: not place.jobs("late"))


def test_a_running_run_is_cancelled_with_its_steps(place: Place) -> None:
    run = place.start("cancelled", kueue_jobs.one_gated, gate="never")
    place.cluster.until("its step works", lambda: starts(place.folder, run.run_id) == 1, namespaces=[place.space.namespace["cancelled"]])

    assert place.launcher.terminate(run.run_id)

    place.until("the run is cancelled", "cancelled", run, dg.DagsterRunStatus.CANCELED)
    place.cluster.until("no Job is left", lambda: not place.jobs("cancelled"))
    assert "STEP_UP_FOR_RETRY" not in kinds(place.instance, run.run_id)
    assert not any(words.startswith("Preempted: ") for words in messages(place.instance, run.run_id))


def test_a_job_whose_run_is_over_is_no_orphan_for_long(place: Place) -> None:
    place.block("orphan")
    run = place.start("orphan", kueue_jobs.one_step)
    place.cluster.until("it is queued", lambda: len(place.jobs("orphan")) == 2)
    # what a launcher leaves that dies before it knows that it has created the Job
    place.instance.report_run_failed(run, "the launcher died")

    early = clean_up(place.instance, patience=Patience(over=timedelta(hours=1)))
    assert not [ref for ref, _ in early.delete if ref.namespace == place.space.namespace["orphan"]]
    sensor = janitor_sensor(patience=Patience(over=timedelta(seconds=0)))
    told = sensor(dg.build_sensor_context(instance=place.instance))

    assert isinstance(told, dg.SkipReason)
    place.cluster.until("only the stranger's Job is left", lambda: [job["metadata"]["name"] for job in place.jobs("orphan")] == ["blocker"])


def test_a_tag_that_names_another_teams_namespace_is_refused(place: Place) -> None:
    other = place.space.namespace["late"]
    tags = {"dagster-k8s/config": f'{{"job_metadata": {{"namespace": "{other}"}}}}'}
    run = make_run(place.instance, kueue_jobs.one_step, LOCATIONS["whole"], tags=tags)

    with pytest.raises(Denied, match=f"a tag of the run names namespace '{other}'"):
        launch(place.instance, run)

    assert status_of(place.instance, run) is dg.DagsterRunStatus.FAILURE


def test_an_instance_whose_monitor_would_fail_whoever_waits_is_refused(place: Place, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = make_instance(home, place.cluster, "anywhere", run_worker_queue="prod")
    made.dispose()
    (home / "dagster.yaml").write_text(
        (home / "dagster.yaml").read_text() + "run_monitoring: {enabled: true, start_timeout_seconds: 180}\n"
    )

    with dg.DagsterInstance.from_config(str(home)) as instance, pytest.raises(Invalid, match="start_timeout_seconds is 180"):
        _ = instance.run_launcher
