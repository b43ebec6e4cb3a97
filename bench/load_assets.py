"""How long a code location of 5,000 assets takes to load: our specs beside plain Dagster assets of the same shape.

    make bench BENCH=load_assets        or        python -m bench.load_assets --assets 500 --rounds 2

Both go the whole way that a code server goes: declare, build the repository, load every definition, make the snapshot that
the webserver gets. The plain assets have the same keys, edges, partitions, owners, kinds, columns, metadata, checks and schedules
as ours, written in Dagster's own classes; the words of their metadata lie ready, where ours compute them (digests of code, records).
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import argparse
import gc
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster._core.remote_representation.external_data import RepositorySnap

from bench.report import interleaved, print_json, print_table
from tests.dagster_parts import Absent
from tiffin.compute import Team
from tiffin.features import Entity, Feature, FeatureView, Float32, Int32, Online, Source, Window, daily, feature_view
from tiffin.online.store import OnlineStore
from tiffin.orchestration.definitions import team_definitions
from tiffin.orchestration.online_assets import PublishConfig
from tiffin.orchestration.resource_keys import REQUIRED, ProdReader, Promotions, StackClock
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore

TEAM = Team("many", owner="team:many")
FLIGHTS = Source("raw/flights", time="landed_at", load=lambda: pa.table({}))
CARRIER = Entity("carrier", key="carrier: string, origin: string")
RESOURCES = {name: Absent(name) for name in REQUIRED}
SQL = "select carrier, origin, count(*)::int as flights_{n}, avg(arr_delay)::float as delay_{n} from flights group by carrier, origin"


def counted(rows: pa.Table, window: Window) -> pa.Table:
    """What every Python view of the benchmark shares: teams reuse functions."""
    return rows.group_by(["carrier", "origin"]).aggregate([([], "count_all"), ("arr_delay", "mean")])


def views(count: int) -> list[FeatureView]:
    """As teams declare them: half in SQL, half in Python; two features, a year of days, served online."""
    found: list[FeatureView] = []
    for number in range(count):
        given: dict[str, Any] = {
            "name": f"view_{number}",
            "entity": CARRIER,
            "source": FLIGHTS,
            "features": [Feature(f"flights_{number}", Int32()), Feature(f"delay_{number}", Float32(step=0.01))],
            "partitions": daily("2013-01-01", "2013-12-31"),
            "lookback": "7d",
            "online": Online(ttl="14d", publish="daily", freshness="30h"),
            "description": f"View {number}.",
        }
        found.append(feature_view(**given, sql=SQL.format(n=number)) if number % 2 else feature_view(**given)(counted))
    return found


def ours(count: int) -> dg.Definitions:
    """Specs, and what a code location makes of them."""
    return team_definitions(TEAM, FLIGHTS, *views(count // 2), resources=RESOURCES)


def shape(asset: dg.AssetsDefinition) -> dict[str, Any]:
    """All that one of our assets declares, as plain data."""
    [spec] = asset.specs
    columns = spec.metadata.get("dagster/column_schema")
    return {
        "path": list(spec.key.path),
        "deps": [(list(dep.asset_key.path), dep.partition_mapping is not None) for dep in spec.deps],
        "daily": asset.partitions_def is not None,
        "group_name": spec.group_name,
        "owners": list(spec.owners),
        "kinds": {tag.rpartition("/")[2] for tag in spec.tags if tag.startswith("dagster/kind/")},
        "code_version": spec.code_version,
        "description": spec.description,
        "columns": [] if columns is None else [(one.name, one.type, one.description, one.constraints.nullable) for one in columns.columns],
        "metadata": {name: value for name, value in spec.metadata.items() if name != "dagster/column_schema"},
        "checks": [(one.name, one.blocking, one.description) for one in asset.check_specs],
        "scheduled": spec.automation_condition is not None,
        "fresh": spec.freshness_policy is not None,
    }


def arguments(one: dict[str, Any]) -> dict[str, Any]:
    """The same as a plain team writes it: arguments of `dg.asset`."""
    key = dg.AssetKey(one["path"])
    given = {name: one[name] for name in ("group_name", "owners", "kinds", "code_version", "description")}
    landed = dg.AutomationCondition.any_deps_updated().since_last_handled()
    idle = ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()
    columns = [
        dg.TableColumn(name, kind, description=text, constraints=dg.TableColumnConstraints(nullable=nullable))
        for name, kind, text, nullable in one["columns"]
    ]
    return {
        **given,
        "key": key,
        "deps": [
            dg.AssetDep(dg.AssetKey(path), partition_mapping=dg.AllPartitionMapping() if mapped else None) for path, mapped in one["deps"]
        ],
        "partitions_def": dg.DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01", timezone="UTC") if one["daily"] else None,
        "backfill_policy": dg.BackfillPolicy.single_run() if one["daily"] else None,
        "metadata": {**one["metadata"], **({"dagster/column_schema": dg.TableSchema(columns=columns)} if columns else {})},
        "check_specs": [dg.AssetCheckSpec(name, asset=key, blocking=stops, description=text) for name, stops, text in one["checks"]],
        "automation_condition": landed & idle if one["scheduled"] else None,
        "freshness_policy": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=30)) if one["fresh"] else None,
    }


def stock(shapes: list[dict[str, Any]], sensors: list[Any]) -> dg.Definitions:
    """The same assets written in plain Dagster, with the same resources and run configuration."""
    found = [(plain_online if one["path"][-1].endswith("_online") else plain_offline)(arguments(one)) for one in shapes]
    return dg.Definitions(assets=found, sensors=sensors, resources=RESOURCES, executor=dg.in_process_executor)


def plain_offline(shape: dict[str, Any]) -> dg.AssetsDefinition:
    """Writes a table."""

    @dg.asset(**shape)
    def offline(
        context: dg.AssetExecutionContext, tables: dg.ResourceParam[TableStore], clock: dg.ResourceParam[StackClock]
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        yield dg.MaterializeResult()

    return offline


def plain_online(shape: dict[str, Any]) -> dg.AssetsDefinition:
    """Publishes."""

    @dg.asset(**shape)
    def online(
        context: dg.AssetExecutionContext,
        config: PublishConfig,
        dev_objects: dg.ResourceParam[ObjectStore],
        prod_objects: dg.ResourceParam[ProdReader],
        tables: dg.ResourceParam[TableStore],
        online_store: dg.ResourceParam[OnlineStore],
        promotions: dg.ResourceParam[Promotions],
        clock: dg.ResourceParam[StackClock],
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        yield dg.MaterializeResult()

    return online


def loaded(definitions: dg.Definitions) -> int:
    """What a code server does with it; the number of assets in the snapshot."""
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    return len(RepositorySnap.from_def(repository).asset_nodes)


def collected(load: Callable[[], int]) -> Callable[[], int]:
    """Garbage of the competitor before is collected before the clock starts to matter."""

    def run() -> int:
        gc.collect()
        return load()

    return run


def shapes_of(definitions: dg.Definitions) -> Iterator[dict[str, Any]]:
    """Of every asset."""
    for asset in definitions.assets or ():
        assert isinstance(asset, dg.AssetsDefinition)
        yield shape(asset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    template = ours(options.assets)
    shapes, sensors = list(shapes_of(template)), list(template.sensors or ())
    counts = {"tiffin": loaded(template), "stock": loaded(stock(shapes, sensors))}
    assert counts["tiffin"] == counts["stock"], counts
    times = interleaved(
        {
            "tiffin": collected(lambda: loaded(ours(options.assets))),
            "stock": collected(lambda: loaded(stock(shapes, sensors))),
        },
        rounds=options.rounds,
    )
    rows = [[name, f"{one.wall:.2f}", f"{one.cpu:.2f}", f"{one.cpu / times['stock'].cpu:.2f}"] for name, one in times.items()]
    print_table(f"loading {counts['tiffin']} assets", ["", "wall s", "CPU s", "CPU over stock"], rows)
    figures = {
        "load_over_stock": times["tiffin"].cpu / times["stock"].cpu,
        "load_wall_over_stock": times["tiffin"].wall / times["stock"].wall,
        "load_s": times["tiffin"].wall,
    }
    detail = {"assets": counts["tiffin"], "rounds": options.rounds, "stock_s": times["stock"].wall, "stock_cpu_s": times["stock"].cpu}
    print_json("load_assets", figures=figures, detail=detail, packages=["dagster", "tiffin"])


if __name__ == "__main__":
    main()
