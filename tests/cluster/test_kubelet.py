"""The node with real containers: the same story, what only containers do, and what is left on the machine afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.devcluster import cluster as devcluster
from deploy.devcluster.containers import BUSYBOX
from deploy.devcluster.kubelet_node import BRIDGE
from deploy.devcluster.smoke import smoke
from tests.cluster_case import Cluster
from tiffin.core.errors import Unsupported

PARTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kueue",
    "certificate-sync",
    "containerd",
    "kubelet",
    "forward",
)


def pod(name: str, script: str, **more: Any) -> dict[str, Any]:
    container = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script], **more.pop("container", {})}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def phase(cluster: Cluster, name: str) -> str:
    return str(cluster.json("get", "pod", name, "-n", "default")["status"].get("phase"))


def left_behind() -> Iterator[Path]:
    """What such a node may leave outside its folder."""
    yield from (path for path in [Path(f"/sys/class/net/{BRIDGE}"), *Path("/sys/fs/cgroup").glob("**/kubepods")] if path.exists())


def test_containers_are_real_survive_their_engine_and_leave_nothing(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        # who is not root is told so, and what to do instead
        with pytest.raises(Unsupported, match="needs root"):
            new_cluster(nodes="kubelet")
        return
    told: list[str] = []
    cluster = new_cluster(nodes="kubelet")
    home = cluster.need_home()
    assert set(home.read().processes) == set(PARTS)

    # the story of borrowing, preemption and resume
    smoke(home, say=told.append)
    assert len(told) == 4

    # a file system, a user and a mount path of its own
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}, "stringData": {"KEY": "s3cret"}}
    mounts = {"volumeMounts": [{"name": "keys", "mountPath": "/keys"}], "securityContext": {"runAsUser": 1000, "runAsNonRoot": True}}
    volumes = [{"name": "keys", "secret": {"secretName": "keys"}}]
    script = 'cat /keys/KEY; echo; id -u; test -e "$0" || echo apart'
    reads = pod("reads", script, container=mounts, volumes=volumes)
    reads["spec"]["containers"][0]["command"].append(str(Path(__file__)))
    cluster.create(secret, reads)
    cluster.until("it ends", lambda: phase(cluster, "reads") == "Succeeded")
    assert cluster.kubectl("logs", "reads") == "s3cret\n1000\napart\n"

    # killed engine, killed kubelet: the container goes on, and its end is seen
    gate = {"name": "gate", "hostPath": {"path": str(tmp_path), "type": "Directory"}}
    waits = pod(
        "waits",
        "echo up; until [ -e /gate/open ]; do sleep 0.1; done; echo open",
        container={"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]},
        volumes=[gate],
    )
    cluster.create(waits)
    cluster.until("it runs", lambda: phase(cluster, "waits") == "Running")
    for part in ("containerd", "kubelet"):
        cluster.kill(part)
    cluster.start()
    (tmp_path / "open").touch()
    cluster.until("it ends", lambda: phase(cluster, "waits") == "Succeeded")
    assert cluster.kubectl("logs", "waits") == "up\nopen\n"
    assert cluster.json("get", "pod", "waits")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_nothing_of_such_a_node_is_left_when_it_is_down(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    before = set(left_behind())
    if os.geteuid() != 0:
        with pytest.raises(Unsupported, match="process"):
            new_cluster(nodes="kubelet")
    else:
        cluster = new_cluster(nodes="kubelet")
        cluster.create(pod("stays", "sleep 600 & wait"))
        cluster.until("it runs", lambda: phase(cluster, "stays") == "Running")
        devcluster.down(cluster.need_home().folder, say=print)

    assert set(left_behind()) == before == set()
    assert not (tmp_path / "cluster").exists()
