"""One cluster's folder: where everything lies, which ports it has, and which processes are its own."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from deploy.devcluster.certificates import write
from tiffin.core.errors import NotFound
from tiffin.embedded.processes import Process, free_ports

__all__ = ["PORTS", "Home", "Recorded", "Wishes"]

PORTS = ("api", "etcd", "etcd_peer", "controller", "scheduler", "webhook", "visibility", "metrics", "health", "node")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a cluster was asked to be; kept, so that a later `up` mends the same cluster.

    Attributes:
        nodes: "process" (pods are local processes), "kubelet" (containers; needs root) or "none".
        pods_ready_s: after how long Kueue evicts an admitted Job whose pods do not get ready.
        kueue: top-level fields of Kueue's configuration that replace ours.
        capacity: what the node says it has.
    """

    nodes: str = "process"
    pods_ready_s: int = 300
    kueue: dict[str, Any] = field(default_factory=dict)
    capacity: dict[str, str] = field(default_factory=lambda: {"cpu": "64", "memory": "256Gi", "pods": "500", "nvidia.com/gpu": "8"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is written down between two commands."""

    programs: str
    ports: dict[str, int]
    wishes: Wishes
    processes: dict[str, Process] = field(default_factory=dict)
    installed: str = ""  # digest of the Kueue installation that this cluster's etcd holds

    @classmethod
    def parse(cls, text: str) -> Recorded:
        raw = json.loads(text)
        processes = {name: Process(**process) for name, process in raw["processes"].items()}
        return cls(**{**raw, "wishes": Wishes(**raw["wishes"]), "processes": processes})


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one cluster; readable by its owner only, for it holds the keys to it."""

    folder: Path

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pods(self) -> Path:
        return self.folder / "pods"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def webhook_certificates(self) -> Path:
        return self.folder / "kueue-certificates"

    @property
    def record(self) -> Path:
        return self.folder / "cluster.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command change this cluster at a time; the lock is beside the folder, so `down` can remove that."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.folder.with_name(f".{self.folder.name}.lock")
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if not self.folder.exists():
                    path.unlink(missing_ok=True)

    def read(self) -> Recorded:
        """What is recorded.

        Raises:
            NotFound: there is no cluster here.
        """
        try:
            return Recorded.parse(self.record.read_text())
        except FileNotFoundError as err:
            raise NotFound(f"there is no cluster in {self.folder}", fix="start one with `python -m deploy.devcluster up`") from err

    def write(self, recorded: Recorded) -> None:
        """Write the record in one piece."""
        part = self.record.with_suffix(".part")
        write(part, json.dumps(asdict(recorded), indent=1).encode())
        part.replace(self.record)

    def begin(self, programs: Path, wishes: Wishes) -> Recorded:
        """The record of this cluster; a new one with ports of its own if there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self.folder, 0o700)
        if self.record.exists():
            recorded = replace(self.read(), programs=str(programs))
        else:
            recorded = Recorded(str(programs), dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), wishes)
        self.write(recorded)
        return recorded

    def write_kubeconfig(self, path: Path, certificate: str, api_port: int) -> None:
        """A kubeconfig that needs no other file, for the holder of one of our certificates."""
        text = {
            name: base64.b64encode((self.pki / name).read_bytes()).decode()
            for name in ("ca.crt", f"{certificate}.crt", f"{certificate}.key")
        }
        user = {"client-certificate-data": text[f"{certificate}.crt"], "client-key-data": text[f"{certificate}.key"]}
        server = {"server": f"https://127.0.0.1:{api_port}", "certificate-authority-data": text["ca.crt"]}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "devcluster", "cluster": server}],
            "users": [{"name": certificate, "user": user}],
            "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": certificate}}],
            "current-context": "devcluster",
        }
        write(path, yaml.safe_dump(content, sort_keys=False).encode())
