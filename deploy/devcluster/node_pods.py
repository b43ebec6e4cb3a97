"""One pod on this node: its init containers in turn, its containers side by side, restarts, and its end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.devcluster.node_api import MERGE, Api, Refused
from deploy.devcluster.node_environment import Missing, command_line, variables
from deploy.devcluster.node_processes import Running, start
from deploy.devcluster.node_status import Container, Phase, exit_code, final_phase, now_text, pod_status
from deploy.devcluster.node_volumes import account_kubeconfig, lay_out, token_wanted

__all__ = ["PULL_SECONDS", "Pod", "pod_folder"]

logger = logging.getLogger(__name__)

# an annotation for tests: stay in ContainerCreating so long, as while an image is pulled
PULL_SECONDS = "devcluster.tiffin.dev/pull-seconds"
LONGEST_BACKOFF_S = 30.0
TOKEN_S = 86_400


def pod_folder(pods: Path, pod: Mapping[str, Any]) -> Path:
    """The folder of one pod: logs, volumes, working folder, process records."""
    metadata = pod["metadata"]
    return pods / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


class Pod:
    """A pod's life on this node; `run` in a thread of its own, `delete` and `vanish` from elsewhere."""

    def __init__(self, pod: Mapping[str, Any], api: Api, pods: Path, offered: Mapping[str, str]) -> None:
        self.pod, self.api, self.offered = pod, api, offered
        self.path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self.folder = pod_folder(pods, pod)
        self.started = now_text()
        self.init: dict[str, Container] = {}
        self.main: dict[str, Container] = {}
        self.initialised = False
        self.running: set[Running] = set()
        self.guard = threading.Lock()
        self.reporting = threading.Lock()
        self.leaving = threading.Event()
        self.deadline = float("inf")
        self.over = threading.Event()

    # -- life ----------------------------------------------------------------
    def run(self) -> None:
        """From scheduled to ended."""
        try:
            if self.ran_before():
                # nobody saw how they ended
                lost = Container(
                    waiting=None, code=137, reason="ContainerStatusUnknown", message="the agent was restarted", finished=now_text()
                )
                self.main = {spec["name"]: lost for spec in self.pod["spec"]["containers"]}
                self.report("Failed", reason="NodeRestarted")
                return
            self.live()
        except Refused as no:
            logger.info("pod is gone: %s", no)
            self.vanish()
            for running in list(self.running):
                running.wait()
        finally:
            self.over.set()

    def live(self) -> None:
        """The pod's containers, to their end."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "work").mkdir(exist_ok=True)
        self.pull()
        self.prepare()
        for spec in self.pod["spec"].get("initContainers") or ():
            if not self.leaving.is_set():
                self.container(spec, self.init)
        self.initialised = not self.leaving.is_set() and all(one.code == 0 for one in self.init.values())
        if self.initialised:
            first, *rest = self.pod["spec"]["containers"]
            beside = [threading.Thread(target=self.sidecar, args=(spec,), daemon=True) for spec in rest]
            for thread in beside:
                thread.start()
            self.container(first, self.main)
            for thread in beside:
                thread.join()
        phase: Phase = final_phase(list(self.main.values())) if self.initialised and self.main else "Failed"
        if not self.initialised and self.leaving.is_set() and not self.init:
            phase = "Pending"
        self.report(phase)

    def ran_before(self) -> bool:
        """Whether an earlier agent began it: its end is unknown, and a pod that never restarts must not run twice.

        The API server may not know: that agent may have died before it could tell that the pod runs. Its log does.
        """
        status = self.pod.get("status") or {}
        begun = status.get("phase") == "Running" or any(self.folder.glob("*.log"))
        return begun and self.pod["spec"].get("restartPolicy", "Always") == "Never"

    def pull(self) -> None:
        """Pretend to pull an image, when asked to."""
        seconds = float((self.pod["metadata"].get("annotations") or {}).get(PULL_SECONDS, "0"))
        if seconds > 0:
            self.wait_as("ContainerCreating", "", seconds)

    def prepare(self) -> None:
        """Lay out the volumes and the ServiceAccount's kubeconfig, waiting for what is missing."""
        while not self.leaving.is_set():
            try:
                lay_out(self.pod, self.folder / "volumes", self.read)
                if token_wanted(self.pod):
                    self.account()
            except Missing as missing:
                self.wait_as("ContainerCreating", str(missing), 1.0)
            else:
                return

    def wait_as(self, reason: str, message: str, seconds: float) -> None:
        """Stay pending for a reason."""
        waiting = Container(waiting=(reason, message))
        if self.main.get(self.pod["spec"]["containers"][0]["name"]) != waiting:
            self.main = {spec["name"]: waiting for spec in self.pod["spec"]["containers"]}
            self.report("Pending")
        self.leaving.wait(seconds)

    # -- containers ----------------------------------------------------------
    def container(self, spec: Mapping[str, Any], states: dict[str, Container]) -> None:
        """One container with its restarts, until it stays ended or the pod leaves."""
        policy = self.pod["spec"].get("restartPolicy", "Always")
        backoff = 0.5
        while True:
            running = self.begin(spec, states)
            if running is not None:
                self.report("Running" if self.initialised else "Pending")
                self.finish(spec["name"], states, running.wait())
                with self.guard:
                    self.running.discard(running)
            code = states[spec["name"]].code
            again = (policy == "Always" and states is self.main) or (policy != "Never" and code != 0)
            if self.leaving.is_set() or not again:
                return
            self.report("Running" if self.initialised else "Pending")
            self.leaving.wait(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            if self.leaving.is_set():
                return

    def sidecar(self, spec: Mapping[str, Any]) -> None:
        """A container beside the first one, in a thread of its own."""
        try:
            self.container(spec, self.main)
        except Refused as no:
            logger.info("pod is gone: %s", no)
            self.vanish()

    def begin(self, spec: Mapping[str, Any], states: dict[str, Container]) -> Running | None:
        """Start a container's process; None when it could not be, and its state says why."""
        name = spec["name"]
        old = states.get(name)
        restarts = old.restarts + 1 if old is not None and old.code is not None else 0
        while True:
            try:
                environ = variables(self.pod, spec, self.read, self.given())
                break
            except Missing as missing:
                states[name] = Container(waiting=("CreateContainerConfigError", str(missing)), restarts=restarts)
                self.report("Pending")
                if self.leaving.wait(1.0):
                    self.refuse(states, name, "the pod was deleted before it started", restarts)
                    return None
        command = command_line(spec, environ)
        if not command:
            self.refuse(states, name, f"container {name!r} names neither command nor args, and this node runs no images", restarts)
            return None
        folder = Path(spec.get("workingDir") or self.folder / "work")
        if not folder.is_dir():
            folder = self.folder / "work"
        with self.guard:
            # under the lock: a deletion sees either no process or a started one
            if self.leaving.is_set():
                self.refuse(states, name, "the pod was deleted before it started", restarts)
                return None
            try:
                log, record = self.folder / f"{name}.log", self.folder / f"{name}.pid"
                running = start(command, environ=environ, folder=folder, log=log, record=record)
            except (OSError, ValueError) as err:
                self.refuse(states, name, str(err), restarts)
                return None
            self.running.add(running)
        states[name] = Container(waiting=None, started=now_text(), restarts=restarts)
        return running

    @staticmethod
    def refuse(states: dict[str, Container], name: str, why: str, restarts: int) -> None:
        """Record a container that never started."""
        moment = now_text()
        ended = Container(waiting=None, code=128, reason="StartError", message=why, started=moment, finished=moment)
        states[name] = replace(ended, restarts=restarts)

    @staticmethod
    def finish(name: str, states: dict[str, Container], returned: int) -> None:
        """Record a container's end."""
        states[name] = replace(states[name], code=exit_code(returned), finished=now_text())

    def given(self) -> dict[str, str]:
        """The variables that every container of this pod gets."""
        mine = {"HOSTNAME": self.pod["metadata"]["name"], "NODE_VOLUMES": str(self.folder / "volumes")}
        if (self.folder / "kubeconfig").exists():
            mine["KUBECONFIG"] = str(self.folder / "kubeconfig")
        return {**self.offered, **mine}

    # -- end -----------------------------------------------------------------
    def delete(self, grace_s: float) -> None:
        """End the pod as the API server asks: SIGTERM, the grace, SIGKILL; then let the object go."""
        self.deadline = min(self.deadline, time.monotonic() + grace_s)
        with self.guard:
            if self.leaving.is_set():
                return
            self.leaving.set()
            if grace_s > 0:
                self.signal(signal.SIGTERM)
        threading.Thread(target=self.leave, daemon=True).start()

    def leave(self) -> None:
        """Wait out the grace, which a second deletion may shorten, and finish."""
        while not self.over.wait(min(0.2, max(0.0, self.deadline - time.monotonic()))):
            if time.monotonic() >= self.deadline:
                with self.guard:
                    self.signal(signal.SIGKILL)
                self.over.wait()
        try:
            self.release()
        except Refused as no:
            logger.debug("already gone: %s", no)

    def release(self) -> None:
        """Tell the API server that nothing of it runs any more."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        self.api.ask("DELETE", self.path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def vanish(self) -> None:
        """The object is gone already, deleted by force: so must its processes be."""
        with self.guard:
            self.leaving.set()
            self.signal(signal.SIGKILL)

    def signal(self, what: signal.Signals) -> None:
        """Signal all containers; the caller holds the lock."""
        for running in self.running:
            running.signal(what)

    # -- the API server --------------------------------------------------------
    def report(self, phase: Phase, *, reason: str = "") -> None:
        """Tell where the pod stands. Raises `Refused` when it is not there any more."""
        with self.reporting:
            body = pod_status(self.pod, phase, self.init, self.main, started=self.started, initialised=self.initialised, reason=reason)
            while True:
                try:
                    self.api.ask("PATCH", f"{self.path}/status", body, kind=MERGE)
                except Refused as no:
                    # 409: another pod of this name, or only a busy object
                    if no.status != 409 or self.api.get(self.path)["metadata"]["uid"] != self.pod["metadata"]["uid"]:
                        raise
                else:
                    return

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """A secret or config map of the pod's namespace."""
        plural = {"Secret": "secrets", "ConfigMap": "configmaps"}[kind]
        try:
            return self.api.get(f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/{plural}/{name}")
        except Refused as no:
            if no.status == 404:
                return None
            raise

    def account(self) -> None:
        """Ask for a token of the pod's ServiceAccount, bound to this pod, and write its kubeconfig."""
        metadata, name = self.pod["metadata"], self.pod["spec"].get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"expirationSeconds": TOKEN_S, "boundObjectRef": bound}
        asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
        answer = self.api.ask("POST", f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{name}/token", asked)
        account_kubeconfig(
            self.folder / "kubeconfig",
            server=self.api.root,
            authority=self.api.authority,
            token=answer["status"]["token"],
            namespace=metadata["namespace"],
        )
