"""Usage that no Workload tells: serving pods and memory in the online store, from plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.compute.prices import ONLINE
from tiffin.compute.usage import days
from tiffin.manifests.usage import AmountRecord, UsageKind, UsageRecord

__all__ = ["online_usage", "remote_usage", "serving_usage"]


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
    *, team: str, remote_id: str, usd_micro: int, run_id: str | None, step: str | None, start_us: int, end_us: int, **whose: Any
) -> list[UsageRecord]:
    """What a remote provider asks for a job: on the day on which it ended.

    Args:
        whose: `assets`, `partitions`, `models`.
    """
    made = measured("remote", remote_id, team, (), start_us, max(end_us, start_us + 1), run_id=run_id, step=step, **whose)
    return [*made[:-1], made[-1].model_copy(update={"usd_micro": usd_micro})]


def measured(
    kind: UsageKind, name: str, team: str, amounts: tuple[AmountRecord, ...], start_us: int, end_us: int, **more: Any
) -> list[UsageRecord]:
    """One record per day. The name and the start are the source: measuring the same time twice counts once."""
    shared = {"kind": kind, "team": team, "name": name, "amounts": amounts, "ended": "measured", **more}
    return [
        UsageRecord.model_validate({**shared, "source": f"{kind}:{name}:{start}", "number": 0, "start_us": start, "end_us": end})
        for start, end in days(start_us, end_us)
    ]
