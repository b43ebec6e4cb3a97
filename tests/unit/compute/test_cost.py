"""The bill: exact to the millionth of a dollar, however it is grouped."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.apportion import apportion, evenly
from tiffin.compute.cost import BY, NONE, Bill, bill_of, partition_keys, per_thousand
from tiffin.compute.prices import Prices
from tiffin.manifests.usage import AmountRecord, QuotaRecord, UsageRecord

HOUR_US = 3_600_000_000
FLAVORS = {"cpu": {"cpu": "0.0437", "memory": "0.0049"}, "a100": {"cpu": "0.06", "nvidia.com/gpu": "2.9"}}
PRICES = Prices(flavors=FLAVORS, online_gib_month="9")


def amount(milli: int, flavor: str = "cpu", resource: str = "cpu") -> AmountRecord:
    return AmountRecord(flavor=flavor, resource=resource, milli=milli)


def usage(source: str = "w", *amounts: AmountRecord, start: int = 0, hours: float = 1, **over: object) -> UsageRecord:
    values: dict[str, object] = {"kind": "step", "source": source, "number": 0, "team": "fleet", "name": source, "ended": "finished"}
    values |= {"cluster_queue": "team-fleet", "start_us": start, "end_us": start + int(hours * HOUR_US)}
    return UsageRecord.model_validate({**values, "amounts": amounts or (amount(1000),), **over})


def quota(queue: str, team: str, milli: int) -> QuotaRecord:
    return QuotaRecord(cluster_queue=queue, team=team, cohort="all", from_us=0, nominal=(amount(milli),))


def bill(*usages: UsageRecord, quotas: tuple[QuotaRecord, ...] = ()) -> Bill:
    return bill_of(usages, quotas, PRICES)


def test_a_core_for_an_hour_costs_its_price() -> None:
    assert bill(usage()).usd_micro == 43_700


def test_a_ranged_run_shares_its_step_over_its_partitions() -> None:
    found = bill(usage(assets=("fleet/planes",), partitions=("2013-01-01...2013-01-04",), run_id="r"))

    assert found.by("asset", "partition") == {("fleet/planes", f"2013-01-0{day}"): 10_925 for day in (1, 2, 3, 4)}
    assert found.by("run") == {("r",): 43_700}


def test_what_is_borrowed_is_paid_by_the_borrower_and_shown_to_the_lender() -> None:
    found = bill(usage("w", amount(3000)), quotas=(quota("team-fleet", "fleet", 1000), quota("team-eta", "eta", 5000)))

    assert found.by("team") == {("fleet",): 3 * 43_700}
    assert found.borrowed() == {("fleet", "eta"): 2 * 43_700}


def test_what_a_team_lends_itself_is_not_borrowed() -> None:
    quotas = (quota("backfill-fleet", "fleet", 0), quota("team-fleet", "fleet", 1000), quota("team-eta", "eta", 5000))

    found = bill(usage("w", amount(3000), cluster_queue="backfill-fleet"), quotas=quotas)

    assert found.usd_micro == 3 * 43_700
    assert found.borrowed() == {("fleet", "eta"): 2 * 43_700}


def test_what_two_collectors_told_is_paid_once() -> None:
    longer = usage(hours=1.5)

    assert bill(usage(), usage(), longer).usd_micro == bill(longer).usd_micro


def test_a_remote_providers_bill_is_part_of_ours() -> None:
    found = bill(usage(), usage("emr", amounts=(), usd_micro=1_250_001, kind="remote"))

    assert found.by("kind") == {("remote",): 1_250_001, ("step",): 43_700}


def test_what_belongs_to_no_asset_is_shown_and_not_lost() -> None:
    found = bill(usage())

    assert found.by("asset", "partition", "model") == {(NONE, NONE, NONE): 43_700}


def test_a_thousand_predictions_cost_their_serving_and_their_memory_and_not_the_training() -> None:
    serving = usage("serve", kind="serving", models=("eta/eta",), hours=10)
    online = usage("view", amount(2**30 * 1000, "online", "memory"), kind="online", models=("eta/eta", "eta/late"), hours=730)
    training = usage("train", models=("eta/eta",), hours=99)

    found = per_thousand(bill(serving, online, training), {"eta/eta": 2000, "eta/late": 0})

    assert found == {"eta/eta": (437_000 + 4_500_000) // 2}


@pytest.mark.parametrize(
    ("texts", "keys"),
    [
        pytest.param(["2013-12-31-22:00...2014-01-01-00:00"], ["2013-12-31-22:00", "2013-12-31-23:00", "2014-01-01-00:00"], id="hours"),
        pytest.param(["a...b"], ["a...b"], id="no times"),
        pytest.param(["2013-01-02...2013-01-01"], ["2013-01-02...2013-01-01"], id="backwards"),
    ],
)
def test_ranges_are_written_out(texts: list[str], keys: list[str]) -> None:
    assert partition_keys(texts) == keys


@given(weights=st.lists(st.fractions(0, 1000, max_denominator=997), max_size=30), total=st.integers(0, 10**9))
def test_sharing_out_loses_nothing_and_gives_nobody_a_unit_too_much(weights: list[Fraction], total: int) -> None:
    parts = apportion(weights, total)

    whole = sum(weights)
    assert sum(parts) == (total if whole else 0)
    for weight, part in zip(weights, parts, strict=True):
        assert abs(part - (weight * total / whole if whole else 0)) < 1


@given(total=st.integers(0, 10**12), count=st.integers(1, 400))
def test_equal_parts_differ_by_one_unit_at_most(total: int, count: int) -> None:
    parts = evenly(total, count)

    assert (sum(parts), len(parts), max(parts) - min(parts) <= 1) == (total, count, True)


@st.composite
def usages(draw: st.DrawFn) -> list[UsageRecord]:
    found = []
    for place in range(draw(st.integers(0, 8))):
        amounts = draw(
            st.lists(
                st.builds(amount, st.integers(1, 10**15), st.just("cpu"), st.sampled_from(["cpu", "memory"])),
                max_size=3,
                unique_by=lambda one: one.resource,
            )
        )
        found.append(
            usage(
                f"w{place}",
                start=draw(st.integers(0, 10**11)),
                hours=draw(st.floats(0.0001, 40)),
                amounts=tuple(amounts),
                team=draw(st.sampled_from(["fleet", "eta"])),
                cluster_queue=draw(st.sampled_from(["team-fleet", "team-eta"])),
                assets=tuple(draw(st.sets(st.sampled_from(["a", "b", "c"])))),
                partitions=draw(st.sampled_from([(), ("2013-01-01",), ("2013-01-01...2013-03-07",)])),
                models=tuple(draw(st.sets(st.sampled_from(["m", "n"])))),
                usd_micro=draw(st.integers(0, 10**6)),
            )
        )
    return found


@given(found=usages(), order=st.randoms())
def test_every_way_to_ask_adds_up_to_the_same_bill(found: list[UsageRecord], order: object) -> None:
    quotas = (quota("team-fleet", "fleet", 10**13), quota("team-eta", "eta", 10**14))
    made = bill(*found, quotas=quotas)
    exact = Fraction(0)
    for item in found:
        for one in item.amounts:
            exact += PRICES.usd(one.flavor, one.resource, one.milli, item.end_us - item.start_us)
    exact += sum(Fraction(item.usd_micro, 10**6) for item in found)

    assert made.usd_micro == round(exact * 10**6)
    for what in BY:
        assert sum(made.by(what).values()) == made.usd_micro
    assert sum(made.by(*BY).values()) == made.usd_micro
    assert sum(line.milli_us for line in made.lines) == sum(
        one.milli * (item.end_us - item.start_us) for item in found for one in item.amounts
    )
    order.shuffle(found)  # type: ignore[attr-defined]
    assert bill(*found, quotas=quotas).lines == made.lines
