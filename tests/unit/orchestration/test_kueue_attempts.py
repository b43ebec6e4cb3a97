"""What a pod does when it comes up for a step; a preemption is neither a failure nor a reason to hang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.events import DagsterEvent
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData
from dagster._core.execution.stats import build_run_step_stats_from_events
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.fence import take
from tiffin.orchestration.kueue_attempts import Asked, History, LastWords, Next, asked_for, history_of, what_next
from tiffin.orchestration.step_entry import keep_silent_when_overtaken
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import ObjectStore

START, FAILED, DONE, RETRY = (
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_UP_FOR_RETRY,
)


DATA = {FAILED: StepFailureData(error=None, user_failure_data=None), DONE: StepSuccessData(duration_ms=1.0)}


def make_event(kind: DagsterEventType, *, job: str = "j") -> DagsterEvent:
    return DagsterEvent(event_type_value=kind.value, job_name=job, step_key="s", event_specific_data=DATA.get(kind))


def history(*events: DagsterEventType, retries: int = 0, status: DagsterRunStatus = DagsterRunStatus.STARTED) -> History:
    """As Dagster's own statistics read it from an event log."""
    entries = [
        EventLogEntry(
            error_info=None,
            level=10,
            user_message="",
            run_id="r",
            timestamp=float(at),
            step_key="s",
            dagster_event=make_event(kind),
        )
        for at, kind in enumerate(events)
    ]
    stats = build_run_step_stats_from_events("r", entries)
    return history_of(stats[0] if stats else None, retries=retries, status=status)


@pytest.mark.parametrize(
    ("events", "retries", "attempt", "expected"),
    [
        pytest.param((), 0, 1, Next.FIRST, id="nothing was there before"),
        pytest.param((), 0, 2, Next.FIRST, id="an earlier pod was taken away before the step began"),
        pytest.param((START,), 0, 2, Next.AGAIN, id="preempted at work"),
        pytest.param((START, START), 0, 3, Next.AGAIN, id="preempted twice"),
        pytest.param((START,), 0, 1, Next.DOUBT, id="begun by this very attempt"),
        pytest.param((START,), 0, None, Next.AGAIN, id="no store that keeps a fence"),
        pytest.param((START, DONE), 0, 2, Next.DONE, id="taken away after its last word"),
        pytest.param((START, FAILED), 0, 2, Next.DONE, id="it has failed for good"),
        pytest.param((START, RETRY), 0, 2, Next.DONE, id="its retry is another Job's"),
        pytest.param((START, RETRY), 1, 1, Next.FIRST, id="the first pod of a retry"),
        pytest.param((START, RETRY, DagsterEventType.STEP_RESTARTED), 1, 2, Next.AGAIN, id="a retry was preempted"),
        pytest.param((), 1, 1, Next.DOUBT, id="a retry of what was never tried"),
    ],
)
def test_a_pod_knows_what_to_do_from_the_event_log(
    events: tuple[DagsterEventType, ...], retries: int, attempt: int | None, expected: Next
) -> None:
    assert what_next(history(*events, retries=retries), attempt) is expected


@given(ended=st.integers(0, 3), retries=st.integers(0, 3), started=st.booleans(), over=st.booleans(), attempt=st.none() | st.integers(1, 4))
def test_a_step_that_was_taken_away_is_never_left_and_one_that_has_ended_never_runs_again(
    ended: int, retries: int, started: bool, over: bool, attempt: int | None
) -> None:
    found = what_next(History(ended=ended, started=started, retries=retries, run_over=over), attempt)

    runs = found in (Next.FIRST, Next.AGAIN)
    assert not (runs and (over or ended > retries))
    if not over and ended == retries and started and attempt != 1:
        assert found is Next.AGAIN


@pytest.mark.parametrize("status", list(DagsterRunStatus))
def test_a_signal_is_a_cancel_only_when_the_run_was_cancelled_or_is_over(status: DagsterRunStatus) -> None:
    goes_on = status in (
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.MANAGED,
        DagsterRunStatus.SUSPENDED,
    )

    assert asked_for(status) is (Asked.PREEMPTED if goes_on else Asked.CANCEL)
    assert asked_for(None) is Asked.PREEMPTED


@pytest.mark.parametrize(
    ("events", "believed"),
    [
        pytest.param([START, DONE], [True, True], id="one attempt"),
        pytest.param([START, START, DONE, DONE], [True, True, True, False], id="both attempts succeed"),
        pytest.param([START, START, DONE, FAILED], [True, True, True, False], id="the older one fails afterwards"),
        pytest.param([START, RETRY, START, DONE], [True, True, True, True], id="a retry has a word of its own"),
        pytest.param([START, RETRY, DONE, DONE], [True, True, True, False], id="of a retry too only one"),
    ],
)
def test_of_two_ends_of_one_try_the_first_is_believed(events: list[DagsterEventType], believed: list[bool]) -> None:
    words = LastWords()

    assert [words.first("s", kind) for kind in events] == believed


@pytest.fixture
def store(tmp_path: Any) -> ObjectStore:
    return FolderStore(tmp_path / "bucket")


def last_word(run: dg.DagsterRun, kind: DagsterEventType) -> EventLogEntry:
    event, when = make_event(kind, job=run.job_name), {"level": 10, "timestamp": 1.0, "error_info": None, "user_message": ""}
    return EventLogEntry(run_id=run.run_id, step_key="s", job_name=run.job_name, dagster_event=event, **when)


@pytest.mark.parametrize(
    ("newer", "told", "left"),
    [
        pytest.param(False, [DagsterEventType.STEP_FAILURE], [], id="the newest speaks"),
        pytest.param(True, [DagsterEventType.ENGINE_EVENT], [0], id="an older one is silent"),
    ],
)
def test_an_attempt_that_was_overtaken_writes_no_failure(
    store: ObjectStore, newer: bool, told: list[DagsterEventType], left: list[int]
) -> None:
    codes: list[int] = []
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(make_job())
        mine = take(store, run.run_id, "s", holder="older")
        if newer:
            take(store, run.run_id, "s", holder="newer")
        leave: Callable[[int], Any] = codes.append
        keep_silent_when_overtaken(instance, run, "s", mine, leave=leave)

        instance.handle_new_event(last_word(run, DagsterEventType.STEP_FAILURE))

        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event is not None]
        assert [event.event_type for event in events] == told
        assert codes == left


def make_job() -> dg.JobDefinition:
    @dg.op
    def s() -> None: ...

    @dg.job
    def j() -> None:
        s()

    return j
