"""Parts of the house are killed while runs are under way: all runs finish, each step has committed once, and no Job is left behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sensors.janitor import clean_up
from tests.cluster_case import Cluster, own_cluster, teams_space
from tests.kueue_stage import Ended, Stage, fault_points, fault_seed
from tiffin.embedded.seaweed import Seaweed

# ten points take a minute or two on a quiet machine, and many times that on a busy one
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its parts are killed, so nobody else may use it."""
    with own_cluster(tmp_path_factory.mktemp("faults") / "cluster") as found:
        yield found


@pytest.fixture
def make_stage(own: Cluster, seaweed: Seaweed, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as stack:

        def make(steps: int, **options: object) -> Stage:
            space = stack.enter_context(teams_space(own, {"a": {"cpu": 48}}))
            stage = Stage(space, "a", seaweed, tmp_path, steps, **options)  # type: ignore[arg-type]
            stack.callback(stage.close)
            return stage

        yield make


def check_all(stage: Stage, run_ids: list[str]) -> None:
    for run_id in run_ids:
        Ended.of(stage, run_id).check(stage.steps)
    stage.check_no_orphans()
    with stage.instance() as instance:
        swept = clean_up(instance)
    assert (swept.delete, dict(swept.cancel), dict(swept.fail)) == ((), {}, {})


def test_restarts_of_the_api_server_and_of_kueue_fail_no_run(make_stage: Callable[..., Stage], own: Cluster) -> None:
    stage, random_ = make_stage(2, pace="0.5"), random.Random(fault_seed())
    runs = []

    for _ in range(fault_points()):
        runs.append(stage.start_run())
        # somewhere between the creation of its Jobs and the end of its steps; the runs before it go on beside it
        waits = random_.uniform(0, 6), random_.uniform(0, 3)
        first, second = random_.sample(["kube-apiserver", "kueue"], 2)
        print(f"{first} after {waits[0]:.1f} s, {second} {waits[1]:.1f} s later")
        time.sleep(waits[0])
        own.kill(first)
        time.sleep(waits[1])
        own.kill(second)
        own.start()
    for _, worker in runs:
        stage.until_ended(worker)

    check_all(stage, [run_id for run_id, _ in runs])


def test_restarts_of_the_daemon_fail_no_run(make_stage: Callable[..., Stage], own: Cluster) -> None:
    stage, random_ = make_stage(1, pace="1.0"), random.Random(fault_seed())
    daemon = stage.start_daemon()
    runs = stage.submit_runs(fault_points())
    assert len(runs) == fault_points()

    for _ in runs:
        wait = random_.uniform(0, 8)
        print(f"daemon after {wait:.1f} s")
        time.sleep(wait)
        stage.kill(daemon)
        daemon = stage.start_daemon()
    stage.until_over(runs)

    check_all(stage, runs)
