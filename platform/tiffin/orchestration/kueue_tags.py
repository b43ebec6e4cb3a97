"""What a step asks of the cluster travels as an op tag; which queue it goes to follows from what its run is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from tiffin.compute.spec import Compute
from tiffin.core.errors import Invalid
from tiffin.orchestration.backfill_ranges import BACKFILL

__all__ = ["COMPUTE", "QueueName", "compute_of", "compute_tags", "partitions_of", "queue_of"]

QueueName = Literal["prod", "default", "backfill"]

COMPUTE = "tiffin/compute"
"""Op tag: the step's `Compute` as JSON."""
UI_BACKFILL = "dagster/backfill"
BY_ITSELF = (
    "dagster/schedule_name",
    "dagster/sensor_name",
    "dagster/from_automation_condition",
    "dagster/auto_materialize",
    "dagster/auto_observe",
)
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def compute_tags(compute: Compute | None) -> dict[str, str]:
    """Op tags of an asset; none for one that asks for nothing in particular."""
    return {} if compute is None else {COMPUTE: compute.model_dump_json(exclude_defaults=True)}


def compute_of(tags: Mapping[str, str]) -> Compute | None:
    """What an op's tags ask for.

    Raises:
        Invalid: the tag was written by hand and is not a `Compute`.

    Example:
        >>> compute_of(compute_tags(Compute(cpu=2, memory="4Gi"))) == Compute(cpu=2, memory="4Gi")
        True
    """
    written = tags.get(COMPUTE)
    if written is None:
        return None
    try:
        fields = json.loads(written)
    except ValueError as err:
        raise Invalid(f"op tag {COMPUTE!r} is {written!r}, which is no JSON", fix="write compute=Compute(...) on the spec") from err
    if not isinstance(fields, dict):
        raise Invalid(f"op tag {COMPUTE!r} is {written!r}, which is no object", fix="write compute=Compute(...) on the spec")
    return Compute(**fields)


def queue_of(run_tags: Mapping[str, str]) -> QueueName:
    """A backfill gives way to everybody; what starts by itself keeps what is served fresh; the rest was started by hand.

    A backfill that a sensor started or goes on with is a backfill.

    Example:
        >>> queue_of({"dagster/sensor_name": "landing"}), queue_of({"dagster/backfill": "x", "dagster/sensor_name": "y"}), queue_of({})
        ('prod', 'backfill', 'default')
    """
    if UI_BACKFILL in run_tags or BACKFILL in run_tags:
        return "backfill"
    return "prod" if any(name in run_tags for name in BY_ITSELF) else "default"


def partitions_of(run_tags: Mapping[str, str]) -> str | None:
    """`first...last` of a ranged run, the one partition of another, None without any.

    Example:
        >>> partitions_of({"dagster/partition": "2013-01-01"})
        '2013-01-01'
    """
    first, last = (run_tags.get(name) for name in RANGE)
    if first and last:
        return first if first == last else f"{first}...{last}"
    return run_tags.get("dagster/partition")
