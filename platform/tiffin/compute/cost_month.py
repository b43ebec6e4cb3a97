"""What each team has cost in the running month: the number that budgets are judged by."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from tiffin.compute.cost import bill_of
from tiffin.compute.prices import Prices
from tiffin.compute.usage_log import days_between, read_usage
from tiffin.storage.objects import ObjectStore

__all__ = ["spent_this_month"]

MICRO = Decimal(1_000_000)


def spent_this_month(store: ObjectStore, prices: Prices, *, now: datetime) -> dict[str, Decimal]:
    """USD by team from the first of the month (UTC) up to what has been collected; a team that is not in it has cost nothing.

    Steps that still run count up to the last midnight.

    Args:
        store: the dev bucket.
        now: aware, in UTC.

    Raises:
        NotFound: a flavor without a price.
    """
    usages, quotas = read_usage(store, days_between(now.date().replace(day=1), now.date()))
    return {team: micro / MICRO for (team,), micro in bill_of(usages, quotas, prices).by("team").items()}
