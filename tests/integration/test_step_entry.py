"""The step's entry as a real process on a real instance: a preemption, a cancel, a kill, and what the next pod does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._grpc.types import ExecuteStepArgs

from tests import entry_jobs
from tests.kueue_case import PYTHONPATH, kinds, messages, starts
from tiffin.embedded.processes import wait_until

PATIENCE_S = 180.0


@dataclass
class Pods:
    """Starts the entry as a pod would, one after the other, for one step of one run."""

    instance: dg.DagsterInstance
    folder: Path
    run: dg.DagsterRun
    job: ReconstructableJob
    began: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *, uid: str = "pod") -> subprocess.Popen[bytes]:
        args = ExecuteStepArgs(
            job_origin=self.job.get_python_origin(),
            run_id=self.run.run_id,
            step_keys_to_execute=["waits"],
            instance_ref=self.instance.get_ref(),
            known_state=KnownExecutionState(),
        )
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": PYTHONPATH, "POD_UID": uid}
        environ |= {one["name"]: one["value"] for one in args.get_command_env()}
        command = [sys.executable, "-m", "tiffin.orchestration.step_entry"]
        self.began.append(subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT))
        return self.began[-1]

    def at_work(self, pod: subprocess.Popen[bytes], *, starting: int) -> None:
        """Until the step's own code has begun that often."""
        assert wait_until(lambda: starts(self.folder, self.run.run_id) >= starting or pod.poll() is not None, timeout_s=PATIENCE_S)
        assert pod.poll() is None, messages(self.instance, self.run.run_id)

    def worker(self) -> int:
        """Pid of the process that does the step's work."""
        return int((self.folder / f"{self.run.run_id}.starts").read_text().splitlines()[-1])

    def open(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.reconstructable(entry_jobs.one_that_waits)
        run = instance.create_run_for_job(
            job.get_definition(),
            run_config={"ops": {"waits": {"config": {"folder": str(tmp_path), "gate": "go"}}}},
            job_code_origin=job.get_python_origin(),
            status=dg.DagsterRunStatus.STARTED,
        )
        found = Pods(instance, tmp_path, run, job)
        yield found
        for pod in found.began:
            pod.kill()
            pod.wait()


def test_a_preempted_step_leaves_no_failure_and_the_next_pod_finishes_it(pods: Pods) -> None:
    first = pods.start(uid="first")
    pods.at_work(first, starting=1)
    inner = pods.worker()

    first.send_signal(signal.SIGTERM)
    code = first.wait(PATIENCE_S)
    second = pods.start(uid="second")
    pods.at_work(second, starting=2)
    pods.open()

    seen = kinds(pods.instance, pods.run.run_id, step="waits")
    assert (code, second.wait(PATIENCE_S)) == (143, 0)
    assert not alive(inner)
    assert any(words.startswith("Preempted: ") for words in messages(pods.instance, pods.run.run_id))
    assert "STEP_FAILURE" not in seen
    assert kinds(pods.instance, pods.run.run_id, step="waits").count("STEP_SUCCESS") == 1


def test_a_pod_that_is_killed_leaves_no_process_and_the_next_one_finishes_the_step(pods: Pods) -> None:
    first = pods.start(uid="first")
    pods.at_work(first, starting=1)
    inner = pods.worker()

    first.kill()
    first.wait(PATIENCE_S)
    gone = wait_until(lambda: not alive(inner), timeout_s=PATIENCE_S)
    second = pods.start(uid="second")
    pods.at_work(second, starting=2)
    pods.open()

    assert gone
    assert second.wait(PATIENCE_S) == 0
    assert not {"STEP_FAILURE", "STEP_UP_FOR_RETRY"} & set(kinds(pods.instance, pods.run.run_id, step="waits"))


def test_a_cancelled_step_fails_as_dagster_means_it(pods: Pods) -> None:
    pod = pods.start()
    pods.at_work(pod, starting=1)

    pods.instance.report_run_canceling(pods.run)
    pod.send_signal(signal.SIGTERM)

    assert pod.wait(PATIENCE_S) != 0
    assert "STEP_FAILURE" in kinds(pods.instance, pods.run.run_id, step="waits")
    assert not any(words.startswith("Preempted: ") for words in messages(pods.instance, pods.run.run_id))


def test_a_step_that_has_ended_is_not_run_again(pods: Pods) -> None:
    pods.open()
    assert pods.start(uid="first").wait(PATIENCE_S) == 0

    assert pods.start(uid="second").wait(PATIENCE_S) == 0

    assert starts(pods.folder, pods.run.run_id) == 1
    assert kinds(pods.instance, pods.run.run_id, step="waits").count("STEP_SUCCESS") == 1


def test_nothing_is_started_for_a_run_that_is_over(pods: Pods) -> None:
    pods.instance.report_run_canceled(pods.run)

    assert pods.start().wait(PATIENCE_S) == 0

    assert starts(pods.folder, pods.run.run_id) == 0
    assert DagsterEventType.STEP_START.value not in kinds(pods.instance, pods.run.run_id)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
