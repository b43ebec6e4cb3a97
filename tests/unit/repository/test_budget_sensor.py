"""The budget's sensor over a store and a cluster in memory: it holds, tells once, and lets go."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from sensors.budget import TeamBudget, budget_sensor, month_so_far, read_budgets
from tests.team_cluster_fake import MemoryCluster
from tests.team_files import ROOT
from tiffin.compute.budget import ANNOTATION, Standing, settle
from tiffin.compute.prices import Prices
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.manifests.usage import AmountRecord, UsageBatch, UsageRecord
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import usage_prefix

PRICES = Prices(flavors={"cpu": {"cpu": "1"}})
QUEUE = ("kueue.x-k8s.io/v1beta2", "LocalQueue", "team-network", "backfill")
NOVEMBER, DECEMBER = datetime(2026, 11, 27, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)


class Month:
    """A store with usage, a cluster with the team's queue, and the sensor over both."""

    def __init__(self, folder: Path, *, limit: str | None = "100") -> None:
        self.store, self.door, self.cursor, self.now, self.limit = FolderStore(folder), MemoryCluster(), "", NOVEMBER, limit
        self.door.objects["v1", "Namespace", "", "team-network"] = {"metadata": {"name": "team-network"}}
        self.door.objects[QUEUE] = {
            "metadata": {"name": "backfill", "namespace": "team-network", "labels": {}},
            "spec": {"clusterQueue": "backfill-network"},
        }

    def spend(self, hours: int, day: str = "2026-11-03", *, number: int = 0) -> None:
        """One core for some hours, at a dollar each."""
        start = to_us(datetime.fromisoformat(f"{day}T00:00:00+00:00"))
        record = UsageRecord(
            kind="step",
            source="w",
            number=number,
            team="network",
            name="job",
            amounts=(AmountRecord(flavor="cpu", resource="cpu", milli=1000 * hours),),
            start_us=start,
            end_us=start + 3_600_000_000,
            ended="finished",
        )
        batch = UsageBatch(day=day, usages=(record,))
        self.store.put(f"{usage_prefix(day)}{day}-{number}.json", batch.to_bytes())

    def tick(self) -> dg.SensorResult:
        budgets = {"network": TeamBudget("team-network", None if self.limit is None else Decimal(self.limit))}
        sensor = budget_sensor(lambda: nullcontext(self.door), lambda: self.store, lambda: PRICES, lambda: budgets, clock=lambda: self.now)
        with dg.DagsterInstance.ephemeral() as instance:
            found = sensor(dg.build_sensor_context(instance=instance, cursor=self.cursor))
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor or ""
        return found

    @property
    def held(self) -> bool:
        return self.door.objects[QUEUE]["spec"].get("stopPolicy") == "Hold"


def told(found: dg.SensorResult) -> list[str]:
    return [str(event.description) for event in found.asset_events or ()]


def test_below_the_alert_nothing_is_written_and_nobody_is_told(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.spend(79)

    found = month.tick()

    assert told(found) == []
    assert month.door.writes == []


def test_the_alert_is_told_once_and_holds_nothing(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.spend(80)

    first, second = month.tick(), month.tick()

    assert told(first) == ["network has used 80.00 of 100.00 USD of 2026-11 (80 %); nothing is held"]
    assert told(second) == []
    assert not month.held


def test_a_spent_month_holds_backfills_and_the_next_one_lets_them_go(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.spend(60, "2026-11-03")
    month.spend(40, "2026-11-26", number=1)

    spent = month.tick()
    held = month.held
    month.now = DECEMBER
    month.tick()

    assert told(spent) == ["network has used 100.00 of 100.00 USD of 2026-11 (100 %); backfills are held from now on"]
    assert held
    assert not month.held
    assert ANNOTATION not in month.door.objects[QUEUE]["metadata"].get("annotations", {})


def test_a_hold_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.door.objects[QUEUE]["spec"]["stopPolicy"] = "Hold"

    month.tick()

    assert month.held
    assert month.door.writes == []


def test_a_team_without_a_budget_is_never_held(tmp_path: Path) -> None:
    month = Month(tmp_path, limit=None)
    month.spend(10_000)

    assert told(month.tick()) == []
    assert not month.held


def test_only_this_month_counts(tmp_path: Path) -> None:
    month = Month(tmp_path)
    month.spend(500, "2026-10-31")

    (budget,) = month_so_far(month.store, PRICES, {"network": TeamBudget("team-network", Decimal(100))}, clock=lambda: NOVEMBER)

    assert budget.standing is Standing.WITHIN
    assert budget.spent_usd == 0


def test_a_cluster_without_the_queue_is_no_error(tmp_path: Path) -> None:
    (budget,) = month_so_far(FolderStore(tmp_path), PRICES, {"network": TeamBudget("team-network", None)}, clock=lambda: NOVEMBER)

    assert settle(MemoryCluster(), "team-network", budget) == "has no queue for backfills"


def test_prices_that_are_missing_fail_the_tick_with_their_fix(tmp_path: Path) -> None:
    def no_prices() -> Prices:
        raise NotFound("there is no 'prices.yaml'", fix="mount it")

    sensor = budget_sensor(lambda: nullcontext(MemoryCluster()), lambda: FolderStore(tmp_path), no_prices, dict)

    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(dg.Failure, match="no 'prices"):
        sensor(dg.build_sensor_context(instance=instance))


def test_the_rendered_budgets_are_ones_that_it_reads(tmp_path: Path) -> None:
    found = read_budgets(ROOT / "deploy" / "teams" / "budgets.yaml")
    (tmp_path / "other.yaml").write_text("- x\n")

    assert found["eta"] == TeamBudget("team-eta", Decimal(3500))
    assert set(found) == {"eta", "fleet", "network"}
    with pytest.raises(Invalid, match="is no file of budgets"):
        read_budgets(tmp_path / "other.yaml")
    with pytest.raises(NotFound, match=r"none\.yaml"):
        read_budgets(tmp_path / "none.yaml")
