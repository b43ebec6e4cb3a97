"""Dagster on a cluster with Kueue: an instance whose launcher is ours, and runs whose steps are pods of this machine."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from tests import kueue_jobs
from tests.cluster_case import Cluster
from tiffin.orchestration import kueue_executor  # noqa: F401  # for the process that run workers are forked from

ROOT = Path(__file__).resolve().parents[1]
# what a pod's python imports from: this checkout, which under a mutant is a copy of it
PYTHONPATH = f"{ROOT / 'platform'}:{ROOT}"


def instance_config(home: Path, cluster: Cluster, namespace: str, **launcher: Any) -> dict[str, Any]:
    """`dagster.yaml` of an instance that launches into one namespace."""
    given = {
        "instance_config_map": "dagster-instance",
        "service_account_name": "default",
        "load_incluster_config": False,
        "kubeconfig_file": str(cluster.kubeconfig),
        "job_image": "none",
        "dagster_home": str(home),
        "job_namespace": namespace,
        "env_vars": [f"PYTHONPATH={PYTHONPATH}", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin", "HOME=/tmp"],
    }
    return {
        "telemetry": {"enabled": False},
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_launcher": {
            "module": "tiffin.orchestration.kueue_launcher",
            "class": "KueueRunLauncher",
            "config": {**given, **launcher},
        },
    }


def make_instance(home: Path, cluster: Cluster, namespace: str, **launcher: Any) -> dg.DagsterInstance:
    """An instance in a folder."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance_config(home, cluster, namespace, **launcher)))
    return dg.DagsterInstance.from_config(str(home))


PREPARING = threading.Lock()


def prepare_run(
    job: Any, instance: dg.DagsterInstance, *, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
) -> dg.DagsterRun:
    """A run whose files are there: Dagster makes them upon its first event, which is not for many threads at once."""
    found = dg.reconstructable(job)
    with PREPARING:
        python = found.get_python_origin()
        run = instance.create_run_for_job(
            found.get_definition(), run_config=dict(config or {}), tags=dict(tags or {}), job_code_origin=python
        )
        instance.report_engine_event("made for a test", run)
    return run


def run_job(
    job: Any, instance: dg.DagsterInstance, *, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
) -> Any:
    """Be the worker of a new run, in this process: for a test that has one run at a time."""
    return execute_run(dg.reconstructable(job), prepare_run(job, instance, config=config, tags=tags), instance, raise_on_error=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run after its end."""

    run_id: str
    success: bool


def work(job: str, home: str, run_id: str) -> Ended:
    """Be a run's worker, in a process that does nothing else; its steps are pods.

    Dagster configures logging anew for each run, under locks that another run of the same process may hold: two workers
    in one process stop each other for ever.

    Args:
        job: name in `tests.kueue_jobs`.
        home: folder of the instance.
    """
    with dg.DagsterInstance.from_config(home) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        made = dg.reconstructable(getattr(kueue_jobs, job))
        return Ended(run_id, execute_run(made, run, instance, raise_on_error=False).success)


def workers(count: int) -> ProcessPoolExecutor:
    """Processes for run workers, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kueue_case"])
    return ProcessPoolExecutor(count, mp_context=context)


def messages(instance: dg.DagsterInstance, run_id: str, *, step: str | None = None) -> list[str]:
    """What the event log says, in order."""
    return [
        str(entry.user_message or (entry.dagster_event.message if entry.dagster_event else ""))
        for entry in instance.all_logs(run_id)
        if step is None or entry.step_key == step
    ]


def kinds(instance: dg.DagsterInstance, run_id: str, *, step: str | None = None) -> list[str]:
    """The kinds of events, in order."""
    return [
        entry.dagster_event.event_type_value
        for entry in instance.all_logs(run_id)
        if entry.dagster_event is not None and (step is None or entry.step_key == step)
    ]


def starts(folder: Path, run_id: str) -> int:
    """How often `kueue_jobs.wait_at` has begun in a run."""
    file = folder / f"{run_id}.starts"
    return len(file.read_text().splitlines()) if file.exists() else 0


def engine_metadata(instance: dg.DagsterInstance, run_id: str) -> list[dict[str, Any]]:
    """Metadata of every engine event, as plain values."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event is not None]
    return [{name: value.value for name, value in event.engine_event_data.metadata.items()} for event in events if event.is_engine_event]


def failure_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the run's or its step's failure says, with all causes."""
    found = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or not (event.is_step_failure or event.is_run_failure):
            continue
        data: Any = event.event_specific_data
        error = getattr(data, "error", None)
        while error is not None:
            found.append(error.message)
            error = error.cause
    return "\n".join(found)


def make_run(instance: dg.DagsterInstance, job: Any, location: str, **over: Any) -> dg.DagsterRun:
    """A run as the webserver makes one: it knows its code location. `over`: tags, run_config."""
    found = dg.reconstructable(job)
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__").get_job_origin(job.name)
    tags = {**found.get_definition().run_tags, **over.pop("tags", {})}
    python = found.get_python_origin()
    return instance.create_run_for_job(found.get_definition(), job_code_origin=python, remote_job_origin=origin, tags=tags, **over)


def launch(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """Start a run through the instance's launcher, as the daemon does."""
    workspace: Any = None  # only asked by launchers that talk to code servers
    return instance.launch_run(run.run_id, workspace)


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """Now."""
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status
