"""From raw rows to an endpoint as Dagster assets, in one process: two weeks of real flights, a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.eta.departures import eta_table
from assets.eta.endpoints import eta, eta_model
from assets.eta.team import team as eta_team
from assets.fleet import carriers
from assets.fleet.team import specs as fleet_specs
from assets.fleet.team import team as fleet
from assets.network.sources import flights
from assets.network.team import specs as network_specs
from assets.network.team import team as network
from tests.dagster_case import AS_OF, Case, failures, started
from tiffin.core.units import to_us
from tiffin.features import Feature, Int32, Source, Window, daily, feature_view
from tiffin.features.view import FeatureView
from tiffin.manifests.records import DeploymentRecord
from tiffin.online.fast_source import open_source
from tiffin.online.reader import FeatureReader
from tiffin.online.views import OnlineView
from tiffin.orchestration.definitions import team_assets
from tiffin.registry.models import load_record
from tiffin.registry.pointers import current
from tiffin.training import Metric
from tiffin.wire.schema import RowSchema

CATALOG = Path(__file__).parents[2] / "assets" / "catalog.json"
DAYS = ("2013-01-01", "2013-01-14")
HOURS = ("2013-01-01-00:00", "2013-01-14-23:00")
DAILY = (
    *("network/airport_weather", "network/airport_traffic", "network/route_delays", "network/route_carriers"),
    *("fleet/carrier_delays", "fleet/carrier_profile", "fleet/plane_days"),
)
VIEWS = (*DAILY, "network/airport_hours", "fleet/planes")
SMALL_MODEL = eta_model.with_changes(holdout=timedelta(days=3), gates=(Metric("mae").below(200),))
ENDPOINT = eta.with_changes(model=SMALL_MODEL)


@feature_view(
    entity=carriers.carrier_at_origin,
    source=flights,
    partitions=daily("2013-01-01", "2013-01-14"),
    features=[Feature("landing_tomorrow", Int32())],
)
def peeking(rows: pa.Table, window: Window) -> pa.Table:
    """A planted leak: counts what is scheduled to arrive up to a day after the window's end, when it was given such rows."""
    seen = rows.filter(pc.less(rows["landed_at"], pa.scalar(window.end + timedelta(days=1), rows["landed_at"].type)))
    found = seen.group_by(["carrier", "origin"], use_threads=False).aggregate([([], "count_all")])
    return found.rename_columns(["carrier", "origin", "landing_tomorrow"])


@dataclass
class Materialised:
    """The house after its first pass."""

    case: Case
    assets: list[dg.AssetsDefinition]
    views: dg.ExecuteInProcessResult
    eta: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Materialised]:
    assets = [*team_assets(network, network_specs), *team_assets(fleet, fleet_specs)]
    assets += team_assets(eta_team, [eta_table, SMALL_MODEL, ENDPOINT], catalog=CATALOG)
    with started(tmp_path_factory.mktemp("dagster")) as case:
        case.materialise(assets, "raw/flights", "raw/weather", "raw/planes")
        of_views = case.materialise(assets, *DAILY, days=DAYS)
        case.materialise(assets, "network/airport_hours", days=HOURS)
        case.materialise(assets, "fleet/planes")
        case.materialise(assets, *(f"{view}_online" for view in VIEWS))
        of_eta = case.materialise(assets, "eta/eta_table", "eta/eta_model", "eta/eta")
        yield Materialised(case, assets, of_views, of_eta)


