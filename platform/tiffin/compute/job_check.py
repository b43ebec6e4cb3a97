"""The last look at a Job before it is handed in: what no team's configuration may ask for, and what breaks Kueue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.compute.job import PRIORITY_LABEL, QUEUE_LABEL
from tiffin.compute.world_pods import read_pod_set
from tiffin.core.errors import Denied, Invalid

__all__ = ["check_job", "check_user_config"]

KUEUE = "kueue.x-k8s.io/"
HOST = ("hostNetwork", "hostPID", "hostIPC")


def check_user_config(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse what a tag or a code location may not set, before anything is built of it.

    Args:
        config: `dagster-k8s/config`, in any spelling.
        source: what it was found in, for the message.

    Raises:
        Denied: a namespace, a queue, a host path, privileges.
    """
    for path, key, value in walk(config, ()):
        name = key.replace("_", "").lower()
        where = ".".join((*path, key))
        if name == "namespace" and path and path[-1].replace("_", "").lower() in ("jobmetadata", "podtemplatespecmetadata", "metadata"):
            raise Denied(
                f"{source} names the namespace {value!r} ({where}); a step runs in its team's own",
                fix="remove the namespace: who needs another team's data names its view",
            )
        if key.startswith(KUEUE):
            raise Denied(
                f"{source} sets {key!r} ({where})",
                fix="say it in the asset's spec: Compute(queue=..., priority=..., max_run=...)",
            )
        refuse_privilege(name, value, f"{source} sets {where}")


def check_job(job: Mapping[str, Any], *, namespace: str) -> None:
    """Refuse a finished Job that would leave its namespace or its sandbox, or that Kueue would misread.

    Raises:
        Denied: another namespace, host paths or namespaces, privileges.
        Invalid: an environment variable twice, no requests, the queue's label on the pods, a Job suspended by hand.
    """
    meta, spec = job["metadata"], job["spec"]
    name, template = meta.get("name"), spec["template"]
    if meta.get("namespace", namespace) != namespace:
        raise Denied(
            f"Job {name!r} is for namespace {meta['namespace']!r}, its team's is {namespace!r}",
            fix="remove the namespace from the step's configuration",
        )
    for _, key, value in walk(template.get("spec") or {}, ()):
        refuse_privilege(key.lower(), value, f"Job {name!r} sets {key}")
    labels = meta.get("labels") or {}
    if any(key.startswith(KUEUE) for key in (template.get("metadata") or {}).get("labels") or {}):
        raise Invalid(f"Job {name!r} has Kueue's labels on its pods", fix="the queue's label belongs on the Job alone")
    if QUEUE_LABEL not in labels and PRIORITY_LABEL in labels:
        raise Invalid(f"Job {name!r} has a priority class of Kueue's and no queue", fix="set queue= too, or neither")
    if spec.get("suspend"):
        raise Invalid(f"Job {name!r} is suspended by hand", fix="leave suspend out: Kueue does it, where it manages the namespace")
    containers = [*(template["spec"].get("initContainers") or ()), *(template["spec"].get("containers") or ())]
    for container in containers:
        twice = [key for key, times in Counter(one["name"] for one in container.get("env") or ()).items() if times > 1]
        if twice:
            raise Invalid(
                f"Job {name!r}: container {container.get('name')!r} has the variable {twice[0]!r} twice; Kueue cannot queue that",
                fix="set it in one place: the code location, the executor or the tag",
            )
    if QUEUE_LABEL in labels and not any(read_pod_set({"count": 1, "template": template}).requests.values()):
        raise Invalid(
            f"Job {name!r} requests nothing and would be admitted at no cost",
            fix="give the asset compute=Compute(cpu=..., memory=...)",
        )


def refuse_privilege(name: str, value: Any, what: str) -> None:
    """`name` in lower case, without underscores."""
    harmful = (
        (name == "hostpath" and value is not None)
        or (name in {one.lower() for one in HOST} and value)
        or (name in ("privileged", "allowprivilegeescalation") and value)
        or (name in ("runasuser", "runasgroup") and value == 0 and value is not False)
        or (name == "runasnonroot" and value is False)
        or (name == "hostport" and value)
        or (name == "capabilities" and isinstance(value, Mapping) and value.get("add"))
    )
    if harmful:
        raise Denied(f"{what}, which no step may", fix="remove it; a step runs as an ordinary user in its own pod")


def walk(value: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str, Any]]:
    """Every key of nested mappings and lists. What is inside of labels and annotations is seen as well."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield path, str(key), inner
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from walk(inner, path)
