"""Specs become assets under distinct keys, with an owner, a code version and declared columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from assets.eta.team import specs as eta_specs
from assets.eta.team import team as eta_team
from assets.fleet.team import specs as fleet_specs
from assets.fleet.team import team as fleet
from assets.network.team import specs as network_specs
from assets.network.team import team as network
from resources.stack import stack_resources
from tiffin.compute import Team
from tiffin.compute.spec import Compute
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.settings import Settings
from tiffin.features import Entity, Feature, Int32, Source, daily, feature_view
from tiffin.orchestration.catalog import read_catalog
from tiffin.orchestration.definitions import team_assets, team_definitions
from tiffin.orchestration.kueue_tags import compute_of
from tiffin.orchestration.resource_keys import REQUIRED
from tiffin.serving.deployment import Deployment
from tiffin.training import Model, Spine, TrainingTable

CATALOG = Path(__file__).parents[3] / "assets" / "catalog.json"
TEAM = Team("demo", owner="team:demo")
FLIGHTS = Source("raw/flights", time="landed_at", load=lambda: pa.table({}))
VIEW = feature_view(
    name="load",
    entity=Entity("carrier", key="carrier: string"),
    source=FLIGHTS,
    features=[Feature("flights_1d", Int32())],
    partitions=daily("2013-01-01", "2013-01-03"),
    sql="select carrier, count(*)::int as flights_1d from flights group by carrier",
)
SPINE = Spine("rides", source=FLIGHTS, keys="carrier: string", time="at", label=Feature("late", Int32()))


def prepare(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"flights": batch["load__flights_1d"]}


def make_table(name: str = "late_table", view: Any = VIEW) -> TrainingTable:
    return TrainingTable(name, spine=SPINE, features=(view,))


def make_model(name: str = "late_model", table: TrainingTable | None = None) -> Model:
    return Model(name, table=table or make_table(), preprocess=prepare)


def keys(assets: list[dg.AssetsDefinition]) -> set[str]:
    return {key.to_user_string() for asset in assets for key in asset.keys}


def example_assets() -> dict[str, dg.AssetsDefinition]:
    assets = [*team_assets(network, network_specs), *team_assets(fleet, fleet_specs), *team_assets(eta_team, eta_specs, catalog=CATALOG)]
    return {key.to_user_string(): asset for asset in assets for key in asset.keys}


def parents(asset: dg.AssetsDefinition) -> set[str]:
    return {key.to_user_string() for found in asset.asset_deps.values() for key in found}


def test_the_example_teams_declare_a_view_and_its_online_edition_each_beside_tables_models_and_endpoints() -> None:
    views = {f"network/{name}" for name in ("airport_weather", "airport_traffic", "airport_hours", "route_delays", "route_carriers")}
    views |= {f"fleet/{name}" for name in ("carrier_delays", "carrier_profile", "plane_days", "planes")}

    assert set(example_assets()) == {
        *("raw/flights", "raw/weather", "raw/planes"),
        *views,
        *(f"{view}_online" for view in views),
        *("eta/eta_table", "eta/eta_model", "eta/eta", "eta/late_table", "eta/late_model", "eta/late"),
    }


def test_every_asset_says_who_owns_it_what_it_is_and_which_code_made_it() -> None:
    for name, asset in example_assets().items():
        spec = next(iter(asset.specs))
        assert spec.owners == [f"team:{asset.group_names_by_key[spec.key]}"], name
        assert spec.code_version, name
        assert [tag for tag in spec.tags if tag.startswith("dagster/kind/")], name


def test_lineage_follows_the_data_from_raw_rows_to_the_endpoint() -> None:
    assets = example_assets()

    joined = {f"{view.team}/{view.name}" for view in read_catalog(CATALOG).values()}

    assert parents(assets["fleet/carrier_delays"]) == {"raw/flights"}
    assert parents(assets["network/airport_weather_online"]) == {"network/airport_weather"}
    assert parents(assets["eta/eta_table"]) == parents(assets["eta/late_table"]) == {"raw/flights", *joined}
    assert parents(assets["eta/late_model"]) == {"eta/late_table"}
    assert parents(assets["eta/late"]) == {"eta/late_model", *(f"{view}_online" for view in joined)}


def test_a_view_has_a_partition_for_every_declared_day_the_last_included() -> None:
    asset = example_assets()["fleet/carrier_delays"]
    found = asset.partitions_def.get_partition_keys() if asset.partitions_def else []

    assert (len(found), found[0], found[-1]) == (365, "2013-01-01", "2013-12-31")
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()


def test_columns_are_declared_with_their_encodings_before_anything_ran() -> None:
    shown = {name: next(iter(asset.specs)).metadata.get("dagster/column_schema") for name, asset in example_assets().items()}
    view = {column.name: column.type for column in shown["fleet/carrier_delays"].columns}
    table = [column.name for column in shown["eta/eta_table"].columns]

    assert view["carrier"] == "string"
    assert view["arr_delay_mean_7d"] == "step:0.01:i32"
    assert view["event_time"] == "timestamp[us, UTC]"
    assert {"carrier", "sched_dep_at", "distance", "arr_delay", "carrier_delays__flights_7d", "airport_weather__temp_last"} <= set(table)


def test_what_stands_on_a_view_waits_for_its_blocking_checks() -> None:
    checks = list(example_assets()["fleet/carrier_delays"].check_specs)

    assert {"no_leakage", "keys_unique", "null_rate", "value_range"} <= {check.name for check in checks}
    assert all(check.blocking for check in checks)
    assert {(check.name, check.blocking) for check in example_assets()["eta/eta_model"].check_specs} == {("gates", True)}


def test_a_view_that_is_not_served_has_no_online_asset() -> None:
    assert keys(team_assets(TEAM, [VIEW])) == {"demo/load"}


def test_a_team_joins_its_own_views_without_a_catalog() -> None:
    table = make_table()

    assert keys(team_assets(TEAM, [VIEW, table, make_model(table=table)])) == {"demo/load", "demo/late_table", "demo/late_model"}


def test_another_teams_view_without_a_catalog_is_refused() -> None:
    with pytest.raises(NotFound, match="'network/carrier_delays'"):
        team_assets(TEAM, [make_table(view="network/carrier_delays")])


def test_two_specs_that_would_be_one_asset_are_refused_by_name() -> None:
    table = make_table()
    model = make_model("late", table)

    with pytest.raises(Invalid, match=r"two specs become the asset 'demo/late'"):
        team_assets(TEAM, [table, model, Deployment("late", model=model)])


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        pytest.param([make_model()], "model 'late_model' stands on training table 'late_table'", id="model without table"),
        pytest.param([Deployment("late", model=make_model())], "deployment 'late' stands on model", id="deployment alone"),
        pytest.param([SPINE], "Spine does not become an asset", id="a spine"),
    ],
)
def test_a_spec_that_cannot_stand_alone_is_refused_with_what_is_missing(specs: list[Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        team_assets(TEAM, specs)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_part_of_the_stack_that_is_not_bound_is_named(name: str) -> None:
    bound = {key: value for key, value in stack_resources().items() if key != name}

    with pytest.raises(Invalid, match=f"resource {name!r} is not bound"):
        team_definitions(TEAM, VIEW, resources=bound)


def test_a_code_location_holds_the_refusing_io_manager() -> None:
    definitions = team_definitions(TEAM, VIEW, resources=stack_resources())

    assert type(definitions.resources["io_manager"]).__name__ == "RefusingIOManager"
    assert definitions.executor is dg.in_process_executor


def test_steps_share_a_process_unless_the_settings_name_a_cluster() -> None:
    resources = stack_resources()

    here = team_definitions(TEAM, FLIGHTS, VIEW, resources=resources, settings=Settings())
    there = team_definitions(TEAM, FLIGHTS, VIEW, resources=resources, settings=Settings(cluster="in-cluster"))

    assert (executor_of(here), executor_of(there)) == ("in_process", "kueue")


def test_what_a_spec_asks_of_the_cluster_travels_with_its_step() -> None:
    big = VIEW.with_changes(compute=Compute(cpu=2, memory="4Gi"))

    offline = next(asset for asset in team_assets(TEAM, [FLIGHTS, big]) if keys([asset]) == {"demo/load"})
    plain = next(asset for asset in team_assets(TEAM, [FLIGHTS, VIEW]) if keys([asset]) == {"demo/load"})

    assert (compute_of(offline.op.tags), compute_of(plain.op.tags)) == (Compute(cpu=2, memory="4Gi"), None)


def executor_of(definitions: dg.Definitions) -> str:
    return str(definitions.resolve_implicit_global_asset_job_def().executor_def.name)
