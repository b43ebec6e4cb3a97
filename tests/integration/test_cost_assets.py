"""The daily cost asset and its collector, in a real Dagster instance over a real Delta table."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.unit.compute.test_usage import NOON, Life
from tests.unit.compute.test_usage_collect import COHORTS, QUEUE
from tiffin.compute.prices import Prices
from tiffin.compute.usage import SECOND_US, Who, day_of
from tiffin.compute.usage_log import read_usage
from tiffin.compute.usage_measured import serving_usage
from tiffin.core.errors import NotReady
from tiffin.core.units import from_us
from tiffin.orchestration.cost_assets import COST_TABLE, cost_schedule, daily_cost, run_resolver, usage_sensor
from tiffin.storage.delta import DeltaStore
from tiffin.storage.folder import FolderStore

DAY = day_of(NOON * SECOND_US)
LIFE = Life(NOON, ((NOON, NOON + 30), (NOON + 100, NOON + 160)), finishes=True)


class Kueue:
    """What a cluster says at one second."""

    def __init__(self) -> None:
        self.second = NOON

    def queue_objects(self, namespaces: Any = None) -> list[dict[str, Any]]:
        items = [{key: value for key, value in LIFE.at(self.second).items() if key != "kind"}]
        return [QUEUE, *COHORTS, {"kind": "WorkloadList", "items": items}]


class Away:
    def queue_objects(self, namespaces: Any = None) -> list[dict[str, Any]]:
        raise NotReady("the API server does not answer", fix="wait")


def ticks(kueue: Kueue, store: FolderStore, instance: dg.DagsterInstance, seconds: list[int]) -> None:
    """The sensor, at these seconds."""

    def measured(start_us: int, end_us: int) -> list[Any]:
        held: dict[str, Any] = {"flavor": "spot", "requests": {"cpu": 1000}, "pods": 1}
        return serving_usage(team="eta", deployment="eta", models=("eta/eta",), start_us=start_us, end_us=end_us, **held)

    cursor: str | None = None
    for second in seconds:
        kueue.second = second
        sensor = usage_sensor(lambda: nullcontext(kueue), lambda: store, clock=lambda: from_us(kueue.second * SECOND_US), measure=measured)
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        sensor(context)
        cursor = context.cursor


def test_a_day_is_collected_priced_and_shown(tmp_path: Path) -> None:
    store, tables = FolderStore(tmp_path / "objects"), DeltaStore(str(tmp_path / "tables"))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        ticks(Kueue(), store, instance, [NOON, NOON + 50, NOON + 110, NOON + 200])
        asset = daily_cost(lambda: Prices(flavors={"spot": {"cpu": "3.6"}}), first_day=date(2024, 1, 1))
        resources = {"dev_objects": store, "tables": tables}

        done = dg.materialize([asset], partition_key=DAY, resources=resources, instance=instance)
        again = dg.materialize([asset], partition_key=DAY, resources=resources, instance=instance)

    (made,) = done.asset_materializations_for_node(asset.op.name)
    shown = {name: value.value for name, value in made.metadata.items()}
    assert shown["usd"] == pytest.approx((30 + 60) * 2 * 0.001 + 200 * 0.001)
    assert (shown["usd/network"], shown["usd/eta"]) == (pytest.approx(0.18), pytest.approx(0.2))
    assert shown["evictions"] == 1
    assert "data:image/png;base64," in shown["plot"]
    rows = tables.read(COST_TABLE).to_pylist()
    assert sum(row["usd_micro"] for row in rows) == 380_000
    assert {row["partition"] for row in rows} == {DAY}
    assert tables.version(COST_TABLE) == 0
    assert again.success


def test_every_night_yesterdays_bill_is_asked_for(tmp_path: Path) -> None:
    asset = daily_cost(lambda: Prices(flavors={"spot": {"cpu": "3.6"}}), first_day=date(2024, 1, 1))
    schedule = cost_schedule(asset)
    bound = {"dev_objects": FolderStore(tmp_path), "tables": DeltaStore(str(tmp_path))}
    definitions = dg.Definitions(assets=[asset], schedules=[schedule], resources=bound)
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        now = datetime(2026, 3, 1, 0, 20, tzinfo=UTC)
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=now, repository_def=definitions.get_repository_def()
        )

        (asked,) = schedule.evaluate_tick(context).run_requests or []

    assert asked.partition_key == "2026-02-28"


def test_what_labels_do_not_say_comes_from_the_run(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:

        @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2013-01-01"), backfill_policy=dg.BackfillPolicy.single_run())
        def planes() -> None: ...

        tags = {"dagster/asset_partition_range_start": "2013-01-01", "dagster/asset_partition_range_end": "2013-01-03"}
        job = dg.Definitions(assets=[planes], jobs=[dg.define_asset_job("all", selection=[planes])]).resolve_job_def("all")
        run = instance.create_run_for_job(job, tags=tags, asset_selection=frozenset([planes.key]))

        found = run_resolver(instance)(Who(team="fleet", run_id=run.run_id))
        unknown = run_resolver(instance)(Who(team="fleet", run_id="nobody-knows"))

    assert (found.assets, found.partitions) == (("planes",), ("2013-01-01...2013-01-03",))
    assert unknown == Who(team="fleet", run_id="nobody-knows")


def test_a_cluster_that_is_away_fails_the_tick_and_moves_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        sensor = usage_sensor(lambda: nullcontext(Away()), lambda: store)

        with pytest.raises(dg.Failure, match="does not answer"):
            sensor(dg.build_sensor_context(instance=instance))

    assert read_usage(store, [DAY]) == ([], [])
