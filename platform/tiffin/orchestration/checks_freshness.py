"""How old a published view is, as an asset check that stops nothing: what is served stays served, and is seen to be late."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from tiffin.features.view import FeatureView
from tiffin.orchestration.checks import too_old
from tiffin.orchestration.checks_run import check_result

__all__ = ["FRESHNESS", "freshness_check_specs", "freshness_results"]

FRESHNESS = "freshness"


def freshness_check_specs(key: dg.AssetKey, view: FeatureView) -> list[dg.AssetCheckSpec]:
    """One check where the view declares `Online(freshness=...)`, else none."""
    if view.online is None or view.online.freshness is None:
        return []
    text = f"the newest published event time is not older than {view.online.freshness}"
    return [dg.AssetCheckSpec(FRESHNESS, asset=key, blocking=False, description=text)]


def freshness_results(view: FeatureView, watermark: datetime | None, *, now: datetime, owner: str) -> list[dg.AssetCheckResult]:
    """The answer to `freshness_check_specs`.

    Args:
        watermark: up to when the published edition is complete; None before the first.
        now: by the stack's clock: a replayed history is as fresh as it was then.
    """
    if view.online is None or view.online.freshness is None:
        return []
    finding = too_old(watermark, now=now, max_age=view.online.freshness, owner=owner)
    return [check_result(FRESHNESS, finding, accepted=True)]  # a warning: nothing stands still because of it
