"""What a team really gets: its file over the platform's defaults, within the platform's limits, beside the other teams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.quantities import milli, quantity_text
from tiffin.compute.team_file import ALL, CodeServer, Groups, Quota, TeamFile, backfill_queue_of, namespace_of
from tiffin.core.errors import Invalid, nearest

__all__ = ["Allotment", "allot", "allot_all"]

NOTHING = Quota(nominal="0", borrow="0", lend=ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """One team's part of the cluster, every default filled in."""

    team: str
    namespace: str
    cluster_queue: str
    backfill_queue: str
    owner: str
    description: str
    image: str
    module: str
    reads: tuple[str, ...]
    lands: tuple[str, ...]
    quotas: Mapping[str, Mapping[str, Quota]]
    """Of the flavors that the team may use at all, each with every resource that the platform counts."""
    backfill: Mapping[str, Mapping[str, str]]
    """Most that its backfills may borrow, of the same flavors and resources."""
    weight: str
    queueing: Literal["BestEffortFIFO", "StrictFIFO"]
    budget_usd_per_month: Decimal | None
    objects: Mapping[str, int]
    container_request: Mapping[str, str]
    container_max: Mapping[str, str]
    groups: Groups
    code_server: CodeServer


def allot(team: TeamFile, platform: PlatformFile) -> Allotment:
    """One team's part, as it is refused or granted by the platform's limits.

    Raises:
        Invalid: an unknown flavor or resource, or more than the platform allows.
    """
    where = f"team {team.team!r}"
    for flavor, wanted in team.quotas.items():
        for resource, quota in wanted.items():
            check_quota(platform, flavor, resource, quota, where)
    defaults = platform.defaults
    quotas = {flavor: merged for flavor in platform.flavors if (merged := merge_flavor(team, platform, flavor))}
    bounds = team.backfill or defaults.backfill
    backfill = {
        flavor: {resource: bound_of(platform, flavor, resource, bounds.borrow if bounds else {}) for resource in merged}
        for flavor, merged in quotas.items()
    }
    for flavor, wanted_bounds in (bounds.borrow if bounds else {}).items():
        for resource in wanted_bounds:
            platform.know(flavor, resource, f"{where}: backfill.borrow")
    found = Allotment(
        team=team.team,
        namespace=namespace_of(team.team, prefix=platform.prefix),
        cluster_queue=namespace_of(team.team, prefix=platform.prefix),
        backfill_queue=backfill_queue_of(team.team, prefix=platform.prefix),
        owner=team.owner,
        description=team.description,
        image=team.image,
        module=team.module or f"assets.{team.team}.definitions",
        reads=team.reads,
        lands=team.lands,
        quotas=quotas,
        backfill=backfill,
        weight=team.weight or defaults.weight or "1",
        queueing=team.queueing or defaults.queueing or "BestEffortFIFO",
        budget_usd_per_month=team.budget_usd_per_month or defaults.budget_usd_per_month,
        objects={**defaults.objects, **team.objects},
        container_request={**defaults.container_request, **team.container_request},
        container_max={**defaults.container_max, **team.container_max},
        groups=named(team.groups or defaults.groups or Groups(), team.team),
        code_server=team.code_server or defaults.code_server or CodeServer(),
    )
    check_limits(found, platform)
    return found


def allot_all(teams: Sequence[TeamFile], platform: PlatformFile) -> list[Allotment]:
    """Every team's part, and that all of them fit together.

    Raises:
        Invalid: as `allot`; two teams of one name; quotas that add up to more than a flavor has; a read team that does not exist.
    """
    names = [team.team for team in teams]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"{names.count(name)} files are of team {name!r}", fix="one team.yaml per team")
    found = [allot(team, platform) for team in teams]
    for one in found:
        for read in one.reads:
            if read != "raw" and read not in names:
                raise Invalid(f"team {one.team!r} reads {read!r}, which is no team", fix=nearest(read, [*names, "raw"]))
    check_capacity(found, platform)
    check_landed(found)
    return found


def merge_flavor(team: TeamFile, platform: PlatformFile, flavor: str) -> dict[str, Quota]:
    """Every resource of one flavor; empty when the team may use nothing of it."""
    named_here = {**platform.defaults.quotas.get(flavor, {}), **team.quotas.get(flavor, {})}
    if not any(milli(quota.nominal) or quota.borrow == ALL or milli(quota.borrow) for quota in named_here.values()):
        return {}
    for resource in ("cpu", "memory"):
        if resource not in named_here:
            raise Invalid(
                f"team {team.team!r}: quotas.{flavor} has {', '.join(named_here)} and no {resource}: no pod could start there",
                fix=f"add quotas.{flavor}.{resource}",
            )
    # Kueue wants every covered resource in every flavor of a group
    return {resource: named_here.get(resource, NOTHING) for resource in platform.resources}


