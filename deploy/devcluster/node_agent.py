"""A node whose pods are processes of this machine.

It registers a node, keeps its lease, starts what the scheduler puts on any node of this cluster, reports how
it goes and ends what is deleted. Honoured: command, args, `$(VAR)`, env and envFrom of values, secrets,
config maps, fields and requests, workingDir, init containers, several containers, restart policies, SIGTERM,
grace and SIGKILL, exit codes, logs, tokens of ServiceAccounts, forced deletion.

Not done, for it takes real containers (`up --nodes kubelet`): images, mount paths (volumes lie under
`$NODE_VOLUMES`), users and limits, addresses of their own (all pods are 127.0.0.1), probes, lifecycle hooks, exec.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.devcluster.home import Home
from deploy.devcluster.node_api import Api, Refused
from deploy.devcluster.node_logs import serve
from deploy.devcluster.node_pods import Pod
from deploy.devcluster.node_processes import end_leftovers
from deploy.devcluster.node_status import now_text
from deploy.devcluster.node_usage import summary
from tiffin.core.settings import inherited_environment

__all__ = ["NODE", "node_object"]

logger = logging.getLogger(__name__)

NODE = "node-0"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MERGE = "application/merge-patch+json"
HEARTBEAT_S = 10.0
# a pod that is stopped with its node gets this long
FAREWELL_S = 5.0


def node_object(name: str, port: int, capacity: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A Node that says it is ready; `port` is where its logs are."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    named = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": machine}
    ready = {"type": "Ready", "status": "True", "reason": "AgentReady", "lastHeartbeatTime": now_text(), "lastTransitionTime": now_text()}
    status = {
        "capacity": dict(capacity),
        "allocatable": dict(capacity),
        "conditions": [ready],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {**named, **(labels or {})}}, "status": status}


class Agent:
    """All pods of the cluster, each known by its uid."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.recorded = home.read()
        self.api = Api(home, self.recorded.ports["api"])
        self.port = self.recorded.ports["node"]
        self.pods: dict[str, Pod] = {}
        self.guard = threading.Lock()
        mine = {"PATH": os.pathsep.join([f"{sys.prefix}/bin", os.environ.get("PATH", "/usr/bin:/bin")])}
        self.offered = {**inherited_environment(), **mine}

    def register(self) -> None:
        """Make the Node, or bring one of an earlier agent up to date."""
        node = node_object(NODE, self.port, self.recorded.wishes.capacity)
        path = f"/api/v1/nodes/{NODE}"
        try:
            self.api.ask("POST", "/api/v1/nodes", node)
        except Refused as no:
            if no.status != 409:
                raise
        self.api.ask("PATCH", f"{path}/status", {"status": node["status"]}, kind=MERGE)
        # admission marks every new node as not ready, and the controller that would take it back does not run
        self.api.ask("PATCH", path, {"spec": {"taints": None}}, kind=MERGE)

    def beat(self) -> None:
        """Renew the lease until the process ends."""
        name = {"name": NODE, "namespace": "kube-node-lease"}
        while True:
            renewed = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
            spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": renewed}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": name, "spec": spec}
            try:
                self.api.ask("PATCH", f"{LEASES}/{NODE}", body, kind=MERGE)
            except Refused:
                try:
                    self.api.ask("POST", LEASES, body)
                except Refused as no:
                    logger.warning("lease: %s", no)
            time.sleep(HEARTBEAT_S)

    def watch(self) -> None:
        """Follow all pods: list, watch, and list again whenever the watch ends."""
        while True:
            try:
                listed = self.api.get("/api/v1/pods")
                for pod in listed["items"]:
                    self.see(pod)
                self.forget({pod["metadata"]["uid"] for pod in listed["items"]})
                for event in self.api.watch("/api/v1/pods", listed["metadata"]["resourceVersion"]):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self.see(event["object"])
                    elif event["type"] == "DELETED":
                        self.gone(event["object"]["metadata"]["uid"])
                    elif event["type"] == "ERROR":
                        break
            except Refused as no:
                logger.warning("pods: %s", no)
            time.sleep(0.1)

    def see(self, pod: dict[str, Any]) -> None:
        """A pod as it is now: start it, end it, or nothing."""
        metadata = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            return
        leaving = "deletionTimestamp" in metadata
        with self.guard:
            known = self.pods.get(metadata["uid"])
            begins = known is None and ((pod.get("status") or {}).get("phase", "Pending") in ("Pending", "Running") or leaving)
            if begins:
                known = self.pods[metadata["uid"]] = Pod(pod, self.api, self.home.pods, self.offered)
        if known is None:
            return
        if begins and leaving:
            known.over.set()
        elif begins:
            threading.Thread(target=known.run, daemon=True, name=metadata["name"]).start()
        if leaving:
            known.delete(float(metadata.get("deletionGracePeriodSeconds") or 0))

    def gone(self, uid: str) -> None:
        """The object is no more."""
        with self.guard:
            known = self.pods.pop(uid, None)
        if known is not None:
            known.vanish()

    def forget(self, present: set[str]) -> None:
        """End what was deleted while nobody watched."""
        for uid in [uid for uid in list(self.pods) if uid not in present]:
            self.gone(uid)

    def still_runs(self, namespace: str, name: str) -> bool:
        """Whether a pod of this name has not ended."""
        return any(
            pod.pod["metadata"]["name"] == name and pod.pod["metadata"]["namespace"] == namespace and not pod.over.is_set()
            for pod in list(self.pods.values())
        )

    def usage(self) -> dict[str, Any]:
        """For `stats/summary`."""
        return summary(NODE, [(pod.pod, pod.folder) for pod in list(self.pods.values()) if not pod.over.is_set()])

    def end(self) -> None:
        """Ask all pods' processes to end, then make them."""
        pods = list(self.pods.values())
        for what, seconds in ((signal.SIGTERM, FAREWELL_S), (signal.SIGKILL, 1.0)):
            for pod in pods:
                with pod.guard:
                    pod.leaving.set()
                    pod.signal(what)
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(not one.ended for pod in pods for one in list(pod.running)):
                time.sleep(0.02)


def main() -> None:
    """Run until stopped."""
    options = argparse.ArgumentParser(description="the node agent of a test cluster")
    options.add_argument("--home", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    agent = Agent(Home(options.parse_args().home))
    left = end_leftovers(agent.home.pods)
    if left:
        logger.info("ended %d containers of an earlier agent", left)
    # not in the handler: it may interrupt a thread that holds the very lock it needs
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    agent.register()
    for work in (agent.beat, agent.watch, lambda: serve(agent.home, agent.port, agent.still_runs, agent.usage)):
        threading.Thread(target=work, daemon=True).start()
    asked.wait()
    agent.end()
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
