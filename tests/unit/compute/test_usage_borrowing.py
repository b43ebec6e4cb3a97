"""Own and borrowed at every moment, against an oracle that looks at each moment by itself."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.borrowing import NOBODY, Held, held
from tiffin.manifests.usage import AmountRecord, QuotaRecord, UsageRecord


def cores(milli: int) -> tuple[AmountRecord, ...]:
    return (AmountRecord(flavor="cpu", resource="cpu", milli=milli),)


def usage(source: str, queue: str, start: int, end: int, milli: int) -> UsageRecord:
    values = {"kind": "step", "source": source, "number": 0, "team": queue, "name": source, "cluster_queue": queue, "ended": "finished"}
    return UsageRecord.model_validate({**values, "amounts": cores(milli), "start_us": start, "end_us": end})


def quota(
    queue: str, milli: int, *, at: int = 0, lends: int | None = None, cohort: str | None = "all", team: str | None = None
) -> QuotaRecord:
    limits = () if lends is None else cores(lends)
    return QuotaRecord(cluster_queue=queue, team=team or queue, cohort=cohort, from_us=at, nominal=cores(milli), lends=limits)


def told(found: list[Held]) -> dict[str, tuple[int, dict[str, int]]]:
    return {one.usage.source: (one.own, dict(one.lent)) for one in found}


def test_what_exceeds_the_own_quota_is_borrowed_from_who_leaves_his_idle() -> None:
    found = held([usage("a", "fleet", 0, 10, 6000)], [quota("fleet", 4000), quota("eta", 8000)])

    assert told(found) == {"a": (40_000, {"eta": 20_000})}


def test_who_came_first_uses_the_own_quota() -> None:
    early, late = usage("z", "fleet", 0, 10, 3000), usage("a", "fleet", 5, 10, 3000)

    found = held([late, early], [quota("fleet", 4000), quota("eta", 8000)])

    assert told(found) == {"z": (30_000, {}), "a": (5_000, {"eta": 10_000})}


def test_when_the_owner_comes_back_nothing_is_lent_any_more() -> None:
    found = held(
        [usage("a", "fleet", 0, 10, 6000), usage("b", "eta", 10, 20, 8000)],
        [quota("fleet", 4000), quota("eta", 8000)],
    )

    assert told(found)["b"] == (80_000, {})


def test_a_changed_quota_counts_from_its_instant() -> None:
    found = held([usage("a", "fleet", 0, 10, 6000)], [quota("fleet", 4000), quota("fleet", 6000, at=7), quota("eta", 8000)])

    assert told(found) == {"a": (4000 * 7 + 6000 * 3, {"eta": 2000 * 7})}


def test_beyond_the_lending_limit_the_cohort_itself_must_have_lent() -> None:
    found = held([usage("a", "fleet", 0, 1, 6000)], [quota("fleet", 1000), quota("eta", 8000, lends=2000)])

    assert told(found) == {"a": (1000, {"eta": 2000, NOBODY: 3000})}


def test_a_teams_backfills_use_its_own_idle_quota_first() -> None:
    quotas = [quota("backfill-fleet", 0, team="fleet"), quota("fleet", 4000, team="fleet"), quota("eta", 8000)]

    found = held([usage("a", "backfill-fleet", 0, 1, 6000)], quotas)

    assert told(found) == {"a": (0, {"fleet": 4000, "eta": 2000})}


def test_queues_outside_of_the_cohort_lend_nothing() -> None:
    found = held([usage("a", "fleet", 0, 1, 6000)], [quota("fleet", 4000), quota("eta", 8000, cohort=None)])

    assert told(found) == {"a": (4000, {NOBODY: 2000})}


def test_a_queue_without_recorded_quota_owns_what_it_holds() -> None:
    assert told(held([usage("a", "fleet", 0, 5, 6000)], [])) == {"a": (30_000, {})}


QUEUES = ("eta", "fleet", "network")
spans = st.tuples(st.integers(0, 30), st.integers(1, 15)).map(lambda one: (one[0], one[0] + one[1]))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[UsageRecord], list[QuotaRecord]]:
    usages = [
        usage(f"s{place}", draw(st.sampled_from(QUEUES)), *draw(spans), draw(st.integers(1, 9))) for place in range(draw(st.integers(0, 8)))
    ]
    alike = st.sampled_from(["one", "two"])
    quotas = [quota(queue, draw(st.integers(0, 10)), lends=draw(st.none() | st.integers(0, 5)), team=draw(alike)) for queue in QUEUES]
    changed = [quota(queue, draw(st.integers(0, 10)), at=draw(st.integers(1, 40))) for queue in draw(st.sets(st.sampled_from(QUEUES)))]
    return usages, quotas + changed


@given(world=worlds())
def test_every_moment_by_itself_says_the_same(world: tuple[list[UsageRecord], list[QuotaRecord]]) -> None:
    usages, quotas = world
    own: dict[str, int] = defaultdict(int)
    above: dict[str, int] = defaultdict(int)
    most_lent: dict[str, int] = defaultdict(int)
    for moment in range(50):
        in_force = {}
        for record in sorted(quotas, key=lambda one: one.from_us):
            if record.from_us <= moment or record.cluster_queue not in in_force:
                in_force[record.cluster_queue] = record
        for queue, record in in_force.items():
            nominal = record.nominal[0].milli
            running = [one for one in usages if one.cluster_queue == queue and one.start_us <= moment < one.end_us]
            left = nominal
            for one in sorted(running, key=lambda one: (one.start_us, one.source)):
                took = min(left, one.amounts[0].milli)
                left -= took
                own[one.source] += took
                above[one.source] += one.amounts[0].milli - took
            most_lent[queue] += left if not record.lends else min(left, record.lends[0].milli)

    found = held(usages, quotas)

    assert {one.usage.source: one.own for one in found} == {one.source: own[one.source] for one in usages}
    assert {one.usage.source: one.borrowed for one in found} == {one.source: above[one.source] for one in usages}
    for queue in QUEUES:
        assert sum(one.lent.get(queue, 0) for one in found) <= most_lent[queue]
    assert all(one.usage.cluster_queue not in one.lent for one in found)


@given(world=worlds(), order=st.randoms())
def test_the_order_of_the_records_means_nothing(world: tuple[list[UsageRecord], list[QuotaRecord]], order: object) -> None:
    usages, quotas = world
    before = told(held(usages, quotas))
    order.shuffle(usages)  # type: ignore[attr-defined]
    order.shuffle(quotas)  # type: ignore[attr-defined]

    assert told(held(usages, quotas)) == before
