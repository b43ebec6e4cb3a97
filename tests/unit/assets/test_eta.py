"""What the eta team ships to the server: pure, numpy only, and consistent with what it declares."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from assets.eta import answers, departures, inputs
from tiffin.orchestration.catalog import read_catalog
from tiffin.training.table import feature_column

ROOT = Path(__file__).parents[3]
CATALOG = read_catalog(ROOT / "assets" / "catalog.json")


def make_batch(rows: int = 3, **given: object) -> dict[str, np.ndarray]:
    numbers = [field.name for field in departures.departures.fields] + list(inputs.NUMBERS)
    batch = {name: np.arange(rows, dtype=np.float64) for name in numbers}
    texts = {"carrier": "UA", "dest": "IAH", "tailnum": "N1", "planes__maker": "boeing", "planes__engine": "jet"}
    batch |= {name: np.array([text] * rows, dtype=object) for name, text in texts.items()}
    batch["origin"] = np.array(["EWR", "JFK", "LGA"][:rows], dtype=object)
    batch["carrier_profile__delay_shares_28d"] = np.full((rows, inputs.SHARES), 1 / inputs.SHARES, dtype=np.float32)
    batch["airport_traffic__worst_delays_1d"] = objects([np.array([90, 40, 7])] * rows)
    return {**batch, **{name: np.asarray(value) for name, value in given.items()}}


def objects(items: list[object]) -> np.ndarray:
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


def test_every_joined_feature_is_an_input_but_those_left_out_by_name() -> None:
    joined = {
        feature_column(ref, column["name"]): column["encoding"]
        for ref in departures.eta_table.features
        for column in CATALOG[str(ref)].row_schema["columns"]
    }
    others = {name for name, encoding in joined.items() if encoding.startswith(("cat:", "vec:", "ints:"))}

    assert others == {
        *("planes__maker", "planes__engine"),
        *("carrier_profile__delay_shares_28d", "airport_traffic__worst_delays_1d"),
    }
    assert set(joined) - others - set(inputs.NUMBERS) == {"airport_weather__hours_observed", "carrier_profile__flights_28d"}
    assert set(inputs.NUMBERS) <= set(joined)


def test_inputs_are_float64_columns_of_the_batchs_length() -> None:
    found = inputs.prepare(make_batch())

    assert {(column.dtype, column.shape) for column in found.values()} == {(np.dtype(np.float64), (3,))}


def test_inputs_are_made_by_plain_arithmetic_which_every_numpy_rounds_alike() -> None:
    tree = ast.parse(Path(inputs.__file__).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np"
    }

    assert used <= {"ndarray", "float64", "full", "nan"}


def test_an_unknown_airport_is_none_of_the_three() -> None:
    found = inputs.prepare(make_batch(1, origin=np.array(["XXX"], dtype=object)))

    assert [found[f"from_{origin.lower()}"][0] for origin in inputs.ORIGINS] == [0.0, 0.0, 0.0]


def test_a_missing_feature_stays_missing() -> None:
    found = inputs.prepare(make_batch(1, carrier_delays__arr_delay_mean_7d=[np.nan], origin=np.array(["EWR"], dtype=object)))

    assert np.isnan(found["carrier_delays__arr_delay_mean_7d"][0])
    assert np.isnan(found["delay_trend"][0])


def test_a_list_gives_its_first_and_last_number_and_nothing_when_it_is_empty_or_missing() -> None:
    lists = objects([np.array([90, 40, 7]), np.array([], dtype=np.int64), None])

    found = inputs.prepare(make_batch(3, airport_traffic__worst_delays_1d=lists))

    assert (found["worst_delay"][0], found["fifth_delay"][0]) == (90.0, 7.0)
    assert np.isnan(found["worst_delay"][1:]).all()


def test_a_vector_gives_one_input_per_place() -> None:
    vectors = np.array([[0.5, 0.25, 0.25, 0, 0, 0, 0, 0], [np.nan] * 8], dtype=np.float32)

    found = inputs.prepare(make_batch(2, carrier_profile__delay_shares_28d=vectors))

    assert [found[f"carrier_share_{place}"][0] for place in range(3)] == [0.5, 0.25, 0.25]
    assert np.isnan(found["carrier_share_7"][1])


def test_a_word_becomes_one_input_per_value_and_none_of_them_when_it_is_missing() -> None:
    found = inputs.prepare(make_batch(2, planes__maker=np.array(["airbus", None], dtype=object)))

    assert [found[f"by_{maker}"].tolist() for maker in ("airbus", "boeing")] == [[1.0, 0.0], [0.0, 0.0]]


def test_the_words_that_inputs_know_are_those_that_the_view_declares() -> None:
    schema = {column["name"]: column["encoding"] for column in CATALOG["fleet/planes"].row_schema["columns"]}

    assert set(inputs.MAKERS) <= set(json.loads(schema["maker"].removeprefix("cat:")))
    assert "propeller" in json.loads(schema["engine"].removeprefix("cat:"))


def test_an_answer_stays_within_what_has_been_seen_to_happen() -> None:
    found = answers.clip(np.array([-1e9, 12.5, 1e9]))

    assert found["arr_delay"].tolist() == [-90.0, 12.5, 720.0]


@pytest.mark.parametrize("module", [pytest.param(inputs, id="inputs"), pytest.param(answers, id="answers")])
def test_what_runs_in_the_server_imports_numpy_and_the_standard_library_only(module: object) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }

    assert imported == {"__future__", "collections.abc", "numpy"}


@pytest.mark.parametrize("team", ["network", "fleet", "eta"])
def test_a_team_names_other_teams_views_and_never_imports_them(team: str) -> None:
    others = [f"assets.{other}" for other in ("network", "fleet", "eta") if other != team]
    sources = {path.name: path.read_text() for path in (ROOT / "assets" / team).glob("*.py")}

    assert [name for name, text in sources.items() if any(other in text for other in others)] == []
