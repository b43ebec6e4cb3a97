"""LightGBM's parameters: what a model may set, and what is refused by name."""

from __future__ import annotations

from typing import Any

import lightgbm
import pytest

from tiffin.core.errors import Invalid
from tiffin.training.lightgbm_params import ALLOWED, OURS, known_params, resolve_params


def resolve(**params: Any) -> Any:
    return resolve_params(params, inputs=["distance", "hour"], seed=1, threads=2)


def test_the_list_of_all_parameters_is_still_where_we_read_it() -> None:
    known = known_params()

    assert lightgbm.__version__ == "4.7.0"
    assert known["n_estimators"] == "num_iterations"
    assert set(known.values()) >= ALLOWED | set(OURS)
    assert not ALLOWED & set(OURS)


def test_an_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="'num_leafs'") as refusal:
        resolve(num_leafs=31)

    assert "num_leaf" in refusal.value.fix


@pytest.mark.parametrize("name", ["seed", "random_state", "num_threads", "n_jobs", "deterministic", "force_col_wise", "device"])
def test_parameters_that_decide_whether_training_repeats_are_ours(name: str) -> None:
    with pytest.raises(Invalid, match="set by the trainer"):
        resolve(**{name: 1})


@pytest.mark.parametrize("name", ["input_model", "output_model", "data", "valid", "config", "forcedsplits_filename", "machines"])
def test_parameters_that_name_files_or_machines_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match=name):
        resolve(**{name: "/etc/passwd"})


def test_two_spellings_of_one_parameter_are_refused() -> None:
    with pytest.raises(Invalid, match="'num_iterations' is given twice"):
        resolve(n_estimators=10, num_boost_round=20)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, print, [object()], {"a": 1}])
def test_values_that_a_manifest_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(Invalid, match="'learning_rate'"):
        resolve(learning_rate=value)


@pytest.mark.parametrize("objective", ["multiclass", "lambdarank", "regresion", 7])
def test_only_objectives_with_one_number_per_row_are_taken(objective: Any) -> None:
    with pytest.raises(Invalid, match="objective"):
        resolve(objective=objective)


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, "ten"])
def test_the_number_of_trees_is_a_whole_number(rounds: Any) -> None:
    with pytest.raises(Invalid, match="num_iterations"):
        resolve(num_trees=rounds)


def test_a_categorical_input_must_exist() -> None:
    with pytest.raises(Invalid, match="'hours'") as refusal:
        resolve(categorical_feature=["hours"])

    assert refusal.value.fix == "did you mean 'hour'?"


def test_what_is_recorded_names_everything_but_the_thread_count() -> None:
    recorded = resolve(n_estimators=7).recorded

    assert recorded["num_iterations"] == 7
    assert recorded["seed"] == 1
    assert recorded["objective"] == "regression"
    assert "num_threads" not in recorded


@pytest.mark.parametrize(("seed", "threads"), [(-1, 1), (2**31, 1), (0, 0)])
def test_seed_and_threads_have_ranges(seed: int, threads: int) -> None:
    with pytest.raises(Invalid, match="seed"):
        resolve_params({}, inputs=["a"], seed=seed, threads=threads)
