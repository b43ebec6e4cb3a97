"""The collector: told once, whatever dies, and with the quotas that held."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.compute.test_usage import NOON, Life
from tiffin.compute.cost import bill_of
from tiffin.compute.cost_month import spent_this_month
from tiffin.compute.prices import Prices
from tiffin.compute.usage import SECOND_US, Who, day_of
from tiffin.compute.usage_collect import Memory, collect, who_of
from tiffin.compute.usage_log import days_between, read_usage, tick
from tiffin.compute.usage_measured import online_usage, remote_usage, serving_usage
from tiffin.core.errors import Conflict
from tiffin.core.units import from_us
from tiffin.manifests.usage import AmountRecord
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import USAGE_MEMORY

QUEUE = {
    "kind": "ClusterQueue",
    "metadata": {"name": "team-network", "labels": {"tiffin.dev/team": "network"}},
    "spec": {
        "cohortName": "leaf",
        "resourceGroups": [{"flavors": [{"name": "spot", "resources": [{"name": "cpu", "nominalQuota": "1500m", "lendingLimit": "1"}]}]}],
    },
}
COHORTS = [
    {"kind": "Cohort", "metadata": {"name": "leaf"}, "spec": {"parentName": "root"}},
    {"kind": "Cohort", "metadata": {"name": "root"}, "spec": {}},
]
LIFE = Life(NOON, ((NOON, NOON + 30), (NOON + 100, NOON + 160)), finishes=True)


def seen(second: int, life: Life = LIFE) -> list[dict[str, Any]]:
    return [QUEUE, *COHORTS, {"kind": "Workload", **life.at(second)}]


def test_a_tick_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for second in (NOON + 1, NOON + 50, NOON + 110):
        tick(store, seen(second), now_us=second * SECOND_US)
    before = store.get(USAGE_MEMORY).data
    tick(store, seen(NOON + 200), now_us=(NOON + 200) * SECOND_US)
    store.put(USAGE_MEMORY, before)  # as if the tick had died between its records and its memory
    tick(store, seen(NOON + 205), now_us=(NOON + 205) * SECOND_US)
    tick(store, seen(NOON + 210), now_us=(NOON + 210) * SECOND_US)

    usages, quotas = read_usage(store, [day_of(NOON * SECOND_US)])

    priced = bill_of(usages, quotas, Prices(flavors={"spot": {"cpu": "3.6"}}))
    assert priced.usd_micro == (30 + 60) * 2 * 1000  # two cores at a thousandth of a dollar a second
    assert priced.by("team") == {("network",): 180_000}


def test_of_two_collectors_the_later_one_is_told(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    tick(store, seen(NOON), now_us=NOON * SECOND_US)

    class Overtaken(FolderStore):
        def get(self, key: str) -> Any:
            found = super().get(key)
            if key == USAGE_MEMORY:
                tick(store, seen(NOON + 40), now_us=(NOON + 40) * SECOND_US)
            return found

    with pytest.raises(Conflict):
        tick(Overtaken(tmp_path), seen(NOON + 41), now_us=(NOON + 41) * SECOND_US)


def test_a_workload_that_is_gone_is_told_once() -> None:
    memory, _ = collect(Memory(), seen(NOON + 10), now_us=(NOON + 10) * SECOND_US)

    memory, (batch,) = collect(memory, [QUEUE], now_us=(NOON + 20) * SECOND_US)
    _, nothing = collect(memory, [QUEUE], now_us=(NOON + 30) * SECOND_US)

    assert [(one.ended, one.end_us - one.start_us) for one in batch.usages] == [("deleted", 20 * SECOND_US)]
    assert nothing == []


def test_quotas_are_told_when_they_change_and_on_every_new_day() -> None:
    memory, first = collect(Memory(), [QUEUE, *COHORTS], now_us=NOON * SECOND_US)
    memory, same = collect(memory, [QUEUE, *COHORTS], now_us=(NOON + 60) * SECOND_US)
    memory, tomorrow = collect(memory, [QUEUE, *COHORTS], now_us=(NOON + 86_400) * SECOND_US)
    moved = {**QUEUE, "spec": {**QUEUE["spec"], "cohortName": None}}  # type: ignore[dict-item]
    _, change = collect(memory, [moved, *COHORTS], now_us=(NOON + 86_500) * SECOND_US)

    assert [len(batches) for batches in (first, same, tomorrow, change)] == [1, 0, 1, 1]
    (record,) = first[0].quotas
    assert (record.team, record.cohort, record.nominal[0].milli, record.lends[0].milli) == ("network", "root", 1500, 1000)
    assert tomorrow[0].quotas[0].from_us == NOON * SECOND_US
    assert (change[0].quotas[0].cohort, change[0].quotas[0].from_us) == (None, (NOON + 86_500) * SECOND_US)


def test_a_day_that_is_told_late_has_its_quotas_too() -> None:
    life = Life(NOON, ((NOON, NOON + 90_000),), finishes=True)
    memory, _ = collect(Memory(), seen(NOON + 1, life), now_us=(NOON + 1) * SECOND_US)

    _, batches = collect(memory, seen(NOON + 90_010, life), now_us=(NOON + 90_010) * SECOND_US)

    assert [(one.day, len(one.usages), len(one.quotas)) for one in batches] == [
        (day_of(NOON * SECOND_US), 1, 1),
        (day_of((NOON + 86_400) * SECOND_US), 1, 1),
    ]


def test_whose_a_workload_is_stands_in_its_pod_template() -> None:
    workload = LIFE.at(NOON)
    template = {
        "labels": {"dagster/run-id": "run-1", "dagster/op": "network__airports", "tiffin.dev/team": "network"},
        "annotations": {"tiffin.dev/assets": "network/airports, network/routes", "tiffin.dev/partitions": "2013-01-01...2013-01-09"},
    }
    workload["spec"] = {"podSets": [{"template": {"metadata": template}}]}

    assert who_of(workload, None) == Who(
        team="network",
        run_id="run-1",
        step="network__airports",
        assets=("network/airports", "network/routes"),
        partitions=("2013-01-01...2013-01-09",),
    )
    assert who_of(LIFE.at(NOON), None).team == "network"
    assert who_of(LIFE.at(NOON), "fleet").team == "fleet"


def test_what_labels_do_not_say_is_asked_for_once() -> None:
    asked: list[Who] = []

    def resolve(who: Who) -> Who:
        asked.append(who)
        return who.model_copy(update={"partitions": ("2013-01-01",)})

    memory, _ = collect(Memory(), seen(NOON + 1), now_us=(NOON + 1) * SECOND_US, resolve=resolve)
    _, (batch,) = collect(memory, seen(NOON + 300), now_us=(NOON + 300) * SECOND_US, resolve=resolve)

    assert len(asked) == 1
    assert {one.partitions for one in batch.usages} == {("2013-01-01",)}


def test_measured_usage_is_cut_at_midnight_and_named_by_its_time() -> None:
    start, end = NOON * SECOND_US, (NOON + 86_400) * SECOND_US
    serving = serving_usage(
        team="eta", deployment="eta", models=("eta/eta",), flavor="cpu", requests={"cpu": 500}, pods=3, start_us=start, end_us=end
    )
    online = online_usage(team="fleet", view="planes", size_bytes=10, models=(), start_us=start, end_us=end)

    assert [one.amounts[0].milli for one in serving] == [1500, 1500]
    assert len({one.source for one in serving + online}) == 4
    assert [from_us(one.end_us).hour for one in serving] == [0, 12]


def test_a_remote_job_is_paid_once_on_the_day_on_which_it_ended() -> None:
    end = (NOON + 86_400) * SECOND_US
    hours = (AmountRecord(flavor="spot", resource="cpu", milli=1500),)

    made = [remote_usage(team="eta", remote_id="s-1", amounts=hours, usd_micro=77, end_us=told) for told in (end, end + 300 * SECOND_US)]

    assert [day_of(one.start_us) for one in made] == [day_of(end)] * 2
    bill = bill_of(made, (), Prices(flavors={"spot": {"cpu": "2"}}))
    assert bill.usd_micro == 77 + 3_000_000


def test_days_between_are_both_included() -> None:
    assert days_between(from_us(0).date(), from_us(86_400 * SECOND_US).date()) == ["1970-01-01", "1970-01-02"]


def test_a_month_so_far_is_this_months_alone(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for second in (NOON + 1, NOON + 300):
        tick(store, seen(second), now_us=second * SECOND_US)
    now = from_us((NOON + 400) * SECOND_US)
    prices = Prices(flavors={"spot": {"cpu": "3.6"}})

    assert spent_this_month(store, prices, now=now) == {"network": Decimal("0.18")}
    assert spent_this_month(store, prices, now=now + timedelta(days=40)) == {}
