"""A node with real containers: kubelet, containerd and runc, for whoever is root (`up --nodes kubelet`).

Everything it mounts stays in a mount namespace of its own. On the machine it leaves, until `down`: one bridge
without a way out, the cgroups `kubepods`, and empty folders where the kubelet insists on its paths. There can be one
such node on a machine. Pods reach the API server through the service's address; they do not reach 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.devcluster.certificates import KUBELET_IP, SERVICE_IP
from deploy.devcluster.containers import PAUSE, SOCKET, ctr
from deploy.devcluster.home import Home
from tiffin.core.errors import NotReady, Unsupported

__all__ = ["BRIDGE", "KUBELET_NODE", "check", "clean", "containerd", "kubelet", "prepare", "stop_containers"]

KUBELET_NODE = "kubelet-0"
BRIDGE = "tiffindc0"
# the kubelet uses these whatever its root folder is; in its namespace they are folders of the cluster
PRIVATE = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/usr/libexec/kubernetes")
# what it wants to find in the kernel's settings, and would otherwise change for the whole machine
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def check() -> None:
    """Refuse where there is no chance.

    Raises:
        Unsupported: not root, or a program of the machine is missing.
    """
    if os.geteuid() != 0:
        raise Unsupported("a node with real containers needs root", fix="run it as root, or use `--nodes process`")
    for program in ("unshare", "nsenter", "mount", "ip"):
        if shutil.which(program) is None:
            raise Unsupported(f"there is no program {program!r}", fix="install util-linux and iproute2, or use `--nodes process`")


def folder_of(home: Home) -> Path:
    """All that this node writes."""
    return home.folder / "containers"


def prepare(home: Home, ports: Mapping[str, int], programs: Path) -> None:
    """Write the configuration, and make the bridge.

    Raises:
        NotReady: another cluster of this machine has the bridge.
    """
    folder = folder_of(home)
    for name in ("cni", "sysctl", *(f"private{path}" for path in PRIVATE)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    home.write_kubeconfig(home.folder / "kubelet.kubeconfig", "kubelet", ports["api"])
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(network(folder)))
    (folder / "containerd.toml").write_text(containerd_toml(folder, programs / "containers"))
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_configuration(home, ports), sort_keys=False))
    for path, value in SYSCTLS.items():
        (folder / "sysctl" / path.replace("/", ".")).write_text(f"{value}\n")
    (folder / "containerd.sh").write_text(containerd_script(folder, programs / "containers"))
    (folder / "kubelet.sh").write_text(kubelet_script(home, programs))
    mine = folder / "bridge"
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        if not mine.exists():
            raise NotReady(
                f"another cluster of this machine has the bridge {BRIDGE}", fix="`down` that one first: there can be one with containers"
            )
        return
    for command in (
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "address", "add", f"{KUBELET_IP}/24", "dev", BRIDGE],
        ["ip", "address", "add", f"{SERVICE_IP}/32", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    mine.touch()


def network(folder: Path) -> dict[str, Any]:
    """Pods get addresses on the bridge; not its gateway: then the machine forwards nothing."""
    subnet = f"{KUBELET_IP.rsplit('.', 1)[0]}.0/24"
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet, "gateway": KUBELET_IP}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folder / "addresses"),
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": BRIDGE, "hairpinMode": True, "ipam": ipam}]}


def containerd_toml(folder: Path, engine: Path) -> str:
    """containerd's configuration; without CAP_SYS_RESOURCE runc may lower no OOM score."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{SOCKET}"
[{cri}]
sandbox_image = "{PAUSE}"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
BinaryName = "{engine}/usr/sbin/runc"
SystemdCgroup = false
[{cri}.cni]
bin_dir = "{engine}/usr/lib/cni"
conf_dir = "{folder}/cni"
"""


def kubelet_configuration(home: Home, ports: Mapping[str, int]) -> dict[str, Any]:
    """The kubelet's file."""
    folder, pki = folder_of(home), home.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # it refuses 127.0.0.1 as a node's address
        "address": KUBELET_IP,
        "port": ports["node"],
        "healthzPort": 0,
        "readOnlyPort": 0,
        "tlsCertFile": f"{pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        "authentication": {"x509": {"clientCAFile": f"{pki}/ca.crt"}, "anonymous": {"enabled": False}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        # Debian 12's containerd cannot tell which driver it uses, and machines with the old cgroups are welcome
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # it finds its settings (see SYSCTLS), and is not to write them
        "protectKernelDefaults": True,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "maxPods": 250,
        "podLogsDir": f"{folder}/logs",
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
    }


def containerd_script(folder: Path, engine: Path) -> str:
    """In its own mount namespace: the fixed paths become the cluster's folders, then containerd."""
    lines = [f"export PATH={engine}/usr/bin:{engine}/usr/sbin:$PATH", "mount --make-rshared /"]
    for path in PRIVATE:
        lines += [f"mkdir -p {path}", f"mount --bind {folder}/private{path} {path}"]
    return "\n".join(["set -e", *lines, f"exec {engine}/usr/bin/containerd --config {folder}/containerd.toml", ""])


def kubelet_script(home: Home, programs: Path) -> str:
    """In a namespace beside containerd's, which sees its mounts: the kernel's settings as wanted, then the kubelet."""
    folder = folder_of(home)
    lines = ["mount --make-rprivate /proc"]
    lines += [f"mount --bind {folder}/sysctl/{path.replace('/', '.')} /proc/sys/{path}" for path in SYSCTLS]
    flags = {
        "kubeconfig": home.folder / "kubelet.kubeconfig",
        "config": folder / "kubelet.yaml",
        "cert-dir": folder / "kubelet-certificates",
        "hostname-override": KUBELET_NODE,
        "node-ip": KUBELET_IP,
    }
    return "\n".join(
        ["set -e", *lines, " ".join([f"exec {programs}/kubelet", *(f"--{name}={value}" for name, value in flags.items())]), ""]
    )


def containerd(home: Home) -> list[str]:
    """Its command."""
    return ["unshare", "--mount", "bash", str(folder_of(home) / "containerd.sh")]


def kubelet(home: Home, containerd_pid: int) -> list[str]:
    """Its command; volumes that it mounts must show up where containerd runs, so it starts from there."""
    inside = ["nsenter", "--mount", f"--target={containerd_pid}"]
    return [*inside, "unshare", "--mount", "--propagation", "unchanged", "bash", str(folder_of(home) / "kubelet.sh")]


def stop_containers(programs: Path, containerd_pid: int) -> None:
    """End every container: they outlive the kubelet and containerd."""
    engine = programs / "containers"
    try:
        tasks = ctr(engine, containerd_pid, "tasks", "ls", "--quiet").split()
    except NotReady:
        return
    for task in tasks:
        try:
            ctr(engine, containerd_pid, "tasks", "rm", "--force", task)
        except NotReady:
            continue  # it ended by itself


def clean(home: Home) -> None:
    """Take away what lies outside the cluster's folder, once nothing of it runs."""
    if (folder_of(home) / "bridge").exists():
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)  # noqa: S607  of the machine
    groups = Path("/sys/fs/cgroup")
    for top in [groups / "kubepods", *groups.glob("*/kubepods")]:
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)) if top.exists() else []:
            remove_empty(folder)
        remove_empty(top)
    for path in PRIVATE:
        remove_empty(Path(path))


def remove_empty(folder: Path) -> None:
    """Remove a folder that nobody uses."""
    try:
        folder.rmdir()
    except OSError:
        return
