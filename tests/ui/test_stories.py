"""The stories of the README, clicked in a real browser."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.e2e.house import House
from tests.ui.pages import RUN_S, Ui

TEAMS = {
    "eta": ("eta_table", "eta_model", "late_model"),
    "fleet": ("carrier_delays", "carrier_profile", "plane_days"),
    "network": ("airport_weather", "route_carriers"),
}
RANGE = ("2013-03-01", "2013-03-10")
BACKFILL = """query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status
  runs(limit: 10) { status tags { key value } } } } }"""
COUNT = """query Count($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(partitions: ["2013-03-05"]) { timestamp } } } }"""
PICTURE_LOADED = "(image) => image.complete && image.naturalWidth > 200"


def test_the_graph_shows_every_team_and_who_builds_on_whom(ui: Ui) -> None:
    ui.open("/asset-groups")

    for team in TEAMS:
        expect(ui.page.get_by_text(team, exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("fetching statuses")).to_have_count(0, timeout=60_000)
    ui.page.wait_for_timeout(1500)  # the canvas lays itself out after the network is idle
    assert ui.shot("teams").stat().st_size > 30_000


@pytest.mark.parametrize(("team", "assets"), TEAMS.items(), ids=TEAMS)
def test_a_teams_graph_shows_its_assets_with_checks_and_partitions(ui: Ui, team: str, assets: tuple[str, ...]) -> None:
    with ui.tall():
        ui.open(f"/locations/{team}/asset-groups/{team}/lineage")
        for asset in assets:
            expect(ui.page.get_by_text(asset, exact=True).first).to_be_visible()
        expect(ui.page.get_by_text("Asset checks").first).to_be_visible()
        ui.page.wait_for_timeout(1500)
        ui.shot(f"graph-{team}")


@pytest.mark.parametrize("asset", ["fleet/carrier_delays", "eta/eta_model"])
def test_an_assets_page_says_what_it_is_who_owns_it_and_whether_its_checks_passed(ui: Ui, asset: str) -> None:
    ui.asset(asset)

    team = asset.partition("/")[0]
    for heading in ("Latest materialization", "Latest check results", "Owners", "Kinds", "Metadata"):
        expect(ui.page.get_by_text(heading, exact=True).first).to_be_visible()
    expect(ui.page.get_by_role("link", name=team, exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("never materialized", exact=False)).to_have_count(0)
    ui.shot("asset-" + asset.rpartition("/")[2])


def test_an_asset_is_materialised_by_a_click_and_its_run_succeeds(ui: Ui) -> None:
    ui.asset("network/airport_weather_online")
    ui.page.get_by_role("button", name="Materialize").first.click()

    path = ui.launched()

    assert path.startswith("/runs/")
    ui.wait_for_run(path)
    ui.shot("run")


def test_a_backfill_of_a_range_is_launched_watched_and_succeeds(ui: Ui, house: House) -> None:
    key = {"path": ["network", "airport_weather"]}
    before = len(house.graphql(COUNT, key=key)["assetNodeOrError"]["assetMaterializations"])
    ui.asset("network/airport_weather")
    dialog = ui.choose_partitions(f"[{RANGE[0]}...{RANGE[1]}]")
    expect(dialog.get_by_text("10 partitions").first).to_be_visible()
    expect(dialog.get_by_text("Backfills all partitions in a single run.")).to_be_visible()
    ui.shot("backfill-dialog")
    dialog.get_by_role("button", name="Launch backfill").click()

    path = ui.launched()

    assert path.startswith("/runs/b/")
    backfill = path.rpartition("/")[2]
    end = time.monotonic() + RUN_S
    while (found := house.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"])["status"] not in ("COMPLETED_SUCCESS", "COMPLETED"):
        assert found["status"] in ("REQUESTED", "COMPLETING"), found
        assert time.monotonic() < end, found
        time.sleep(1)
    assert [run["status"] for run in found["runs"]] == ["SUCCESS"]
    ui.open(path)
    expect(ui.page.get_by_text(f"{RANGE[0]}...{RANGE[1]}").first).to_be_visible()
    expect(ui.page.get_by_text("Succeeded", exact=True).first).to_be_visible()
    ui.shot("backfill")
    assert len(house.graphql(COUNT, key=key)["assetNodeOrError"]["assetMaterializations"]) == before + 1


def test_the_plot_of_a_models_importance_is_a_picture_that_loads(ui: Ui) -> None:
    ui.asset("eta/eta_model")

    image = ui.show_markdown("importance")

    expect(image).to_be_visible()
    assert image.evaluate(PICTURE_LOADED)
    ui.shot("importance")
    ui.close_dialog()


def test_metrics_are_numbers_that_dagster_plots(ui: Ui) -> None:
    ui.asset("eta/eta_model")

    ui.page.get_by_role("button", name="Plots").click()

    expect(ui.page.locator("canvas").first).to_be_visible()
    ui.page.get_by_role("button", name="Table").click()


def test_a_prediction_is_explained_by_its_inputs(ui: Ui, house: House) -> None:
    request = "carrier=UA origin=EWR dest=SFO tailnum=N14228 distance=2565 sched_dep_minute=1141 month=12 weekday=1"
    command = f"tiffin predict eta {request} --explain"

    printed = house.tiffin(*command.split()[1:]).stdout

    ui.terminal(command, printed)
    expect(ui.page.get_by_text("arr_delay", exact=False).first).to_be_visible()
    ui.shot("prediction")


def test_the_sensors_of_every_team_are_listed(ui: Ui) -> None:
    ui.open("/automation")

    expect(ui.page.get_by_text("retry_failed_ranges").first).to_be_visible()
    ui.shot("automation")
