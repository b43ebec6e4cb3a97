"""`Cluster` on a real Kubernetes with Kueue."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tiffin.compute.cluster import Objects, Seen
from tiffin.compute.kubernetes_api import Api, Query, connect
from tiffin.compute.observation import workload_of
from tiffin.compute.watching import Watching
from tiffin.core.digests import digest_json
from tiffin.core.errors import Conflict, Denied, NotFound, PlatformError

__all__ = ["SUBMISSION", "KubernetesCluster"]

SUBMISSION = "tiffin.dev/submission"
"""Label of a Job: digest of what was handed in, so that a lost answer is recognised."""

KUEUE = "kueue.x-k8s.io/v1beta2"
VISIBILITY = "visibility.kueue.x-k8s.io/v1beta2"
PRIORITY = "kueue.x-k8s.io/priority-class"
JOB_UID = "kueue.x-k8s.io/job-uid"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
# what every step needs; the rest is asked of the server once
KNOWN = {
    ("v1", "Namespace"): ("namespaces", False),
    ("v1", "Pod"): ("pods", True),
    ("batch/v1", "Job"): ("jobs", True),
    (KUEUE, "LocalQueue"): ("localqueues", True),
    (KUEUE, "Workload"): ("workloads", True),
    (KUEUE, "ClusterQueue"): ("clusterqueues", False),
    (KUEUE, "Cohort"): ("cohorts", False),
    (KUEUE, "ResourceFlavor"): ("resourceflavors", False),
    (KUEUE, "WorkloadPriorityClass"): ("workloadpriorityclasses", False),
}


class KubernetesCluster:
    """Implements `Cluster`, `Logs` and `Steering`; and reads, applies and deletes any object for `tiffin teams`.

    Example:
        >>> with KubernetesCluster.connect("admin.kubeconfig") as cluster:  # doctest: +SKIP
        ...     cluster.submit(job)
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.found = dict(KNOWN)
        self.lock = threading.Lock()

    @classmethod
    def connect(cls, kubeconfig: str | Path, *, context: str | None = None, impersonate: str | None = None, agent: str = "tiffin") -> Self:
        """By a kubeconfig file or "in-cluster". Nothing is sent yet."""
        return cls(Api(connect(kubeconfig, context=context, impersonate=impersonate, agent=agent)))

    def close(self) -> None:
        self.api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- Cluster ---------------------------------------------------------------------------------------------------

    def submit(self, job: Objects) -> Objects:
        """Create a Job; asked again after a lost answer it finds its own."""
        meta = job["metadata"]
        token = digest_json(dict(job))[:32]
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            **job,
            "metadata": {**meta, "labels": {**(meta.get("labels") or {}), SUBMISSION: token}},
        }
        try:
            return dict(self.api.call("POST", self.path("batch/v1", "Job", meta["namespace"]), body=body))
        except Conflict:
            there = self.get("batch/v1", "Job", meta["namespace"], meta["name"])
        labels = {} if there is None else there["metadata"].get("labels") or {}
        if there is not None and labels.get(SUBMISSION) == token and not there["metadata"].get("deletionTimestamp"):
            return there
        raise Conflict(
            f"submitting Job {meta['name']!r} to namespace {meta['namespace']!r}: another Job has that name",
            fix="was this step handed in before? Wait until that Job is gone, or retry the step under a new name",
        )

    def stop(self, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Delete a Job and, behind it, its pods and its Workload."""
        return self.delete("batch/v1", "Job", namespace, name, uid=uid)

    def watch(self, namespaces: Sequence[str], selector: str) -> Watching:
        """Three watches per namespace, whatever the number of steps."""
        kinds = {"Job": "batch/v1", "Workload": KUEUE, "Pod": "v1"}
        paths = {(space, kind): self.path(version, kind, space) for space in dict.fromkeys(namespaces) for kind, version in kinds.items()}
        return Watching(self.api, paths, selector)

    def queue_objects(self, namespaces: Sequence[str] | None = None, *, workloads: bool = True) -> Iterable[Objects]:
        """Lists for `World.parse`. A Namespace that this identity may not read is left out: nothing is concluded from its labels.

        Args:
            workloads: False for what only judges quotas, e.g. preflight: Workloads may be many.
        """
        for kind in ("ResourceFlavor", "Cohort", "ClusterQueue", "WorkloadPriorityClass"):
            yield from self.api.pages(self.path(KUEUE, kind))
        for space in [None] if namespaces is None else namespaces:
            for kind in ("LocalQueue", "Workload") if workloads else ("LocalQueue",):
                yield from self.api.pages(self.path(KUEUE, kind, space))
        for space in namespaces or ():
            try:
                there = self.get("v1", "Namespace", None, space)
            except Denied:
                continue
            if there is not None:
                yield there

    def explain(self, namespace: str, name: str) -> Seen:
        """One look at a Job, its Workloads and its pods: three requests."""
        job = self.get("batch/v1", "Job", namespace, name)
        if job is None:
            return Seen()
        uid = job["metadata"]["uid"]
        workloads = self.list(KUEUE, "Workload", namespace, selector=f"{JOB_UID}={uid}")
        pods = self.list("v1", "Pod", namespace, selector=f"{CONTROLLER_UID}={uid}")
        return Seen(job, tuple(workloads), tuple(pods))

    # -- Logs, Steering --------------------------------------------------------------------------------------------

    def tail(self, namespace: str, pod: str, *, lines: int = 50) -> str:
        """The last lines of a pod's main container; empty when the pod or its log is gone or not there yet."""
        try:
            return self.api.text(f"{self.path('v1', 'Pod', namespace, pod)}/log", query=[("tailLines", str(lines))])
        except Denied:
            raise
        except PlatformError as err:
            if err.context.get("status") in (400, 404):
                return ""
            raise

    def pause(self, namespace: str, name: str) -> None:
        """Deactivate the step's Workload: its pods end, its quota is free, its Job stays."""
        self.activate(namespace, name, active=False)

    def resume(self, namespace: str, name: str) -> None:
        """Activate it again: it queues at its old place."""
        self.activate(namespace, name, active=True)

    def activate(self, namespace: str, name: str, *, active: bool) -> None:
        seen = self.explain(namespace, name)
        workload = None if seen.job is None else workload_of(seen.workloads, seen.job["metadata"]["uid"])
        if workload is None or workload.finished:
            raise NotFound(
                f"{'resuming' if active else 'pausing'} {name!r} in namespace {namespace!r}: no Workload of it waits or runs",
                fix="see what waits with `tiffin queue`",
            )
        path = self.path(KUEUE, "Workload", namespace, workload.name)
        self.api.call("PATCH", path, body={"spec": {"active": active}}, content_type=MERGE)

    def set_priority(self, namespace: str, name: str, priority: str) -> None:
        """Change the label on the Job; Kueue moves its Workload, also while it runs."""
        if self.get(KUEUE, "WorkloadPriorityClass", None, priority) is None:
            known = sorted(one["metadata"]["name"] for one in self.list(KUEUE, "WorkloadPriorityClass"))
            raise NotFound(f"no WorkloadPriorityClass {priority!r}", fix=f"use one of: {', '.join(known)}")
        path = self.path("batch/v1", "Job", namespace, name)
        self.api.call("PATCH", path, body={"metadata": {"labels": {PRIORITY: priority}}}, content_type=MERGE)

    def positions(self, namespace: str, queue: str) -> dict[str, int]:
        """Places of a LocalQueue's waiting Workloads in their ClusterQueue, from 0, by Workload name; one request for all."""
        path = f"/apis/{VISIBILITY}/namespaces/{quote(namespace)}/localqueues/{quote(queue)}/pendingworkloads"
        # served by Kueue itself: while that is away nobody waits for a place in the queue
        answer = self.api.call("GET", path, query=[("limit", "1000")], patience_s=0)
        return {one["metadata"]["name"]: int(one.get("positionInClusterQueue", 0)) for one in answer.get("items") or ()}

    # -- any object ------------------------------------------------------------------------------------------------

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """One object, or None."""
        try:
            return dict(self.api.call("GET", self.path(api_version, kind, namespace, name)))
        except NotFound:
            return None

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, each with its kind and version."""
        query: Query = [("labelSelector", selector)] if selector else []
        path = self.path(api_version, kind, namespace)
        return [{"apiVersion": api_version, "kind": kind, **item} for page in self.api.pages(path, query=query) for item in page["items"]]

    def apply(self, item: Objects, *, field_manager: str, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        """Server-side apply; returns the object as it is, or would be, stored.

        Raises:
            Conflict: another field manager owns a field; `force` takes it.
        """
        meta = item["metadata"]
        path = self.path(item["apiVersion"], item["kind"], meta.get("namespace"), meta["name"])
        query = [("fieldManager", field_manager), ("force", str(force).lower()), *([("dryRun", "All")] if dry_run else [])]
        return dict(self.api.call("PATCH", path, query=query, body=dict(item), content_type=APPLY))

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str, *, uid: str | None = None) -> bool:
        """Delete in the background. False when it was gone already, or is another of that name.

        The batch API's own default would orphan a Job's pods.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        body = {**options, **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            self.api.call("DELETE", self.path(api_version, kind, namespace, name), body=body)
        except (NotFound, Conflict):
            return False
        return True

    def path(self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """Where the server keeps objects of a kind."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        plural, namespaced = self.resource(api_version, kind, root)
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespaced and namespace else ""
        return f"{root}{inside}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

    def resource(self, api_version: str, kind: str, root: str) -> tuple[str, bool]:
        """Plural and scope of a kind."""
        with self.lock:
            known = self.found.get((api_version, kind))
        if known is not None:
            return known
        for one in self.api.call("GET", root)["resources"]:
            if "/" not in one["name"]:
                with self.lock:
                    self.found[api_version, one["kind"]] = (one["name"], bool(one["namespaced"]))
        with self.lock:
            known = self.found.get((api_version, kind))
        if known is None:
            raise NotFound(
                f"the cluster has no kind {kind!r} in {api_version}", fix="is Kueue installed, in a version that serves v1beta2?"
            )
        return known
