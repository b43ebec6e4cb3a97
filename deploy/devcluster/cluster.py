"""A cluster up, mended, looked at, and down without a trace."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.devcluster import control_plane, kubelet_node
from deploy.devcluster.certificates import SERVICE_IP, make_certificates, write
from deploy.devcluster.containers import ctr
from deploy.devcluster.home import Home, Recorded, Wishes
from deploy.devcluster.kueue import configuration, kueue, local_installation, visibility_possible
from deploy.devcluster.node_processes import end_leftovers
from deploy.devcluster.probes import Probe, probes
from tiffin.core.errors import Invalid, NotReady, nearest
from tiffin.core.settings import inherited_environment
from tiffin.embedded.processes import Process, alive, port_is_free, rotate, spawn, stop, tail, wait_until

__all__ = ["CONTROL", "PARTS", "down", "kill", "kubectl", "status", "up"]

ROOT = Path(__file__).parents[2]
# in the order of starting; ended in the opposite order
CONTROL = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kueue", "certificate-sync")
NODES = {"process": ("node",), "kubelet": ("containerd", "kubelet", "forward"), "none": ()}
PARTS = (*CONTROL, *NODES["process"], *NODES["kubelet"])
LISTENS = {
    "etcd": ("etcd", "etcd_peer"),
    "kube-apiserver": ("api",),
    "kube-controller-manager": ("controller",),
    "kube-scheduler": ("scheduler",),
    "kueue": ("webhook", "visibility", "metrics", "health"),
    "node": ("node",),
}
# on two busy cores the API server was seen to need 40 s
PATIENCE_S = 180.0
FLAVOR = """apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: probe}
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Command:
    """How one part is started."""

    argv: Sequence[str]
    ours: bool = False


def commands(home: Home, recorded: Recorded) -> dict[str, Command]:
    """Every part's command line."""
    programs, ports = Path(recorded.programs), recorded.ports
    return {
        "etcd": Command(control_plane.etcd(programs, home, ports)),
        "kube-apiserver": Command(control_plane.api_server(programs, home, ports)),
        "kube-controller-manager": Command(control_plane.controller_manager(programs, home, ports)),
        "kube-scheduler": Command(control_plane.scheduler(programs, home, ports)),
        "kueue": Command(kueue(programs, home, visibility=visibility_possible())),
        "certificate-sync": Command(module("certificate_sync", home), ours=True),
        "node": Command(module("node_agent", home), ours=True),
        "containerd": Command(kubelet_node.containerd(home)),
        "kubelet": Command(kubelet_node.kubelet(home, recorded.processes["containerd"].pid if "containerd" in recorded.processes else 0)),
        "forward": Command([sys.executable, "-m", "deploy.devcluster.forward", SERVICE_IP, "443", str(ports["api"])], ours=True),
    }


def module(name: str, home: Home) -> list[str]:
    """A program of this package."""
    return [sys.executable, "-m", f"deploy.devcluster.{name}", "--home", str(home.folder)]


def up(folder: Path, programs: Path, wishes: Wishes | None = None, *, say: Say) -> Home:
    """Bring up every part that is not up, in order, and return when Kueue takes objects.

    Args:
        wishes: for a new cluster; a recorded one keeps its own.

    Raises:
        NotReady: a part does not answer; the last lines of its log are in the message.
    """
    home = Home(folder.resolve())
    with home.locked():
        recorded = home.begin(programs, wishes or Wishes())
        if recorded.wishes.nodes == "kubelet":
            kubelet_node.check()
        make_certificates(home.pki)
        home.pods.mkdir(exist_ok=True)
        home.write_kubeconfig(home.kubeconfig, "admin", recorded.ports["api"])
        for name in ("kube-controller-manager", "kube-scheduler"):
            home.write_kubeconfig(home.folder / f"{name}.kubeconfig", name, recorded.ports["api"])
        write(home.folder / "kueue-config.yaml", configuration(home, recorded.ports, recorded.wishes).encode())
        asked = probes(home, recorded.ports)
        nodes = NODES[recorded.wishes.nodes]
        # etcd, then who needs it; the rest start side by side and are waited for together
        for group in (["etcd"], ["kube-apiserver"], list(CONTROL[2:])):
            if group[0] not in ("etcd", "kube-apiserver"):
                recorded = install_kueue(home, recorded, say)
            for name in group:
                recorded = ensure(home, recorded, name, say)
            for name in group:
                answer(home, recorded, name, asked[name], say)
        recorded = bring_nodes(home, recorded, nodes, asked, say)
        settle(home, recorded)
        return home


