"""`deploy/kubernetes` as kustomize renders it and a real API server with Kueue takes it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.cluster_case import Cluster, Refused, stream
from tests.team_files import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
NAMESPACED = ("dagster", "team-network", "team-fleet", "team-eta")
ITS_OWN = (
    *("apiVersion", "kind", "health", "metrics", "webhook", "leaderElection"),
    *("internalCertManagement", "clientConnection", "featureGates"),
)
"""Keys that say where a controller listens, or that the test cluster gives as flags."""


@pytest.fixture(scope="module")
def rendered(cluster: Cluster) -> list[dict[str, Any]]:
    """The example overlay's objects."""
    return [item for item in yaml.safe_load_all(cluster.kubectl("kustomize", str(FOLDER / "overlays" / "example"))) if item]


@pytest.fixture
def elsewhere(cluster: Cluster, rendered: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same objects in namespaces of this test alone, which are there and as strict as the real ones."""
    suffix = secrets.token_hex(3)
    text = json.dumps(rendered)
    for name in NAMESPACED:
        text = text.replace(f'"namespace": "{name}"', f'"namespace": "{name}-{suffix}"')
    items = json.loads(text)
    spaces = [item for item in items if item["kind"] == "Namespace"]
    for space in spaces:
        space["metadata"]["name"] += f"-{suffix}"
        space["metadata"]["labels"]["tiffin.dev/installation"] = suffix
    try:
        cluster.create(*spaces)
        yield [item for item in items if item["kind"] != "Namespace"]
    finally:
        cluster.kubectl("delete", "namespace", *(space["metadata"]["name"] for space in spaces), "--ignore-not-found", "--wait=false")


def test_the_api_server_takes_every_object_without_a_warning(cluster: Cluster, elsewhere: list[dict[str, Any]]) -> None:
    done = cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--warnings-as-errors", "-f", "-"), stdin=stream(elsewhere)
    )

    assert len(done.splitlines()) == len(elsewhere)


def test_a_pod_that_is_less_strict_would_be_told(cluster: Cluster, elsewhere: list[dict[str, Any]]) -> None:
    """The test above would see it: the same Deployment as root is a warning."""
    (daemon,) = [item for item in elsewhere if item["metadata"]["name"] == "dagster-daemon" and item["kind"] == "Deployment"]
    daemon["spec"]["template"]["spec"]["securityContext"] = {"runAsUser": 0}

    with pytest.raises(Refused, match="would violate PodSecurity"):
        cluster.kubectl("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=stream([daemon]))


def test_what_pods_name_is_there(rendered: list[dict[str, Any]]) -> None:
    there = {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in rendered}

    for item in rendered:
        if item["kind"] not in ("Deployment", "StatefulSet"):
            continue
        home, pod = item["metadata"]["namespace"], item["spec"]["template"]["spec"]
        assert ("ServiceAccount", home, pod["serviceAccountName"]) in there
        for volume in pod["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", home, volume["configMap"]["name"]) in there
        for container in pod["containers"]:
            # the one thing that the operator brings
            assert {one["secretRef"]["name"] for one in container.get("envFrom", ())} <= {"stack"}
    # run workers of the platform's own location mount it by this name
    assert ("ConfigMap", "dagster", "dagster-instance") in there


def test_run_workers_are_started_from_the_image_that_the_overlay_names(rendered: list[dict[str, Any]]) -> None:
    servers = [item["spec"]["template"]["spec"]["containers"][0] for item in rendered if item["kind"] == "Deployment"]
    told = {
        container["image"]: {one["name"]: one.get("value") for one in container["env"]}["DAGSTER_CURRENT_IMAGE"]
        for container in servers
        if container["name"] == "code-location"
    }

    assert len(told) == 4
    assert all(image == current for image, current in told.items())


def test_kueue_takes_its_configuration(new_cluster: Callable[..., Cluster]) -> None:
    """A key that Kueue does not know, or a value that it refuses, keeps the controller from starting."""
    config = yaml.safe_load((FOLDER / "kueue" / "controller_manager_config.yaml").read_text())

    cluster = new_cluster(kueue={key: value for key, value in config.items() if key not in ITS_OWN})

    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "any"}, "spec": {}}
    cluster.create(flavor)
    assert cluster.json("get", "resourceflavor", "any")["metadata"]["name"] == "any"