def bound_of(platform: PlatformFile, flavor: str, resource: str, borrow: Mapping[str, Mapping[str, str]]) -> str:
    """Most that a team's backfills borrow; nothing of what the flavor does not have."""
    return borrow.get(flavor, {}).get(resource, ALL) if resource in platform.flavors[flavor].capacity else "0"


def check_quota(platform: PlatformFile, flavor: str, resource: str, quota: Quota, where: str) -> None:
    """A team's own word on one quota."""
    key = f"{where}: quotas.{flavor}.{resource}"
    capacity = platform.know(flavor, resource, f"{where}: quotas")
    named_limit = platform.limits.quotas.get(flavor, {}).get(resource)
    limit = min(capacity, milli(named_limit)) if named_limit is not None else capacity
    if milli(quota.nominal) > limit:
        what = "the platform's limit" if named_limit is not None and milli(named_limit) <= capacity else "all that the flavor has"
        raise Invalid(f"{key}: {quota.nominal} is more than {what}, {quantity_text(limit)}", fix=f"ask for at most {quantity_text(limit)}")


def check_limits(one: Allotment, platform: PlatformFile) -> None:
    """Everything but quotas."""
    limits, where = platform.limits, f"team {one.team!r}"
    amounts = [("weight", one.weight, limits.weight)]
    amounts += [(f"container_max.{name}", amount, limits.container_max.get(name)) for name, amount in one.container_max.items()]
    amounts += [(f"objects.{name}", str(count), text(limits.objects.get(name))) for name, count in one.objects.items()]
    budget, most = one.budget_usd_per_month, limits.budget_usd_per_month
    amounts += [("budget_usd_per_month", str(budget), text(most))] if budget is not None else []
    for key, amount, limit in amounts:
        if limit is not None and milli(amount) > milli(limit):
            raise Invalid(f"{where}: {key}: {amount} is more than the platform's limit, {limit}", fix=f"ask for at most {limit}")
    if milli(one.weight) == 0:
        raise Invalid(f"{where}: weight: 0 would never get idle capacity", fix="give a weight above 0")
    for name, amount in one.container_request.items():
        if name in one.container_max and milli(amount) > milli(one.container_max[name]):
            raise Invalid(
                f"{where}: container_request.{name}: {amount} is more than one container may ask, {one.container_max[name]}",
                fix=f"lower it, or raise container_max.{name}",
            )


def check_capacity(found: Iterable[Allotment], platform: PlatformFile) -> None:
    """The quotas of all teams and of the run workers fit in what the nodes have."""
    workers = platform.run_workers
    for flavor in platform.flavors:
        for resource in platform.flavors[flavor].capacity:
            owned = {one.team: milli(quotas[resource].nominal) for one in found if (quotas := one.quotas.get(flavor))}
            if flavor == workers.flavor and resource in workers.quota:
                owned["the run workers"] = milli(workers.quota[resource])
            given, capacity = sum(owned.values()), platform.know(flavor, resource, "capacity")
            if given > capacity:
                most = max(owned, key=lambda name: owned[name])
                has, over = quantity_text(owned[most]), quantity_text(given - capacity)
                raise Invalid(
                    f"quotas of {resource} in flavor {flavor!r} add up to {quantity_text(given)}; its nodes have {quantity_text(capacity)}",
                    fix=f"lower some by {over} together ({most} has {has}), or raise the capacity",
                )


def check_landed(found: Iterable[Allotment]) -> None:
    """A raw table has one writer."""
    writers: dict[str, str] = {}
    for one in found:
        for table in one.lands:
            other = writers.setdefault(table, one.team)
            if other != one.team:
                raise Invalid(f"teams {other!r} and {one.team!r} both land {table!r}", fix="a raw table has one writer; the other reads it")


def named(groups: Groups, team: str) -> Groups:
    """`{team}` in a group's name is the team."""
    return Groups.model_validate(
        {role: tuple(group.replace("{team}", team) for group in members) for role, members in groups.model_dump().items()}
    )


def text(count: int | None) -> str | None:
    """Of a limit."""
    return None if count is None else str(count)
