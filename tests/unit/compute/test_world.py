"""The API's JSON read into a world."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.world import World
from tiffin.compute.world_pods import NodeRule, PodSet, Taint, Toleration, pod_requests

QUEUE = {
    "kind": "ClusterQueue",
    "metadata": {"name": "team-a"},
    "spec": {
        "cohortName": "all",
        "namespaceSelector": {"matchLabels": {"team": "a"}},
        "queueingStrategy": "StrictFIFO",
        "preemption": {
            "withinClusterQueue": "LowerPriority",
            "reclaimWithinCohort": "Any",
            "borrowWithinCohort": {"policy": "LowerPriority", "maxPriorityThreshold": 7},
        },
        "fairSharing": {"weight": "1500m"},
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory"],
                "flavors": [
                    {
                        "name": "small",
                        "resources": [
                            {"name": "cpu", "nominalQuota": "1500m", "borrowingLimit": "2", "lendingLimit": "0"},
                            {"name": "memory", "nominalQuota": "4Gi"},
                        ],
                    }
                ],
            }
        ],
    },
    "status": {"conditions": [{"type": "Active", "status": "True", "reason": "Ready", "message": "can admit"}]},
}
CONTAINER = {"resources": {"requests": {"cpu": "250m", "memory": "1500m"}}}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2030-01-01T00:01:00Z"}


WORKLOAD = {
    "kind": "Workload",
    "metadata": {
        "uid": "w1",
        "name": "job-a",
        "namespace": "ns",
        "creationTimestamp": "2030-01-01T00:00:00Z",
        "labels": {"kueue.x-k8s.io/job-uid": "j1", "dagster/run-id": "r1"},
        "ownerReferences": [{"controller": True, "kind": "Job", "name": "step", "uid": "j1"}],
    },
    "spec": {
        "queueName": "default",
        "priority": 500,
        "priorityClassRef": {"group": "kueue.x-k8s.io", "kind": "WorkloadPriorityClass", "name": "default"},
        "podSets": [{"name": "main", "count": 3, "template": {"spec": {"containers": [CONTAINER]}}}],
    },
    "status": {
        "admission": {
            "clusterQueue": "team-a",
            "podSetAssignments": [{"name": "main", "flavors": {"cpu": "small"}, "resourceUsage": {"cpu": "750m"}, "count": 3}],
        },
        "conditions": [
            condition("QuotaReserved", "True", "QuotaReserved"),
            condition("Evicted", "False", "QuotaReserved", "Previously: x"),
        ],
        "reclaimablePods": [{"name": "main", "count": 1}],
        "requeueState": {"count": 1, "requeueAt": "2030-01-01T00:05:00Z"},
        "schedulingStats": {"evictions": [{"reason": "Preempted", "underlyingCause": "", "count": 2}]},
    },
}
OTHERS: list[dict[str, Any]] = [
    {"kind": "ResourceFlavor", "metadata": {"name": "small"}, "spec": {"nodeLabels": {"size": "s"}}},
    {"kind": "Cohort", "metadata": {"name": "all"}, "spec": {"parentName": "root"}},
    {"kind": "WorkloadPriorityClass", "metadata": {"name": "default"}, "value": 500},
    {"kind": "Namespace", "metadata": {"name": "ns", "labels": {"team": "a"}}},
    {
        "kind": "LocalQueueList",
        "items": [{"metadata": {"name": "default", "namespace": "ns"}, "spec": {"clusterQueue": "team-a", "stopPolicy": "Hold"}}],
    },
]


def test_every_kind_is_read() -> None:
    world = World.parse([QUEUE, WORKLOAD, *OTHERS])

    queue = world.cluster_queues["team-a"]
    assert (queue.cohort, queue.strategy, queue.active, queue.fair_weight) == ("all", "StrictFIFO", True, 1.5)
    small = queue.quotas["small", "cpu"]
    assert (small.nominal, small.borrowing_limit, small.lending_limit) == (1500, 2000, 0)
    assert queue.quotas["small", "memory"].borrowing_limit is None
    assert (queue.preemption.reclaim, queue.preemption.while_borrowing, queue.preemption.borrow_threshold) == ("Any", "LowerPriority", 7)
    assert world.cohorts["all"].parent == "root"
    assert world.flavors["small"].node_labels == {"size": "s"}
    assert world.priority_classes == {"default": 500}
    assert world.local_queues["ns", "default"].held


def test_a_workload_knows_its_job_its_quota_and_its_past() -> None:
    workload = World.parse([WORKLOAD]).workloads["w1"]

    assert (workload.job_uid, workload.owner, workload.priority_class) == ("j1", "step", "default")
    assert workload.reserved
    assert not workload.evicted
    assert not workload.waiting
    assert workload.admission is not None
    assert workload.admission.usage() == {("small", "cpu"): 750}
    assert workload.evictions == {"Preempted": 2}
    assert workload.requeue_at is not None


def test_pods_that_have_finished_ask_for_nothing_more() -> None:
    workload = World.parse([WORKLOAD]).workloads["w1"]

    assert workload.requests() == {"cpu": 500, "memory": 4000}


def test_a_condition_that_has_turned_false_counts_no_longer() -> None:
    changed = {**WORKLOAD, "status": {"conditions": [{**WORKLOAD["status"]["conditions"][0], "status": "False"}]}}  # type: ignore[index]

    workload = World.parse([changed]).workloads["w1"]

    assert workload.since("QuotaReserved") is None
    assert workload.waiting


@pytest.mark.parametrize(
    ("reason", "place"),
    [
        pytest.param("Preempted", "2030-01-01T00:00:00", id="a preempted one keeps its place"),
        pytest.param("PodsReadyTimeout", "2030-01-01T09:00:00", id="one whose pods failed goes to the end"),
    ],
)
def test_the_place_in_the_queue(reason: str, place: str) -> None:
    evicted = {"type": "Evicted", "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2030-01-01T09:00:00Z"}

    workload = World.parse([{**WORKLOAD, "status": {"conditions": [evicted]}}]).workloads["w1"]

    assert workload.queued_at.isoformat().startswith(place)


@given(st.integers(0, 2**16))
def test_the_order_of_objects_says_nothing(seed: int) -> None:
    things = [QUEUE, WORKLOAD, *OTHERS]
    mixed = list(things)
    random.Random(seed).shuffle(mixed)

    assert World.parse(mixed) == World.parse(things)


def test_lists_are_read_like_their_items() -> None:
    as_list = {"kind": "WorkloadList", "items": [{key: value for key, value in WORKLOAD.items() if key != "kind"}]}

    assert World.parse([as_list]) == World.parse([WORKLOAD])


def test_unknown_kinds_are_passed_over() -> None:
    assert World.parse([{"kind": "Pod", "metadata": {"name": "x"}}]) == World()


@pytest.mark.parametrize(
    ("labels", "serves"),
    [pytest.param({"team": "a"}, True, id="its own"), pytest.param({"team": "b"}, False, id="another"), pytest.param({}, False, id="none")],
)
def test_a_queue_serves_the_namespaces_of_its_selector(labels: dict[str, str], serves: bool) -> None:
    assert World.parse([QUEUE]).cluster_queues["team-a"].serves(labels) is serves


def test_a_queue_without_a_selector_serves_nobody() -> None:
    spec = {key: value for key, value in QUEUE["spec"].items() if key != "namespaceSelector"}  # type: ignore[attr-defined]

    assert not World.parse([{**QUEUE, "spec": spec}]).cluster_queues["team-a"].serves({"team": "a"})


def test_a_queue_that_kueue_has_not_seen_is_not_active() -> None:
    queue = World.parse([{key: value for key, value in QUEUE.items() if key != "status"}]).cluster_queues["team-a"]

    assert not queue.active
    assert "Kueue" in queue.why_inactive


def test_fair_sharing_shows_in_the_reported_shares() -> None:
    shared = {**QUEUE, "status": {**QUEUE["status"], "fairSharing": {"weightedShare": 0}}}  # type: ignore[dict-item]

    assert not World.parse([QUEUE]).fair_sharing
    assert World.parse([shared]).fair_sharing


def test_a_pod_holds_the_peak_of_its_init_steps_or_all_of_its_containers() -> None:
    def one(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    assert pod_requests({"containers": [one("1"), one("2")], "initContainers": [one("5"), one("4")]}) == {"cpu": 5000}
    assert pod_requests({"containers": [one("1"), one("2")], "initContainers": [one("1", restartPolicy="Always"), one("500m")]}) == {
        "cpu": 4000
    }
    assert pod_requests({"containers": [one("1")], "overhead": {"cpu": "250m"}}) == {"cpu": 1250}


def test_a_limit_stands_in_for_a_missing_request() -> None:
    container = {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}}

    assert pod_requests({"containers": [container]}) == {"cpu": 1000, "memory": 2**30 * 1000}


@pytest.mark.parametrize(
    ("toleration", "accepts"),
    [
        pytest.param(Toleration("", "Exists", "", ""), True, id="everything"),
        pytest.param(Toleration("gpu", "Equal", "a100", ""), True, id="the value"),
        pytest.param(Toleration("gpu", "Equal", "h100", ""), False, id="another value"),
        pytest.param(Toleration("gpu", "Exists", "", "NoExecute"), False, id="another effect"),
        pytest.param(Toleration("spot", "Exists", "", ""), False, id="another key"),
    ],
)
def test_tolerations(toleration: Toleration, accepts: bool) -> None:
    assert toleration.accepts(Taint("gpu", "a100", "NoSchedule")) is accepts


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        pytest.param(NodeRule("size", "In", ("s", "m")), True, id="in"),
        pytest.param(NodeRule("size", "NotIn", ("s",)), False, id="not in"),
        pytest.param(NodeRule("zone", "NotIn", ("s",)), True, id="not in, absent"),
        pytest.param(NodeRule("zone", "Exists", ()), False, id="exists"),
        pytest.param(NodeRule("zone", "DoesNotExist", ()), True, id="does not exist"),
        pytest.param(NodeRule("cores", "Gt", ("8",)), True, id="greater"),
        pytest.param(NodeRule("cores", "Lt", ("8",)), False, id="less"),
    ],
)
def test_node_rules(rule: NodeRule, holds: bool) -> None:
    assert rule.holds({"size": "s", "cores": "16"}) is holds


def test_a_gang_asks_for_all_its_pods() -> None:
    assert PodSet("main", 3, {"cpu": 500}).total() == {"cpu": 1500}
