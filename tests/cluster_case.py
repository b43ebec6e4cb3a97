"""A real Kubernetes with Kueue, for tests: ours, started from `deploy.devcluster`, or the user's (`KUBECONFIG`)."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.devcluster import cluster as devcluster
from deploy.devcluster.build import build, built
from deploy.devcluster.home import Home, Wishes
from deploy.devcluster.node_agent import node_object
from tiffin.core.settings import Settings
from tiffin.embedded.processes import wait_until

KUEUE = "kueue.x-k8s.io/v1beta2"
LOCAL_QUEUES = ("prod", "default", "backfill")
PRIORITIES = {"prod": 1000, "default": 500, "backfill": 100}
PREEMPTION = {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority"}
# far longer than anything takes: a test that waits for what never comes must end, and asserts no time
PATIENCE_S = 120.0

Object = Mapping[str, Any]


class Refused(AssertionError):
    """kubectl said no; its words are the message."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster, as its administrator.

    Attributes:
        home: the folder of a cluster of ours; None for the user's, whose parts and processes we leave alone.
    """

    kubeconfig: Path
    program: Path
    home: Home | None

    @property
    def owned(self) -> bool:
        return self.home is not None

    # -- objects -----------------------------------------------------------------
    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl and return what it printed; raises `Refused` with what it said."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run([str(self.program), *arguments], env=environ, input=stdin, text=True, capture_output=True, check=False)
        if done.returncode:
            raise Refused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        """kubectl's answer as JSON: `json("get", "job", name, "-n", namespace)`."""
        return dict(json.loads(self.kubectl(*arguments, "-o", "json")))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The items of a list: `items("jobs", "-n", namespace)`."""
        return list(self.json("get", *arguments)["items"])

    def apply(self, *objects: Object) -> None:
        """Server-side apply."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=stream(objects))

    def create(self, *objects: Object) -> None:
        """Create; raises `Refused` where one exists."""
        self.kubectl("create", "-f", "-", stdin=stream(objects))

    def until(self, what: str, done: Callable[[], bool], *, namespaces: Sequence[str] = ()) -> None:
        """Wait for something to become true; what is queued and runs in `namespaces` is in the message if it does not."""

        def asked() -> bool:
            try:
                return done()
            except Refused as no:
                # not there yet, or a part is away
                refusals[:] = [str(no)]
                return False

        refusals: list[str] = []
        if not wait_until(asked, timeout_s=PATIENCE_S, every_s=0.1):
            seen = [self.kubectl("get", "workloads,jobs,pods", "-n", namespace, "-o", "wide") for namespace in namespaces]
            raise AssertionError("\n".join([f"waited {PATIENCE_S:.0f} s for: {what}", *refusals, *seen]))

    def add_node(self, name: str, *, capacity: Mapping[str, str], labels: Mapping[str, str], taints: Sequence[Object] = ()) -> None:
        """One more node of the same agent, for a flavor that asks for labels."""
        home = self.need_home()
        node = node_object(name, home.read().ports["node"], capacity, labels=labels)
        self.create(node)
        self.kubectl("patch", "node", name, "--type=merge", "-p", json.dumps({"spec": {"taints": list(taints) or None}}))
        self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": node["status"]}))

    # -- processes ---------------------------------------------------------------
    def kill(self, part: str) -> None:
        """SIGKILL a part; `start` brings it back."""
        devcluster.kill(self.need_home().folder, part)

    def start(self) -> None:
        """Bring back whatever is down."""
        home = self.need_home()
        devcluster.up(home.folder, Path(home.read().programs), say=print)

    def usage(self) -> dict[str, Any]:
        """The node's `stats/summary`; asked at the node, for the API server forwards to no loopback address."""
        home = self.need_home()
        context = ssl.create_default_context(cafile=str(home.pki / "ca.crt"))
        context.load_cert_chain(home.pki / "admin.crt", home.pki / "admin.key")
        with urllib.request.urlopen(f"https://127.0.0.1:{home.read().ports['node']}/stats/summary", context=context, timeout=10) as answer:
            return dict(json.load(answer))

    def pod_pid(self, namespace: str, pod: str, container: str | None = None) -> int | None:
        """The process of a running pod's container (by default of its only one that runs)."""
        found = list(self.need_home().pods.glob(f"{namespace}_{pod}_*/{container or '*'}.pid"))
        return int(found[0].read_text().split()[0]) if found else None

    def kill_pod(self, namespace: str, pod: str, what: signal.Signals = signal.SIGKILL) -> None:
        """Signal a pod's process group behind Kubernetes' back, as the kernel would when memory is short."""
        pid = self.pod_pid(namespace, pod)
        assert pid is not None, f"pod {pod} has no process"
        os.killpg(pid, what)

    def need_home(self) -> Home:
        assert self.home is not None, "this test needs a cluster of its own: run it without KUBECONFIG"
        return self.home


