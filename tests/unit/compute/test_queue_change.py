"""What-if: the changed copy of a world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.queue_worlds import make_queue, make_workload, make_world, quota
from tiffin.compute.admission_flavors import mismatch
from tiffin.compute.queue_change import changed, find_steps, parse_change
from tiffin.compute.world import Flavor, Workload, World
from tiffin.compute.world_pods import NodeRule, PodSet, Taint
from tiffin.core.errors import Invalid, NotFound, PlatformError

CPU, GPU = ("any", "cpu"), ("gpu", "cpu")


def of_run(workload: Workload, run: str, step: str) -> Workload:
    return replace(workload, labels={"dagster/run-id": run, "tiffin.dev/step": step})


def world() -> World:
    gpu = Flavor("gpu", node_labels={"kind": "gpu"}, taints=(Taint("gpu", "yes", "NoSchedule"),))
    pods = PodSet("main", 1, {"cpu": 1000}, node_selector={"kind": "cpu"}, node_terms=((NodeRule("kind", "In", ("cpu",)),),))
    return make_world(
        make_queue("team-network", {"any": quota(4, borrow=2, lend=3), "gpu": quota(1)}),
        gpu,
        of_run(make_workload("w1", "team-network", 1, podsets=(pods,)), "4f2a9c1e-aaaa", "eta"),
        of_run(make_workload("w2", "team-network", 1), "4f2a9c1e-aaaa", "load"),
        of_run(make_workload("w3", "team-network", 1), "4f2b0000-bbbb", "eta"),
        priorities={"prod": 1000, "default": 500},
    )


def test_a_quota_is_changed_in_the_first_flavor_or_the_one_named() -> None:
    first = changed(world(), [parse_change("quota:team-network/cpu=20")]).cluster_queues["team-network"]
    named = changed(world(), [parse_change("quota:network/gpu:cpu=7")]).cluster_queues["team-network"]

    assert (first.quotas[CPU].nominal, first.quotas[GPU].nominal) == (20_000, 1000)
    assert (named.quotas[CPU].nominal, named.quotas[GPU].nominal) == (4000, 7000)


def test_a_smaller_quota_lends_no_more_than_it_is() -> None:
    found = changed(world(), [parse_change("quota:team-network/cpu=2")]).cluster_queues["team-network"].quotas[CPU]

    assert (found.nominal, found.lending_limit, found.borrowing_limit) == (2000, 2000, 2000)


def test_limits_are_changed_or_lifted() -> None:
    found = changed(world(), [parse_change("borrow:network/cpu=unlimited"), parse_change("lend:network/cpu=1")])

    assert found.cluster_queues["team-network"].quotas[CPU] == quota(4, lend=1)


def test_a_priority_is_changed_for_a_run_or_for_one_of_its_steps() -> None:
    run = changed(world(), [parse_change("priority:4f2a=prod")]).workloads
    step = changed(world(), [parse_change("priority:4f2a9c1e/load=prod")]).workloads

    assert [run[uid].priority for uid in ("w1", "w2", "w3")] == [1000, 1000, 0]
    assert [step[uid].priority for uid in ("w1", "w2", "w3")] == [0, 1000, 0]


def test_a_flavor_is_met_whatever_the_pods_asked_for_before() -> None:
    before = world()
    after = changed(before, [parse_change("flavor:w1=gpu")])

    assert mismatch(before.workloads["w1"].podsets[0], before.flavors["gpu"]) is not None
    assert mismatch(after.workloads["w1"].podsets[0], after.flavors["gpu"]) is None


def test_nothing_is_changed_in_the_world_that_was_asked_about() -> None:
    before = world()
    changed(before, [parse_change("quota:network/cpu=20"), parse_change("priority:4f2a=prod"), parse_change("flavor:w1=gpu")])

    assert before == world()


@pytest.mark.parametrize(
    ("text", "error", "fix"),
    [
        pytest.param("quota", Invalid, "quota:team-x/cpu=20", id="no shape"),
        pytest.param("qouta:network/cpu=1", Invalid, "quota", id="unknown kind"),
        pytest.param("quota:network=1", Invalid, "quota:network/cpu=1", id="no resource"),
        pytest.param("quota:netwrok/cpu=1", NotFound, "team-network", id="unknown queue"),
        pytest.param("quota:network/memory=1", NotFound, "cpu", id="unknown resource"),
        pytest.param("quota:network/cpu=much", Invalid, "4Gi", id="no amount"),
        pytest.param("quota:network/cpu=unlimited", Invalid, "20", id="a quota is an amount"),
        pytest.param("priority:4f2a=prd", NotFound, "prod", id="unknown class"),
        pytest.param("priority:beef=prod", NotFound, "4f2a9c1e-aaaa", id="unknown run"),
        pytest.param("priority:4f2=prod", Invalid, "more letters", id="two runs"),
        pytest.param("flavor:w1=gpo", NotFound, "gpu", id="unknown flavor"),
    ],
)
def test_what_is_wrong_is_said_with_a_fix(text: str, error: type[PlatformError], fix: str) -> None:
    with pytest.raises(error) as found:
        changed(world(), [parse_change(text)])

    assert fix in found.value.fix


def test_a_flavor_without_quota_in_the_queue_is_refused() -> None:
    more = world()
    more = replace(more, flavors={**more.flavors, "tpu": Flavor("tpu")})

    with pytest.raises(Invalid, match="has no quota in flavor 'tpu'"):
        changed(more, [parse_change("flavor:w1=tpu")])


def test_a_step_is_found_by_its_job_too() -> None:
    assert [one.uid for one in find_steps(world(), "ns/w2", doing="x")] == ["w2"]
