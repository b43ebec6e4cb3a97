"""What the eta team ships to the server: pure, numpy only, and consistent with what it declares."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from assets.eta import answers, departures, inputs
from tiffin.orchestration.catalog import read_catalog
from tiffin.training.table import feature_column

ROOT = Path(__file__).parents[3]
CATALOG = read_catalog(ROOT / "assets" / "catalog.json")


def make_batch(rows: int = 3, **given: object) -> dict[str, np.ndarray]:
    numbers = [field.name for field in departures.departures.fields] + list(inputs.FEATURES)
    batch = {name: np.arange(rows, dtype=np.float64) for name in numbers}
    batch["carrier"] = np.array(["UA"] * rows, dtype=object)
    batch["origin"] = np.array(["EWR", "JFK", "LGA"][:rows], dtype=object)
    return {**batch, **{name: np.asarray(value) for name, value in given.items()}}


def test_every_joined_feature_is_an_input_but_those_left_out_by_name() -> None:
    joined = {
        feature_column(ref, column["name"]) for ref in departures.eta_table.features for column in CATALOG[str(ref)].row_schema["columns"]
    }

    assert joined - set(inputs.FEATURES) == {"airport_weather__hours_observed"}
    assert set(inputs.FEATURES) <= joined


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

    assert used <= {"ndarray", "float64"}


def test_an_unknown_airport_is_none_of_the_three() -> None:
    found = inputs.prepare(make_batch(1, origin=np.array(["XXX"], dtype=object)))

    assert [found[f"from_{origin.lower()}"][0] for origin in inputs.ORIGINS] == [0.0, 0.0, 0.0]


def test_a_missing_feature_stays_missing() -> None:
    found = inputs.prepare(make_batch(1, carrier_delays__arr_delay_mean_7d=[np.nan], origin=np.array(["EWR"], dtype=object)))

    assert np.isnan(found["carrier_delays__arr_delay_mean_7d"][0])
    assert np.isnan(found["delay_trend"][0])


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


def test_the_eta_team_names_the_network_teams_views_and_never_imports_them() -> None:
    sources = (ROOT / "assets" / "eta").glob("*.py")

    assert not [path.name for path in sources if "assets.network" in path.read_text()]
