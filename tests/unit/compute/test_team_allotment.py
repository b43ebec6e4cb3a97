"""A team's file over the platform's defaults, within its limits, beside the other teams."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.team_files import make_platform, make_team, some_teams
from tiffin.compute.allotment import allot, allot_all
from tiffin.compute.quantities import milli
from tiffin.compute.team_file import TeamFile
from tiffin.core.errors import Invalid

PLATFORM = make_platform()


def test_a_team_that_asks_for_nothing_has_the_platforms_defaults() -> None:
    found = allot(make_team(), make_platform())

    assert found.quotas["cpu"]["cpu"].nominal == "10"
    assert set(found.quotas) == {"cpu"}
    assert found.budget_usd_per_month == Decimal(1000)
    assert found.objects == {"pods": 100, "jobs.batch": 500}
    assert found.groups.viewer == ("network-viewers",)


def test_an_override_replaces_what_it_names_and_nothing_else() -> None:
    found = allot(make_team(quotas={"cpu": {"cpu": 20}}, objects={"pods": 200}, container_request={"cpu": 1}), make_platform())

    assert {name: quota.nominal for name, quota in found.quotas["cpu"].items()} == {"cpu": "20", "memory": "40Gi", "nvidia.com/gpu": "0"}
    assert found.objects == {"pods": 200, "jobs.batch": 500}
    assert found.container_request == {"cpu": "1", "memory": "512Mi"}


@pytest.mark.parametrize(
    ("changes", "told", "fix"),
    [
        pytest.param({"quotas": {"cpu": {"cpu": 41}}}, "quotas.cpu.cpu: 41 is more than the platform's limit, 40", "most 40", id="quota"),
        pytest.param(
            {"quotas": {"a100": {"cpu": 1, "memory": 1, "nvidia.com/gpu": 9}}},
            "more than all that the flavor has, 8",
            "at most 8",
            id="all",
        ),
        pytest.param({"quotas": {"a10": {"cpu": 1}}}, "there is no flavor 'a10'", "did you mean 'a100'?", id="flavor"),
        pytest.param({"quotas": {"cpu": {"cpus": 1}}}, "flavor 'cpu' has no 'cpus'", "did you mean 'cpu'?", id="resource"),
        pytest.param({"quotas": {"a100": {"nvidia.com/gpu": 1}}}, "no cpu: no pod could start there", "add quotas.a100.cpu", id="no cpu"),
        pytest.param({"backfill": {"borrow": {"tpu": {"cpu": 1}}}}, "there is no flavor 'tpu'", "did you mean 'cpu'?", id="backfill"),
        pytest.param({"weight": 5}, "weight: 5 is more than the platform's limit, 4", "at most 4", id="weight"),
        pytest.param({"weight": 0}, "weight: 0 would never get idle capacity", "above 0", id="no weight"),
        pytest.param({"objects": {"pods": 301}}, "objects.pods: 301 is more than the platform's limit, 300", "at most 300", id="pods"),
        pytest.param({"budget_usd_per_month": 5001}, "budget_usd_per_month: 5001 is more than", "at most 5000", id="budget"),
        pytest.param({"container_request": {"cpu": 33}}, "more than one container may ask, 32", "container_max.cpu", id="request"),
    ],
)
def test_more_than_the_platform_allows_is_refused(changes: dict[str, Any], told: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        allot(make_team(**changes), make_platform())

    assert told in caught.value.message
    assert "team 'network'" in caught.value.message
    assert fix in caught.value.fix


def test_what_is_exactly_the_limit_is_granted() -> None:
    found = allot(make_team(quotas={"cpu": {"cpu": 40}}, weight=4, objects={"pods": 300}, budget_usd_per_month=5000), make_platform())

    assert found.quotas["cpu"]["cpu"].nominal == "40"


def test_quotas_that_add_up_to_more_than_there_is_are_refused_with_what_is_too_much() -> None:
    teams = [make_team(name, quotas={"cpu": {"cpu": cores}}) for name, cores in (("network", 40), ("fleet", 31), ("eta", 20))]

    with pytest.raises(Invalid) as caught:
        allot_all(teams, make_platform())

    # 91 and the run workers' 10
    assert "quotas of cpu in flavor 'cpu' add up to 101; its nodes have 100" in caught.value.message
    assert caught.value.fix == "lower some by 1 together (network has 40), or raise the capacity"


def test_quotas_that_just_fit_are_granted() -> None:
    teams = [make_team(name, quotas={"cpu": {"cpu": cores}}) for name, cores in (("network", 40), ("fleet", 30), ("eta", 20))]

    assert len(allot_all(teams, make_platform())) == 3


def test_a_team_that_reads_nobody_is_told_the_nearest() -> None:
    with pytest.raises(Invalid, match="reads 'flet', which is no team") as caught:
        allot_all([make_team("fleet"), make_team("eta", reads=["flet"])], make_platform())

    assert caught.value.fix == "did you mean 'fleet'?"


def test_a_raw_table_has_one_writer() -> None:
    with pytest.raises(Invalid, match="'fleet' and 'eta' both land 'raw/planes'"):
        allot_all([make_team("fleet", lands=["raw/planes"]), make_team("eta", lands=["raw/planes"])], make_platform())


def test_two_files_of_one_team_are_refused() -> None:
    with pytest.raises(Invalid, match="2 files are of team 'eta'"):
        allot_all([make_team("eta"), make_team("eta")], make_platform())


def test_a_flavor_that_a_team_declines_is_not_offered_to_it() -> None:
    declined = {"cpu": {"nominal": 0, "borrow": 0}, "memory": {"nominal": 0, "borrow": 0}}
    platform = make_platform()

    assert set(allot(make_team(quotas={"a100": declined}), platform).quotas) == {"cpu"}
    assert set(allot(make_team(quotas={"a100": {"cpu": 0, "memory": 0}}), platform).quotas) == {"cpu", "a100"}


@given(teams=some_teams(), order=st.randoms(use_true_random=False))
def test_what_teams_are_granted_fits_together_in_any_order(teams: list[TeamFile], order: Any) -> None:
    platform = PLATFORM
    shuffled = list(teams)
    order.shuffle(shuffled)

    found = allot_all(teams, platform)

    assert {one.team: one for one in allot_all(shuffled, platform)} == {one.team: one for one in found}
    for flavor, has in platform.flavors.items():
        for resource, capacity in has.capacity.items():
            given_away = sum(milli(one.quotas[flavor][resource].nominal) for one in found if flavor in one.quotas)
            workers = milli(platform.run_workers.quota.get(resource, "0")) if flavor == "cpu" else 0
            assert given_away + workers <= milli(capacity)
