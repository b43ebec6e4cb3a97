"""`tiffin models` and explanations as people and programs read them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.registry_records import make_model
from tiffin.cli.models_command import change, chosen, evidence, model_row
from tiffin.cli.predict_command import show_explained
from tiffin.core.errors import Invalid
from tiffin.embedded.models import ModelsOf
from tiffin.registry.model_history import Version
from tiffin.serving.box import Trace
from tiffin.serving.explain import Explained
from tiffin.training.trainer import Contributions

RECORD = make_model({"model.txt": b"tree"})
ONE, OTHER = "a" * 64, "ab" + "c" * 62
MODEL = ModelsOf("eta/eta", (Version(ONE, RECORD), Version(OTHER, RECORD)), ONE)


def explained() -> Explained:
    parts = Contributions(np.array([[1.0, -3.0, 0.5]]), np.array([2.0]), np.array([0.5]))
    return Explained(("wind", "hour", "rain"), Trace(np.array([[np.nan, 17.0, 0.0]]), np.array([0.5]), {"late": np.array([0.5])}), parts)


def test_a_row_of_the_list_says_what_is_live_and_how_good_the_newest_is() -> None:
    assert model_row(MODEL) == ["eta/eta", "2", ONE[:12], "passed", "mae 12.5", ONE[:12], "team:eta"]


def test_a_damaged_newest_version_is_shown_with_its_trouble() -> None:
    assert "a byte was changed" in model_row(ModelsOf("eta/eta", (Version(ONE, None, "a byte was changed"),), None))


def test_a_version_is_found_by_the_first_letters_of_its_digest() -> None:
    assert chosen(MODEL, "abc").digest == OTHER


@pytest.mark.parametrize(
    ("version", "told"), [pytest.param("a", "2 versions", id="two fit"), pytest.param("zz", "no version 'zz'", id="none fits")]
)
def test_a_version_that_is_not_one_is_refused(version: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        chosen(MODEL, version)


def test_changes_are_relative_where_they_can_be() -> None:
    assert [change(20.0, 19.0), change(-2.0, -1.0), change(0.0, 1.5), change(None, 1.0)] == ["-5.00%", "+50.00%", "+1.5", ""]


def test_a_gates_figures_leave_out_what_there_is_not() -> None:
    assert evidence({"gate": "x", "evidence": {"mae": 12.5, "live": None}}) == "mae 12.5"


def test_an_explanation_shows_the_largest_parts_and_sums_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    show_explained("late", [{"carrier": "UA"}], explained(), top=1, json=False)

    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["base", "+2"] in lines
    assert ["hour", "17", "-3"] in lines
    assert ["2", "other", "inputs", "+1.5"] in lines
    assert ["raw", "score", "0.5"] in lines


def test_an_explanation_as_json_has_all_parts_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show_explained("late", [{"carrier": "UA"}], explained(), top=1, json=True)

    told = json.loads(capsys.readouterr().out)
    assert told["predictions"] == {"late": [0.5]}
    (row,) = told["explanations"]
    assert [one["input"] for one in row["contributions"]] == ["hour", "wind", "rain"]
    assert row["contributions"][1] == {"input": "wind", "value": None, "adds": 1.0}
    assert row["base"] + sum(one["adds"] for one in row["contributions"]) == row["raw_score"]
