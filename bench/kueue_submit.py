"""Steps of a backfill handed in by the real executor to a real API server, beside a bare loop that creates the same Jobs.

The pods do nothing at all (`true`), so nobody in them can tell the event log how a step ended: `Voice` does that from here, through
a connection of its own. What the executor and the launcher send is counted by the API server itself: they have an account of
their own, and a FlowSchema that matches this account alone.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes.client
import yaml
from dagster._core.events import DagsterEvent, StepSuccessData
from dagster._core.execution.api import execute_run
from kubernetes.config import new_client_from_config

from sensors.janitor import clean_up
from tests.cluster_case import Cluster, TeamsSpace
from tests.kueue_case import PYTHONPATH, ROOT, make_instance
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.spec import Compute
from tiffin.core.settings import inherited_environment
from tiffin.embedded.processes import wait_until
from tiffin.orchestration.janitor import Patience
from tiffin.orchestration.kueue_executor import kueue_job_executor
from tiffin.orchestration.kueue_tags import compute_tags

ACCOUNT = "bench-executor"
FLOW = re.compile(r'apiserver_flowcontrol_dispatched_requests_total\{[^}]*flow_schema="(?P<schema>[^"]+)"[^}]*\} (?P<count>[0-9.e+]+)')
STEPS = 100
PATIENCE_S = 1200.0
SMALL = Compute(cpu="1m", memory="1Mi", grace="1s")
HUGE = Compute(cpu="100000", memory="1Mi")


@dg.op(tags=compute_tags(SMALL), out={})
def nothing(): ...  # no annotation: Dagster takes one for an output


@dg.job(executor_def=kueue_job_executor)
def many() -> None:
    for number in range(STEPS):
        nothing.alias(f"step_{number:03}")()


@dg.op(tags=compute_tags(HUGE), out={})
def impossible(): ...


@dg.job(executor_def=kueue_job_executor)
def too_large() -> None:
    impossible()


@contextmanager
def own_account(cluster: Cluster, folder: Path) -> Iterator[tuple[Path, str]]:
    """A kubeconfig for an account that nobody else uses, and the name under which its requests are counted."""
    kind, group = "rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": "default"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": "default"}},
        {
            "apiVersion": group,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": kind, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [subject],
        },
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": ACCOUNT},
            # the level that waits for nobody: what is measured is the executor and not a queue of the API server
            "spec": {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "exempt"}, "rules": [rule]},
        },
    )
    given = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", "default", "--duration", "8h").strip()
    given["users"] = [{"name": one["name"], "user": {"token": token}} for one in given["users"]]
    path = folder / "bench.kubeconfig"
    path.write_text(json.dumps(given))
    path.chmod(0o600)
    time.sleep(3.0)  # the API server takes a new FlowSchema a moment later
    yield path, ACCOUNT


def requests_counted(cluster: Cluster, schema: str) -> int:
    """How many requests of an account the API server has let through until now, watches included."""
    found = FLOW.finditer(cluster.kubectl("get", "--raw", "/metrics"))
    return sum(int(float(one["count"])) for one in found if one["schema"] == schema)


@dataclass
class Submitted:
    """When the executor's creations began and ended, seconds of the monotonic clock, and what they sent."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return max(self.ended) - min(self.began)


@contextmanager
def watched_submissions() -> Iterator[Submitted]:
    """Note every creation that goes through the door, in this process."""
    found, real, lock = Submitted(), KubernetesCluster.submit, threading.Lock()

    def submit(self: KubernetesCluster, job: Mapping[str, Any]) -> Mapping[str, Any]:
        began = time.monotonic()
        stored = real(self, job)
        with lock:
            found.began.append(began)
            found.ended.append(time.monotonic())
            found.bodies.append(dict(job))
        return stored

    KubernetesCluster.submit = submit  # type: ignore[method-assign]
    try:
        yield found
    finally:
        KubernetesCluster.submit = real  # type: ignore[method-assign]


