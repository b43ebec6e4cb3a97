"""Jobs are ended whose run is over, and nothing else: not what waits, not what is finished, not what is just coming up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.cluster import JobRef
from tiffin.orchestration.janitor import JobSeen, Life, Part, Patience, RunSeen, sweep
from tiffin.orchestration.janitor_round import job_seen

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PATIENCE = Patience(over=timedelta(seconds=60), unknown=timedelta(seconds=600), cancel=timedelta(seconds=60), start=timedelta(seconds=300))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def make_job(
    run: str = "r", part: Part = Part.STEP_WORKER, *, created: float = 1000, admitted: float | None = None, finished: bool = False
) -> JobSeen:
    ref = JobRef("space", f"{part.value}-{run}", f"uid-{part.value}-{run}")
    return JobSeen(ref, run, part, ago(created), finished=finished, admitted=None if admitted is None else ago(admitted))


def make_run(life: Life, since: float, run: str = "r") -> RunSeen:
    return RunSeen(run, life, ago(since))


@pytest.mark.parametrize(
    ("runs", "job", "deleted"),
    [
        pytest.param([make_run(Life.OVER, 61)], make_job(), True, id="its run is over"),
        pytest.param([make_run(Life.OVER, 59)], make_job(), False, id="its run has just ended"),
        pytest.param([make_run(Life.OVER, 9999)], make_job(finished=True), False, id="a finished one waits for its time to live"),
        pytest.param([make_run(Life.GOES_ON, 9999)], make_job(), False, id="its run goes on"),
        pytest.param([], make_job(created=601), True, id="nobody knows its run"),
        pytest.param([], make_job(created=599), False, id="its run may be coming"),
        pytest.param([make_run(Life.STARTING, 9999)], make_job(part=Part.RUN_WORKER), False, id="a queued run worker waits"),
        pytest.param([make_run(Life.STARTING, 9999)], make_job(part=Part.RUN_WORKER, admitted=299), False, id="it may still start"),
        pytest.param([make_run(Life.STARTING, 9999)], make_job(part=Part.RUN_WORKER, admitted=300), True, id="it did not start"),
        pytest.param([make_run(Life.STARTING, 9999)], make_job(admitted=9999), False, id="a step is not a run worker"),
    ],
)
def test_a_job_is_deleted_when_its_run_is_over(runs: list[RunSeen], job: JobSeen, deleted: bool) -> None:
    found = sweep(runs, [job], NOW, PATIENCE)

    assert [ref for ref, _ in found.delete] == ([job.ref] if deleted else [])


def test_a_run_worker_queued_for_ten_minutes_is_no_failure() -> None:
    found = sweep([make_run(Life.STARTING, 600)], [make_job(part=Part.RUN_WORKER, created=600)], NOW, PATIENCE)

    assert (found.fail, found.delete) == ({}, ())


def test_a_run_worker_that_was_admitted_and_never_started_fails_its_run() -> None:
    found = sweep([make_run(Life.STARTING, 900)], [make_job(part=Part.RUN_WORKER, admitted=301)], NOW, PATIENCE)

    assert found.fail == {"r": "its run worker did not start within 301 s of its admission"}


@pytest.mark.parametrize(("since", "failed"), [(299, []), (300, ["r"])])
def test_a_run_whose_launcher_died_before_it_made_the_job_fails(since: float, failed: list[str]) -> None:
    assert list(sweep([make_run(Life.STARTING, since)], [], NOW, PATIENCE).fail) == failed


@pytest.mark.parametrize(
    ("jobs", "since", "cancelled"),
    [
        pytest.param([], 60, True, id="nobody is there"),
        pytest.param([], 59, False, id="its worker may be saying so"),
        pytest.param([make_job(part=Part.RUN_WORKER)], 9999, False, id="its worker is still ending"),
        pytest.param([make_job()], 9999, True, id="a step's Job is no worker"),
    ],
)
def test_a_run_that_nobody_can_cancel_any_more_is_called_cancelled(jobs: list[JobSeen], since: float, cancelled: bool) -> None:
    assert list(sweep([make_run(Life.CANCELING, since)], jobs, NOW, PATIENCE).cancel) == (["r"] if cancelled else [])


@given(
    lives=st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from(list(Life)), st.floats(0, 2000))),
    jobs=st.lists(
        st.tuples(st.sampled_from("abcdx"), st.sampled_from(list(Part)), st.floats(0, 2000), st.none() | st.floats(0, 2000), st.booleans()),
        unique_by=lambda one: one[:2],
    ),
)
def test_whatever_is_seen_no_job_of_a_run_that_goes_on_is_touched(
    lives: dict[str, tuple[Life, float]], jobs: list[tuple[str, Part, float, float | None, bool]]
) -> None:
    runs = [make_run(life, since, run) for run, (life, since) in lives.items()]
    seen = [make_job(run, part, created=created, admitted=admitted, finished=done) for run, part, created, admitted, done in jobs]

    found = sweep(runs, seen, NOW, PATIENCE)

    by_ref = {job.ref: job for job in seen}
    for ref, _ in found.delete:
        job = by_ref[ref]
        assert not job.finished
        assert lives.get(job.run, (Life.OVER, 0.0))[0] is not Life.GOES_ON
    again = sweep(runs, [job for job in seen if job.ref not in {ref for ref, _ in found.delete}], NOW, PATIENCE)
    assert again.delete == ()


def job_json(**over: object) -> dict[str, object]:
    labels = {"dagster/run-id": "r", "app.kubernetes.io/component": "run_worker"}
    metadata = {"namespace": "space", "name": "job", "uid": "u", "creationTimestamp": "2026-11-27T11:00:00Z", "labels": labels}
    return {"metadata": metadata, "spec": {}, "status": {}, **over}


def test_a_jobs_start_counts_from_its_admission_and_an_eviction_takes_it_back() -> None:
    queued = job_seen(job_json(spec={"suspend": True}))
    admitted = job_seen(job_json(spec={"suspend": False}, status={"startTime": "2026-11-27T11:30:00Z"}))
    evicted = job_seen(job_json(spec={"suspend": True}, status={"startTime": "2026-11-27T11:30:00Z"}))

    assert queued is not None
    assert admitted is not None
    assert evicted is not None
    assert (queued.admitted, admitted.admitted, evicted.admitted) == (None, datetime(2026, 11, 27, 11, 30, tzinfo=UTC), None)


def test_a_job_of_somebody_else_is_not_seen() -> None:
    foreign = job_json()
    foreign["metadata"] = {"namespace": "space", "name": "job", "uid": "u", "creationTimestamp": "2026-11-27T11:00:00Z", "labels": {}}

    assert job_seen(foreign) is None
