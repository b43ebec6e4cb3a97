"""A team's budget: told at 80 %, no new backfills at 100 %, prod never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.apply import Door
from tiffin.compute.platform_file import QUEUES
from tiffin.compute.render_queues import KUEUE
from tiffin.core.errors import Denied, Invalid, PlatformError

__all__ = ["ALERT_SHARE", "ANNOTATION", "BUDGET_MANAGER", "Budget", "Standing", "backfill_hold", "budget_of", "refuse_backfill", "settle"]

ALERT_SHARE = Decimal("0.8")
ANNOTATION = "tiffin.dev/budget"
"""On the held LocalQueue: why, in words."""
BUDGET_MANAGER = "tiffin-budget"
"""Field manager of the hold alone, so that `tiffin teams apply` neither sets nor lifts it."""


class Standing(StrEnum):
    """Where a team's month stands."""

    WITHIN = "within"
    ALERT = "alert"
    SPENT = "spent"
    UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One team's month so far, in USD."""

    team: str
    spent_usd: Decimal
    limit_usd: Decimal | None
    month: str
    """`2026-11`."""

    @property
    def share(self) -> Decimal | None:
        """Of the limit; None without one."""
        return None if self.limit_usd is None else self.spent_usd / self.limit_usd

    @property
    def standing(self) -> Standing:
        """What the share means; exactly 80 % is told, exactly 100 % is spent."""
        if self.share is None:
            return Standing.UNLIMITED
        if self.share >= 1:
            return Standing.SPENT
        return Standing.ALERT if self.share >= ALERT_SHARE else Standing.WITHIN

    @property
    def words(self) -> str:
        """For people.

        Example:
            >>> Budget(team="eta", spent_usd=Decimal("810"), limit_usd=Decimal("900"), month="2026-11").words
            'eta has used 810.00 of 900.00 USD of 2026-11 (90 %)'
        """
        if self.limit_usd is None or self.share is None:
            return f"{self.team} has used {self.spent_usd:.2f} USD of {self.month} and has no budget"
        # rounded down: 99.9 % is not 100 %
        return f"{self.team} has used {self.spent_usd:.2f} of {self.limit_usd:.2f} USD of {self.month} ({int(self.share * 100)} %)"

    def to_json(self) -> dict[str, Any]:
        """For `--json` and for metadata."""
        return {
            "team": self.team,
            "month": self.month,
            "spent_usd": str(self.spent_usd),
            "limit_usd": None if self.limit_usd is None else str(self.limit_usd),
            "standing": self.standing.value,
            "words": self.words,
        }


def budget_of(one: Allotment, spent_usd: Decimal, *, month: str) -> Budget:
    """A team's budget with what it has cost so far.

    Args:
        spent_usd: of the running month, by the cost records.

    Raises:
        Invalid: a negative or unreadable sum.
    """
    if not spent_usd.is_finite() or spent_usd < 0:
        raise Invalid(f"team {one.team!r} is said to have cost {spent_usd} USD", fix="collect the month's usage again: `tiffin cost`")
    return Budget(team=one.team, spent_usd=spent_usd, limit_usd=one.budget_usd_per_month, month=month)


def refuse_backfill(budget: Budget, queue: str) -> PlatformError | None:
    """Why a new step may not enter a LocalQueue; None lets it in. Only backfills are ever refused.

    Raises:
        Invalid: not one of the team's queues.
    """
    if queue not in QUEUES:
        raise Invalid(f"queue {queue!r} is none of a team's", fix=f"use one of: {', '.join(QUEUES)}")
    if queue != "backfill" or budget.standing is not Standing.SPENT:
        return None
    return Denied(
        f"no new backfills: {budget.words}",
        fix="wait for the next month, raise budget_usd_per_month in team.yaml, or run what cannot wait in the queue 'default'",
        context=budget.to_json(),
    )


def backfill_hold(namespace: str, budget: Budget) -> dict[str, Any]:
    """A team's LocalQueue `backfill` as the budget wants it, for server-side apply by `BUDGET_MANAGER`.

    `Hold` admits nothing new and stops nothing that runs. Within the budget the object states nothing, so applying it
    gives the field back: the API server then puts it to its default, None.
    """
    metadata: dict[str, Any] = {"name": "backfill", "namespace": namespace}
    spec: Mapping[str, str] = {}
    if budget.standing is Standing.SPENT:
        metadata["annotations"] = {ANNOTATION: budget.words}
        spec = {"stopPolicy": "Hold"}
    return {"apiVersion": KUEUE, "kind": "LocalQueue", "metadata": metadata, "spec": dict(spec)}


def settle(door: Door, namespace: str, budget: Budget) -> str:
    """Hold a team's backfills when its month is spent, and let them go when it is not; the words of what was done.

    A hold that somebody else put there, without our annotation, is left alone.

    Raises:
        PlatformError: the cluster refuses, or cannot answer.
    """
    queue = door.get(KUEUE, "LocalQueue", namespace, "backfill")
    if queue is None:
        return "has no queue for backfills"
    ours = ANNOTATION in (queue["metadata"].get("annotations") or {})
    if budget.standing is Standing.SPENT:
        door.apply(backfill_hold(namespace, budget), field_manager=BUDGET_MANAGER, force=True)
        return "backfills are held" if ours else "backfills are held from now on"
    if not ours:
        return "nothing is held"
    door.apply(backfill_hold(namespace, budget), field_manager=BUDGET_MANAGER, force=True)
    return "backfills go on from now on"
