"""Usage that no Workload tells: serving pods and memory in the online store, from plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.compute.prices import ONLINE
from tiffin.compute.usage import DAY_US, SECOND_US, days
from tiffin.manifests.usage import AmountRecord, UsageKind, UsageRecord

__all__ = ["online_usage", "remote_usage", "serving_usage"]

SECONDS_PER_H = 3600


def serving_usage(
    *, team: str, deployment: str, models: tuple[str, ...], flavor: str, requests: Mapping[str, int], pods: int, start_us: int, end_us: int
) -> list[UsageRecord]:
    """What the pods of a deployment held, one record a day.

    Args:
        requests: of one pod, in thousandths by resource.
        models: `team/name` of what it serves; its cost is divided among them.
    """
    amounts = tuple(AmountRecord(flavor=flavor, resource=name, milli=size * pods) for name, size in sorted(requests.items()))
    return measured("serving", f"{team}/{deployment}", team, amounts, start_us, end_us, models=models)


def online_usage(*, team: str, view: str, size_bytes: int, models: tuple[str, ...], start_us: int, end_us: int) -> list[UsageRecord]:
    """What a view's online edition held of the online store's memory, one record a day.

    Args:
        models: that read the view; its cost is divided among them. Without any it is the team's own.
    """
    amounts = (AmountRecord(flavor=ONLINE, resource="memory", milli=size_bytes * 1000),)
    return measured("online", f"{team}/{view}", team, amounts, start_us, end_us, models=models, assets=(f"{team}/{view}",))


def remote_usage(
    *,
    team: str,
    remote_id: str,
    end_us: int,
    usd_micro: int = 0,
    amounts: tuple[AmountRecord, ...] = (),
    run_id: str | None = None,
    step: str | None = None,
    **whose: Any,
) -> UsageRecord:
    """What a job at a remote provider cost, as one record of the day on which it ended. Told by two attempts, it counts once.

    Args:
        amounts: what it used altogether, in thousandth-hours; their flavor has a price.
        whose: `assets`, `partitions`, `models`.
    """
    # one second that holds all the hours: whole numbers, whoever tells it and whenever the job began
    end_us = max(end_us, end_us // DAY_US * DAY_US + SECOND_US)
    held = tuple(one.model_copy(update={"milli": one.milli * SECONDS_PER_H}) for one in amounts)
    shared = {"kind": "remote", "team": team, "name": remote_id, "source": f"remote:{remote_id}", "number": 0, "ended": "measured"}
    when = {"start_us": end_us - SECOND_US, "end_us": end_us}
    return UsageRecord.model_validate({**shared, **when, **whose, "amounts": held, "usd_micro": usd_micro, "run_id": run_id, "step": step})


def measured(
    kind: UsageKind, name: str, team: str, amounts: tuple[AmountRecord, ...], start_us: int, end_us: int, **more: Any
) -> list[UsageRecord]:
    """One record per day. The name and the start are the source: measuring the same time twice counts once."""
    shared = {"kind": kind, "team": team, "name": name, "amounts": amounts, "ended": "measured", **more}
    return [
        UsageRecord.model_validate({**shared, "source": f"{kind}:{name}:{start}", "number": 0, "start_us": start, "end_us": end})
        for start, end in days(start_us, end_us)
    ]
