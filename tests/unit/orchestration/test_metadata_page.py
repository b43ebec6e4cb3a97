"""What a person who opens an asset is told: lineage, cost, card, pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from assets.eta.team import specs as eta_specs
from assets.eta.team import team as eta
from assets.fleet.team import specs as fleet_specs
from assets.fleet.team import team as fleet
from assets.network.team import specs as network_specs
from assets.network.team import team as network
from tests.flight_views import CARRIER, make_view
from tiffin.compute import Team
from tiffin.features import Feature, Float32, Int32, Source, daily
from tiffin.features.view import FeatureView
from tiffin.orchestration.catalog import edges_of, view_records
from tiffin.orchestration.lineage import table_lineage, view_lineage
from tiffin.orchestration.metadata_card import card, fresh, would_break
from tiffin.orchestration.metadata_cost import STEP_S, TOTAL_S, Stopwatch, spent_before
from tiffin.orchestration.metadata_page import Page, landed_by
from tiffin.orchestration.plot_held_out import held_out_markdown, held_out_png
from tiffin.training import Spine, TrainingTable
from tiffin.training.measure import HeldOut

NOW = datetime(2013, 12, 31, tzinfo=UTC)
EDGES = {
    ref: found
    for team, specs in ((network, network_specs), (fleet, fleet_specs), (eta, eta_specs))
    for ref, found in edges_of(team, specs).items()
}
COST = {"cost/step_wall_s": 1.5, "cost/wall_s_so_far": 61.5}


def sources(lineage: dict[str, dg.TableColumnLineage], column: str) -> set[str]:
    return {f"{one.asset_key.to_user_string()}.{one.column_name}" for one in lineage["dagster/column_lineage"].deps_by_column[column]}


def test_a_sql_feature_comes_from_the_columns_of_its_expression() -> None:
    view = make_view(sql="select carrier, count(*)::int as flights, avg(delay)::float as delay_mean from landings group by carrier")

    found = view_lineage(view, {"landings": ["carrier", "landed_at", "delay"]})

    assert sources(found, "carrier") == {"raw/landings.carrier"}
    assert sources(found, "delay_mean") == {"raw/landings.delay"}
    assert sources(found, "flights") == set()
    assert sources(found, "event_time") == {"raw/landings.landed_at"}


def averaged(rows: pa.Table, window: object) -> pa.Table:
    return rows.group_by("carrier").aggregate([("delay", "mean")])


def test_a_python_feature_comes_from_the_columns_that_its_code_names() -> None:
    found = view_lineage(make_view(averaged), {"landings": ["carrier", "landed_at", "delay", "gate"]})

    assert sources(found, "carrier") == {"raw/landings.carrier"}
    assert sources(found, "delay_mean") == {"raw/landings.carrier", "raw/landings.delay"}


def test_another_dialects_sql_comes_from_every_column_whose_name_occurs() -> None:
    view = make_view(sql="select `carrier`, 1 as flights, avg(delay) as delay_mean from landings lateral view explode(x)")

    assert sources(view_lineage(view, {"landings": ["carrier", "delay", "gate"]}), "delay_mean") == {
        "raw/landings.carrier",
        "raw/landings.delay",
    }


def test_a_training_column_comes_from_its_view_or_from_the_spines_source() -> None:
    spine = Spine("s", source=Source("raw/trips", time="t"), keys="carrier: string", time="at", label=Feature("late", Float32()))
    (record,) = view_records(Team("network", owner="team:network"), [make_view()])
    table = TrainingTable("trips", spine=spine, features=("network/delays",))

    found = table_lineage(table, {"network/delays": record}, ["carrier", "at", "late", "other"])

    assert sources(found, "delays__delay_mean") == {"network/delays.delay_mean"}
    assert sources(found, "late") == {"raw/trips.late"}


def test_every_feature_of_the_example_teams_has_a_lineage() -> None:
    landed = {spec.name: spec.load().column_names for spec in (*network_specs, *fleet_specs) if isinstance(spec, Source) and spec.load}
    views = [spec for spec in (*network_specs, *fleet_specs) if isinstance(spec, FeatureView)]

    for view in views:
        columns = {source.table: landed[source.name] for source in (view.source, *view.inputs)}
        found = view_lineage(view, columns)["dagster/column_lineage"].deps_by_column
        assert set(view.entity.key_names) <= {name for name, deps in found.items() if deps}
        assert any(found[feature.name] for feature in view.features)


def test_what_would_break_is_found_over_the_borders_of_teams() -> None:
    found = would_break("network/airport_weather", EDGES)

    assert found[:1] == ("eta/eta_table",)
    assert {"eta/late_table", "eta/eta_model", "eta/late_model", "eta/eta", "eta/late", "network/airport_weather_online"} <= set(found)
    assert "fleet/planes" not in found
    assert "fleet/carrier_delays" in would_break("raw/flights", EDGES)
    assert would_break("eta/eta", EDGES) == ()


@pytest.mark.parametrize(
    ("age", "promised", "says"),
    [
        pytest.param(timedelta(hours=3), timedelta(hours=26), "3 h ago; fresh: promised is 26 h", id="fresh"),
        pytest.param(timedelta(hours=30), timedelta(hours=26), "30 h ago; **late**: promised is 26 h", id="late"),
        pytest.param(timedelta(days=4), None, "4 days ago", id="nothing promised"),
    ],
)
def test_freshness_is_said_beside_the_promise(age: timedelta, promised: timedelta | None, says: str) -> None:
    assert fresh(NOW - age, now=NOW, promised=promised).endswith(says)
    assert fresh(None, now=NOW, promised=promised) == "nothing of it exists yet"


def test_a_card_answers_the_five_questions() -> None:
    found = card(
        "Delays of a | carrier.",
        owner="team:network",
        fresh="fresh",
        content="3 rows",
        cost=COST,
        breaks=("eta/eta",),
        where={"Run": "`r`"},
    )

    assert "| **What it is** | Delays of a / carrier. |" in found
    assert "| **What it cost** | 1.5 s of wall time now, 61.5 s in all successful steps so far |" in found
    assert "| **Who owns it** | team:network |" in found
    assert "| **What would break** | eta/eta (teams: eta) |" in found
    assert "| **Run** | `r` |" in found


def test_seconds_add_up_from_one_materialisation_to_the_next() -> None:
    key = dg.AssetKey(["network", "delays"])
    page = Page(key, "", "team:network", (), price_usd_per_h=3.6)
    clock = iter([0.0, 10.0, 100.0, 130.0])
    with dg.DagsterInstance.ephemeral() as instance:
        first = page.watch(instance, now_s=lambda: next(clock)).metadata()
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=first))
        second = page.watch(instance, now_s=lambda: next(clock)).metadata()

        assert spent_before(instance, dg.AssetKey(["network", "other"])) == 0.0

    assert (first[STEP_S], first[TOTAL_S]) == (10.0, 10.0)
    assert (second[STEP_S], second[TOTAL_S], second["cost/usd_so_far"]) == (30.0, 40.0, 0.04)
    assert "cost/usd_so_far" not in Stopwatch(0.0, now_s=lambda: 0.0, price_usd_per_h=None).metadata()


def test_a_run_that_other_teams_landings_started_links_to_their_runs() -> None:
    links = landed_by({"t": ",".join(f"run-{place:02d}-of-network" for place in range(12))}, tag="t")["upstream_runs"].value

    assert "[run-11-o](/runs/run-11-of-network) and 2 before" in links
    assert landed_by({}, tag="t") == {}


@pytest.mark.parametrize("classifier", [True, False])
def test_how_a_model_did_is_one_picture(classifier: bool) -> None:
    random = np.random.default_rng(1)
    scores = random.random(500) if classifier else random.normal(10, 20, 500)
    label = (random.random(500) < scores).astype(np.float64) if classifier else scores + random.normal(0, 5, 500)
    held_out = HeldOut(scores, label)

    assert held_out_png(held_out, classifier=classifier).startswith(b"\x89PNG")
    assert held_out_markdown(held_out, classifier=classifier).startswith(
        f"![{'calibration' if classifier else 'residuals'} on rows held out]("
    )
    assert held_out_markdown(HeldOut(scores[:0], label[:0]), classifier=classifier) == "no row was held out"


def test_edges_name_tables_inputs_and_online_editions() -> None:
    view = FeatureView(
        "delays",
        entity=CARRIER,
        source=Source("raw/landings", time="t"),
        inputs=(Source("raw/gates", time="t"),),
        features=(Feature("n", Int32()),),
        partitions=daily("2030-01-01"),
        transform=averaged,
    )

    assert edges_of(Team("net", owner="team:net"), [view]) == {"net/delays": ["raw/gates", "raw/landings"]}