def bring_nodes(home: Home, recorded: Recorded, nodes: Sequence[str], asked: Mapping[str, Probe], say: Say) -> Recorded:
    """Start what pods run on, one after the other: each needs the one before."""
    if "kubelet" in nodes:
        kubelet_node.prepare(home, recorded.ports, Path(recorded.programs))
        engine, worker = recorded.processes.get("containerd"), recorded.processes.get("kubelet")
        if worker is not None and engine is not None and not alive(engine):
            stop(worker, grace_s=1.0)  # it lives in a mount namespace that the next containerd does not share
    for name in nodes:
        recorded = ensure(home, recorded, name, say)
        answer(home, recorded, name, asked[name], say)
        if name == "containerd":
            for image in ("pause", "busybox"):
                ctr(engine_of(recorded), recorded.processes[name].pid, "images", "import", str(engine_of(recorded) / f"{image}.tar"))
    if "kubelet" in nodes:
        # admission marks every new node as not ready, and the controller that would take it back does not run
        kubectl(home, "patch", "node", kubelet_node.KUBELET_NODE, "--type=merge", "--patch", '{"spec": {"taints": null}}')
    return recorded


def engine_of(recorded: Recorded) -> Path:
    """The unpacked container engine."""
    return Path(recorded.programs) / "containers"


def ensure(home: Home, recorded: Recorded, name: str, say: Say) -> Recorded:
    """Start a part unless its very process still runs."""
    known = recorded.processes.get(name)
    if known is not None and alive(known):
        return recorded
    if known is not None:
        say(f"{name} is gone: starting it again")
        if name != "containerd":  # its containers are meant to outlive it
            stop(known, grace_s=1.0)  # what is left of its session
        # a killed program of many threads looks dead a moment before the last of them lets go of its ports
        wait_until(lambda: all(port_is_free(recorded.ports[port]) for port in LISTENS.get(name, ())), timeout_s=PATIENCE_S)
    command = commands(home, recorded)[name]
    log = home.logs / f"{name}.log"
    rotate(log)
    process = spawn(command.argv, log=log, environ=inherited_environment(), cwd=ROOT if command.ours else home.folder)
    recorded = replace(recorded, processes={**recorded.processes, name: process})
    home.write(recorded)
    return recorded


def answer(home: Home, recorded: Recorded, name: str, ready: Callable[[], bool], say: Say) -> None:
    """Wait until a part answers."""
    process = recorded.processes[name]
    wait_until(lambda: ready() or not alive(process), timeout_s=PATIENCE_S, every_s=0.1)
    if not ready():
        log = home.logs / f"{name}.log"
        raise NotReady(
            f"{name} does not answer; the end of {log}:\n{tail(log)}", fix="read the log, then `up` again: it mends what is down"
        )
    say(f"{name} answers")


