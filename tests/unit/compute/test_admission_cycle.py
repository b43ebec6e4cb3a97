"""One cycle: who is the head, who goes first, who blocks whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, quota, reclaiming, running
from tiffin.compute.admission_cycle import Rules, admit, open_floor, run_cycle
from tiffin.compute.admission_simulate import settle_floor
from tiffin.compute.world import Condition, LocalQueue, World

FAIR = Rules(fair_sharing=True)


def admitted(world: World, rules: Rules | None = None) -> list[str]:
    """In order, until nothing more is admitted."""
    return [one.uid for one in settle_floor(open_floor(world, rules, now=NOW), NOW) if one.outcome == "admitted"]


def test_priority_then_age_then_uid() -> None:
    world = make_world(
        make_queue("q", 9),
        make_workload("b", "q", 1, age_s=5),
        make_workload("a", "q", 1, age_s=5),
        make_workload("older", "q", 1, age_s=9),
        make_workload("urgent", "q", 1, priority=1),
    )

    assert admitted(world) == ["urgent", "older", "a", "b"]


def test_one_cycle_looks_at_one_head_of_every_queue() -> None:
    world = make_world(make_queue("p", 9), make_queue("q", 9), *(make_workload(f"{queue}{n}", queue, 1) for queue in "pq" for n in "12"))

    assert sorted(one.uid for one in admit(world, now=NOW)) == ["p1", "q1"]


def test_own_quota_is_served_before_borrowing() -> None:
    world = make_world(
        make_queue("rich", 6),
        make_queue("poor", 1),
        make_workload("borrows", "poor", 3, priority=9),
        make_workload("owns", "rich", 5),
    )

    assert admitted(world) == ["owns"]


@pytest.mark.parametrize(
    ("strategy", "expected"), [pytest.param("StrictFIFO", [], id="strict"), pytest.param("BestEffortFIFO", ["small"], id="best effort")]
)
def test_a_head_that_does_not_fit_blocks_a_strict_queue_only(strategy: str, expected: list[str]) -> None:
    world = make_world(
        make_queue("q", 4, strategy=strategy, cohort=None),
        running(make_workload("busy", "q", 2)),
        make_workload("big", "q", 4, priority=9),
        make_workload("small", "q", 1),
    )

    assert admitted(world) == expected


def test_a_blocked_head_keeps_its_own_quota_from_its_cohort() -> None:
    """It waits for quota that it cannot take back, so what is left of it is not lent any further, while it is the head."""
    things = [running(make_workload("busy", "mine", 2, priority=9)), make_workload("big", "mine", 4, priority=5)]
    borrower = make_workload("borrower", "theirs", 2)

    strict = make_queue("mine", 4, strategy="StrictFIFO")
    held = admitted(make_world(strict, make_queue("theirs", 0), *things, borrower))
    reclaimable = admitted(make_world(replace(strict, preemption=reclaiming()), make_queue("theirs", 0), *things, borrower))

    assert held == []
    assert reclaimable == ["borrower"]


def test_who_has_evicted_somebody_stays_the_head() -> None:
    queue = make_queue("q", 4, preemption=reclaiming(), cohort=None)
    floor = open_floor(make_world(queue, running(make_workload("old", "q", 4)), make_workload("new", "q", 4, priority=5)), now=NOW)
    run_cycle(floor, NOW)
    floor.enter(make_workload("later and higher", "q", 4, priority=9))
    floor.release("old", "q")

    outcome = {one.uid: one.outcome for one in run_cycle(floor, NOW)}

    assert outcome == {"new": "admitted"}


def test_an_eviction_under_way_is_read_from_the_victims_condition() -> None:
    since = Condition(True, "Preempted", "Preempted to accommodate a workload (UID: new, JobUID: j) due to x", NOW)
    victim = running(make_workload("old", "q", 4))
    victim = replace(victim, conditions={**victim.conditions, "Evicted": since, "Preempted": since})
    queue = make_queue("q", 4, preemption=reclaiming(), cohort=None)
    world = make_world(queue, victim, make_workload("new", "q", 4, priority=5), make_workload("other", "q", 4, priority=9))

    assert [one.uid for one in admit(world, now=NOW)] == ["new"]


def test_equal_workloads_are_set_aside_together_and_come_back_together() -> None:
    floor = open_floor(
        make_world(make_queue("q", 4), running(make_workload("busy", "q", 4)), *(make_workload(n, "q", 2) for n in "abc")), now=NOW
    )

    first = settle_floor(floor, NOW)
    floor.release("busy", "q")
    before_retry = settle_floor(floor, NOW)
    floor.retry("q")
    after_retry = settle_floor(floor, NOW)

    assert [one.uid for one in first] == ["a"]
    assert before_retry == []
    assert [one.uid for one in after_retry if one.outcome == "admitted"] == ["a", "b"]


@pytest.mark.parametrize(
    "held",
    [
        pytest.param({"active": False}, id="paused"),
        pytest.param({"annotations": {"kueue.x-k8s.io/admission-gated-by": "boss"}}, id="awaiting approval"),
        pytest.param({"conditions": {"QuotaReserved": Condition(False, "OnHold", "", NOW)}}, id="on hold"),
        pytest.param({"conditions": {"Requeued": Condition(False, "PodsReadyTimeout", "", NOW)}}, id="backing off"),
        pytest.param({"conditions": {"Finished": Condition(True, "Succeeded", "", NOW)}}, id="finished"),
    ],
)
def test_who_is_held_back_is_no_head(held: dict[str, object]) -> None:
    assert admit(make_world(make_queue("q", 4), make_workload("x", "q", 1, **held)), now=NOW) == []


def test_stopped_queues_admit_nothing() -> None:
    inactive = make_world(make_queue("q", 4, active=False), make_workload("x", "q", 1))
    world = make_world(make_queue("q", 4), make_workload("x", "q", 1))
    held = replace(world, local_queues={("ns", "q"): LocalQueue("ns", "q", "q", held=True)})

    assert admit(inactive, now=NOW) == []
    assert admit(held, now=NOW) == []


def test_a_namespace_that_a_queue_does_not_serve_gets_nothing_from_it() -> None:
    queue = make_queue("q", 4, namespaces={"matchLabels": {"team": "a"}})
    world = replace(make_world(queue, make_workload("x", "q", 1)), namespaces={"ns": {"team": "b"}})

    assert [one.outcome for one in admit(world, now=NOW)] == ["never"]
    assert admitted(replace(world, namespaces={"ns": {"team": "a"}})) == ["x"]


def contested(weight_a: float = 1) -> World:
    """Room for one more, wanted by two queues that own nothing: `a` has the higher priority and borrows more already."""
    return make_world(
        make_queue("a", 0, fair_weight=weight_a), make_queue("b", 0), make_queue("lender", 8),
        running(make_workload("a0", "a", 4)), running(make_workload("b0", "b", 2)),
        make_workload("a1", "a", 2, priority=9), make_workload("b1", "b", 2),
    )  # fmt: skip


def test_fair_sharing_serves_the_smaller_share_first_whatever_the_priority() -> None:
    assert admitted(contested()) == ["a1"]
    assert admitted(contested(), FAIR) == ["b1"]


@pytest.mark.parametrize(("weight", "first"), [pytest.param(4, "a1", id="heavy"), pytest.param(0, "b1", id="nothing")])
def test_shares_are_weighed(weight: float, first: str) -> None:
    assert admitted(contested(weight), FAIR) == [first]


def test_fair_sharing_evicts_from_whom_borrows_most() -> None:
    greedy = [running(make_workload(f"greedy{n}", "greedy", 2), ran_s=n + 1) for n in range(5)]
    world = make_world(
        make_queue("greedy", 0), make_queue("modest", 0, preemption=reclaiming()), make_queue("lender", 12),
        *greedy, running(make_workload("modest0", "modest", 2)), make_workload("new", "modest", 2),
    )  # fmt: skip

    decision = next(one for one in admit(world, FAIR, now=NOW) if one.uid == "new")

    assert [(victim.held.workload.uid, victim.reason) for victim in decision.victims] == [("greedy0", "InCohortFairSharing")]


def test_fair_sharing_evicts_nobody_when_that_would_only_turn_the_tables() -> None:
    equal = [running(make_workload(f"{queue}{n}", queue, 2)) for queue in "ab" for n in range(3)]
    world = make_world(
        make_queue("a", 0), make_queue("b", 0, preemption=reclaiming()), make_queue("lender", 12), *equal, make_workload("new", "b", 2)
    )

    assert [one.outcome for one in admit(world, FAIR, now=NOW)] == ["blocked"]


def test_within_its_own_quota_it_takes_back_whatever_the_shares_are() -> None:
    world = make_world(
        make_queue("owner", quota(6), preemption=reclaiming()), make_queue("guest", 0),
        running(make_workload("guest0", "guest", 6)), make_workload("new", "owner", 6),
    )  # fmt: skip

    decision = next(one for one in admit(world, FAIR, now=NOW) if one.uid == "new")

    assert [victim.reason for victim in decision.victims] == ["InCohortReclamation"]
