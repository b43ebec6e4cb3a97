"""Expected starts: from past run times, through the queues run forward."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, random_world, running
from tiffin.compute.admission_cycle import Rules
from tiffin.compute.forecast import History, forecast, history_of, kind_of, quantile, remaining
from tiffin.compute.world import Condition, Workload

INSTANT = Rules(retry_s=0.0)


def of_asset(workload: Workload, asset: str) -> Workload:
    return replace(workload, labels={**workload.labels, "tiffin.dev/asset": asset})


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20), st.floats(0, 1))
def test_a_quantile_lies_where_counting_puts_it(values: list[float], share: float) -> None:
    """At most that share of the values lies below it, at most the rest above it, give or take one."""
    ordered = sorted(values)
    found = quantile(ordered, share)

    assert sum(value < found for value in ordered) <= share * (len(ordered) - 1) + 1
    assert sum(value > found for value in ordered) <= (1 - share) * (len(ordered) - 1) + 1
    assert ordered[0] <= found <= ordered[-1]


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=20), st.floats(0, 1500), st.floats(0, 1))
def test_what_is_left_is_what_the_longer_runs_had_left(values: list[float], elapsed: float, share: float) -> None:
    ordered = sorted(values)
    longer = [value - elapsed for value in ordered if value > elapsed]
    left = remaining(ordered, elapsed, share)

    assert left > 0 or longer
    if longer:
        assert min(longer) - 1e-6 <= left <= max(longer) + 1e-6
    else:
        assert left == max(1.0, elapsed / 10)


def test_a_line_of_known_run_times_is_told_exactly() -> None:
    workloads = [of_asset(make_workload(f"w{place}", "q", 1, age_s=9 - place), "eta") for place in range(3)]
    busy = of_asset(running(make_workload("busy", "q", 1), ran_s=4.0), "eta")

    found = forecast(make_world(make_queue("q", 1), busy, *workloads), History({"eta": [10.0]}), now=NOW, rules=INSTANT).starts

    assert {uid: one.start_s for uid, one in found.items()} == {"w0": 6.0, "w1": 16.0, "w2": 26.0}
    assert all(one.known for one in found.values())


def test_uncertain_run_times_give_an_early_and_a_late_start() -> None:
    workloads = [of_asset(make_workload(f"w{place}", "q", 1, age_s=9 - place), "eta") for place in range(4)]
    history = History({"eta": [float(seconds) for seconds in range(5, 16)]})

    found = forecast(make_world(make_queue("q", 1), *workloads), history, now=NOW, rules=INSTANT).starts

    assert found["w0"].start_s == 0.0
    for uid in ("w1", "w2", "w3"):
        one = found[uid]
        assert one.early_s is not None
        assert one.late_s is not None
        assert one.start_s is not None
        assert one.early_s < one.start_s < one.late_s
    assert found["w3"].start_s == pytest.approx(30, abs=6)


def test_what_cannot_start_as_things_are_has_no_start() -> None:
    world = make_world(make_queue("q", 1, cohort=None), make_workload("big", "q", 2), make_workload("small", "q", 1))

    found = forecast(world, History(), now=NOW).starts

    assert found["big"].start_s is None
    assert found["small"].start_s == 0.0


def test_an_asset_that_never_ran_is_judged_by_the_others() -> None:
    first, second = of_asset(make_workload("first", "q", 1, age_s=9), "new"), of_asset(make_workload("second", "q", 1), "new")

    found = forecast(make_world(make_queue("q", 1), first, second), History({"other": [40.0]}), now=NOW, rules=INSTANT).starts

    assert (found["second"].start_s, found["second"].known) == (40.0, False)


@settings(max_examples=12)
@given(st.integers(0, 500))
def test_the_same_question_has_the_same_answer(seed: int) -> None:
    world, _ = random_world(seed)
    history = History({kind_of(workload): [5.0, 10.0, 20.0] for workload in world.workloads.values()})

    assert forecast(world, history, now=NOW, tries=4) == forecast(world, history, now=NOW, tries=4)


def test_history_counts_successful_runs_from_admission_to_end() -> None:
    def ended(name: str, reason: str, seconds: float) -> Workload:
        workload = of_asset(running(make_workload(name, "q", 1), ran_s=100.0), "eta")
        finished = Condition(True, reason, "", NOW - timedelta(seconds=100.0 - seconds))
        return replace(workload, conditions={**workload.conditions, "Finished": finished})

    history = history_of([ended("a", "Succeeded", 30), ended("b", "Failed", 3), ended("c", "Succeeded", 20), make_workload("d", "q", 1)])

    assert history.of("eta") == [20.0, 30.0]


def test_histories_add_up() -> None:
    both = History({"a": [1.0]}).merged(History({"a": [3.0], "b": [2.0]}))

    assert (both.of("a"), both.of("b"), both.of("never ran")) == ([1.0, 3.0], [2.0], [1.0, 2.0, 3.0])


def test_a_kind_is_the_asset_else_the_step_else_the_job() -> None:
    plain = make_workload("dagster-step-abc-x1", "q", 1, owner="dagster-step-abc")

    assert kind_of(of_asset(plain, "eta")) == "eta"
    assert kind_of(replace(plain, labels={"dagster/op": "load"})) == "load"
    assert kind_of(plain) == "dagster-step"
