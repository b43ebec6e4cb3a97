"""What usage costs, by whatever it is asked about; the parts add up to the bill in whole millionths of a dollar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from tiffin.compute.apportion import apportion, evenly
from tiffin.compute.borrowing import Held, held
from tiffin.compute.prices import Prices
from tiffin.compute.usage import day_of
from tiffin.manifests.usage import QuotaRecord, UsageKind, UsageRecord

__all__ = ["BY", "NONE", "Bill", "By", "Line", "bill_of", "distinct", "partition_keys", "per_thousand"]

By = Literal["team", "asset", "partition", "run", "model", "kind", "flavor", "day"]
BY: tuple[By, ...] = ("team", "asset", "partition", "run", "model", "kind", "flavor", "day")
NONE = "(none)"
"""Under what a cost is shown that has no asset, partition, run or model."""

MICRO = 1_000_000
PERIODS = (("%Y-%m-%d", timedelta(days=1)), ("%Y-%m-%d-%H:%M", timedelta(hours=1)))
LONGEST_RANGE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The smallest part of a bill.

    Args:
        lender: the team whose idle quota was used; `""` for one's own, and for what the cohort owns itself.
        borrowed: above the team's own quota.
        milli_us: thousandths of the resource × µs, of the line's stretch as a whole divided like its cost.
        usd_micro: millionths of a dollar.
    """

    day: str
    kind: UsageKind
    team: str
    asset: str
    partition: str
    run: str
    model: str
    flavor: str
    resource: str
    borrowed: bool
    lender: str
    milli_us: int
    usd_micro: int


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of a period. Every grouping of them has the same total."""

    lines: tuple[Line, ...]

    @property
    def usd_micro(self) -> int:
        """The total, in millionths of a dollar."""
        return sum(line.usd_micro for line in self.lines)

    def by(self, *what: By) -> dict[tuple[str, ...], int]:
        """Millionths of a dollar by one word or several, dearest first."""
        found: dict[tuple[str, ...], int] = defaultdict(int)
        for line in self.lines:
            found[tuple(getattr(line, word) for word in what)] += line.usd_micro
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def borrowed(self) -> dict[tuple[str, str], int]:
        """By borrower and lender: what was borrowed, at the price that the borrower pays.

        The borrower sees it as a part of its cost, the lender as quota of its own that others used.
        """
        found: dict[tuple[str, str], int] = defaultdict(int)
        for line in self.lines:
            if line.borrowed:
                found[line.team, line.lender or NONE] += line.usd_micro
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a stretch before it is divided among its partitions."""

    usage: UsageRecord
    flavor: str
    resource: str
    lender: str | None
    milli_us: int
    usd: Fraction


def bill_of(usages: Iterable[UsageRecord], quotas: Iterable[QuotaRecord], prices: Prices) -> Bill:
    """Price everything. Records that two collectors wrote count once; the order of the records means nothing.

    A step that made several assets, partitions or models is divided among them evenly.

    Raises:
        NotFound: a flavor or resource without a price.
    """
    known = list(quotas)
    teams = {record.cluster_queue: record.team for record in sorted(known, key=lambda one: one.from_us)}
    parts = [part for one in held(distinct(usages), known) for part in priced(one, teams, prices)]
    parts += [told(usage) for usage in distinct(usages) if usage.usd_micro]
    total = round(sum((part.usd for part in parts), Fraction(0)) * MICRO)
    cents = apportion([part.usd for part in parts], total)
    return Bill(tuple(line for part, micro in zip(parts, cents, strict=True) for line in divided(part, micro)))


def distinct(usages: Iterable[UsageRecord]) -> list[UsageRecord]:
    """Each stretch once, in an order of their own. Of two accounts of one stretch the longer is taken."""
    found: dict[tuple[str, int], UsageRecord] = {}
    for usage in usages:
        other = found.get((usage.source, usage.number))
        if other is None or (usage.end_us, usage.address) > (other.end_us, other.address):
            found[usage.source, usage.number] = usage
    return [found[key] for key in sorted(found)]


def priced(one: Held, teams: Mapping[str, str], prices: Prices) -> Iterator[Part]:
    """What is own and what each lender lent, apart."""
    pieces: dict[str | None, int] = defaultdict(int, {None: one.own})
    for queue, size in sorted(one.lent.items()):
        lender = teams.get(queue, "")
        # another queue of the same team: nobody else has to do with it
        pieces[None if lender == one.usage.team else lender] += size
    for whose, size in pieces.items():
        if size:
            usd = prices.usd(one.flavor, one.resource, size, 1)
            yield Part(one.usage, one.flavor, one.resource, whose, size, usd)


def told(usage: UsageRecord) -> Part:
    """What a remote provider asks."""
    return Part(usage, "remote", "usd", None, 0, Fraction(usage.usd_micro, MICRO))


def divided(part: Part, micro: int) -> Iterator[Line]:
    """A piece as lines, one per asset, partition and model that its step made."""
    usage = part.usage
    among = [
        (asset, partition, model)
        for asset in usage.assets or (NONE,)
        for partition in partition_keys(usage.partitions) or (NONE,)
        for model in usage.models or (NONE,)
    ]
    shares = zip(among, evenly(micro, len(among)), evenly(part.milli_us, len(among)), strict=True)
    for (asset, partition, model), usd_micro, milli_us in shares:
        yield Line(
            day=day_of(usage.start_us),
            kind=usage.kind,
            team=usage.team,
            asset=asset,
            partition=partition,
            run=usage.run_id or NONE,
            model=model,
            flavor=part.flavor,
            resource=part.resource,
            borrowed=part.lender is not None,
            lender=part.lender or "",
            milli_us=milli_us,
            usd_micro=usd_micro,
        )


def partition_keys(texts: Sequence[str]) -> list[str]:
    """Keys, with every range `first...last` of days or hours written out.

    Example:
        >>> partition_keys(["2013-02-27...2013-03-01", "UA"])
        ['2013-02-27', '2013-02-28', '2013-03-01', 'UA']
    """
    return [key for text in texts for key in written_out(text)]


def written_out(text: str) -> list[str]:
    """A range's keys; what is no range of days or hours is one key."""
    first, dots, last = text.partition("...")
    if not dots:
        return [text]
    for form, length in PERIODS:
        try:
            start, end = datetime.strptime(first, form), datetime.strptime(last, form)
        except ValueError:
            continue
        count = (end - start) // length + 1
        if 0 < count <= LONGEST_RANGE:
            return [(start + place * length).strftime(form) for place in range(count)]
    return [text]


def per_thousand(bill: Bill, predictions: Mapping[str, int]) -> dict[str, int]:
    """Millionths of a dollar per 1,000 predictions of each model: its serving pods and online memory, not its training.

    Args:
        predictions: by model, in the period of the bill; a model that predicted nothing has no such figure.
    """
    spent: dict[str, int] = defaultdict(int)
    for line in bill.lines:
        if line.kind in ("serving", "online"):
            spent[line.model] += line.usd_micro
    return {model: round(Fraction(spent[model] * 1000, count)) for model, count in sorted(predictions.items()) if count}
