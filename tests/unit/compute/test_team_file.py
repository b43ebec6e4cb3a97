"""A declared file is read strictly, and every refusal names file, key and fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.team_files import PLATFORM, TEAM_NAMES, make_platform, make_team
from tiffin.compute.declared_file import read_declared, read_file
from tiffin.compute.quantities import milli
from tiffin.compute.team_file import TeamFile, backfill_queue_of, cluster_queue_of, namespace_of
from tiffin.core.errors import Invalid, NotFound

HEAD = "team: network\nowner: team:network\nimage: tiffin/network:1\n"


def refusal(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read_declared(TeamFile, HEAD + text, name="assets/network/team.yaml")
    return caught.value


def test_a_misspelt_key_is_refused_with_the_nearest_word() -> None:
    err = refusal("qotas: {}\n")

    assert err.message == "assets/network/team.yaml: key 'qotas' is not known here"
    assert err.fix == "did you mean 'quotas'?"


def test_a_misspelt_key_deep_in_the_file_is_found_at_its_place() -> None:
    err = refusal("quotas: {cpu: {cpu: {nominal: 4, borow: 2}}}\n")

    assert "quotas.cpu.cpu: key 'borow' is not known here" in err.message
    assert err.fix == "did you mean 'borrow'?"


def test_a_key_that_stands_twice_is_refused_and_not_the_last_ones_win() -> None:
    err = refusal("quotas:\n  cpu: {cpu: 4}\n  cpu: {cpu: 400}\n")

    assert "line 6" in err.message
    assert "'cpu' stands twice" in err.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("quotas: {cpu: {cpu: 4 cores}}\n", "'4 cores' is not readable", id="quantity"),
        pytest.param("quotas: {cpu: {cpu: -1}}\n", "is not readable", id="negative"),
        pytest.param("quotas: {cpu: {cpu: true}}\n", "is not readable", id="truth value"),
        pytest.param("quotas: {cpu: {cpu: {borrow: 1}}}\n", "quotas.cpu.cpu.nominal: this key is missing", id="no nominal"),
        pytest.param("quotas: {cpu: {cpu: {nominal: 4, lend: 5}}}\n", "lend '5' is more than the quota '4'", id="lends too much"),
        pytest.param("groups: {viewer: ['system:masters']}\n", "'system:masters' is not one of an identity provider", id="cluster's own"),
        pytest.param("groups: {viewer: ['']}\n", "group ''", id="empty group"),
        pytest.param("lands: [tables/flights]\n", "'tables/flights' is not a raw one", id="lands elsewhere"),
        pytest.param("objects: {pods: -1}\n", "is no count", id="negative count"),
        pytest.param("container_max: {nvidia.com/gpu: 8}\n", "every container would ask for it", id="devices of everybody"),
        pytest.param("budget_usd_per_month: 0\n", "budget_usd_per_month", id="no budget at all"),
        pytest.param("weight: fast\n", "weight", id="weight"),
        pytest.param("1: x\n", "key 1 is not a word", id="key is no word"),
        pytest.param("owner: [\n", "line", id="no yaml"),
    ],
)
def test_a_bad_value_is_refused_at_its_key(text: str, told: str) -> None:
    err = refusal(text)

    assert told in err.message
    assert err.message.startswith("assets/network/team.yaml")
    assert err.fix


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(Invalid, match="found list, expected keys and values"):
        read_declared(TeamFile, "- team\n", name="team.yaml")


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"team\.yaml"):
        read_file(TeamFile, tmp_path / "team.yaml")


def test_a_team_name_that_kubernetes_cannot_take_is_refused_with_one_that_it_can() -> None:
    with pytest.raises(Invalid, match="'Net-Work' is not allowed") as caught:
        make_team("Net-Work")

    assert caught.value.fix == "rename it to 'net_work'"


@pytest.mark.parametrize("name", ["raw", "platform"])
def test_a_name_that_opens_what_is_not_a_teams_is_refused(name: str) -> None:
    """`raw` would own the landed tables, `platform` the bill."""
    with pytest.raises(Invalid, match=f"no team may be called '{name}'"):
        make_team(name)


def test_amounts_have_one_spelling() -> None:
    team = make_team(quotas={"cpu": {"cpu": 2.5, "memory": "4096Mi"}})

    assert {name: quota.nominal for name, quota in team.quotas["cpu"].items()} == {"cpu": "2500m", "memory": "4Gi"}


@given(one=TEAM_NAMES, other=TEAM_NAMES)
@example(one="last_mile", other="last_stop")
@example(one="ab_c", other="a_bc")
def test_two_teams_never_share_a_namespace_or_a_queue(one: str, other: str) -> None:
    places = [{namespace_of(team), cluster_queue_of(team), backfill_queue_of(team), "run-workers"} for team in (one, other)]

    assert all(len(place) == 3 for place in places)
    assert (places[0] & places[1] == {"run-workers"}) == (one != other)


@given(st.integers(0, 2**40))
def test_a_quota_keeps_its_amount(amount: int) -> None:
    assert milli(make_team(quotas={"cpu": {"cpu": amount}}).quotas["cpu"]["cpu"].nominal) == amount * 1000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"priorities": {**PLATFORM["priorities"], "prod": {"value": 5}}}, "are not in order", id="priorities"),
        pytest.param({"priorities": {"prod": {"value": 5}}}, "there is no priority 'run-worker'", id="no priority"),
        pytest.param({"run_workers": {"flavor": "cp", "quota": {"cpu": 1}}}, "run_workers.flavor: there is no flavor 'cp'", id="flavor"),
        pytest.param({"prices": {"flavors": {"a10": {}}}}, "prices.flavors: there is no flavor 'a10'", id="price of nothing"),
        pytest.param({"limits": {"quotas": {"cpu": {"gpu": 1}}}}, "flavor 'cpu' has no 'gpu'", id="limit of nothing"),
        pytest.param({"flavors": {"cpu": {"capacity": {"cpu": 1}}}}, "capacity has no memory", id="no memory"),
        pytest.param({"network": {**PLATFORM["network"], "api_server": {"name": "x", "ports": [1]}}}, "is not one place", id="nowhere"),
        pytest.param(
            {"network": {**PLATFORM["network"], "api_server": {"name": "x", "cidr": "10.0.0.300/8", "ports": [1]}}}, "10.0.0.300", id="cidr"
        ),
        pytest.param({"pod_security": "privileged"}, "pod_security", id="open pods"),
    ],
)
def test_a_platform_that_contradicts_itself_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(Invalid) as caught:
        make_platform(**changes)

    assert told in caught.value.message
    assert caught.value.fix
