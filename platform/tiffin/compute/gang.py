"""A step of several pods as one Indexed Job: Kueue admits all of them or none, because they are one Workload.

Rank 0 runs the step, the others run a function of the team's beside it. They meet at rank 0's address, which is known before
any of them runs: an Indexed Job names its pods, and one headless Service a namespace gives each of them a DNS name.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tiffin.core.errors import Invalid

__all__ = ["GANG_LABEL", "MEMBER_TAG", "PORT", "SERVICE", "as_gang", "gang_service"]

MEMBER_TAG = "tiffin/gang"
"""Op tag: `module:function` that the pods beside rank 0 run; it is called with a `tiffin.core.gang.Gang`."""
GANG_LABEL = "tiffin.dev/gang"
SERVICE = "gang"
PORT = 29400
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
LONGEST_HOST = 63


def gang_service(namespace: str) -> dict[str, Any]:
    """The headless Service of a namespace: pods of gangs find each other by name, also before they are ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {GANG_LABEL: "member"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": namespace}, "spec": spec}


def as_gang(job: Mapping[str, Any], size: int, *, member: str | None = None, host: str | None = None, port: int = PORT) -> dict[str, Any]:
    """The Job with `size` pods that are admitted together, are told their rank, and end together when one of them fails.

    Every container gets our own variables and those that `torch.distributed` reads (`init_method="env://"`).

    Args:
        member: `module:function` of the pods beside rank 0; None: every pod runs the container's own command.
        host: where rank 0 is reached; None: its DNS name, which needs `gang_service` in the namespace.

    Raises:
        Invalid: a gang of one, a name too long for a host, or a variable of ours that the container sets by itself.
    """
    name, namespace = job["metadata"]["name"], job["metadata"].get("namespace", "default")
    if size < 2:
        raise Invalid(f"Job {name!r} asks for a gang of {size}", fix="a gang has two pods or more; one pod needs none")
    if len(f"{name}-{size - 1}") > LONGEST_HOST:
        raise Invalid(f"Job name {name!r} is too long: its pods' host names have {LONGEST_HOST} characters at most", fix="shorten it")
    found = deepcopy(dict(job))
    spec = found["spec"]
    # a pod that fails fails the Job, and with it the others: half a gang computes nothing
    spec |= {"completionMode": "Indexed", "completions": size, "parallelism": size, "backoffLimit": 0}
    template = spec["template"]
    template.setdefault("metadata", {}).setdefault("labels", {})[GANG_LABEL] = "member"
    template["spec"]["subdomain"] = SERVICE
    address = host or f"{name}-0.{SERVICE}.{namespace}.svc"
    ours = variables(size, address, port, member)
    for container in template["spec"]["containers"]:
        env = container.setdefault("env", [])
        taken = {one["name"] for one in env} & {one["name"] for one in ours}
        if taken:
            fix = "leave it out: the gang sets it"
            raise Invalid(f"Job {name!r}: container {container['name']!r} sets {sorted(taken)[0]} by itself", fix=fix)
        env += deepcopy(ours)
    return found


def variables(size: int, host: str, port: int, member: str | None) -> list[dict[str, Any]]:
    """Of each pod; the rank is read from what the Job's controller writes on the pod."""
    rank = {"valueFrom": {"fieldRef": {"fieldPath": INDEX}}}
    said = {"WORLD_SIZE": str(size), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    said |= {"TIFFIN_GANG_SIZE": str(size), "TIFFIN_GANG_MASTER": f"{host}:{port}"}
    said |= {"TIFFIN_GANG_MEMBER": member} if member else {}
    return [
        {"name": "RANK", **rank},
        {"name": "TIFFIN_GANG_RANK", **rank},
        *({"name": key, "value": str(one)} for key, one in said.items()),
    ]
