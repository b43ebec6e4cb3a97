"""The search for flavors: order, when it stops, and why a flavor is passed over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.queue_worlds import make_queue, make_workload, make_world, quota, reclaiming, running
from tiffin.compute.admission_cycle import Decision, admit
from tiffin.compute.admission_flavors import Fit, mismatch
from tiffin.compute.world import ClusterQueue, Flavor, ResourceGroup, Workload
from tiffin.compute.world_pods import NodeRule, PodSet, Taint, Toleration

GPU = Flavor("gpu", node_labels={"gpu": "a100"}, taints=(Taint("gpu", "yes", "NoSchedule"),))
TOLERANT = (Toleration("gpu", "Exists", "", ""),)
T4 = (NodeRule("gpu", "In", ("t4",)),)
ZONED = (NodeRule("zone", "Exists", ()),)


@pytest.mark.parametrize(
    ("pods", "says"),
    [
        pytest.param(PodSet("main", 1, {}), "taint", id="a taint nobody tolerates"),
        pytest.param(PodSet("main", 1, {}, tolerations=TOLERANT), None, id="tolerated"),
        pytest.param(PodSet("main", 1, {}, node_selector={"gpu": "h100"}, tolerations=TOLERANT), "gpu=h100", id="another label"),
        pytest.param(PodSet("main", 1, {}, node_selector={"zone": "x"}, tolerations=TOLERANT), None, id="a label it does not name"),
        pytest.param(PodSet("main", 1, {}, node_terms=(T4,), tolerations=TOLERANT), "affinity", id="affinity elsewhere"),
        pytest.param(PodSet("main", 1, {}, node_terms=(T4, ZONED), tolerations=TOLERANT), None, id="one term says nothing about it"),
    ],
)
def test_a_flavor_for_other_nodes_is_passed_over(pods: PodSet, says: str | None) -> None:
    found = mismatch(pods, GPU)

    assert found is None if says is None else found is not None and says in found


def decide(*things: ClusterQueue | Workload | Flavor, of: str = "new") -> Decision:
    return next(one for one in admit(make_world(*things)) if one.uid == of)


def two(first: int, second: int, **fields: object) -> ClusterQueue:
    return make_queue("q", {"first": quota(first), "second": quota(second)}, **fields)


def test_the_first_flavor_that_fits_is_taken() -> None:
    decision = decide(two(4, 4), make_workload("new", "q", 3))

    assert decision.plan is not None
    assert decision.plan.flavors() == {"cpu": "first"}


def test_a_full_flavor_gives_way_to_the_next() -> None:
    decision = decide(two(4, 4), running(make_workload("old", "q", 3), flavor="first"), make_workload("new", "q", 3))

    assert decision.plan is not None
    assert decision.plan.flavors() == {"cpu": "second"}


@pytest.mark.parametrize(
    ("when_can_borrow", "flavor"),
    [pytest.param("MayStopSearch", "first", id="borrow"), pytest.param("TryNextFlavor", "second", id="own quota in another flavor")],
)
def test_whether_it_borrows_or_looks_on(when_can_borrow: str, flavor: str) -> None:
    lender = make_queue("lender", {"first": quota(9), "second": quota(0)})
    decision = decide(two(1, 4, when_can_borrow=when_can_borrow), lender, make_workload("new", "q", 3))

    assert decision.plan is not None
    assert decision.plan.flavors() == {"cpu": flavor}


@pytest.mark.parametrize(
    ("when_can_preempt", "outcome"),
    [pytest.param("MayStopSearch", "preempting", id="preempt"), pytest.param("TryNextFlavor", "admitted", id="look on")],
)
def test_whether_it_preempts_or_looks_on(when_can_preempt: str, outcome: str) -> None:
    queue = two(4, 4, when_can_preempt=when_can_preempt, preemption=reclaiming())

    decision = decide(queue, running(make_workload("old", "q", 3), flavor="first"), make_workload("new", "q", 3, priority=9))

    assert decision.outcome == outcome


def test_what_no_queue_could_ever_hold_is_called_so() -> None:
    decision = decide(make_queue("q", quota(4, borrow=1)), make_queue("other", 20), make_workload("new", "q", 6))

    assert decision.outcome == "never"
    assert "could ever hold" in decision.reasons[0]
    assert decision.plan is not None
    assert decision.plan.fit is Fit.NEVER_NOW


def test_a_resource_without_quota_is_never_admitted() -> None:
    pods = (PodSet("main", 1, {"cpu": 1000, "nvidia.com/gpu": 1000}),)

    decision = decide(make_queue("q", 4), make_workload("new", "q", 1, podsets=pods))

    assert decision.outcome == "never"
    assert decision.reasons == ("resource nvidia.com/gpu unavailable in ClusterQueue",)


def test_a_gang_gets_all_its_pod_sets_or_nothing() -> None:
    pods = (PodSet("driver", 1, {"cpu": 1000}), PodSet("workers", 3, {"cpu": 1000}))

    assert decide(make_queue("q", 4), make_workload("new", "q", 1, podsets=pods)).outcome == "admitted"
    assert decide(make_queue("q", 3), make_workload("new", "q", 1, podsets=pods)).outcome == "never"


def test_the_number_of_pods_may_be_a_quota_too() -> None:
    queue = make_queue("q", 9)
    groups = (*queue.groups, ResourceGroup(("pods",), ("any",)))
    few = replace(queue, groups=groups, quotas={**queue.quotas, ("any", "pods"): quota(2)})

    assert decide(few, make_workload("new", "q", 1, count=2)).outcome == "admitted"
    assert decide(few, make_workload("new", "q", 1, count=3)).outcome == "never"