@dataclass(frozen=True, slots=True)
class TeamsSpace:
    """Teams with namespaces, queues in one cohort, a flavor and priorities that no other test uses."""

    cluster: Cluster
    suffix: str
    cohort: str
    flavor: str
    namespace: dict[str, str] = field(default_factory=dict)
    cluster_queue: dict[str, str] = field(default_factory=dict)
    priority: dict[str, str] = field(default_factory=dict)

    def job(self, team: str, name: str, script: str, *, queue: str = "default", priority: str = "default", **over: Any) -> dict[str, Any]:
        """A Job of one shell script; `over`: requests, grace_s, parallelism."""
        requests = over.get("requests", {"cpu": "1", "memory": "64Mi"})
        container = {"name": "main", "image": "none", "command": ["sh", "-c", script], "resources": {"requests": requests}}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": over.get("grace_s", 5), "containers": [container]}
        labels = {"kueue.x-k8s.io/queue-name": queue, "kueue.x-k8s.io/priority-class": self.priority[priority]}
        count = over.get("parallelism", 1)
        spec = {"backoffLimit": 0, "parallelism": count, "completions": count, "template": {"spec": pod}}
        metadata = {"name": name, "namespace": self.namespace[team], "labels": labels}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def stream(objects: Sequence[Object]) -> str:
    """Many objects as one input."""
    return "\n".join(f"---\n{json.dumps(one)}" for one in objects)


def teams_objects(space: TeamsSpace, quotas: Mapping[str, Mapping[str, str | int]], over: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a teams space is made of.

    Args:
        quotas: team -> resource -> nominal quota; a resource that is left out is plentiful (memory 1Ti).
        over: `borrowing`, `lending` (team -> resource -> limit), `preemption`, `strategy`, `flavor_spec`.
    """
    yield {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": space.flavor}, "spec": over.get("flavor_spec", {})}
    for name, value in PRIORITIES.items():
        yield {
            "apiVersion": KUEUE,
            "kind": "WorkloadPriorityClass",
            "metadata": {"name": space.priority[name]},
            "value": value,
            "description": name,
        }
    for team, quota in quotas.items():
        namespace, queue = space.namespace[team], space.cluster_queue[team]
        amounts = {"memory": "1Ti", **quota}
        resources = []
        for resource, amount in amounts.items():
            one = {"name": resource, "nominalQuota": str(amount)}
            for key, wish in (("borrowingLimit", "borrowing"), ("lendingLimit", "lending")):
                limit = over.get(wish, {}).get(team, {}).get(resource)
                if limit is not None:
                    one[key] = str(limit)
            resources.append(one)
        spec = {
            "cohortName": space.cohort,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "queueingStrategy": over.get("strategy", "BestEffortFIFO"),
            "preemption": over.get("preemption", PREEMPTION),
            "resourceGroups": [{"coveredResources": list(amounts), "flavors": [{"name": space.flavor, "resources": resources}]}],
        }
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"tiffin.dev/team": team}}}
        yield {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": queue}, "spec": spec}
        for name in LOCAL_QUEUES:
            yield {
                "apiVersion": KUEUE,
                "kind": "LocalQueue",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterQueue": queue},
            }


@contextmanager
def teams_space(cluster: Cluster, quotas: Mapping[str, Mapping[str, str | int]], **over: Any) -> Iterator[TeamsSpace]:
    """Make a space, wait until its queues are active, and take it away afterwards."""
    suffix = secrets.token_hex(3)
    named = {team: f"team-{team}-{suffix}" for team in quotas}
    priority = {name: f"{name}-{suffix}" for name in PRIORITIES}
    space = TeamsSpace(cluster, suffix, f"cohort-{suffix}", f"flavor-{suffix}", dict(named), dict(named), priority)
    try:
        cluster.apply(*teams_objects(space, quotas, over))
        cluster.until("the queues are active", lambda: all(active(cluster, name) for name in named.values()))
        yield space
    finally:
        gone = ("--ignore-not-found", "--wait=false")
        cluster.kubectl("delete", "namespace", *named.values(), *gone)
        cluster.kubectl("delete", "clusterqueue", *named.values(), *gone)
        cluster.kubectl("delete", "resourceflavor", space.flavor, *gone)
        cluster.kubectl("delete", "workloadpriorityclass", *priority.values(), *gone)


def active(cluster: Cluster, queue: str) -> bool:
    """Whether Kueue admits through a ClusterQueue."""
    conditions = (cluster.json("get", "clusterqueue", queue).get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Active" and one["status"] == "True" for one in conditions)


@contextmanager
def own_cluster(folder: Path, wishes: Wishes | None = None) -> Iterator[Cluster]:
    """A cluster that ends with the block, and leaves no process and no file."""
    programs = build(Settings.from_environment({}).cache, kubelet=wishes is not None and wishes.nodes == "kubelet", say=print)
    try:
        home = devcluster.up(folder, programs, wishes, say=print)
        yield Cluster(home.kubeconfig, programs / "kubectl", home)
    finally:
        if folder.exists():
            devcluster.down(folder, say=print)


def users_cluster(kubeconfig: Path) -> Cluster:
    """The cluster that `KUBECONFIG` names."""
    found = shutil.which("kubectl")
    return Cluster(kubeconfig, Path(found) if found else built(Settings.from_environment({}).cache) / "kubectl", None)