def install_kueue(home: Home, recorded: Recorded, say: Say) -> Recorded:
    """Give the API server Kueue's objects, once for each version and port."""
    given = (Path(recorded.programs) / "kueue.yaml").read_text()
    ports = recorded.ports
    key = hashlib.sha256(f"{ports['webhook']} {ports['visibility']} {given}".encode()).hexdigest()
    if recorded.installed == key:
        return recorded
    text = local_installation(given, webhook_port=ports["webhook"], visibility_port=ports["visibility"])
    # on the server's side: the definitions are longer than the annotation that the client's way keeps them in
    kubectl(home, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    kubectl(home, "wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions", "--all")
    say("Kueue is installed")
    recorded = replace(recorded, installed=key)
    home.write(recorded)
    return recorded


def settle(home: Home, recorded: Recorded) -> None:
    """Wait until Kueue's webhooks take a new object: its certificate reaches the API server a little after it is ready."""
    trouble: list[str] = []

    def taken() -> bool:
        try:
            kubectl(home, "create", "--dry-run=server", "-f", "-", stdin=FLAVOR)
            kubectl(home, "get", "--raw", "/api/v1/namespaces/default/serviceaccounts/default")
            if recorded.wishes.nodes == "process":
                kubectl(home, "get", "node", "node-0")
            if visibility_possible():
                kubectl(home, "get", "--raw", "/apis/visibility.kueue.x-k8s.io/v1beta2")
        except NotReady as err:
            trouble[:] = [str(err)]
            return False
        return True

    if not wait_until(taken, timeout_s=PATIENCE_S, every_s=0.3):
        raise NotReady(f"the cluster takes no objects: {trouble[0]}", fix=f"look into {home.logs / 'kueue.log'}")


def kubectl(home: Home, *arguments: str, stdin: str = "") -> str:
    """Run the cluster's own kubectl as its administrator.

    Raises:
        NotReady: it failed; what it said is in the message.
    """
    program = Path(home.read().programs) / "kubectl"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home.folder), "KUBECONFIG": str(home.kubeconfig)}
    done = subprocess.run([str(program), *arguments], env=environ, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode:
        raise NotReady(f"`kubectl {' '.join(arguments)}`: {done.stderr.strip()[-1500:]}", fix="see what kubectl says above")
    return done.stdout


def status(folder: Path) -> dict[str, str]:
    """Each recorded part: "up", "silent" (its process lives, and does not answer) or "down"."""
    home = Home(folder.resolve())
    recorded = home.read()
    asked = probes(home, recorded.ports)
    return {
        name: "down" if not alive(process) else "up" if asked[name]() else "silent"
        for name, process in sorted(recorded.processes.items(), key=lambda entry: PARTS.index(entry[0]))
    }


def kill(folder: Path, part: str) -> Process:
    """SIGKILL one part, as a crash would; `up` brings it back.

    Raises:
        Invalid: there is no such part.
    """
    home = Home(folder.resolve())
    with home.locked():
        process = home.read().processes.get(part)
        if process is None:
            raise Invalid(f"the cluster has no part {part!r}", fix=nearest(part, PARTS))
        if alive(process):
            os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda: not alive(process), timeout_s=10.0)
        return process


def end_containers(home: Home, recorded: Recorded, say: Say) -> Recorded:
    """End who would start containers again, then the containers, by whom alone can end them."""
    if (worker := recorded.processes.get("kubelet")) is not None:
        stop(worker, grace_s=2.0)
    if "containerd" not in recorded.processes:
        return recorded
    try:
        # one that was killed left them running, and finds them again
        recorded = ensure(home, recorded, "containerd", say)
        answer(home, recorded, "containerd", probes(home, recorded.ports)["containerd"], say)
        kubelet_node.stop_containers(Path(recorded.programs), recorded.processes["containerd"].pid)
    except NotReady as err:
        say(f"containers could not be ended: {err.message}")
    return recorded


def down(folder: Path, *, say: Say) -> None:
    """End every process of a cluster, pods first, and remove its folder.

    Raises:
        NotFound: there is no cluster.
    """
    home = Home(folder.resolve())
    with home.locked():
        recorded = home.read()
        if recorded.wishes.nodes == "kubelet":
            recorded = end_containers(home, recorded, say)
        for name in reversed(PARTS):
            process = recorded.processes.get(name)
            if process is not None:
                # a control plane that is thrown away need not end its connections one by one
                stop(process, grace_s=10.0 if name == "node" else 2.0)
        end_leftovers(home.pods)
        if recorded.wishes.nodes == "kubelet":
            kubelet_node.clean(home)
        shutil.rmtree(home.folder)
        say(f"{home.folder} is gone")
