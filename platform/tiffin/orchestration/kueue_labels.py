"""By what names a step's Job is found again: its team, its step, its assets; what its costs are put down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagster import AssetKey
from dagster._core.execution.context.system import IStepContext

from tiffin.compute.job import TEAM_LABEL, label_value, step_labels
from tiffin.orchestration.kueue_tags import partitions_of

__all__ = ["assets_of", "labels_of", "pod_annotations", "team_label"]

ASSETS, PARTITIONS = "tiffin.dev/assets", "tiffin.dev/partitions"
NOBODY = "platform"


def assets_of(context: IStepContext) -> list[str]:
    """`team/name` of what a step makes, sorted; none for an op that makes no asset."""
    layer = context.job.get_definition().asset_layer
    keys = layer.get_selected_entity_keys_for_node(context.node_handle)
    return sorted(key.to_user_string() for key in keys if isinstance(key, AssetKey))


def labels_of(*, team: str | None, step: str, assets: Sequence[str]) -> dict[str, str]:
    """Labels of the Job.

    Args:
        team: the code location; None for a run that was launched from a process.
    """
    return step_labels(team=team or NOBODY, step=step, asset=assets[0] if assets else None)


def team_label(team: str | None) -> dict[str, str]:
    """Of the pods, so that a bill and a network policy know whose they are."""
    return {TEAM_LABEL: label_value(team or NOBODY)}


def pod_annotations(assets: Sequence[str], run_tags: Mapping[str, str]) -> dict[str, str]:
    """Of the pod template, which Kueue keeps with its Workload: a usage record is put down to them.

    Example:
        >>> pod_annotations(["network/flights"], {"dagster/partition": "2013-01-01"})
        {'tiffin.dev/assets': 'network/flights', 'tiffin.dev/partitions': '2013-01-01'}
    """
    found = {ASSETS: ",".join(assets), PARTITIONS: partitions_of(run_tags) or ""}
    return {name: value for name, value in found.items() if value}
