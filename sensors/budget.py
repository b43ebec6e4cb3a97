"""Holds the backfills of teams whose month is spent, lets them go when the next one begins, and says so once at 80 %."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import dagster as dg
import yaml

from tiffin.compute.apply import Door
from tiffin.compute.budget import Budget, Standing, settle
from tiffin.compute.cost_month import spent_this_month
from tiffin.compute.prices import Prices
from tiffin.core.clock import Clock, wall_clock
from tiffin.core.errors import Invalid, NotFound, PlatformError
from tiffin.orchestration.cost_assets import COST_TABLE
from tiffin.storage.objects import ObjectStore

__all__ = ["TeamBudget", "budget_sensor", "month_so_far", "read_budgets"]


@dataclass(frozen=True, slots=True)
class TeamBudget:
    """A line of `budgets.yaml`, which `tiffin teams render` writes."""

    namespace: str
    usd_per_month: Decimal | None


def read_budgets(path: Path) -> dict[str, TeamBudget]:
    """The rendered file.

    Raises:
        NotFound: nobody has put it there.
        Invalid: it is another kind of file.
    """
    if not path.exists():
        raise NotFound(f"there is no {str(path)!r}", fix="mount the ConfigMap dagster-prices there (deploy/kubernetes/base/platform.yaml)")
    try:
        lines = {team: (line["namespace"], line["usd_per_month"]) for team, line in yaml.safe_load(path.read_text()).items()}
        return {team: TeamBudget(str(namespace), None if usd is None else Decimal(usd)) for team, (namespace, usd) in lines.items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, InvalidOperation) as err:
        raise Invalid(f"{str(path)!r} is no file of budgets: {err!r}", fix="render it again: `tiffin teams render`") from err


def month_so_far(store: ObjectStore, prices: Prices, budgets: Mapping[str, TeamBudget], *, clock: Clock) -> list[Budget]:
    """What each team has cost since the first of this month, UTC, against what it may cost.

    Raises:
        NotFound: a flavor has no price.
    """
    now = clock()
    spent = spent_this_month(store, prices, now=now)
    return [
        Budget(team=team, spent_usd=spent.get(team, Decimal(0)), limit_usd=line.usd_per_month, month=f"{now:%Y-%m}")
        for team, line in budgets.items()
    ]


def budget_sensor(
    open_cluster: Callable[[], AbstractContextManager[Door]],
    open_store: Callable[[], ObjectStore],
    prices: Callable[[], Prices],
    budgets: Callable[[], Mapping[str, TeamBudget]],
    *,
    name: str = "budget",
    every_s: int = 600,
    clock: Clock = wall_clock,
    status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Looks every ten minutes; a team is told when its standing changes, as an observation on the bill's page.

    Args:
        open_cluster, open_store, prices, budgets: opened or read for each tick.
    """

    @dg.sensor(name=name, minimum_interval_seconds=every_s, default_status=status, description="Holds backfills of spent budgets")
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        told: dict[str, str] = {}
        notices = []
        try:
            lines = budgets()
            found = month_so_far(open_store(), prices(), lines, clock=clock)
            with open_cluster() as cluster:
                for budget in found:
                    done = settle(cluster, lines[budget.team].namespace, budget)
                    told[budget.team] = f"{budget.month} {budget.standing.value}"
                    if before.get(budget.team) != told[budget.team] and budget.standing in (Standing.ALERT, Standing.SPENT):
                        context.log.warning(f"{budget.words}; {done}")
                        notices.append(notice(budget, done))
        except PlatformError as err:
            raise dg.Failure(description=err.message, metadata={"fix": err.fix}) from err
        return dg.SensorResult(
            skip_reason="; ".join(budget.words for budget in found) or "no team has a budget",
            cursor=json.dumps(told),
            asset_events=notices,
        )

    return look


def notice(budget: Budget, done: str) -> dg.AssetObservation:
    """On the page of the bill."""
    metadata = {**{key: str(value) for key, value in budget.to_json().items()}, "done": done}
    return dg.AssetObservation(COST_TABLE.split("/"), description=f"{budget.words}; {done}", metadata=metadata)