class Voice(threading.Thread):
    """Says in the event log what the pods cannot: that their steps have ended well."""

    def __init__(self, cluster: Cluster, namespace: str, instance: dg.DagsterInstance) -> None:
        super().__init__(daemon=True)
        client = new_client_from_config(str(cluster.kubeconfig))
        self.batch, self.namespace, self.instance = kubernetes.client.BatchV1Api(client), namespace, instance
        self.over = threading.Event()
        self.said: set[str] = set()

    def run(self) -> None:
        while not self.over.wait(0.5):
            for job in self.batch.list_namespaced_job(self.namespace, label_selector="dagster/run-id").items:
                if job.status.succeeded and job.metadata.name not in self.said:
                    self.said.add(job.metadata.name)
                    self.say(job.metadata.labels["dagster/run-id"], job.metadata.labels["dagster/op"])

    def say(self, run_id: str, step: str) -> None:
        event = DagsterEvent(
            event_type_value="STEP_SUCCESS",
            job_name=many.name,
            step_key=step,
            event_specific_data=StepSuccessData(duration_ms=0.0),
            message=f"{step} did nothing",
        )
        self.instance.report_dagster_event(event, run_id)

    def close(self) -> None:
        self.over.set()
        self.join(30)


def run_config(space: TeamsSpace, *, window: int) -> dict[str, Any]:
    """Of the executor: pods that do nothing, and no window, which would measure Kueue's admission."""
    noop = {"container_config": {"command": ["true"]}}
    return {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "execution": {
            "config": {
                "job_image": "none",
                "service_account_name": "default",
                "priority": space.priority["backfill"],
                "admission_window": window,
                "step_k8s_config": noop,
                "pod_security": "none",
            }
        },
    }


def bare_loop(kubeconfig: Path, namespace: str, bodies: list[dict[str, Any]], tag: str) -> float:
    """Create the same Jobs, one after the other, as the simplest program would; seconds."""
    batch = kubernetes.client.BatchV1Api(new_client_from_config(str(kubeconfig)))
    jobs = [renamed(body, f"bare-{tag}-{number}") for number, body in enumerate(bodies)]
    batch.list_namespaced_job(namespace, limit=1)  # the connection is there before the clock runs
    began = time.monotonic()
    for job in jobs:
        batch.create_namespaced_job(namespace, job)
    return time.monotonic() - began


