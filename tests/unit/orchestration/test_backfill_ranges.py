"""How a failed range is cut: everything that can be made is made, what cannot is found, and it ends."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.orchestration.backfill_ranges import MAX_RUNS, FailedRange, Retry, contiguous, judge, named_ranges, read_ranges

DAYS = tuple(f"2030-01-{day:02d}" for day in range(1, 32))
REFUSED = {"error": "Invalid", "retryable": False}


def cut(failed: FailedRange) -> list[int]:
    return [len(retry.partitions) for retry in judge(failed, DAYS).retries]


def test_a_crash_is_cut_in_halves() -> None:
    verdict = judge(FailedRange(DAYS[:9]), DAYS)

    assert verdict.retries == (Retry(DAYS[:4]), Retry(DAYS[4:9]))
    assert verdict.gave_up == ()


def test_a_named_partition_is_left_out_and_its_neighbours_run_again() -> None:
    verdict = judge(FailedRange(DAYS[:9], named=frozenset({DAYS[3]}), **REFUSED), DAYS)

    assert verdict.retries == (Retry(DAYS[:3]), Retry(DAYS[4:9]))
    assert verdict.gave_up == (DAYS[3],)


def test_a_named_partition_that_might_succeed_runs_again_alone() -> None:
    assert cut(FailedRange(DAYS[:9], named=frozenset({DAYS[3]}), error="NotReady", retryable=True)) == [3, 5, 1]


def test_what_was_made_before_the_failure_does_not_run_again() -> None:
    assert judge(FailedRange(DAYS[:9], made=frozenset(DAYS[:5])), DAYS).retries == (Retry(DAYS[5:9]),)


def test_a_refusal_that_names_no_partition_is_not_repeated() -> None:
    verdict = judge(FailedRange(DAYS[:9], **REFUSED), DAYS)

    assert (verdict.retries, verdict.gave_up) == ((), DAYS[:9])
    assert "refused" in verdict.reason


def test_a_lost_race_is_left_to_a_person() -> None:
    verdict = judge(FailedRange(DAYS[:9], error="Conflict", retryable=True), DAYS)

    assert (verdict.retries, verdict.gave_up) == ((), DAYS[:9])


@pytest.mark.parametrize(
    ("tries", "retries"), [pytest.param(1, (Retry(DAYS[:1], 2),), id="once more"), pytest.param(2, (), id="twice is enough")]
)
def test_a_partition_alone_is_tried_twice(tries: int, retries: tuple[Retry, ...]) -> None:
    assert judge(FailedRange(DAYS[:1], tries=tries), DAYS).retries == retries


def test_something_that_is_not_ready_is_tried_again_whole() -> None:
    assert judge(FailedRange(DAYS[:9], error="NotReady", retryable=True), DAYS).retries == (Retry(DAYS[:9], 2),)


def test_a_range_of_which_too_many_runs_failed_is_given_up() -> None:
    assert judge(FailedRange(DAYS, runs=MAX_RUNS), DAYS).gave_up == DAYS


def test_everything_made_needs_nothing() -> None:
    assert judge(FailedRange(DAYS[:2], made=frozenset(DAYS[:2])), DAYS).retries == ()


@given(
    bad=st.sets(st.sampled_from(DAYS), max_size=3),
    names=st.booleans(),
    size=st.integers(1, len(DAYS)),
)
def test_whatever_is_bad_the_rest_is_made_once_and_the_bad_is_named(bad: set[str], names: bool, size: int) -> None:
    asked = DAYS[:size]
    made: list[str] = []
    gave_up: list[str] = []
    waiting, started = deque([Retry(asked)]), 1
    while waiting:
        run = waiting.popleft()
        blamed = next((key for key in run.partitions if key in bad), None)
        if blamed is None:
            made += run.partitions
            continue
        told = {"named": frozenset({blamed}), **REFUSED} if names else {}
        verdict = judge(FailedRange(run.partitions, tries=run.tries, runs=started, **told), DAYS)
        gave_up += verdict.gave_up
        waiting += verdict.retries
        started += len(verdict.retries)

    assert sorted(made) == [key for key in asked if key not in bad]
    assert sorted(gave_up) == [key for key in asked if key in bad]
    assert started <= MAX_RUNS


@given(keys=st.sets(st.sampled_from(DAYS)))
def test_ranges_in_words_read_back(keys: set[str]) -> None:
    assert read_ranges(named_ranges(keys, DAYS), DAYS) == sorted(keys)
    assert [key for group in contiguous(keys, DAYS) for key in group] == sorted(keys)


def test_a_partition_that_is_gone_from_the_asset_is_left_out() -> None:
    assert read_ranges("2029-12-31, 2030-01-02", DAYS) == ["2030-01-02"]
