"""An installation of its own on a real cluster: declared files in a folder, brought there by `tiffin teams`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from tests.cluster_case import Cluster
from tests.team_files import PLATFORM
from tiffin.cli.app import app

CLUSTER_WIDE = ("clusterqueue", "cohort", "resourceflavor", "workloadpriorityclass", "clusterrolebinding", "clusterrole")
RESTRICTED = {
    "pod": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "container": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


@dataclass(frozen=True, slots=True)
class House:
    """One installation; every name of it begins with its own prefix."""

    cluster: Cluster
    folder: Path
    name: str

    @property
    def prefix(self) -> str:
        return f"{self.name}-"

    def write_platform(self, **changes: Any) -> None:
        """`changes` replace whole keys of the small platform."""
        defaults = {**PLATFORM["defaults"], "code_server": {"replicas": 0}}
        given = {**PLATFORM, "name": self.name, "prefix": self.prefix, "defaults": defaults, **changes}
        (self.folder / "platform.yaml").write_text(yaml.safe_dump(given))

    def write_team(self, team: str, **changes: Any) -> None:
        """Its team.yaml."""
        place = self.folder / "assets" / team
        place.mkdir(parents=True, exist_ok=True)
        given = {"team": team, "owner": f"team:{team}", "image": f"tiffin/{team}:1", **changes}
        (place / "team.yaml").write_text(yaml.safe_dump(given))

    def drop_team(self, team: str) -> None:
        """No team.yaml any more."""
        (self.folder / "assets" / team / "team.yaml").unlink()

    def teams(self, command: str, *arguments: str) -> Result:
        """`tiffin teams COMMAND` about this installation."""
        places = ["--platform", str(self.folder / "platform.yaml"), "--assets", str(self.folder / "assets")]
        where = ["--out", str(self.folder / "rendered")] if command == "render" else ["--kubeconfig", str(self.cluster.kubeconfig)]
        return CliRunner().invoke(app, ["teams", command, *arguments, *places, *where], catch_exceptions=True)

    def changes(self, command: str = "diff", *arguments: str) -> list[dict[str, Any]]:
        """What a command says it would do, or did."""
        done = self.teams(command, *arguments, "--json")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return list(json.loads(done.stdout)["changes"])

    def apply(self, *arguments: str) -> list[dict[str, Any]]:
        """Bring the cluster to what the files say; queues are ready for use afterwards."""
        found = self.changes("apply", *arguments)
        self.cluster.until("the queues are active", self.active)
        return found

    def active(self) -> bool:
        """Whether Kueue admits through every ClusterQueue of ours."""
        queues = self.cluster.items("clusterqueue", "-l", f"tiffin.dev/installation={self.name}")
        conditions = [{one["type"]: one["status"] for one in (queue.get("status") or {}).get("conditions") or ()} for queue in queues]
        return bool(queues) and all(one.get("Active") == "True" for one in conditions)

    def namespace(self, team: str) -> str:
        return f"{self.prefix}team-{team}"

    def job(self, team: str, name: str, script: str, *, queue: str | None, **requests: str) -> dict[str, Any]:
        """A Job as a run worker would make it."""
        labels = {} if queue is None else {"kueue.x-k8s.io/queue-name": queue, "kueue.x-k8s.io/priority-class": self.prefix + queue}
        container: dict[str, Any] = {
            "name": "main",
            "image": "none",
            "command": ["sh", "-c", script],
            "securityContext": RESTRICTED["container"],
        }
        if requests:
            container["resources"] = {"requests": requests}
        pod = {
            "restartPolicy": "Never",
            "serviceAccountName": "step",
            "terminationGracePeriodSeconds": 2,
            "securityContext": RESTRICTED["pod"],
            "containers": [container],
        }
        metadata = {"name": name, "namespace": self.namespace(team), "labels": labels}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}

    def workload(self, team: str, job: str) -> dict[str, Any]:
        """Kueue's record of a Job."""
        uid = self.cluster.json("get", "job", job, "-n", self.namespace(team))["metadata"]["uid"]
        (found,) = self.cluster.items("workloads", "-n", self.namespace(team), "-l", f"kueue.x-k8s.io/job-uid={uid}")
        return found

    def is_true(self, team: str, job: str, condition: str) -> bool:
        """Of a Job's Workload."""
        found = (self.workload(team, job).get("status") or {}).get("conditions") or ()
        return any(one["type"] == condition and one["status"] == "True" for one in found)

    def until(self, team: str, job: str, condition: str) -> None:
        """Wait for it."""
        self.cluster.until(f"{job}: {condition}", lambda: self.is_true(team, job, condition), namespaces=[self.namespace(team)])


@contextmanager
def teams_house(cluster: Cluster, folder: Path) -> Iterator[House]:
    """A fresh installation with nothing on the cluster yet; everything of it is taken away afterwards."""
    house = House(cluster, folder, f"house{secrets.token_hex(3)}")
    house.write_platform()
    selector = ("-l", f"tiffin.dev/installation={house.name}", "--ignore-not-found", "--wait=false")
    try:
        yield house
    finally:
        cluster.kubectl("delete", "namespace", *selector)
        for kind in CLUSTER_WIDE:
            cluster.kubectl("delete", kind, *selector)
