"""What an asset has cost so far: the wall seconds of its steps, added up from one materialisation to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

__all__ = ["STEP_S", "TOTAL_S", "Stopwatch", "spent_before"]

STEP_S, TOTAL_S = "cost/step_wall_s", "cost/wall_s_so_far"
USD = "cost/usd_so_far"


def spent_before(instance: dg.DagsterInstance, key: dg.AssetKey) -> float:
    """Wall seconds of all earlier steps of an asset, as its newest materialisation says: one look-up a step.

    Steps that failed are not in it, and of two steps that ran side by side the later one counts alone.
    """
    event = instance.get_latest_materialization_event(key)
    shown = {} if event is None or event.asset_materialization is None else event.asset_materialization.metadata
    total = shown.get(TOTAL_S)
    return 0.0 if total is None else float(str(total.value))


class Stopwatch:
    """Counts a step's seconds from its construction on.

    Args:
        now_s: a clock that only runs forward.
        price_usd_per_h: what the team declares for an hour of its workers; None shows seconds alone.
    """

    def __init__(self, before_s: float, *, now_s: Callable[[], float], price_usd_per_h: float | None) -> None:
        self.before_s, self.now_s, self.price = before_s, now_s, price_usd_per_h
        self.started_s = now_s()

    def metadata(self) -> dict[str, Any]:
        """Seconds of this step and of all so far, and their price where one is declared."""
        step_s = self.now_s() - self.started_s
        total_s = self.before_s + step_s
        priced = {} if self.price is None else {USD: round(total_s / 3600 * self.price, 6)}
        return {STEP_S: round(step_s, 3), TOTAL_S: round(total_s, 3), **priced}
