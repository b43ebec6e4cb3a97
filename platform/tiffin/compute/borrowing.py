"""Own and borrowed: of everything that was held, what was above the queue's own quota at each moment, and who lent it.

Time is cut wherever something starts, ends or a quota changes; between two cuts the answer stands still, so sums of
`amount × time` are whole numbers and nothing is lost or counted twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tiffin.compute.apportion import apportion
from tiffin.manifests.usage import QuotaRecord, UsageRecord

__all__ = ["NOBODY", "Held", "held"]

NOBODY = ""
"""Lender of what no queue's idle quota explains: the cohort's own quota, or two events within one second."""

Key = tuple[str, int]
Pool = tuple[str, str, str]
"""Cohort, flavor, resource."""


@dataclass(slots=True)
class Held:
    """One resource of one stretch, in thousandths × µs.

    Args:
        lent: the borrowed part by the ClusterQueue that lent it.
    """

    usage: UsageRecord
    flavor: str
    resource: str
    own: int = 0
    lent: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def borrowed(self) -> int:
        """What was above the queue's own quota."""
        return sum(self.lent.values())


class Quotas:
    """What each queue owned and would lend, at any instant."""

    def __init__(self, records: Iterable[QuotaRecord]) -> None:
        self.by_queue: dict[str, list[QuotaRecord]] = defaultdict(list)
        for record in sorted(records, key=lambda one: (one.cluster_queue, one.from_us)):
            self.by_queue[record.cluster_queue].append(record)

    def at(self, queue: str, us: int) -> QuotaRecord | None:
        """The record that held; before the first one, the first."""
        found = self.by_queue.get(queue)
        if not found:
            return None
        return found[max(bisect_right(found, us, key=lambda one: one.from_us) - 1, 0)]

    def cohort(self, queue: str) -> str:
        """The newest cohort of a queue; one without a cohort is alone."""
        found = self.by_queue.get(queue)
        return (found[-1].cohort if found else None) or f"{queue} alone"

    def changes(self, queues: Iterable[str]) -> set[int]:
        """Instants at which a quota of these queues became another."""
        return {record.from_us for queue in queues for record in self.by_queue.get(queue, [])[1:]}


def held(usages: Iterable[UsageRecord], quotas: Iterable[QuotaRecord]) -> list[Held]:
    """Every amount of every stretch, told apart: own, and borrowed from whom.

    Who was admitted first uses the queue's own quota; what came later is what borrows. A queue whose quota nobody
    recorded owns all it holds.
    """
    known = Quotas(quotas)
    pools: dict[Pool, list[Held]] = defaultdict(list)
    found: list[Held] = []
    for usage in sorted(usages, key=lambda one: (one.start_us, one.source, one.number)):
        queue = usage.cluster_queue
        for amount in usage.amounts:
            one = Held(usage, amount.flavor, amount.resource)
            found.append(one)
            if queue is None or queue not in known.by_queue:
                one.own = amount.milli * (usage.end_us - usage.start_us)
            else:
                pools[known.cohort(queue), amount.flavor, amount.resource].append(one)
    for (cohort, flavor, resource), members in pools.items():
        sweep(members, cohort, flavor, resource, known)
    return found


def sweep(members: Sequence[Held], cohort: str, flavor: str, resource: str, known: Quotas) -> None:
    """Add up own and borrowed of one resource in one cohort, from cut to cut."""
    queues = sorted(queue for queue in known.by_queue if known.cohort(queue) == cohort)
    cuts = {us for one in members for us in (one.usage.start_us, one.usage.end_us)}
    times = sorted(cuts | {us for us in known.changes(queues) if min(cuts) < us < max(cuts)})
    starting: dict[int, list[Held]] = defaultdict(list)
    for one in members:
        starting[one.usage.start_us].append(one)
    active: list[Held] = []
    for start, end in pairwise(times):
        # members come in the order of their start: who was first stays first
        active = [one for one in active if one.usage.end_us > start] + starting[start]
        if active:
            share(active, end - start, quota_at(queues, start, flavor, resource, known))


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one queue, at one moment, in thousandths. `lends` None: all that is idle."""

    nominal: int
    lends: int | None
    team: str


def quota_at(queues: Sequence[str], us: int, flavor: str, resource: str, known: Quotas) -> dict[str, Quota]:
    """What the queues of a cohort own of one resource at an instant."""
    found: dict[str, Quota] = {}
    for queue in queues:
        record = known.at(queue, us)
        if record is not None:
            nominal = sum(one.milli for one in record.nominal if (one.flavor, one.resource) == (flavor, resource))
            limits = [one.milli for one in record.lends if (one.flavor, one.resource) == (flavor, resource)]
            found[queue] = Quota(nominal, limits[0] if limits else None, record.team)
    return found


def share(active: Sequence[Held], duration_us: int, quotas: Mapping[str, Quota]) -> None:
    """Of one span in which nothing changes."""
    used: dict[str, int] = defaultdict(int)
    borrowing: list[tuple[Held, int]] = []
    for one in active:
        queue = one.usage.cluster_queue or NOBODY
        amount = amount_of(one)
        own = min(amount, max(quotas[queue].nominal - used[queue], 0))
        used[queue] += amount
        one.own += own * duration_us
        if amount > own:
            borrowing.append((one, amount - own))
    if not borrowing:
        return
    idle = {queue: max(quota.nominal - used[queue], 0) for queue, quota in quotas.items()}
    pool = {queue: size if quotas[queue].lends is None else min(size, quotas[queue].lends or 0) for queue, size in idle.items()}
    # a team's backfills use what the team itself leaves idle before they use what others do
    rest: list[tuple[Held, int]] = []
    for one, size in borrowing:
        team = quotas[one.usage.cluster_queue or NOBODY].team
        kin = {queue: free for queue, free in pool.items() if quotas[queue].team == team}
        rest.append((one, size - lend(one, min(size, sum(kin.values())), kin, pool, duration_us)))
    wanted = sum(size for _, size in rest)
    names = [queue for queue, free in pool.items() if free]
    lent = apportion([pool[queue] for queue in names], min(wanted, sum(pool.values())))
    left = {**dict(zip(names, lent, strict=True)), NOBODY: wanted - sum(lent)}
    for one, size in rest:
        lend(one, size, dict(left), left, duration_us)


def lend(one: Held, size: int, lenders: Mapping[str, int], pool: dict[str, int], duration_us: int) -> int:
    """Take `size` from the lenders in proportion to what they have, out of the pool; returns what was taken."""
    for queue, part in zip(lenders, apportion(list(lenders.values()), size), strict=True):
        if part:
            one.lent[queue] += part * duration_us
            pool[queue] -= part
    return size


def amount_of(one: Held) -> int:
    """Thousandths that the stretch holds of its resource."""
    return sum(amount.milli for amount in one.usage.amounts if (amount.flavor, amount.resource) == (one.flavor, one.resource))
