"""The commands that look at a running house say one thing: endpoint, box, tables, store and registry agree."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import AS_OF, KEYS, NUMBERS, OUTPUTS, VIEWS, House
from tiffin.storage.delta import DeltaStore

REQUESTS = 40
VIEW_KEYS = {
    "fleet/carrier_delays": ("carrier=UA", "origin=EWR"),
    "fleet/carrier_profile": ("carrier=B6",),
    "fleet/planes": ("tailnum=N76517",),
    "network/airport_traffic": ("origin=JFK",),
    "network/route_carriers": ("origin=EWR", "dest=SFO", "carrier=UA"),
}


@pytest.fixture(scope="module")
def requests(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real departures as a file of requests, some of them of planes without a tail number."""
    settings = house.settings
    tables = DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))
    rows = tables.read("raw/flights").select([*KEYS, *NUMBERS])
    some = [*rows.slice(300_000, REQUESTS).to_pylist(), {**rows.slice(0, 1).to_pylist()[0], "tailnum": None}]
    path = tmp_path_factory.mktemp("requests") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return path


def told(house: House, *words: str | Path) -> dict[str, Any]:
    found = json.loads(house.tiffin(*map(str, words), "--json").stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("endpoint", OUTPUTS)
def test_endpoint_box_over_the_store_and_box_over_the_tables_give_the_same_bits(house: House, requests: Path, endpoint: str) -> None:
    live = told(house, "predict", endpoint, "--rows", requests)["predictions"]

    store = told(house, "box", endpoint, "--rows", requests, "--live")
    tables = told(house, "box", endpoint, "--rows", requests, "--offline", "--as-of", AS_OF)

    assert len(live[OUTPUTS[endpoint]]) == REQUESTS + 1
    assert store["predictions"] == live
    assert tables["predictions"] == live
    assert store["features"] == "the running online store"
    assert tables["features"].startswith("the offline tables as of 2013-12-31T00:00:00")


def test_an_explanation_adds_up_to_the_answer_that_was_given(house: House, requests: Path) -> None:
    live = told(house, "predict", "late", "--rows", requests)["predictions"]["late"]

    found = told(house, "predict", "late", "--rows", requests, "--explain")

    assert found["predictions"]["late"] == live
    for answer, row in zip(live, found["explanations"], strict=True):
        total = row["base"] + sum(one["adds"] for one in row["contributions"])
        assert math.isclose(total, row["raw_score"], abs_tol=1e-9)
        assert math.isclose(1 / (1 + math.exp(-row["raw_score"])), answer, abs_tol=1e-12)


@pytest.mark.parametrize("view", VIEW_KEYS)
def test_a_keys_values_are_the_same_online_and_offline_as_of_now(house: House, view: str) -> None:
    live = told(house, "features", "get", view, *VIEW_KEYS[view], "--live")
    offline = told(house, "features", "get", view, *VIEW_KEYS[view], "--as-of", AS_OF)

    assert live["found"]
    assert live["values"] == offline["values"]
    assert live["event_time"] == offline["event_time"]
    assert (live["from"], offline["from"]) == ("online", "offline")


def test_the_live_version_of_each_model_is_the_one_that_its_endpoint_serves(house: House) -> None:
    status = told(house, "status")
    served = {f"{one['team']}/{one['model_name']}": one["model"] for one in status["deployments"]}

    models = {one["model"]: one for one in told(house, "models", "list")["models"]}

    assert {name: one["live"] for name, one in models.items()} == served
    shown = told(house, "models", "show", "late_model", "--version", served["eta/late_model"])
    assert shown["live"]
    assert shown["metrics"]["auc"] > 0.65
    compared = told(house, "models", "compare", "eta_model", served["eta/eta_model"], served["eta/eta_model"])
    assert (compared["params"], compared["same"]) == ({}, ["files", "code", "table", "preprocess"])


def test_status_counts_every_team_view_and_endpoint(house: House) -> None:
    status = told(house, "status")

    teams = {one["team"]: (one["views"], one["published"], one["endpoints"], one["ready"]) for one in status["teams"]}
    assert teams == {"network": (5, 5, 0, 0), "fleet": (4, 4, 0, 0), "eta": (0, 0, 2, 2)}
    assert {f"{one['team']}/{one['name']}" for one in status["views"]} == {f"{team}/{view}" for team in VIEWS for view in VIEWS[team]}
    assert all(one["age_s"] >= 0 for one in status["views"])
