"""A thin connection to a cluster's API for benchmarks: plain JSON over pooled HTTPS, and one watch."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

__all__ = ["Api", "Board"]

PLURALS = {
    "ResourceFlavor": "resourceflavors",
    "Cohort": "cohorts",
    "ClusterQueue": "clusterqueues",
    "LocalQueue": "localqueues",
    "Workload": "workloads",
    "WorkloadPriorityClass": "workloadpriorityclasses",
    "Namespace": "namespaces",
    "Job": "jobs",
}
PREFIXES = {"v1": "/api/v1", "batch/v1": "/apis/batch/v1", "kueue.x-k8s.io/v1beta2": "/apis/kueue.x-k8s.io/v1beta2"}
TRIES = 40


class Api:
    """Requests as the user of a kubeconfig file."""

    def __init__(self, kubeconfig: Path, *, connections: int = 32) -> None:
        found = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=found)
        self.server = found.host
        token = found.get_api_key_with_prefix("authorization")
        self.headers = {"Authorization": token} if token else {}
        self.pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=False,
            cert_reqs="CERT_REQUIRED" if found.verify_ssl else "CERT_NONE",
            cert_file=found.cert_file,
            key_file=found.key_file,
            ca_certs=found.ssl_ca_cert,
        )
        self.requests = 0

    def path(self, kind: str, api_version: str, namespace: str | None, name: str = "", sub: str = "") -> str:
        parts = [PREFIXES[api_version], f"namespaces/{namespace}" if namespace else "", PLURALS[kind], name, sub]
        return "/".join(part for part in parts if part)

    def call(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> dict[str, Any]:
        """The answer as JSON. Connection errors and 5xx are tried again: a webhook may be away for a moment."""
        data, last = None if body is None else json.dumps(body).encode(), ""
        for _ in range(TRIES):
            self.requests += 1
            try:
                answer = self.pool.request(
                    method, self.server + path, body=data, headers={**self.headers, "Content-Type": kind}, timeout=60
                )
            except urllib3.exceptions.HTTPError as err:
                last = repr(err)
            else:
                if answer.status < 300:
                    found: dict[str, Any] = answer.json()
                    return found
                last = f"{answer.status} {answer.data[:600].decode(errors='replace')}"
                if answer.status < 500 and answer.status != 429:
                    raise ApiError(answer.status, f"{method} {path}: {last}")
            time.sleep(0.25)
        raise ApiError(503, f"{method} {path}: still failing after {TRIES} tries: {last}")

    def create(self, thing: Mapping[str, Any]) -> dict[str, Any]:
        meta = thing["metadata"]
        return self.call("POST", self.path(thing["kind"], thing["apiVersion"], meta.get("namespace")), thing)

    def patch_status(self, thing: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into the status of exactly this version; 409 when it has moved on."""
        meta = thing["metadata"]
        path = self.path("Workload", "kueue.x-k8s.io/v1beta2", meta["namespace"], meta["name"], "status")
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        return self.call("PATCH", path, body, kind="application/merge-patch+json")

    def get(self, kind: str, api_version: str, namespace: str | None, name: str) -> dict[str, Any]:
        return self.call("GET", self.path(kind, api_version, namespace, name))

    def list(self, kind: str, api_version: str, namespace: str | None = None, selector: str = "") -> list[dict[str, Any]]:
        path = self.path(kind, api_version, namespace) + (f"?labelSelector={selector}" if selector else "")
        return [{"kind": kind, **item} for item in self.call("GET", path)["items"]]

    def delete_all(self, kind: str, api_version: str, namespace: str | None, selector: str) -> None:
        self.call("DELETE", self.path(kind, api_version, namespace) + f"?labelSelector={selector}&propagationPolicy=Background")

    def watch(self, kind: str, api_version: str, namespace: str, stop: threading.Event) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every change from now on, as (type, object), until `stop`."""
        path = self.path(kind, api_version, namespace)
        version = self.call("GET", path + "?limit=1")["metadata"]["resourceVersion"]
        while not stop.is_set():
            url = f"{self.server}{path}?watch=1&resourceVersion={version}&timeoutSeconds=5&allowWatchBookmarks=true"
            answer = self.pool.request("GET", url, headers=self.headers, preload_content=False, timeout=30)
            rest = b""
            for chunk in answer.stream(65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(410, f"the watch of {kind} broke: {event['object'].get('message')}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
            answer.release_conn()


class ApiError(RuntimeError):
    """The API said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Board:
    """The newest state of every Workload of a namespace, from one watch; listeners hear each change."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.listeners: dict[str, Callable[[dict[str, Any]], None]] = {}
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.follow, args=(api, namespace), daemon=True)
        self.ready = threading.Event()
        self.thread.start()

    def follow(self, api: Api, namespace: str) -> None:
        try:
            for what, thing in api.watch("Workload", "kueue.x-k8s.io/v1beta2", namespace, self.stop):
                name = thing["metadata"]["name"]
                if what == "DELETED":
                    self.objects.pop(name, None)
                else:
                    self.objects[name] = thing
                listener = self.listeners.get((thing["metadata"].get("labels") or {}).get("tiffin.dev/scenario", ""))
                if listener is not None and what != "DELETED":
                    listener(thing)
        except BaseException as err:  # noqa: BLE001 - handed to whoever waits
            self.error = err

    def close(self) -> None:
        self.stop.set()
        self.thread.join(timeout=15)
