"""Dagster runs whose steps are Jobs of a real cluster with Kueue, stopped and preempted where a test wants it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from tests.cluster_case import Cluster, TeamsSpace
from tests.fenced_assets import CPU, FOLDER, GRACE, LOCATION, PACE, POINTS, PRIORITY, STEPS, SUBMITTED, TEAM, pointer_of, table_of
from tiffin.embedded.dagster_server import daemon_command
from tiffin.embedded.processes import wait_until
from tiffin.embedded.seaweed import Seaweed
from tiffin.orchestration.kueue_instance import run_monitoring
from tiffin.registry.pointers import current
from tiffin.storage.delta import DeltaStore
from tiffin.storage.s3 import S3Store

ROOT = Path(__file__).parents[1]
# longer than anything takes on a busy machine; nothing asserts a time
PATIENCE_S = 240.0
WORKSPACE = {
    "load_from": [
        {
            "python_module": {
                "module_name": "tests.fenced_assets",
                "attribute": "defs",
                "location_name": LOCATION,
                "working_directory": str(ROOT),
            }
        }
    ]
}


def fault_seed() -> int:
    """`FAULT_SEED`, or a new one; printed, so that a failure can be had again."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULT_SEED={seed}")
    return seed


def fault_points() -> int:
    """At how many random points each fault strikes."""
    return int(os.environ.get("FAULT_POINTS") or 10)


