"""What evaluates the publishing schedules of a team: one sensor over its online assets."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.spec import Spec
from tiffin.features.view import FeatureView
from tiffin.orchestration.asset_keys import online_path

__all__ = ["NAME", "publish_sensors"]

NAME = "publish_landed"
INTERVAL_S = 30


def publish_sensors(
    team: Team, specs: Sequence[Spec], *, status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED
) -> list[dg.SensorDefinition]:
    """One sensor when the team has a view with `Online(publish=...)`, else none.

    Args:
        status: whether it is on from the start. A stack that materialises everything itself, as the demo does, would
            otherwise be overtaken by it; a company's cluster switches it on once, and Dagster remembers.
    """
    keys = [
        dg.AssetKey(list(online_path(f"{team.name}/{spec.name}")))
        for spec in specs
        if isinstance(spec, FeatureView) and spec.online is not None and spec.online.publish is not None
    ]
    if not keys:
        return []
    return [
        dg.AutomationConditionSensorDefinition(
            NAME,
            target=dg.AssetSelection.assets(*keys),
            minimum_interval_seconds=INTERVAL_S,
            default_status=status,
            description="Publishes an online view when partitions of it have landed: all that landed together in one run.",
        )
    ]