def renamed(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The same Job under another name, and of no run."""
    job = copy.deepcopy(body)
    labels = {key: value for key, value in job["metadata"]["labels"].items() if key != "dagster/run-id"}
    job["metadata"] = {**job["metadata"], "name": name, "labels": labels}
    job["spec"]["template"]["metadata"].get("labels", {}).pop("dagster/run-id", None)
    return job


@dataclass
class Rounds:
    """What the rounds have measured."""

    steps: int = 0
    requests: int = 0
    ours_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    run_s: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians of rounds; what happens to the machine meanwhile falls on both."""
        ours, bare = sum(self.ours_s), sum(self.bare_s)
        return {
            "requests_per_step": self.requests / self.steps,
            "steps_per_s": self.steps / ours,
            "bare_per_s": self.steps / bare,
            "submit_over_bare": bare / ours,
        }


def measure_submission(cluster: Cluster, space: TeamsSpace, folder: Path, *, steps: int) -> tuple[Rounds, dg.DagsterInstance]:
    """Runs of one backfill, `STEPS` steps each, and before each of them a bare loop that creates as many Jobs."""
    namespace, rounds = space.namespace["a"], Rounds()
    with own_account(cluster, folder) as (kubeconfig, schema):
        instance = make_instance(folder / "home", cluster, namespace, kubeconfig_file=str(kubeconfig))
        voice = Voice(cluster, namespace, instance)
        voice.start()
        found = dg.reconstructable(many)
        previous: list[dict[str, Any]] = []
        try:
            # the first run counts for nothing: it warms the server up, and its Jobs are what the bare loop creates
            for number in range(-1, max(1, round(steps / STEPS))):
                bare_s = bare_loop(kubeconfig, namespace, previous, str(number)) if previous else 0.0
                settle(cluster, namespace)
                before = requests_counted(cluster, schema)
                began = time.monotonic()
                with watched_submissions() as submitted:
                    tags = {"dagster/backfill": "bench"}
                    done = dg.execute_job(found, instance, run_config=run_config(space, window=STEPS), tags=tags)
                assert done.success, "a run of steps that do nothing has failed"
                run_s = time.monotonic() - began
                previous = submitted.bodies
                if number >= 0:
                    rounds.steps += len(previous)
                    rounds.requests += requests_counted(cluster, schema) - before
                    rounds.ours_s.append(submitted.seconds)
                    rounds.bare_s.append(bare_s)
                    rounds.run_s.append(run_s)
                settle(cluster, namespace)
                cluster.kubectl("delete", "jobs", "--all", "-n", namespace, "--wait=false", "--cascade=background")
                settle(cluster, namespace)
        finally:
            voice.close()
    return rounds, instance


def settle(cluster: Cluster, namespace: str) -> None:
    """Wait until no Job is under way, so that no round pays for another one's."""

    def calm() -> bool:
        return all(job["status"].get("succeeded") or job["status"].get("failed") for job in cluster.items("jobs", "-n", namespace))

    if not wait_until(calm, timeout_s=PATIENCE_S, every_s=0.5):
        raise SystemExit(f"the Jobs of a round do not end:\n{cluster.kubectl('get', 'jobs,workloads', '-n', namespace)}")


def measure_refusal(space: TeamsSpace, instance: dg.DagsterInstance) -> tuple[float, str]:
    """Seconds from handing the run to its worker until it has failed, and what it says."""
    began = time.monotonic()
    done = dg.execute_job(dg.reconstructable(too_large), instance, run_config=run_config(space, window=STEPS))
    seconds = time.monotonic() - began
    assert not done.success
    events = [entry.dagster_event for entry in instance.all_logs(done.run_id) if entry.dagster_event is not None]
    failed = next(event for event in events if event.is_run_failure)
    error: Any = getattr(failed.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return seconds, str(failed.message if error is None else error.message)


def abandon(cluster: Cluster, space: TeamsSpace, instance: dg.DagsterInstance, folder: Path, *, jobs: int = 20) -> int:
    """A run worker that is killed while its steps are queued, and a janitor that comes by; returns how many Jobs it found."""
    namespace = space.namespace["a"]
    hold = {"spec": {"stopPolicy": "Hold"}}
    cluster.kubectl("patch", "localqueue", "backfill", "-n", namespace, "--type=merge", "-p", json.dumps(hold))
    config = run_config(space, window=STEPS)
    (folder / "abandoned.json").write_text(json.dumps(config))
    environ = {**inherited_environment(), "DAGSTER_HOME": str(folder / "home"), "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-m", "bench.kueue_submit", str(folder / "abandoned.json")]
    worker = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    run_id = worker.stdout.readline().strip()

    def queued() -> list[dict[str, Any]]:
        return cluster.items("jobs", "-n", namespace, "-l", f"dagster/run-id={run_id}")

    try:
        cluster.until("steps of the run are queued", lambda: len(queued()) >= jobs)
    finally:
        worker.kill()
        worker.wait()
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run, "its worker was killed")
    swept = clean_up(instance, patience=Patience(over=timedelta(0)))
    cluster.until("the janitor's deletions are done", lambda: not [one for one in queued() if not one["metadata"].get("deletionTimestamp")])
    return len(swept.delete)


def orphaned(cluster: Cluster, namespaces: list[str], instance: dg.DagsterInstance) -> list[str]:
    """Jobs that go on although their run is over."""
    found = []
    for namespace in namespaces:
        for job in cluster.items("jobs", "-n", namespace, "-l", "dagster/run-id"):
            conditions = job["status"].get("conditions") or ()
            run = instance.get_run_by_id(job["metadata"]["labels"]["dagster/run-id"])
            ended = any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
            if not ended and (run is None or run.is_finished):
                found.append(job["metadata"]["name"])
    return found


def main(path: str) -> None:
    """A run worker in a process of its own, to be killed."""
    with dg.DagsterInstance.get() as instance:
        job = dg.reconstructable(many)
        made = instance.create_run_for_job(
            job.get_definition(),
            run_config=json.loads(Path(path).read_text()),
            tags={"dagster/backfill": "bench"},
            job_code_origin=job.get_python_origin(),
        )
        print(made.run_id, flush=True)
        execute_run(job, made, instance)


if __name__ == "__main__":
    main(sys.argv[1])