@dataclass
class Stage:
    """One team's namespace, a Dagster instance, a bucket, and a folder through which steps are stopped.

    Args:
        steps: how many steps each run has, side by side.
        cpu: of each step.
        grace: between a pod's polite signal and its end.
        pace: seconds that a slice of a step's work takes.
    """

    space: TeamsSpace
    team: str
    seaweed: Seaweed
    folder: Path
    steps: int
    cpu: str = "1"
    grace: str = "5s"
    pace: str = "0.01"
    launcher: Mapping[str, Any] = field(default_factory=dict)
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("reached", "released", "told", "home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.plan({})
        home = self.folder / "home"
        config = {
            "service_account_name": "default",
            "instance_config_map": "dagster-instance",
            "dagster_home": str(home),
            "job_image": "none",
            "job_namespace": self.namespace,
            "load_incluster_config": False,
            "kubeconfig_file": str(self.cluster.kubeconfig),
            "env_vars": [f"{name}={value}" for name, value in self.variables.items()],
            **self.launcher,
        }
        instance = {
            "telemetry": {"enabled": False},
            "event_log_storage": {
                "module": "tiffin.orchestration.event_storage",
                "class": "BatchedSqliteEventLogStorage",
                "config": {"base_dir": str(home / "history" / "runs")},
            },
            "run_launcher": {"module": "tiffin.orchestration.kueue_launcher", "class": "KueueRunLauncher", "config": config},
            "run_coordinator": {
                "module": "dagster._core.run_coordinator",
                "class": "QueuedRunCoordinator",
                "config": {"dequeue_interval_seconds": 1, "max_concurrent_runs": 100},
            },
            "run_monitoring": run_monitoring(poll_s=2),
            "code_servers": {"local_startup_timeout": 240},
        }
        (home / "dagster.yaml").write_text(json.dumps(instance))  # JSON is YAML
        (home / "workspace.yaml").write_text(json.dumps(WORKSPACE))
        with self.instance() as made:
            made.get_runs_count()  # SQLite's tables are made here, and not by several processes at once
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "dagster-instance", "namespace": self.namespace},
                "data": {"dagster.yaml": (home / "dagster.yaml").read_text()},
            }
        )

    @property
    def cluster(self) -> Cluster:
        return self.space.cluster

    @property
    def namespace(self) -> str:
        return self.space.namespace[self.team]

    @property
    def variables(self) -> dict[str, str]:
        """What every process of a run needs; each is this machine's."""
        keys = self.seaweed.keys.dev
        return {
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
            FOLDER: str(self.folder),
            STEPS: str(self.steps),
            CPU: self.cpu,
            PRIORITY: self.space.priority["backfill"],
            GRACE: self.grace,
            PACE: self.pace,
            "TIFFIN_S3_ENDPOINT": self.seaweed.endpoint,
            "TIFFIN_DEV_ACCESS_KEY": keys.access_key,
            "TIFFIN_DEV_SECRET_KEY": keys.secret_key,
        }

    @property
    def bucket(self) -> S3Store:
        return S3Store("dev", self.seaweed.endpoint, self.seaweed.keys.dev.access_key, self.seaweed.keys.dev.secret_key)

    @property
    def tables(self) -> DeltaStore:
        return DeltaStore.for_bucket(self.seaweed.endpoint, "dev", self.seaweed.keys.dev.access_key, self.seaweed.keys.dev.secret_key)

    @property
    def names(self) -> list[str]:
        return [f"step_{number:02}" for number in range(self.steps)]

    # -- the steps -----------------------------------------------------------------
    def plan(self, stops: Mapping[str, list[str | None]]) -> None:
        """Where each step's attempts stop: by step, one point per attempt."""
        (self.folder / "plan.json").write_text(json.dumps(stops))

    def until_reached(self, attempts: Mapping[str, int], worker: subprocess.Popen[str]) -> None:
        """Wait until these attempts have come to their points."""
        wanted = {f"{step}-{attempt}" for step, attempt in attempts.items()}
        done = wait_until(lambda: wanted <= self.marks("reached") or worker.poll() is not None, timeout_s=PATIENCE_S, every_s=0.1)
        missing = wanted - self.marks("reached")
        assert done, f"never came to their points: {sorted(missing)}\n{self.seen()}"
        assert not missing, f"the run ended before its steps stopped: {sorted(missing)}\n{self.words(worker)}\n{self.seen()}"

    def marks(self, kind: str) -> set[str]:
        return {path.name for path in (self.folder / kind).iterdir() if not path.name.startswith(".")}

    def process_of(self, step: str, attempt: int) -> dict[str, Any]:
        """Pids of a stopped attempt: `outer` is the pod's own process."""
        return dict(json.loads((self.folder / "reached" / f"{step}-{attempt}").read_text()))

    def release(self, step: str, attempt: int) -> None:
        (self.folder / "released" / f"{step}-{attempt}").touch()

    def told(self, step: str, attempt: int) -> dict[str, Any] | None:
        path = self.folder / "told" / f"{step}-{attempt}"
        return dict(json.loads(path.read_text())) if path.exists() else None

    # -- the run -------------------------------------------------------------------
    def start_run(self) -> tuple[str, subprocess.Popen[str]]:
        """A run whose worker is a process of ours; its steps are Jobs."""
        worker = self.spawn(sys.executable, "-m", "tests.fenced_assets")
        assert worker.stdout is not None
        run_id = worker.stdout.readline().strip()
        assert run_id, self.words(worker)
        return run_id, worker

    def submit_runs(self, count: int) -> list[str]:
        """Runs for the daemon, which starts their workers as Jobs."""
        asked = self.spawn(sys.executable, "-m", "tests.fenced_assets", "submit", str(count))
        assert asked.stdout is not None
        said = asked.stdout.read().splitlines()
        assert asked.wait() == 0, self.words(asked)
        return [line.removeprefix(SUBMITTED) for line in said if line.startswith(SUBMITTED)]

    def start_daemon(self) -> subprocess.Popen[str]:
        """Dagster's daemon, with a process group of its own."""
        return self.spawn(*map(str, daemon_command(self.folder / "home" / "workspace.yaml")))

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.folder), **self.variables}
        environ["DAGSTER_HOME"] = str(self.folder / "home")
        with (self.folder / f"worker-{len(self.workers)}.log").open("w") as log:
            made = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        self.workers.append(made)
        return made

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL, with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def status(self, run_id: str) -> str:
        with self.instance() as instance:
            run = instance.get_run_by_id(run_id)
            return "" if run is None else run.status.value

    def until_over(self, run_ids: list[str]) -> None:
        """Wait until these runs have ended, however."""
        over = {"SUCCESS", "FAILURE", "CANCELED"}
        poll(lambda: all(self.status(one) in over for one in run_ids), "the runs end", told=self.seen, times=3)

    def words(self, worker: subprocess.Popen[str]) -> str:
        return (self.folder / f"worker-{self.workers.index(worker)}.log").read_text()[-6000:]

    def until_ended(self, worker: subprocess.Popen[str]) -> None:
        assert wait_until(lambda: worker.poll() is not None, timeout_s=PATIENCE_S, every_s=0.1), f"the run does not end\n{self.seen()}"

    def seen(self) -> str:
        """What the cluster says now, for a failure's message."""
        with suppress(AssertionError):
            return self.cluster.kubectl("get", "workloads,jobs,pods", "-n", self.namespace, "-o", "wide")
        return "(the cluster does not answer)"

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.folder / "home")) as instance:
            yield instance

    # -- the cluster ---------------------------------------------------------------
    def preempt_all(self, name: str) -> None:
        """A Job of high priority that wants the whole quota: every step of lower priority has to go; then it ends."""
        everything = {"cpu": str(self.steps), "memory": "64Mi"}
        self.cluster.create(self.space.job(self.team, name, "true", priority="prod", requests=everything))

        def done() -> bool:
            return bool(self.cluster.json("get", "job", name, "-n", self.namespace)["status"].get("succeeded"))

        self.cluster.until(f"{name} has run in the place of the steps", done, namespaces=[self.namespace])

    def check_no_orphans(self) -> None:
        """All runs have ended: so has, after a moment, every Job of theirs."""
        poll(lambda: not self.unfinished(), "no Job is left behind", told=self.seen)

    def unfinished(self) -> list[str]:
        """Jobs of runs that are not over."""
        jobs = self.cluster.items("jobs", "-n", self.namespace, "-l", "dagster/run-id")
        return [one["metadata"]["name"] for one in jobs if not over(one)]

    def close(self) -> None:
        for worker in self.workers:
            self.kill(worker)
        for mark in self.marks("reached"):
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(json.loads((self.folder / "reached" / mark).read_text())["outer"], signal.SIGCONT)


