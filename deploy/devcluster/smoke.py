"""Two teams in one cohort: one borrows the other's quota, loses it when the owner comes back, and resumes the same Job."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.devcluster.cluster import kubectl
from deploy.devcluster.containers import BUSYBOX
from deploy.devcluster.home import Home
from tiffin.core.errors import NotReady
from tiffin.embedded.processes import wait_until

__all__ = ["job", "queue_objects", "smoke"]

KUEUE = "kueue.x-k8s.io/v1beta2"


def queue_objects(name: str, *, cohort: str, flavor: str, cpu: str) -> list[dict[str, Any]]:
    """A namespace with one LocalQueue on a ClusterQueue of its own."""
    resources = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "8Gi"}]
    spec = {
        "cohortName": cohort,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [{"name": flavor, "resources": resources}]}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": KUEUE, "kind": "LocalQueue", "metadata": {"name": "main", "namespace": name}, "spec": {"clusterQueue": name}},
    ]


def job(name: str, namespace: str, *, queue: str, cpu: str, script: str, grace_s: int = 5, shared: Path | None = None) -> dict[str, Any]:
    """A Job of one shell script, without retries.

    Args:
        shared: a folder of the machine that its pods share.
    """
    requests = {"cpu": cpu, "memory": "64Mi"}
    container: dict[str, Any] = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script], "resources": {"requests": requests}}
    pod: dict[str, Any] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace_s, "containers": [container]}
    if shared is not None:
        # at its own path: for a process it is simply there
        container["volumeMounts"] = [{"name": "shared", "mountPath": str(shared)}]
        pod["volumes"] = [{"name": "shared", "hostPath": {"path": str(shared), "type": "Directory"}}]
    metadata = {"name": name, "namespace": namespace, "labels": {"kueue.x-k8s.io/queue-name": queue}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


class Smoke:
    """The run and its names, which nobody else uses."""

    def __init__(self, home: Home, say: Callable[[str], None]) -> None:
        self.home, self.say = home, say
        self.name = f"smoke-{secrets.token_hex(3)}"
        self.owner, self.borrower = f"{self.name}-owner", f"{self.name}-borrower"
        self.shared = home.folder / self.name

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return kubectl(self.home, *arguments, stdin=stdin)

    def create(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("create", "-f", "-", stdin="\n".join(f"---\n{json.dumps(one)}" for one in objects))

    def read(self, name: str, namespace: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", "job", name, "-n", namespace, "-o", "json")))

    def until(self, what: str, done: Callable[[], bool]) -> None:
        if not wait_until(done, timeout_s=90.0, every_s=0.2):
            seen = "".join(self.kubectl("get", "workloads,jobs,pods", "-n", one) for one in (self.owner, self.borrower))
            raise NotReady(f"waited 90 s for: {what}\n{seen}", fix=f"look into {self.home.logs}")
        self.say(what)

    def active(self, name: str, namespace: str) -> bool:
        return bool((self.read(name, namespace).get("status") or {}).get("active", 0) == 1)

    def succeeded(self, name: str, namespace: str) -> bool:
        return bool((self.read(name, namespace).get("status") or {}).get("succeeded", 0) == 1)

    def run(self) -> None:
        flavor = {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": self.name}}
        self.create(flavor)
        for namespace in (self.owner, self.borrower):
            self.create(*queue_objects(namespace, cohort=self.name, flavor=self.name, cpu="200m"))
        self.shared.mkdir()
        marker = self.shared / "started"
        # the first attempt waits to be taken away; the second finds its marker and ends at once
        patient = f'if [ -e "{marker}" ]; then echo resumed; exit 0; fi; trap "exit 143" TERM; touch "{marker}"; sleep 600 & wait'
        self.create(job("borrows", self.borrower, queue="main", cpu="400m", script=patient, shared=self.shared))
        self.until(
            "a Job runs on all of its own quota and as much borrowed", lambda: marker.exists() and self.active("borrows", self.borrower)
        )
        uid = self.read("borrows", self.borrower)["metadata"]["uid"]
        self.create(job("comes-back", self.owner, queue="main", cpu="200m", script="sleep 1; echo done"))
        self.until("the owner's Job got its quota back and ended", lambda: self.succeeded("comes-back", self.owner))
        self.until("the preempted Job resumed and ended", lambda: self.succeeded("borrows", self.borrower))
        after = self.read("borrows", self.borrower)
        if after["metadata"]["uid"] != uid or after["status"].get("failed"):
            raise NotReady(f"the preempted Job did not resume as itself: {after['status']}", fix="look at its events")
        log = self.kubectl("logs", "-n", self.borrower, "job/borrows")
        if log != "resumed\n":
            raise NotReady(f"the resumed pod logged {log!r}", fix="look into its folder under pods/")
        self.say("the same Job, no failure counted, and its log is read through the API server")

    def clean(self) -> None:
        self.kubectl("delete", "namespace", self.owner, self.borrower, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "clusterqueue", self.owner, self.borrower, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "resourceflavor", self.name, "--ignore-not-found", "--wait=false")
        shutil.rmtree(self.shared, ignore_errors=True)


def smoke(home: Home, *, say: Callable[[str], None]) -> None:
    """Run the whole story.

    Raises:
        NotReady: something did not happen; all that is queued and runs is in the message.
    """
    story = Smoke(home, say)
    try:
        story.run()
    finally:
        story.clean()
