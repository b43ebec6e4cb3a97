"""The LightGBM trainer: the same bytes, the same bits."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from tiffin.core.errors import Corrupt, Invalid, Unsupported
from tiffin.training.lightgbm import MODEL_FILE, LightGBMTrainer
from tiffin.training.lightgbm_params import resolve_params

INPUTS = ("distance", "hour", "congestion")
PARAMS = {"num_leaves": 15, "n_estimators": 30, "bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.8}


def problem(rows: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    matrix = random.normal(size=(rows, len(INPUTS)))
    label = 5 * matrix[:, 0] - matrix[:, 1] ** 2 + random.normal(size=rows)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix, label


def fit(**changes: Any) -> Any:
    matrix, label = problem()
    given = {"inputs": INPUTS, "params": PARAMS, "seed": 3, **changes}
    return LightGBMTrainer().fit(given.pop("matrix", matrix), given.pop("label", label), **given)


def test_training_twice_gives_the_same_bytes_on_any_number_of_threads() -> None:
    first = fit()

    assert list(first.files) == [MODEL_FILE]
    assert fit().files == first.files
    assert fit(threads=2).files == first.files
    assert fit(threads=2).params == first.params


def test_another_seed_gives_another_model() -> None:
    assert fit(seed=4).files != fit(seed=3).files


def test_the_booster_in_memory_and_the_reloaded_text_score_the_same_bits() -> None:
    matrix, label = problem()
    resolved = resolve_params(PARAMS, inputs=INPUTS, seed=3, threads=2)
    data = lightgbm.Dataset(matrix, label, feature_name=list(INPUTS), params=resolved.settings)
    booster = lightgbm.train(resolved.settings, data, num_boost_round=resolved.rounds)

    scores = LightGBMTrainer().predict(fit().files, matrix)

    assert scores.dtype == np.float64
    for threads in (1, 2, 4):
        assert booster.predict(matrix, num_threads=threads).tobytes() == scores.tobytes()


def test_a_score_does_not_depend_on_the_other_rows() -> None:
    matrix, _ = problem()
    files, trainer = fit().files, LightGBMTrainer()
    whole = trainer.predict(files, matrix)

    for size in (1, 3, 1_000):
        assert trainer.predict(files, matrix[-size:]).tobytes() == whole[-size:].tobytes()


def test_the_model_is_text_that_names_its_inputs() -> None:
    text = fit().files[MODEL_FILE].decode()

    assert "feature_names=distance hour congestion\n" in text
    assert "[num_threads: 1]" in text


def test_importance_is_the_total_gain_per_input() -> None:
    importance = fit().importance

    assert set(importance) == set(INPUTS)
    assert importance["distance"] > importance["hour"] > importance["congestion"] >= 0


def test_a_categorical_input_is_split_by_category() -> None:
    matrix, label = problem()
    matrix[:, 1] = np.arange(len(matrix)) % 5
    label = label + np.array([90.0, -80.0, 70.0, -60.0, 50.0])[matrix[:, 1].astype(int)]

    artifact = fit(matrix=matrix, label=label, params={**PARAMS, "categorical_feature": ["hour"]})

    assert "\ncat_threshold=" in artifact.files[MODEL_FILE].decode()
    assert artifact.params["categorical_feature"] == ["hour"]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_cell_is_refused_by_input_and_row(value: float) -> None:
    matrix, label = problem()
    matrix[17, 1] = value

    with pytest.raises(Invalid, match=r"input 'hour' is -?inf in row 17"):
        fit(matrix=matrix, label=label)
    with pytest.raises(Invalid, match="input 'hour'"):
        LightGBMTrainer().predict(fit().files, matrix)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_label_that_is_no_number_is_refused_by_row(value: float) -> None:
    matrix, label = problem()
    label[5] = value

    with pytest.raises(Invalid, match="in row 5"):
        fit(matrix=matrix, label=label)


@pytest.mark.parametrize("shape", [pytest.param((10, 2), id="too few columns"), pytest.param((30,), id="one dimension")])
def test_a_matrix_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="float64 of shape"):
        fit(matrix=np.zeros(shape), label=np.zeros(shape[0]))


def test_what_lightgbm_refuses_is_our_error() -> None:
    with pytest.raises(Invalid, match="LightGBM refused to train"):
        fit(params={"num_leaves": -3})


def test_a_damaged_model_file_is_corrupt() -> None:
    with pytest.raises(Corrupt, match=r"model\.txt"):
        LightGBMTrainer().predict({MODEL_FILE: b"tree\nnot a model"}, np.zeros((1, 3)))


def test_a_missing_model_file_is_named() -> None:
    with pytest.raises(Invalid, match=r"other\.bin"):
        LightGBMTrainer().predict({"other.bin": b""}, np.zeros((1, 3)))


@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_contributions_of_all_inputs_and_the_base_add_up_to_the_raw_score(objective: str) -> None:
    matrix, label = problem()
    files = fit(
        label=label if objective == "regression" else (label > 0).astype(np.float64), params={**PARAMS, "objective": objective}
    ).files

    found = LightGBMTrainer().explain(files, matrix[:200])

    scores = LightGBMTrainer().predict(files, matrix[:200])
    assert found.by_input.shape == (200, len(INPUTS))
    assert np.allclose(found.base + found.by_input.sum(axis=1), found.raw, rtol=0, atol=1e-9)
    assert np.allclose(scores, found.raw if objective == "regression" else 1 / (1 + np.exp(-found.raw)), rtol=0, atol=1e-12)
    assert np.ptp(found.base) == 0
    assert np.abs(found.by_input[:, 0]).mean() > np.abs(found.by_input[:, 2]).mean()


def test_a_model_of_linear_leaves_cannot_be_taken_apart() -> None:
    matrix, _ = problem()
    files = fit(params={"linear_tree": True, "n_estimators": 3}).files

    with pytest.raises(Unsupported, match="linear_tree"):
        LightGBMTrainer().explain(files, matrix[:5])
