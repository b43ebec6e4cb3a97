"""Whom the model evicts: examples of each right, and what must hold for any world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, quota, random_world, reclaiming, running
from tiffin.compute.admission_cycle import Floor, Rules, admit, open_floor, run_cycle
from tiffin.compute.admission_preempt import Held, Stage, allowed
from tiffin.compute.admission_tree import Node
from tiffin.compute.world import ClusterQueue, FlavorResource, Preemption, Workload


def victims(*things: ClusterQueue | Workload) -> list[tuple[str, str]]:
    decision = next(one for one in admit(make_world(*things), now=NOW) if one.uid == "new")
    return [(victim.held.workload.uid, victim.reason) for victim in decision.victims]


def test_the_owner_takes_back_what_was_borrowed() -> None:
    found = victims(
        make_queue("mine", 4, preemption=reclaiming()),
        make_queue("theirs", 4),
        running(make_workload("big", "theirs", 6, priority=9)),
        make_workload("new", "mine", 4),
    )

    assert found == [("big", "InCohortReclamation")]


def test_nobody_is_evicted_from_quota_of_its_own() -> None:
    found = victims(
        make_queue("mine", 4, preemption=reclaiming()),
        make_queue("theirs", 4),
        running(make_workload("own", "theirs", 4)),
        running(make_workload("also mine", "mine", 2, priority=9)),
        make_workload("new", "mine", 3, priority=5),
    )

    assert found == []


def test_a_borrower_that_is_back_within_its_quota_gives_no_more() -> None:
    borrowers = [
        running(make_workload(f"{queue}{place}", queue, 2), ran_s=ran) for queue, ran in (("x", 1), ("y", 9)) for place in range(3)
    ]
    queues = [make_queue("mine", 4, preemption=reclaiming()), make_queue("x", 4), make_queue("y", 4)]

    found = victims(*queues, *borrowers, make_workload("new", "mine", 4))

    assert sorted(uid[0] for uid, _ in found) == ["x", "y"]


def test_whoever_need_not_go_stays() -> None:
    """The youngest is taken first; when an older, bigger one makes room alone, the youngest stays."""
    found = victims(
        make_queue("q", 8, preemption=reclaiming(), cohort=None),
        running(make_workload("small and young", "q", 2), ran_s=10),
        running(make_workload("big and old", "q", 6), ran_s=100),
        make_workload("new", "q", 6, priority=5),
    )

    assert found == [("big and old", "InClusterQueue")]


def test_low_priority_goes_before_high_and_young_before_old() -> None:
    things = [
        make_queue("q", 4, preemption=reclaiming(), cohort=None),
        running(make_workload("high", "q", 1, priority=3), ran_s=1),
        running(make_workload("old", "q", 1, priority=1), ran_s=100),
        running(make_workload("young", "q", 1, priority=1), ran_s=10),
        running(make_workload("low", "q", 1, priority=0), ran_s=1000),
    ]

    assert [uid for uid, _ in victims(*things, make_workload("new", "q", 1, priority=9))] == ["low"]
    assert [uid for uid, _ in victims(*things, make_workload("new", "q", 2, priority=9))] == ["low", "young"]


@pytest.mark.parametrize(
    ("policy", "priority", "evicts"),
    [
        pytest.param("Never", 9, False, id="never"),
        pytest.param("LowerPriority", 5, False, id="equal is not lower"),
        pytest.param("LowerPriority", 6, True, id="lower"),
        pytest.param("LowerOrNewerEqualPriority", 5, True, id="equal and newer"),
        pytest.param("LowerOrNewerEqualPriority", 4, False, id="higher"),
    ],
)
def test_policies_within_a_queue(policy: str, priority: int, evicts: bool) -> None:
    found = victims(
        make_queue("q", 4, preemption=Preemption(within_queue=policy), cohort=None),
        running(make_workload("old", "q", 4, priority=5, age_s=1)),
        make_workload("new", "q", 4, priority=priority, age_s=100),
    )

    assert bool(found) is evicts


@pytest.mark.parametrize(
    ("rules", "evicts"),
    [
        pytest.param(reclaiming(), False, id="no preemption while borrowing"),
        pytest.param(reclaiming(while_borrowing="LowerPriority"), True, id="allowed"),
        pytest.param(reclaiming(while_borrowing="LowerPriority", borrow_threshold=0), False, id="above the threshold"),
    ],
)
def test_preemption_while_borrowing(rules: Preemption, evicts: bool) -> None:
    found = victims(
        make_queue("mine", 2, preemption=rules),
        make_queue("theirs", 2),
        make_queue("idle", 4),
        running(make_workload("borrower", "theirs", 6, priority=1)),
        make_workload("new", "mine", 4, priority=5),
    )

    assert found == ([("borrower", "InCohortReclaimWhileBorrowing")] if evicts else [])


def test_who_is_being_evicted_already_is_not_replaced_by_somebody_else() -> None:
    leaving = running(make_workload("leaving", "q", 2, priority=3), ran_s=1000)
    leaving = replace(leaving, conditions={**leaving.conditions, "Evicted": replace(leaving.conditions["Admitted"], reason="Preempted")})

    found = victims(
        make_queue("q", 4, preemption=reclaiming(), cohort=None),
        leaving,
        running(make_workload("staying", "q", 2)),
        make_workload("new", "q", 2, priority=9),
    )

    assert [uid for uid, _ in found] == ["leaving"]


def test_two_heads_do_not_both_wait_for_the_same_victim() -> None:
    world = make_world(
        make_queue("a", 4, preemption=reclaiming()),
        make_queue("b", 4, preemption=reclaiming()),
        make_queue("theirs", 0),
        running(make_workload("borrower", "theirs", 8)),
        make_workload("first", "a", 4, priority=9),
        make_workload("second", "b", 4),
    )

    outcomes = {one.uid: one.outcome for one in admit(world, now=NOW)}

    assert outcomes == {"first": "preempting", "second": "overtaken"}


@given(st.integers(0, 3000), st.booleans())
def test_evictions_make_room_are_allowed_and_none_is_needless(seed: int, fair: bool) -> None:
    """Whatever the world: after a few cycles of admissions the heads that preempt are checked one by one."""
    world, _ = random_world(seed)
    late = sorted(world.workloads)[-2:]
    urgent = {uid: replace(one, priority=one.priority + 50) if uid in late else one for uid, one in world.workloads.items()}
    early = {uid: one for uid, one in urgent.items() if uid not in late}
    floor = open_floor(replace(world, workloads=early), Rules(fair_sharing=fair), now=NOW)
    for turn in range(6):
        run_cycle(floor, NOW + timedelta(seconds=turn))
    for uid in late:
        floor.enter(urgent[uid])
    usage = in_use(floor)

    decisions = run_cycle(floor, NOW + timedelta(seconds=9))

    first = next((one for one in decisions if one.outcome == "preempting"), None)
    admitted = {one.uid for one in decisions if one.outcome == "admitted"}
    if first is None or first.plan is None or admitted:
        assert in_use(floor) == usage or admitted
        return
    queue, node = world.cluster_queues[first.queue], floor.stage.node(first.queue)
    rules, held = queue.preemption, [victim.held for victim in first.victims]
    assert all(allowed(urgent[first.uid], one, rules.within_queue if one.queue == first.queue else rules.reclaim) for one in held)
    floor.stage.suspend(held)
    assert node.fits(first.plan.usage)
    if not fair:
        assert not any(spare(one, held, floor.stage, node, first.plan.usage, rules) for one in held)
    floor.stage.restore(held)


def in_use(floor: Floor) -> dict[str, dict[FlavorResource, int]]:
    return {name: {what: amount for what, amount in node.usage.items() if amount} for name, node in floor.stage.tree.queues.items()}


def spare(one: Held, held: list[Held], stage: Stage, node: Node, usage: Mapping[FlavorResource, int], rules: Preemption) -> bool:
    """Whether everybody but one would do too. Where the limit of borrowing decides, more must go than room alone asks for."""
    if rules.while_borrowing != "Never" or len(held) < 2 or held[-1] is one:
        return False
    stage.restore([one])
    fits = node.fits(usage) and not any(node.borrows_with(what, amount) for what, amount in usage.items())
    stage.suspend([one])
    return fits


def test_a_borrowing_limit_of_the_newcomer_bounds_what_preemption_can_give_it() -> None:
    found = victims(
        make_queue("mine", quota(2, borrow=1), preemption=reclaiming(while_borrowing="LowerPriority")),
        make_queue("theirs", 8),
        running(make_workload("busy", "theirs", 8)),
        make_workload("new", "mine", 4, priority=5),
    )

    assert found == []
