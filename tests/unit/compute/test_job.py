"""The parts of a Job, and the last look at it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute import Compute
from tiffin.compute.job import label_value, pod_defaults, step_config, step_labels
from tiffin.compute.job_check import check_job, check_user_config
from tiffin.compute.world import Flavor
from tiffin.compute.world_pods import Taint, Toleration
from tiffin.core.errors import Denied, Invalid, PlatformError

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"


@given(st.text(max_size=120), st.text(max_size=120))
def test_label_values_are_valid_and_tell_texts_apart(one: str, other: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", label_value(one))
    assert (label_value(one) == label_value(other)) == (one == other)


def test_a_step_is_found_by_team_step_and_asset() -> None:
    found = step_labels(team="network", step="network__carrier_delays", asset="network/carrier_delays")

    assert found["tiffin.dev/team"] == "network"
    assert found["tiffin.dev/step"] == "network__carrier_delays"
    assert found["tiffin.dev/asset"].startswith("network_carrier_delays.")


def test_the_queues_label_is_on_the_job_alone() -> None:
    found = step_config(Compute(), queue="default", priority="prod", labels={"tiffin.dev/team": "network"})

    assert found["job_metadata"]["labels"] == {"tiffin.dev/team": "network", QUEUE: "default", PRIORITY: "prod"}
    assert "pod_template_spec_metadata" not in found
    assert "suspend" not in found["job_spec_config"]


def test_the_specs_own_queue_and_priority_win() -> None:
    found = step_config(Compute(queue="prod", priority="prod"), queue="backfill", priority="backfill")

    assert found["job_metadata"]["labels"] == {QUEUE: "prod", PRIORITY: "prod"}


def test_without_a_queue_nothing_of_kueue_is_set() -> None:
    found = step_config(Compute(max_run="1h"), queue=None, priority="prod")

    assert found["job_metadata"]["labels"] == {}


def test_the_longest_run_is_kueues_to_keep() -> None:
    found = step_config(Compute(max_run="6h"), queue="default", priority=None)

    assert found["job_metadata"]["labels"]["kueue.x-k8s.io/max-exec-time-seconds"] == "21600"
    assert "activeDeadlineSeconds" not in found["job_spec_config"]


def test_memory_and_accelerators_are_limited_to_what_was_asked_for() -> None:
    found = step_config(Compute(cpu=2, memory="4Gi", gpus=1), queue="default", priority=None)

    assert found["container_config"]["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"},
    }
    assert found["pod_spec_config"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_gang_is_one_indexed_job() -> None:
    found = step_config(Compute(parallelism=4), queue="default", priority=None)["job_spec_config"]

    assert found == {"backoffLimit": 0, "parallelism": 4, "completions": 4, "completionMode": "Indexed"}


def test_a_flavor_is_asked_for_by_its_nodes() -> None:
    taints = (Taint("spot", "yes", "NoSchedule"), Taint("known", "", "NoExecute"), Taint("soft", "", "PreferNoSchedule"))
    flavor = Flavor("a100", {"gpu": "a100"}, taints, (Toleration("known", "Exists", "", ""),))
    found = step_config(Compute(flavor="a100"), queue="default", priority=None, flavors={"a100": flavor})["pod_spec_config"]

    assert found["nodeSelector"] == {"gpu": "a100"}
    assert found["tolerations"] == [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]


def test_a_pod_knows_who_it_is_and_where_its_checkpoints_are() -> None:
    found = step_config(Compute(grace="90s"), queue="default", priority=None, checkpoint="s3://dev/checkpoints/r/s/")

    env = {one["name"]: one.get("value") or one["valueFrom"] for one in found["container_config"]["env"]}
    assert env["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert env["TIFFIN_CHECKPOINT"] == "s3://dev/checkpoints/r/s/"
    assert found["pod_spec_config"]["terminationGracePeriodSeconds"] == 90


def test_pods_are_ordinary_users_with_no_more_rights() -> None:
    found = pod_defaults()

    inner = found["container_config"]["securityContext"]
    assert inner["runAsNonRoot"] is True
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert found["pod_spec_config"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod_defaults("none") == {}


def finished() -> dict[str, Any]:
    """A Job as it is just before it is handed in."""
    config = step_config(Compute(), queue="default", priority="prod")
    container = {"name": "main", **config["container_config"], **pod_defaults()["container_config"]}
    return {
        "metadata": {"name": "load", "namespace": "team-network", **config["job_metadata"]},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {}}, "spec": {"containers": [container]}}},
    }


def test_an_ordinary_job_passes() -> None:
    check_job(finished(), namespace="team-network")


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        pytest.param(lambda job: job["metadata"].update(namespace="team-fleet"), Denied, "team-fleet", id="another namespace"),
        pytest.param(
            lambda job: pod(job).update(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), Denied, "hostPath", id="a folder of the node"
        ),
        pytest.param(lambda job: pod(job).update(hostNetwork=True), Denied, "hostNetwork", id="the node's network"),
        pytest.param(lambda job: pod(job).update(hostPID=True), Denied, "hostPID", id="the node's processes"),
        pytest.param(
            lambda job: pod(job)["containers"][0]["securityContext"].update(privileged=True), Denied, "privileged", id="privileged"
        ),
        pytest.param(lambda job: pod(job)["containers"][0]["securityContext"].update(runAsUser=0), Denied, "runAsUser", id="root"),
        pytest.param(
            lambda job: pod(job)["containers"][0]["securityContext"].update(runAsNonRoot=False), Denied, "runAsNonRoot", id="maybe root"
        ),
        pytest.param(
            lambda job: pod(job)["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
            Denied,
            "capabilities",
            id="more capabilities",
        ),
        pytest.param(
            lambda job: pod(job).update(initContainers=[{"name": "i", "securityContext": {"allowPrivilegeEscalation": True}}]),
            Denied,
            "allowPrivilegeEscalation",
            id="an init container",
        ),
        pytest.param(
            lambda job: pod(job)["containers"][0]["env"].append({"name": "POD_NAME", "value": "x"}),
            Invalid,
            "'POD_NAME' twice",
            id="a name twice",
        ),
        pytest.param(
            lambda job: job["spec"]["template"]["metadata"]["labels"].update({QUEUE: "default"}), Invalid, "on its pods", id="queue on pods"
        ),
        pytest.param(lambda job: job["metadata"]["labels"].pop(QUEUE), Invalid, "no queue", id="a priority alone"),
        pytest.param(lambda job: job["spec"].update(suspend=True), Invalid, "suspended by hand", id="suspended"),
        pytest.param(lambda job: pod(job)["containers"][0].update(resources={}), Invalid, "requests nothing", id="no requests"),
    ],
)
def test_a_spoilt_job_is_refused(spoil: Callable[[dict[str, Any]], Any], error: type[PlatformError], words: str) -> None:
    job = copy.deepcopy(finished())
    spoil(job)

    with pytest.raises(error, match=re.escape(words)):
        check_job(job, namespace="team-network")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({"job_metadata": {"namespace": "team-fleet"}}, "names the namespace 'team-fleet'", id="snake case"),
        pytest.param({"jobMetadata": {"namespace": "team-fleet"}}, "names the namespace", id="camel case"),
        pytest.param({"job_config": {"metadata": {"namespace": "team-fleet"}}}, "names the namespace", id="whole job"),
        pytest.param({"job_metadata": {"labels": {QUEUE: "prod"}}}, "Compute(queue=", id="a queue"),
        pytest.param({"pod_template_spec_metadata": {"labels": {PRIORITY: "prod"}}}, "Compute(queue=", id="a priority"),
        pytest.param({"pod_spec_config": {"volumes": [{"host_path": {"path": "/"}}]}}, "host_path", id="a folder of the node"),
        pytest.param({"pod_spec_config": {"host_network": True}}, "host_network", id="the node's network"),
        pytest.param({"container_config": {"security_context": {"run_as_user": 0}}}, "run_as_user", id="root"),
    ],
)
def test_what_a_tag_may_not_set_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(Denied, match=re.escape(words)):
        check_user_config(config, source="a tag of step 'load'")


def test_what_dagster_documents_passes() -> None:
    """Resources, environment, volumes of config maps, annotations, other labels; a field that merely is called namespace."""
    check_user_config(
        {
            "container_config": {"resources": {"requests": {"cpu": "250m"}}, "volume_mounts": [{"name": "v", "mount_path": "/v"}]},
            "pod_spec_config": {"volumes": [{"name": "v", "config_map": {"name": "c"}}], "node_selector": {"disk": "ssd"}},
            "pod_template_spec_metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}},
            "job_metadata": {"labels": {"owner": "me"}, "annotations": {"namespace": "a word"}},
            "job_spec_config": {"ttl_seconds_after_finished": 300},
        },
        source="a tag",
    )
