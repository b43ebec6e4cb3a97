"""dagster-k8s's configuration in layers: what it calls a container context, typed here once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id, get_user_defined_k8s_config

from tiffin.compute.job import pod_defaults
from tiffin.core.errors import Invalid
from tiffin.orchestration.kueue_steps import PodSecurity

__all__ = ["SECURITIES", "defaults_layer", "layer", "parts_of", "parts_of_tags", "run_job_name", "security_of"]

SECURITIES: tuple[PodSecurity, ...] = ("restricted", "none")


def layer(parts: Mapping[str, Any], *, namespace: str | None = None) -> K8sContainerContext:
    """A `dagster-k8s/config` as one layer, to be merged onto others."""
    config: UserDefinedDagsterK8sConfig = UserDefinedDagsterK8sConfig.from_dict(parts)  # type: ignore[no-untyped-call]  # dagster-k8s's
    return K8sContainerContext(run_k8s_config=config, namespace=namespace)


def parts_of(context: K8sContainerContext) -> dict[str, Any]:
    """A layer as a `dagster-k8s/config` again."""
    return dict(context.run_k8s_config.to_dict())  # type: ignore[no-untyped-call]  # dagster-k8s's


def parts_of_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the tags of a run or an op configure."""
    return dict(get_user_defined_k8s_config(tags).to_dict())


def defaults_layer(security: PodSecurity) -> K8sContainerContext:
    """Below everything: what Kubernetes' Pod Security level of that name demands."""
    return layer(pod_defaults(security))


def security_of(word: str) -> PodSecurity:
    """One of the two words. Raises Invalid."""
    for known in SECURITIES:
        if word == known:
            return known
    raise Invalid(f"pod_security is {word!r}", fix="write restricted, or none to leave pods as dagster-k8s makes them")


def run_job_name(run_id: str, resume_attempt: int | None) -> str:
    """Name of a run worker's Job."""
    return str(get_job_name_from_run_id(run_id, resume_attempt_number=resume_attempt))  # type: ignore[no-untyped-call]  # dagster-k8s's
