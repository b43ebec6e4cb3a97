"""Certificates, Kueue's installation on one machine, a pod's status, and what is written down: values in, values out."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from deploy.devcluster.certificates import make_certificates
from deploy.devcluster.home import Home, Recorded, Wishes
from deploy.devcluster.kueue import configuration, gates, local_installation
from deploy.devcluster.node_status import Container, exit_code, final_phase, pod_status
from tiffin.core.errors import NotFound
from tiffin.embedded.processes import Process

POD = {"metadata": {"uid": "u-1"}, "spec": {"containers": [{"name": "main"}, {"name": "side"}]}}


def test_every_key_is_its_owners_alone_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    make_certificates(tmp_path / "pki")
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    make_certificates(tmp_path / "pki")

    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "group"), [("admin", "system:masters"), ("kube-scheduler", None), ("apiserver-kubelet", "system:masters")]
)
def test_a_certificate_says_who_holds_it_and_who_vouches(tmp_path: Path, name: str, group: str | None) -> None:
    make_certificates(tmp_path)
    found = x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())

    groups = [str(one.value) for one in found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    found.verify_directly_issued_by(authority)
    assert groups == ([] if group is None else [group])


def kueue_objects() -> list[dict[str, Any]]:
    service = {"name": "kueue-webhook-service", "namespace": "kueue-system"}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": dict(service)}}}
    return [
        {"kind": "Deployment", "metadata": {"name": "kueue-controller-manager"}, "spec": {}},
        {"kind": "Service", "metadata": {"name": "kueue-webhook-service"}, "spec": {"selector": {}}},
        {"kind": "Service", "metadata": {"name": "kueue-visibility-server"}, "spec": {}},
        {"kind": "Service", "metadata": {"name": "kueue-controller-manager-metrics-service"}, "spec": {}},
        {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "m"}, "webhooks": [{"clientConfig": {"service": dict(service)}}]},
        {"kind": "CustomResourceDefinition", "metadata": {"name": "c"}, "spec": {"conversion": conversion}},
        {"kind": "CustomResourceDefinition", "metadata": {"name": "d"}, "spec": {}},
        {"kind": "APIService", "metadata": {"name": "a"}, "spec": {"service": {"name": "kueue-visibility-server"}}},
        {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []},
    ]


def test_kueues_installation_leads_to_this_machine_and_is_otherwise_its_own() -> None:
    text = local_installation(yaml.safe_dump_all(kueue_objects()), webhook_port=1111, visibility_port=2222)

    found = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}
    assert ("Deployment", "kueue-controller-manager") not in found
    assert ("Service", "kueue-controller-manager-metrics-service") not in found
    assert found["Service", "kueue-webhook-service"]["spec"]["type"] == "ExternalName"
    assert found["Service", "kueue-webhook-service"]["spec"]["ports"][0]["port"] == 1111
    assert found["Service", "kueue-visibility-server"]["spec"]["ports"][0]["port"] == 2222
    assert found["MutatingWebhookConfiguration", "m"]["webhooks"][0]["clientConfig"]["service"]["port"] == 1111
    assert found["CustomResourceDefinition", "c"]["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] == 1111
    assert found["APIService", "a"]["spec"]["service"]["port"] == 2222
    assert found["ClusterRole", "r"] == kueue_objects()[-1]


def test_a_wish_replaces_a_field_of_kueues_configuration(tmp_path: Path) -> None:
    ports = dict.fromkeys(("health", "metrics", "webhook", "visibility"), 1)

    plain = yaml.safe_load(configuration(Home(tmp_path), ports, Wishes(pods_ready_s=7)))
    wished = yaml.safe_load(configuration(Home(tmp_path), ports, Wishes(kueue={"fairSharing": {"preemptionStrategies": []}})))

    assert plain["waitForPodsReady"]["timeout"] == "7s"
    assert "fairSharing" not in plain
    assert wished["fairSharing"] == {"preemptionStrategies": []}
    assert "dagster/run-id" in plain["integrations"]["labelKeysToCopy"]


def test_the_visibility_gate_is_closed_only_where_it_cannot_work() -> None:
    assert "VisibilityOnDemand" not in gates(visibility=True)
    assert "VisibilityOnDemand=false" in gates(visibility=False)


def running() -> Container:
    return Container(waiting=None, started="2026-01-01T00:00:00Z")


def ended(code: int) -> Container:
    return Container(waiting=None, started="2026-01-01T00:00:00Z", code=code, finished="2026-01-01T00:00:01Z")


def test_a_pod_is_ready_only_when_all_its_containers_run() -> None:
    def ready(main: dict[str, Container]) -> str:
        status = pod_status(POD, "Running", {}, main, started="t", initialised=True)["status"]
        return str(next(one for one in status["conditions"] if one["type"] == "Ready")["status"])

    assert ready({"main": running()}) == "False"
    assert ready({"main": running(), "side": ended(0)}) == "False"
    assert ready({"main": running(), "side": running()}) == "True"


def test_a_report_names_the_pods_uid_so_that_a_namesake_never_gets_it() -> None:
    assert pod_status(POD, "Failed", {}, {}, started="t", initialised=True)["metadata"] == {"uid": "u-1"}


@given(st.lists(st.integers(0, 255), min_size=1, max_size=4))
def test_a_pod_succeeds_when_every_container_does(codes: list[int]) -> None:
    assert (final_phase([ended(code) for code in codes]) == "Succeeded") == (max(codes) == 0)


def test_a_signal_is_told_as_a_shell_tells_it() -> None:
    assert [exit_code(0), exit_code(3), exit_code(-9), exit_code(-15)] == [0, 3, 137, 143]


def test_what_is_recorded_comes_back(tmp_path: Path) -> None:
    home = Home(tmp_path / "cluster")
    begun = home.begin(Path("/programs"), Wishes(nodes="none", kueue={"a": 1}))
    home.write(Recorded(begun.programs, begun.ports, begun.wishes, {"etcd": Process(7, "boot:1")}, "key"))

    again = home.begin(Path("/newer"), Wishes())

    assert again == Recorded("/newer", begun.ports, Wishes(nodes="none", kueue={"a": 1}), {"etcd": Process(7, "boot:1")}, "key")
    assert len(set(begun.ports.values())) == 10
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700


def test_a_cluster_that_never_was_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no cluster in"):
        Home(tmp_path / "nothing").read()
