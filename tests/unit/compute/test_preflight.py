"""Preflight: what could never be admitted is refused with resource, queue, limit and fix; all else is a wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute import Compute
from tiffin.compute.job import step_config
from tiffin.compute.preflight import refusal, refusal_of_job
from tiffin.compute.quantities import milli
from tiffin.compute.world import World
from tiffin.core.errors import Denied, Invalid, NotFound, NotReady, PlatformError

NAMESPACE = "team-network"
ACTIVE = {"conditions": [{"type": "Active", "status": "True", "reason": "Ready", "lastTransitionTime": "2030-01-01T00:00:00Z"}]}


def inactive(reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{**ACTIVE["conditions"][0], "status": "False", "reason": reason, "message": message}]}


def make_flavor(name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": "ResourceFlavor", "metadata": {"name": name}, "spec": spec}


def make_queue(
    name: str = "network",
    quotas: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    cohort: str | None = "ml",
    status: Mapping[str, Any] = ACTIVE,
    selector: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A ClusterQueue; `quotas` is flavor -> resource -> nominal, or (nominal, borrowing limit, lending limit)."""
    quotas = quotas or {"cpu": {"cpu": 8, "memory": "32Gi"}}
    flavors = []
    for flavor, of in quotas.items():
        entries = []
        for resource, numbers in of.items():
            nominal, borrow, lend = numbers if isinstance(numbers, tuple) else (numbers, None, None)
            limits = {"borrowingLimit": borrow, "lendingLimit": lend}
            entries.append({"name": resource, "nominalQuota": nominal, **{key: one for key, one in limits.items() if one is not None}})
        flavors.append({"name": flavor, "resources": entries})
    groups = [{"coveredResources": list(next(iter(quotas.values()))), "flavors": flavors}]
    spec = {"cohortName": cohort, "namespaceSelector": {} if selector is None else selector, "resourceGroups": groups}
    return {"kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec, "status": status}


def make_local(queue: str = "network", name: str = "default", *, status: Mapping[str, Any] = ACTIVE, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE, "annotations": more.pop("annotations", {})}
    return {"kind": "LocalQueue", "metadata": meta, "spec": {"clusterQueue": queue, **more}, "status": status}


def make_world(*objects: Mapping[str, Any]) -> World:
    """One team's queue with 8 cores beside another's with 4, in one cohort; what is given replaces what is of its kind and name."""
    usual = [
        make_flavor("cpu"),
        make_queue(),
        make_queue("fleet", {"cpu": {"cpu": 4, "memory": "16Gi"}}),
        make_local(),
        {"kind": "WorkloadPriorityClass", "metadata": {"name": "prod"}, "value": 1000},
        {"kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"team": "network"}}},
    ]
    return World.parse([*usual, *objects])


def refused(asked: Compute, world: World, **where: Any) -> PlatformError | None:
    return refusal(asked, namespace=NAMESPACE, queue=where.pop("queue", "default"), world=world, what="step 'load'", **where)


def test_what_fits_is_not_refused() -> None:
    assert refused(Compute(cpu=8), make_world()) is None


def test_what_fits_by_borrowing_is_not_refused() -> None:
    assert refused(Compute(cpu=12), make_world()) is None


def test_more_than_the_cohort_has_is_refused_with_resource_queue_limit_and_fix() -> None:
    found = refused(Compute(cpu=13), make_world())

    assert isinstance(found, Invalid)
    for word in ("step 'load'", "13 of cpu", "'network'", "'default'", "12 of cpu in flavor 'cpu'", "8 its own"):
        assert word in found.message
    assert "at most 12 of cpu" in found.fix
    assert found.context == {"cluster_queue": "network", "resource": "cpu", "flavor": "cpu", "limit": "12", "asked": "13"}


def test_a_gang_is_judged_as_a_whole() -> None:
    assert refused(Compute(cpu=3, parallelism=4), make_world()) is None

    found = refused(Compute(cpu=3, parallelism=5), make_world())

    assert found is not None
    assert "15 of cpu (5 pods of 3)" in found.message


def test_a_borrowing_limit_is_kept() -> None:
    world = make_world(make_queue(quotas={"cpu": {"cpu": (8, 2, None), "memory": "32Gi"}}))

    assert refused(Compute(cpu=10), world) is None
    assert refused(Compute(cpu=11), world) is not None


def test_what_others_do_not_lend_cannot_be_borrowed() -> None:
    world = make_world(make_queue("fleet", {"cpu": {"cpu": (4, None, 1), "memory": "16Gi"}}))

    assert refused(Compute(cpu=9), world) is None
    assert refused(Compute(cpu=10), world) is not None


def test_a_resource_that_no_flavor_has_is_refused() -> None:
    found = refused(Compute(gpus=1), make_world())

    assert isinstance(found, Invalid)
    assert "1 of nvidia.com/gpu, which that queue does not offer: it has cpu, memory" in found.message


def test_all_resources_come_from_one_flavor() -> None:
    """Enough cores in one flavor and enough memory in another is not enough."""
    quotas = {"fast": {"cpu": 64, "memory": "8Gi"}, "large": {"cpu": 4, "memory": "512Gi"}}
    world = make_world(make_flavor("fast"), make_flavor("large"), make_queue(quotas=quotas, cohort=None))

    assert refused(Compute(cpu=32, memory="4Gi"), world) is None
    found = refused(Compute(cpu=32, memory="64Gi"), world)

    assert found is not None
    assert "8Gi of memory in flavor 'fast', 4 of cpu in flavor 'large'" in found.message


def gpu_world(**cpu_labels: str) -> World:
    quotas = {
        "cpu": {"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 0},
        "a100": {"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 2},
    }
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    return make_world(
        make_flavor("cpu", nodeLabels=dict(cpu_labels)),
        make_flavor("a100", nodeLabels={"gpu": "a100"}, nodeTaints=[taint]),
        make_queue(quotas=quotas, cohort=None),
    )


def test_an_accelerators_taint_is_tolerated_by_who_asks_for_one() -> None:
    assert refused(Compute(gpus=2), gpu_world()) is None
    assert refused(Compute(gpus=2, flavor="a100"), gpu_world()) is None
    assert refused(Compute(gpus=3), gpu_world()) is not None


def test_a_flavor_that_another_would_stand_in_for_is_refused() -> None:
    """Kueue ignores the labels that a flavor does not have, so one without any takes every pod."""
    found = refused(Compute(flavor="a100"), gpu_world())

    assert found is not None
    assert "flavor 'cpu' would be given as well" in found.message
    assert refused(Compute(flavor="a100"), gpu_world(gpu="none")) is None


def test_an_unknown_flavor_is_refused_with_the_nearest() -> None:
    found = refused(Compute(flavor="a10"), gpu_world())

    assert isinstance(found, NotFound)
    assert "did you mean 'a100'" in found.fix


def test_a_flavor_of_other_queues_is_refused() -> None:
    found = refused(Compute(flavor="h100"), make_world(make_flavor("h100", nodeLabels={"gpu": "h100"})))

    assert found is not None
    assert "name one of these, or none: cpu" in found.fix


def test_nodes_that_no_flavor_describes_are_refused() -> None:
    job = as_job(Compute(), make_world())
    job["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "none"}
    world = gpu_world()

    found = refusal_of_job(job, world=World.parse([*self_labelled(world)]))

    assert found is not None
    assert "none accepts its pods" in found.message


def self_labelled(world: World) -> Sequence[Mapping[str, Any]]:
    """Only the flavor with labels, and a queue of it."""
    quotas = {name: {"cpu": 8, "memory": "32Gi"} for name in world.flavors if world.flavors[name].node_labels}
    return [make_flavor("a100", nodeLabels={"gpu": "a100"}), make_queue(quotas=quotas, cohort=None), make_local()]


def test_an_unknown_queue_is_refused_with_the_nearest() -> None:
    found = refused(Compute(queue="defautl"), make_world())

    assert isinstance(found, NotFound)
    assert "did you mean 'default'" in found.fix


def test_an_unknown_priority_is_refused() -> None:
    assert refused(Compute(priority="prod"), make_world()) is None
    assert isinstance(refused(Compute(priority="prd"), make_world()), NotFound)
    assert isinstance(refused(Compute(), make_world(), priority="backfill"), NotFound)


def test_a_queue_to_nowhere_is_refused() -> None:
    found = refused(Compute(), make_world(make_local("netwrok")))

    assert isinstance(found, NotFound)
    assert "did you mean 'network'" in found.fix


def test_a_broken_queue_is_refused_and_a_stopped_one_is_waited_for() -> None:
    broken = make_world(make_queue(status=inactive("FlavorNotFound", "references missing ResourceFlavor(s): cpu.")))
    stopped = make_world(make_queue(status=inactive("Stopped", "is stopped")))
    new = make_world(make_queue(status={}))

    found = refused(Compute(), broken)
    assert isinstance(found, NotReady)
    assert "FlavorNotFound" in found.message
    assert refused(Compute(), stopped) is None
    assert refused(Compute(), new) is None


def test_a_queue_closed_by_a_spent_budget_is_refused_and_one_held_for_a_while_is_waited_for() -> None:
    spent = make_local(stopPolicy="Hold", annotations={"tiffin.dev/budget": "100 % of 400 USD for November are spent"})

    found = refused(Compute(), make_world(spent))

    assert isinstance(found, Denied)
    assert "100 % of 400 USD" in found.message
    assert refused(Compute(), make_world(make_local(stopPolicy="Hold"))) is None


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"matchLabels": {"team": "network"}}, True),
        ({"matchLabels": {"team": "fleet"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["network"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["network"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_a_queue_serves_the_namespaces_that_it_selects(selector: Mapping[str, Any], *, fits: bool) -> None:
    assert (refused(Compute(), make_world(make_queue(selector=selector))) is None) == fits


def test_a_queue_without_a_selector_serves_nobody() -> None:
    queue = make_queue()
    queue["spec"]["namespaceSelector"] = None

    found = refused(Compute(), make_world(queue))

    assert found is not None
    assert "none at all" in found.message


def as_job(asked: Compute, world: World) -> dict[str, Any]:
    config = step_config(asked, queue="default", priority=None, flavors=world.flavors)
    pod = {**config["pod_spec_config"], "containers": [{"name": "main", **config["container_config"]}]}
    return {
        "metadata": {"name": "load", "namespace": NAMESPACE, **config["job_metadata"]},
        "spec": {**config["job_spec_config"], "template": {"spec": pod}},
    }


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 2))
def test_a_finished_job_is_judged_like_its_spec(cpu: int, pods: int, gpus: int) -> None:
    asked, world = Compute(cpu=cpu, parallelism=pods, gpus=gpus), gpu_world()

    by_job, by_spec = refusal_of_job(as_job(asked, world), world=world), refused(asked, world)

    assert (by_job is None) == (by_spec is None)
    assert by_job is None or by_spec is None or by_job.context == by_spec.context


def test_a_job_without_requests_is_refused() -> None:
    job = as_job(Compute(), make_world())
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {}

    found = refusal_of_job(job, world=make_world())

    assert found is not None
    assert "requests nothing" in found.message


LIMITS = st.none() | st.integers(0, 6)
QUOTAS = st.tuples(st.integers(0, 8), LIMITS, LIMITS)


@st.composite
def cohort_worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Queues in a tree of cohorts, two flavors, one resource; and the same numbers as a plain tree for the oracle."""
    parents = {"mine": None, "upper": None}
    parents["mine"] = draw(st.sampled_from([None, "upper"]))
    nodes: dict[str, Any] = {}
    objects: list[dict[str, Any]] = [make_flavor("a"), make_flavor("b"), make_local("q0")]
    for name, parent in parents.items():
        quota = {flavor: draw(QUOTAS) for flavor in "ab"}
        nodes[name] = (parent, quota)
        groups = [{"coveredResources": ["cpu"], "flavors": [flavor_quota(flavor, *quota[flavor], parent=parent) for flavor in "ab"]}]
        objects.append({"kind": "Cohort", "metadata": {"name": name}, "spec": {"parentName": parent, "resourceGroups": groups}})
    for number in range(draw(st.integers(1, 3))):
        cohort = draw(st.sampled_from([None, "mine", "mine", "upper"]))
        quota = {flavor: draw(QUOTAS) for flavor in "ab"}
        nodes[f"q{number}"] = (cohort, quota)
        queue = make_queue(f"q{number}", {flavor: {"cpu": quota[flavor]} for flavor in "ab"}, cohort=cohort)
        if cohort is None:
            for flavor in queue["spec"]["resourceGroups"][0]["flavors"]:
                flavor["resources"][0].pop("borrowingLimit", None)
                flavor["resources"][0].pop("lendingLimit", None)
        objects.append(queue)
    return objects, nodes


def flavor_quota(flavor: str, nominal: int, borrow: int | None, lend: int | None, *, parent: str | None) -> dict[str, Any]:
    limits = {"borrowingLimit": borrow, "lendingLimit": lend} if parent is not None else {}
    return {"name": flavor, "resources": [{"name": "cpu", "nominalQuota": nominal, **limits}]}


def oracle(nodes: Mapping[str, Any], name: str, flavor: str, amount: int) -> bool:
    """Put `amount` into a queue of an empty cluster and look, node by node to the root, whether any rule is broken."""
    parent, quota = nodes[name]
    _, borrow, lend = quota[flavor]
    whole = subtree(nodes, name, flavor)
    if parent is None:
        return amount <= whole
    if borrow is not None and amount > whole + borrow:
        return False
    kept = 0 if lend is None else max(0, whole - lend)
    return oracle(nodes, parent, flavor, max(0, amount - kept))


def subtree(nodes: Mapping[str, Any], name: str, flavor: str) -> int:
    found: int = nodes[name][1][flavor][0]
    for child, (parent, quota) in nodes.items():
        if parent == name:
            whole, lend = subtree(nodes, child, flavor), quota[flavor][2]
            found += whole if lend is None else min(whole, lend)
    return found


@given(cohort_worlds(), st.integers(1, 12), st.integers(1, 3))
def test_refusals_agree_with_a_slow_count(made: tuple[list[dict[str, Any]], dict[str, Any]], cpu: int, pods: int) -> None:
    objects, nodes = made
    world = World.parse(objects)
    # a world that covers cores alone: the memory of every step is asked of nobody here
    job = as_job(Compute(cpu=cpu, parallelism=pods), world)
    del job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"]
    del job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]

    found = refusal_of_job(job, world=world)

    assert (found is None) == any(oracle(nodes, "q0", flavor, cpu * pods) for flavor in "ab")
    if found is not None:
        limit = milli(str(found.context["limit"])) // 1000
        most = max(amount for amount in range(100) for flavor in "ab" if amount == 0 or oracle(nodes, "q0", flavor, amount))
        assert limit == most


@given(cohort_worlds(), st.integers(1, 12), st.data())
def test_more_quota_refuses_nothing_more(made: tuple[list[dict[str, Any]], dict[str, Any]], cpu: int, data: st.DataObject) -> None:
    objects, _ = made
    before = refusal_of_cpu(cpu, World.parse(objects))
    raised = data.draw(st.sampled_from([one for one in objects if one["kind"] == "ClusterQueue"]))
    raised["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["nominalQuota"] += 3

    after = refusal_of_cpu(cpu, World.parse(objects))

    assert not (before is None and after is not None)


def refusal_of_cpu(cpu: int, world: World) -> PlatformError | None:
    pod = {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}
    meta = {"name": "load", "namespace": NAMESPACE, "labels": {"kueue.x-k8s.io/queue-name": "default"}}
    return refusal_of_job({"metadata": meta, "spec": {"template": {"spec": pod}}}, world=world)