def shown_by(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    """Metadata of an asset as this very run wrote it: later tests may have run before this one."""
    events = [event.event_specific_data.materialization for event in result.get_asset_materialization_events()]
    one = next(event for event in events if event.asset_key.to_user_string() == name)
    return {key: value.value for key, value in one.metadata.items()}


def test_a_ranged_run_is_one_commit_and_one_event_per_day_and_view(house: Materialised) -> None:
    events = [event.event_specific_data.materialization for event in house.views.get_asset_materialization_events()]

    assert len(events) == len(DAILY) * 14
    assert {event.partition for event in events} == {f"2013-01-{day:02d}" for day in range(1, 15)}
    assert shown_by(house.views, "fleet/carrier_delays")["table_version"] == 0


def test_every_day_shows_its_own_rows_and_digest(house: Materialised) -> None:
    found: dict[str, dict[str, Any]] = {}
    for event in house.views.get_asset_materialization_events():
        one = event.event_specific_data.materialization
        if one.asset_key.path[-1] == "carrier_delays":
            found[str(one.partition)] = {key: value.value for key, value in one.metadata.items()}
    stored = house.case.tables.read("fleet/carrier_delays", columns=["partition"])["partition"].to_pylist()

    assert {day: shown["dagster/partition_row_count"] for day, shown in found.items()} == {day: stored.count(day) for day in found}
    assert len({shown["digest"] for shown in found.values()}) == 14


def test_materialising_a_day_again_with_equal_input_commits_nothing(house: Materialised) -> None:
    house.case.materialise(house.assets, "fleet/carrier_delays", days=("2013-01-05", "2013-01-05"))

    shown = house.case.metadata("fleet/carrier_delays")
    assert (shown["partitions_changed"], shown["changed"], shown["table_version"]) == (0, False, 0)


def test_one_days_data_version_is_its_content_digest(house: Materialised) -> None:
    house.case.materialise(house.assets, "network/airport_weather", days=("2013-01-06", "2013-01-06"))

    latest = house.case.latest("network/airport_weather")
    assert latest.tags is not None
    assert latest.tags["dagster/data_version"] == latest.metadata["digest"].value


def test_publishing_again_as_of_the_same_instant_loads_nothing(house: Materialised) -> None:
    before = house.case.metadata("fleet/carrier_delays_online")

    house.case.materialise(house.assets, "fleet/carrier_delays_online")

    after = house.case.metadata("fleet/carrier_delays_online")
    assert (after["changed"], after["rows_written"]) == (False, 0)
    assert after["segment"] == before["segment"]


def test_what_is_served_is_what_was_known_at_the_instant(house: Materialised) -> None:
    record = carriers.carrier_delays.record(team="fleet", owner="team:fleet")
    keys = tuple((field.name, field.type) for field in record.entity.keys)
    view = OnlineView("fleet", "carrier_delays", keys, RowSchema.from_json(record.row_schema), record.ttl_us)
    reader = FeatureReader(open_source(house.case.valkey.reader), [view], now_us=lambda: to_us(AS_OF))

    served = reader.read({"carrier": ["UA"], "origin": ["EWR"]})["fleet/carrier_delays"]

    rows = house.case.tables.read("fleet/carrier_delays", partitions=["2013-01-14"])
    offline = rows.filter(pc.and_(pc.equal(rows["carrier"], "UA"), pc.equal(rows["origin"], "EWR"))).to_pylist()[0]
    assert served.columns["flights_7d"].data.tolist() == [offline["flights_7d"]]
    assert served.columns["arr_delay_mean_7d"].data.tolist() == [offline["arr_delay_mean_7d"]]
    assert served.watermark_us == to_us(datetime(2013, 1, 15, tzinfo=UTC))


def test_a_run_may_publish_as_of_another_instant(house: Materialised) -> None:
    earlier = "2013-01-10T06:00:00Z"
    config = {"ops": {"network__airport_weather_online": {"config": {"as_of": earlier}}}}
    house.case.materialise(house.assets, "network/airport_weather_online", config=config)
    shown = house.case.metadata("network/airport_weather_online")
    house.case.materialise(house.assets, "network/airport_weather_online")

    assert shown["watermark"] == datetime(2013, 1, 10, tzinfo=UTC).timestamp()
    assert shown["as_of"] == datetime(2013, 1, 10, 6, tzinfo=UTC).timestamp()


def test_the_endpoint_is_the_promoted_manifest(house: Materialised) -> None:
    shown = shown_by(house.eta, "eta/eta")
    pointer = current(house.case.prod, "deployment", "eta", "eta")

    assert pointer is not None
    assert shown["manifest"] == pointer.manifest
    record = load_record(house.case.prod, "deployment", pointer.manifest)
    assert isinstance(record, DeploymentRecord)
    assert record.model == shown_by(house.eta, "eta/eta_model")["manifest"]
    assert [f"{view.team}/{view.name}" for view in record.views] == [str(ref) for ref in eta_table.features]
    assert {f"{view.team}/{view.name}" for view in record.views} == set(VIEWS)


def test_a_model_shows_its_metrics_gates_and_importance(house: Materialised) -> None:
    shown = shown_by(house.eta, "eta/eta_model")
    checks = {check.check_name: check for check in house.eta.get_asset_check_evaluations()}

    assert 5 < shown["metric/mae"] < 200
    assert shown["importance"].startswith("![importance of the model's inputs](data:image/png;base64,")
    assert checks["gates"].passed


def test_a_table_holds_no_label_that_was_not_known_yet(house: Materialised) -> None:
    table = house.case.tables.read("eta/eta_table")

    assert shown_by(house.eta, "eta/eta_table")["dagster/row_count"] == table.num_rows
    assert pc.max(table["sched_dep_at"]).as_py() < AS_OF


def test_a_failed_gate_stops_the_deployment_and_promotes_nothing(house: Materialised) -> None:
    impossible = SMALL_MODEL.with_changes(gates=(Metric("mae").below(0.001),))
    assets = team_assets(eta_team, [eta_table, impossible, eta.with_changes(model=impossible)], catalog=CATALOG)
    asked = len(house.case.promotions.asked)

    result = house.case.materialise(assets, "eta/eta_model", "eta/eta", check=False)

    assert not result.success
    assert not next(check for check in result.get_asset_check_evaluations() if check.check_name == "gates").passed
    assert "eta__eta" not in {event.step_key for event in result.all_events if event.is_step_start}
    assert len(house.case.promotions.asked) == asked


def test_a_planted_leak_is_caught_by_its_check_and_nothing_is_written(house: Materialised) -> None:
    assets = team_assets(network, [peeking])

    result = house.case.materialise(assets, "network/peeking", days=DAYS, check=False)

    assert not result.success
    check = next(check for check in result.get_asset_check_evaluations() if check.check_name == "no_leakage")
    assert not check.passed
    assert "landing_tomorrow" in str(check.metadata["finding"].value)
    assert house.case.tables.version("network/peeking") is None


def test_an_error_raised_on_purpose_shows_its_fix_in_dagster(house: Materialised) -> None:
    nowhere = Source("raw/nowhere", time="landed_at")
    view = FeatureView(
        "lost",
        entity=carriers.carrier_at_origin,
        source=nowhere,
        features=(Feature("flights", Int32()),),
        partitions=daily("2013-01-01"),
        sql="select carrier, origin, count(*)::int as flights from nowhere group by all",
    )

    result = house.case.materialise(team_assets(network, [view]), "network/lost", days=DAYS, check=False)

    told = failures(result)[0]
    assert "raw/nowhere" in told.label or "raw/nowhere" in str(told)
    assert "fix" in told.metadata


def test_a_source_without_its_time_column_is_refused_by_name(house: Materialised) -> None:
    source = Source("raw/odd", time="landed_at", load=lambda: pa.table({"landed": [1]}))

    result = house.case.materialise(team_assets(network, [source]), "raw/odd", check=False)

    assert "'landed_at'" in str(failures(result)[0])
    assert house.case.tables.version("raw/odd") is None


def test_an_assets_page_says_what_it_is_whose_and_what_would_break(house: Materialised) -> None:
    table, model, endpoint = (shown_by(house.eta, name) for name in ("eta/eta_table", "eta/eta_model", "eta/eta"))
    view = house.case.metadata("network/airport_weather")

    assert "| **What would break** | eta/eta_model, eta/eta (teams: eta) |" in table["card"]
    assert "| **Who owns it** | team:eta |" in endpoint["card"]
    assert "| **Delta table** | `tables/network/airport_weather` |" in view["card"]
    assert view["cost/wall_s_so_far"] >= view["cost/step_wall_s"] > 0
    assert model["held_out"].startswith("![residuals on rows held out](data:image/png;base64,")


def test_columns_are_traced_from_the_raw_table_to_the_training_table(house: Materialised) -> None:
    view = house.case.metadata("network/airport_weather")["dagster/column_lineage"].deps_by_column
    table = shown_by(house.eta, "eta/eta_table")["dagster/column_lineage"].deps_by_column

    assert {(one.asset_key.to_user_string(), one.column_name) for one in view["temp_last"]} == {
        ("raw/weather", "temp"),
        ("raw/weather", "time_hour"),
    }
    (dependency,) = table["airport_weather__temp_last"]
    assert (dependency.asset_key.to_user_string(), dependency.column_name) == ("network/airport_weather", "temp_last")
    assert table["arr_delay"][0].asset_key.to_user_string() == "raw/flights"


def test_a_range_keeps_its_page_on_its_newest_partition_alone(house: Materialised) -> None:
    events = [event.event_specific_data.materialization for event in house.views.get_asset_materialization_events()]
    shown = {str(one.partition) for one in events if one.asset_key.path == ["network", "route_delays"] and "card" in one.metadata}

    assert shown == {"2013-01-14"}