def over(job: Mapping[str, Any]) -> bool:
    """Whether a Job has ended."""
    conditions = job.get("status", {}).get("conditions") or ()
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


@dataclass(frozen=True)
class Ended:
    """What a run has left behind, read back by plain means."""

    status: str
    events: Counter[str]
    attempts: dict[str, int]
    resumed: dict[str, int]
    commits: dict[str, int]
    editions: dict[str, int]
    failures: list[str]

    @classmethod
    def of(cls, stage: Stage, run_id: str) -> Ended:
        with stage.instance() as instance:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            logged = instance.all_logs(run_id)
        events = [entry.dagster_event for entry in logged if entry.dagster_event is not None]
        made = [event.step_materialization_data.materialization for event in events if event.is_step_materialization]
        by_step = {"/".join(one.asset_key.path): one for one in made}
        return cls(
            status=run.status.value,
            events=Counter(event.event_type_value for event in events),
            attempts={name: int(str(one.metadata["attempt"].value)) for name, one in by_step.items()},
            resumed={name: int(str(one.metadata["resumed_from"].value)) for name, one in by_step.items()},
            commits={name: commits(stage, run_id, name) for name in stage.names},
            editions={name: editions(stage, run_id, name) for name in stage.names},
            failures=[told(event) for event in events if event.event_type_value in ("STEP_FAILURE", "RUN_FAILURE")],
        )

    def check(self, steps: int) -> None:
        """One success, one materialisation, one commit and one edition for each step; no retry used."""
        assert self.status == "SUCCESS", self.failures
        found = {name: self.events[name] for name in ("STEP_SUCCESS", "ASSET_MATERIALIZATION", "STEP_FAILURE", "STEP_UP_FOR_RETRY")}
        assert found == {"STEP_SUCCESS": steps, "ASSET_MATERIALIZATION": steps, "STEP_FAILURE": 0, "STEP_UP_FOR_RETRY": 0}
        assert set(self.commits.values()) == {1}, self.commits
        assert set(self.editions.values()) == {1}, self.editions


def told(event: dg.DagsterEvent) -> str:
    """A failure with its causes."""
    found, error = [str(event.message)], getattr(event.event_specific_data, "error", None)
    while error is not None:
        found.append(str(error.message))
        error = error.cause
    return "\n".join(found)[:3000]


def commits(stage: Stage, run_id: str, step: str) -> int:
    """Versions of the step's table in which rows were written."""
    table = stage.tables.open(table_of(run_id, step))
    return 0 if table is None else sum("tiffin.attempt" in entry for entry in table.history())


def editions(stage: Stage, run_id: str, step: str) -> int:
    """Editions that the step's pointer has ever named, as it remembers them."""
    pointer = current(stage.bucket, "model", TEAM, pointer_of(run_id, step))
    return 0 if pointer is None else 1 + len(pointer.previous)


def random_points(random_: random.Random, names: list[str], points: tuple[str, ...] = POINTS) -> dict[str, str]:
    """One point for each step; printed."""
    found = {name: random_.choice(points) for name in names}
    print(f"stopped at {' '.join(found.values())}")
    return found


def poll(done: Callable[[], bool], what: str, *, told: Callable[[], str] = str, times: int = 1) -> None:
    """Wait until something is so; `told` says what is seen if it does not become so."""
    assert wait_until(done, timeout_s=PATIENCE_S * times, every_s=0.2), f"waited for: {what}\n{told()}"
