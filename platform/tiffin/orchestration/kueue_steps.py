"""What one step asks of the cluster, put together from its asset, its run and its executor; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tiffin.compute.quantities import quantity_text, requests_of
from tiffin.compute.spec import Compute
from tiffin.compute.states import Limits
from tiffin.orchestration.kueue_tags import compute_of, queue_of

__all__ = ["STEP_MODULE", "Asked", "StepRules", "asked_of", "last_lines", "step_command", "with_resources"]

PodSecurity = Literal["restricted", "none"]
STEP_MODULE = "tiffin.orchestration.step_entry"


@dataclass(frozen=True, slots=True)
class StepRules:
    """What an executor is told for all of its steps.

    Args:
        queues: False leaves every step to Kubernetes alone, as `k8s_job_executor` does.
        queue: LocalQueue of steps whose `Compute` names none; None: by what the run is.
        priority: likewise the WorkloadPriorityClass; None: named like the queue, where there is one of that name.
        window: most steps of a run that wait for admission in one LocalQueue at a time; the others wait here, where they cost nothing.
        limits: patience; a step's own `max_queue` goes before.
    """

    queues: bool = True
    queue: str | None = None
    priority: str | None = None
    window: int = 100
    limits: Limits = field(default_factory=Limits)
    pod_security: PodSecurity = "restricted"
    gang_host: str | None = None
    """Where the first pod of a gang is reached; None: by its DNS name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One step's demand."""

    compute: Compute
    queue: str | None
    priority: str | None
    named_priority: bool
    """Somebody named the priority, so that it must exist."""
    limits: Limits


def asked_of(op_tags: Mapping[str, str], run_tags: Mapping[str, str], rules: StepRules) -> Asked:
    """The asset's own words first, then the executor's, then what the run is."""
    compute = compute_of(op_tags) or Compute()
    queue = (compute.queue or rules.queue or queue_of(run_tags)) if rules.queues else None
    named = compute.priority or rules.priority
    return Asked(
        compute=compute,
        queue=queue,
        priority=None if queue is None else named or queue,
        named_priority=named is not None,
        limits=replace(rules.limits, queue=compute.max_queue) if compute.max_queue is not None else rules.limits,
    )


def with_resources(compute: Compute, resources: Mapping[str, Any]) -> Compute:
    """What the pod will really ask for, where `dagster-k8s/config` says otherwise than the asset.

    Args:
        resources: of the container, merged: `{"requests": {...}, "limits": {...}}`; limits stand in for missing requests.
    """
    asked = requests_of({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
    changes: dict[str, Any] = {name: quantity_text(asked[name]) for name in ("cpu", "memory") if asked.get(name)}
    gpus = asked.get(compute.gpu_resource)
    return compute.with_changes(**changes, **({} if gpus is None else {"gpus": gpus // 1000}))


def step_command(args: list[str]) -> list[str]:
    """Our entry in place of `dagster api execute_step`, in the interpreter that Dagster names.

    Example:
        >>> step_command(["/venv/bin/python", "-m", "dagster", "api", "execute_step"])
        ['/venv/bin/python', '-m', 'tiffin.orchestration.step_entry']
        >>> step_command(["dagster", "api", "execute_step"])
        ['python', '-m', 'tiffin.orchestration.step_entry']
    """
    at = args.index("api") if "api" in args else len(args)
    entry, rest = args[:at], args[at + 2 :]
    python = entry[:-2] if entry[-2:] == ["-m", "dagster"] else ["python"]
    return [*python, "-m", STEP_MODULE, *rest]


def last_lines(log: str, *, most: int = 25) -> str:
    """The end of a pod's log for an event: whole lines, none of them longer than a page is wide."""
    kept = [line[:500] for line in log.rstrip("\n").split("\n")[-most:]]
    return "\n".join(kept) if log.strip() else ""
