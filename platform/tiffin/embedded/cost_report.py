"""What a period has cost: the records in the dev bucket, or, where no cluster is, the steps that ran on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from tiffin.compute.cost import Bill, bill_of
from tiffin.compute.declared_file import read_file
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.prices import Prices
from tiffin.compute.usage_log import days_between, read_usage, tick
from tiffin.core.clock import Clock, wall_clock
from tiffin.core.errors import Conflict, Invalid, NotReady, PlatformError
from tiffin.core.settings import Settings
from tiffin.core.units import parse_duration, to_us
from tiffin.embedded.stack import load
from tiffin.manifests.usage import UsageRecord
from tiffin.orchestration.backfill_client import Dagster
from tiffin.orchestration.cost_local import local_usage
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["CostReport", "collect_now", "cost_report", "period_of", "read_prices"]

ASK_FOR_S = 3.0
"""Somebody waits for the answer, and the records are there without the cluster."""


@dataclass(frozen=True, slots=True)
class CostReport:
    """A bill and what it is made of.

    Args:
        local: whether steps were counted that no cluster admitted.
        guessed_s: seconds in it that nobody saw, by Kueue's own sum.
        trouble: why the cluster could not be asked for what is new; None when it was, or there is none.
    """

    first: date
    last: date
    bill: Bill
    records: int
    local: bool
    guessed_s: int
    trouble: str | None = None


def read_prices(platform: Path) -> Prices:
    """The prices of an installation.

    Raises:
        NotFound, Invalid: no such file, or no prices in it.
    """
    return Prices.parse(read_file(PlatformFile, platform).prices)


def period_of(since: str, until: str | None, *, today: date) -> tuple[date, date]:
    """The first and the last day that are asked for; `since` is a day, or a duration that ends with the last day.

    Raises:
        Invalid: not readable, or backwards.

    Example:
        >>> period_of("7d", None, today=date(2026, 11, 27))
        (datetime.date(2026, 11, 21), datetime.date(2026, 11, 27))
    """
    last = today if until is None else day_in(until)
    back = None if "-" in since else max(parse_duration(since) - timedelta(days=1), timedelta(0))
    first = day_in(since) if back is None else last - back
    if first > last:
        raise Invalid(f"the period begins on {first}, after its end on {last}", fix="give the earlier day to --since")
    return first, last


def day_in(text: str) -> date:
    """A day as people write it."""
    try:
        return date.fromisoformat(text)
    except ValueError as err:
        raise Invalid(f"{text!r} is no day", fix="write it like 2026-11-27, or a duration like 7d") from err


def cost_report(home: Path, platform: Path, first: date, last: date) -> CostReport:
    """Read and price a period.

    Raises:
        NotReady: no stack runs whose bucket could be read. NotFound: a flavor has no price.
    """
    stack = load(home)
    if "seaweed" not in stack.running():
        raise NotReady(f"the stack in {stack.home} does not run", fix="tiffin up")
    settings = stack.settings()
    store = dev_objects(settings)
    trouble = None if settings.cluster is None else collect_now(settings.cluster, store)
    usages, quotas = read_usage(store, days_between(first, last))
    local: Sequence[UsageRecord] = ()
    part = stack.running().get("webserver")
    if settings.cluster is None and part is not None:
        bounds = midnight(first), midnight(last) + timedelta(days=1)
        local = local_usage(Dagster(f"http://127.0.0.1:{part.ports['http']}"), *bounds)
    bill = bill_of([*usages, *local], quotas, read_prices(platform))
    guessed = sum(one.end_us - one.start_us for one in usages if one.guessed) // 1_000_000
    return CostReport(first, last, bill, len(usages) + len(local), bool(local), guessed, trouble)


def collect_now(cluster: str, store: ObjectStore, *, clock: Clock = wall_clock) -> str | None:
    """Look at the cluster's Workloads once, as the collector does; why it could not be done, for people.

    Who may read costs need not be one who may read the cluster, and a cluster that is away has its records all the same.
    """
    try:
        with KubernetesCluster.connect(cluster, agent="tiffin-cost") as door:
            door.api.patience_s = ASK_FOR_S
            tick(store, door.queue_objects(None), now_us=to_us(clock()))
    except Conflict:
        return None  # the platform's own collector was first
    except PlatformError as err:
        return err.message
    return None


def midnight(day: date) -> datetime:
    """Where a UTC day begins."""
    return datetime.combine(day, time(), UTC)


def dev_objects(settings: Settings) -> S3Store:
    """The dev bucket under the steps' own key."""
    access, secret = settings.need("dev_access_key"), settings.need("dev_secret_key")
    return S3Store(settings.dev_bucket, settings.need("s3_endpoint"), access, secret, settings.s3_region)
