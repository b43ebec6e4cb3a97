"""A step that is preempted goes on in the same Job and commits once; of two attempts that overlap the older one is refused."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster_case import TeamsSpace
from tests.fenced_assets import POINTS, PUBLISHING, SLICES, WORKING
from tests.kueue_stage import Ended, Stage, fault_points, fault_seed, poll, random_points
from tiffin.embedded.seaweed import Seaweed

SpaceMaker = Callable[..., TeamsSpace]
# ten points take a minute or two on a quiet machine, and many times that on a busy one
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture
def make_stage(teams_space: SpaceMaker, seaweed: Seaweed, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as stack:

        def make(steps: int, **options: object) -> Stage:
            stage = Stage(teams_space({"a": {"cpu": steps}}), "a", seaweed, tmp_path, steps, **options)  # type: ignore[arg-type]
            stack.callback(stage.close)
            return stage

        yield make


def resumed_where_it_stopped(ended: Ended, stopped: dict[str, str]) -> None:
    """No slice that a checkpoint held was done twice."""
    for step, point in stopped.items():
        done = POINTS.index(point) if point in WORKING else SLICES
        assert ended.resumed[step] == done, (step, point)


@pytest.mark.parametrize("points", [WORKING, PUBLISHING], ids=["at work", "while publishing"])
def test_a_step_preempted_by_sigterm_goes_on_and_commits_once(make_stage: Callable[..., Stage], points: tuple[str, ...]) -> None:
    stage, random_ = make_stage(fault_points()), random.Random(fault_seed())
    stopped = random_points(random_, stage.names, points)
    stage.plan({step: [point] for step, point in stopped.items()})
    run_id, worker = stage.start_run()
    stage.until_reached(dict.fromkeys(stage.names, 1), worker)

    stage.preempt_all("urgent")
    stage.until_ended(worker)

    ended = Ended.of(stage, run_id)
    ended.check(stage.steps)
    resumed_where_it_stopped(ended, stopped)
    assert set(ended.attempts.values()) == {2}
    stage.check_no_orphans()


def test_a_step_preempted_by_sigkill_goes_on_and_commits_once(make_stage: Callable[..., Stage]) -> None:
    stage, random_ = make_stage(fault_points(), grace="1s"), random.Random(fault_seed())
    stopped = random_points(random_, stage.names)
    stage.plan({step: [point] for step, point in stopped.items()})
    run_id, worker = stage.start_run()
    stage.until_reached(dict.fromkeys(stage.names, 1), worker)
    for step in stage.names:
        # who is stopped hears no polite signal: it ends by SIGKILL when its grace is over
        os.kill(stage.process_of(step, 1)["outer"], signal.SIGSTOP)

    stage.preempt_all("urgent")
    stage.until_ended(worker)

    ended = Ended.of(stage, run_id)
    ended.check(stage.steps)
    resumed_where_it_stopped(ended, stopped)
    stage.check_no_orphans()


def test_a_step_preempted_twice_goes_on_and_commits_once(make_stage: Callable[..., Stage]) -> None:
    stage, random_ = make_stage(fault_points()), random.Random(fault_seed())
    first, second = random_points(random_, stage.names, WORKING), random_points(random_, stage.names, PUBLISHING)
    stage.plan({step: [first[step], second[step]] for step in stage.names})
    run_id, worker = stage.start_run()

    for attempt in (1, 2):
        stage.until_reached(dict.fromkeys(stage.names, attempt), worker)
        stage.preempt_all(f"urgent-{attempt}")
    stage.until_ended(worker)

    ended = Ended.of(stage, run_id)
    ended.check(stage.steps)
    assert set(ended.attempts.values()) == {3}
    stage.check_no_orphans()


def test_of_two_attempts_that_overlap_the_older_one_is_refused_whatever_the_order(make_stage: Callable[..., Stage]) -> None:
    # a grace longer than the test: the pods' places are given away, their processes live on
    stage, random_ = make_stage(fault_points(), grace="300s"), random.Random(fault_seed())
    older = random_points(random_, stage.names, (*WORKING, "files"))
    waits = {step: random_.choice(["begun", "files", None]) for step in stage.names}
    stage.plan({step: [older[step], waits[step]] for step in stage.names})
    run_id, worker = stage.start_run()
    stage.until_reached(dict.fromkeys(stage.names, 1), worker)
    for step in stage.names:
        os.kill(stage.process_of(step, 1)["outer"], signal.SIGSTOP)

    stage.preempt_all("urgent")
    # the newer attempts are there: some have committed, some wait before it
    stage.until_reached({step: 2 for step, point in waits.items() if point is not None}, worker)
    for step in stage.names:
        stage.release(step, 1)
    poll(lambda: {f"{step}-1" for step in stage.names} <= stage.marks("told"), "the older attempts are told")
    for step in stage.names:
        stage.release(step, 2)
        os.kill(stage.process_of(step, 1)["outer"], signal.SIGCONT)
    stage.until_ended(worker)

    Ended.of(stage, run_id).check(stage.steps)
    for step in stage.names:
        told = stage.told(step, 1)
        assert told is not None
        assert (told["fence"], told["attempt"]) == (f"{run_id}/{step}", 2)
        assert stage.told(step, 2) is None
    stage.check_no_orphans()
