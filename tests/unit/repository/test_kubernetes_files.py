"""`deploy/kubernetes` as it lies there; what the API server says of it is in tests/cluster/test_kubernetes_files.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml

from deploy.devcluster.kueue import LABELS_TO_COPY, gates
from tests.team_files import ROOT
from tiffin.compute.declared_file import read_file
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.prices import Prices
from tiffin.compute.render_rights import DAGSTER_PARTS, rules_of

BASE = ROOT / "deploy" / "kubernetes" / "base"
KUEUE = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kueue" / "controller_manager_config.yaml").read_text())


def objects() -> list[dict[str, Any]]:
    """Every object of the base."""
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [item for name in names for item in yaml.safe_load_all((BASE / name).read_text()) if item]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that the base would start."""
    for item in objects():
        if item["kind"] in ("Deployment", "StatefulSet"):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


@pytest.mark.parametrize(("name", "pod"), list(pods()), ids=[name for name, _ in pods()])
def test_a_part_of_dagster_runs_as_nobody_and_writes_nowhere_but_in_its_own_folders(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["serviceAccountName"] == name
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "/" not in container["image"].removeprefix("tiffin/"), "images by name; the overlay knows the registry"


def test_no_secret_is_in_the_files_only_names_of_secrets() -> None:
    assert not [item for item in objects() if item["kind"] == "Secret"]
    for _, pod in pods():
        for container in pod["containers"]:
            told = {
                one["name"]: one.get("value") for one in container["env"] if any(word in one["name"] for word in ("PASSWORD", "SECRET"))
            }
            assert set(told.values()) <= {None}


@pytest.mark.parametrize("part", ["dagster-daemon", "dagster-webserver", "dagster-platform"])
def test_a_part_may_do_no_more_at_home_than_in_a_teams_namespace(part: str) -> None:
    def rights(rules: list[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
        return {
            (api, resource, verb) for rule in rules for api in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
        }

    (role,) = [item for item in objects() if item["kind"] == "Role" and item["metadata"]["name"] == part]

    assert rights(role["rules"]) <= rights(rules_of(DAGSTER_PARTS[part]))


def test_kueue_is_set_as_the_tests_cluster_sets_it() -> None:
    """What the tests have shown holds for these settings."""
    switched = {name: text == "true" for name, _, text in (word.partition("=") for word in gates(visibility=True).split(","))}

    assert KUEUE["featureGates"] == switched
    assert KUEUE["integrations"] == {"frameworks": ["batch/job"], "labelKeysToCopy": list(LABELS_TO_COPY)}
    assert KUEUE["manageJobsWithoutQueueName"] is False
    assert "fairSharing" not in KUEUE


def test_a_hopeless_pod_does_not_come_back_for_ever() -> None:
    assert KUEUE["waitForPodsReady"]["requeuingStrategy"]["backoffLimitCount"] == 5


def test_the_platforms_own_location_loads_without_a_cluster() -> None:
    from sensors.platform_location import definitions

    dg.Definitions.validate_loadable(definitions)
    names = {sensor.name for sensor in definitions.sensors or ()}

    assert names == {"janitor", "usage", "budget"}


def test_prices_are_ones_that_the_bill_reads() -> None:
    platform = read_file(PlatformFile, ROOT / "deploy" / "platform.yaml")
    told = Prices.parse(yaml.safe_load((ROOT / "deploy" / "teams" / "prices.yaml").read_text()))

    assert told == Prices.parse(platform.prices)
    assert set(told.flavors) >= set(platform.flavors)
    for flavor, has in platform.flavors.items():
        assert set(told.flavors[flavor]) >= set(has.capacity)
