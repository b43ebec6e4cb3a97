"""Training: a holdout by time, metrics, gates, and inputs that a row alone decides."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.training_problem import T0, at, make_model, make_spine, make_table, prepare, records, training_rows
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.features.feature_types import Bool, String
from tiffin.features.view import Feature
from tiffin.training.fit import Trained, train
from tiffin.training.gates import Metric, NotWorseThanLive
from tiffin.training.trainer import Artifact

Batch = Mapping[str, np.ndarray]


class Notes:
    """A trainer that remembers what it was given, and answers 0."""

    def fit(self, matrix: np.ndarray, label: np.ndarray, **given: Any) -> Artifact:
        self.matrix, self.label, self.given = matrix, label, given
        return Artifact({"zero.txt": b"0"}, dict(given["params"]))

    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        self.asked = matrix
        return np.zeros(len(matrix))


def trained(preprocess: Any = prepare, rows: pa.Table | None = None, trainer: Any = None, live: Any = None, **changes: Any) -> Trained:
    table = training_rows() if rows is None else rows
    return train(make_model(preprocess, **changes), table, views=records(), trainer=trainer, live_metrics=live)


def test_a_model_learns_and_its_metrics_come_from_the_newest_labels() -> None:
    result = trained(params={"num_iterations": 100, "min_data_in_leaf": 5})

    assert list(result.files) == ["model.txt"]
    assert result.inputs == ("distance", "orders", "calm", "first")
    assert result.metrics["rows"] == 30
    assert result.metrics["rows_trained"] == 170
    assert 0 < result.metrics["mae"] < 5
    assert result.importance["distance"] > result.importance["first"]


def test_only_labels_after_the_cut_are_held_out_and_none_of_them_trains() -> None:
    notes = Notes()

    result = trained(trainer=notes, holdout=timedelta(hours=10))  # the last label is at hour 9 of day 20

    assert result.holdout_start_us == to_us(T0 + timedelta(days=18, hours=23))
    assert len(notes.label) == 190
    assert len(notes.asked) == 10


def test_labels_of_one_instant_stay_on_one_side() -> None:
    rows = training_rows(days=4, per_day=10)
    times = at(*[24 * (i // 10) for i in range(40)])
    notes = Notes()

    trained(rows=rows.set_column(2, "at", times), trainer=notes, holdout=timedelta(days=1))

    assert len(notes.label) == 30


def test_the_order_of_the_rows_changes_no_byte() -> None:
    rows = training_rows()
    order = random.Random(4).sample(range(len(rows)), len(rows))

    first, second = trained(rows=rows), trained(rows=rows.take(order))

    assert second.files == first.files
    assert second.metrics == first.metrics


def yes_or_no(**changes: Any) -> dict[str, Any]:
    """A problem whose label is a yes or no: whether an order takes more than 20 minutes."""
    rows = training_rows()
    late = pa.array([minutes > 20 for minutes in rows["minutes"].to_pylist()])
    rows = rows.set_column(rows.column_names.index("minutes"), "late", late)
    table = make_table(spine=make_spine(label=Feature("late", Bool())))
    params = {"objective": "binary", "num_iterations": 50, "min_data_in_leaf": 5}
    return {"rows": rows, "table": table, "params": params, **changes}


def test_a_yes_or_no_label_gives_probabilities_and_a_classifiers_metrics() -> None:
    result = trained(**yes_or_no())

    assert set(result.metrics) == {"auc", "logloss", "brier", "calibration_error", "base_rate", "bias", "rows", "rows_trained"}
    assert result.metrics["auc"] > 0.9
    assert result.metrics["base_rate"] == result.held_out.label.mean()
    assert 0 <= result.held_out.scores.min() <= result.held_out.scores.max() <= 1


def test_a_yes_or_no_label_learnt_as_a_number_is_refused_with_the_objective_to_set() -> None:
    minus = Notes()
    minus.predict = lambda files, matrix: np.full(len(matrix), -0.25)  # type: ignore[method-assign]

    with pytest.raises(Invalid, match=r"scores -0\.25(.|\n)*'objective': 'binary'"):
        trained(**yes_or_no(trainer=minus))


def test_the_held_out_labels_and_scores_are_kept_for_plots() -> None:
    result = trained()

    assert len(result.held_out.scores) == len(result.held_out.label) == result.metrics["rows"]
    assert float(np.abs(result.held_out.scores - result.held_out.label).mean()) == result.metrics["mae"]


def test_gates_judge_the_candidate_beside_the_live_model() -> None:
    gates = (Metric("mae").below(1e9), NotWorseThanLive("mae", by=0.1))

    passed, failed = trained(gates=gates, live={"mae": 1e9}), trained(gates=gates, live={"mae": 1e-9})

    assert passed.passed
    assert [gate.passed for gate in failed.gates] == [True, False]
    assert not failed.passed


def test_parameters_inputs_seed_and_threads_reach_the_trainer() -> None:
    notes = Notes()

    train(make_model(params={"depth": 3}), training_rows(), views=records(), trainer=notes, seed=9, threads=2)

    assert notes.given == {"inputs": ("distance", "orders", "calm", "first"), "params": {"depth": 3}, "seed": 9, "threads": 2}
    assert np.isnan(notes.matrix[:, 1]).any()


def test_an_unknown_trainer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound, match="'lihgtgbm'") as refusal:
        train(make_model(trainer="lihgtgbm"), training_rows(), views=records())

    assert "lightgbm" in refusal.value.fix


def test_another_teams_view_needs_its_record() -> None:
    with pytest.raises(NotFound, match="'other/taste' is not in the catalog"):
        train(make_model(), training_rows())


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        pytest.param(training_rows(days=2, per_day=5), {}, id="few rows"),
        pytest.param(training_rows().slice(0, 0), {}, id="no rows"),
        pytest.param(training_rows(), {"holdout": timedelta(days=400)}, id="a holdout of everything"),
        pytest.param(training_rows(), {"holdout": timedelta(0)}, id="a holdout of nothing"),
    ],
)
def test_too_few_rows_to_train_or_measure_are_refused(rows: pa.Table, changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="model 'minutes'") as refusal:
        trained(rows=rows, **changes)

    assert "start and end" in refusal.value.fix


def test_a_label_that_is_no_number_is_refused() -> None:
    rows = training_rows()
    table = make_table(spine=make_spine(label=Feature("minutes", String())))

    with pytest.raises(Invalid, match="label 'minutes' has encoding 'str:256'"):
        trained(rows=rows.set_column(4, "minutes", pa.array(["long"] * len(rows))), table=table)


def test_a_missing_column_is_refused_with_the_nearest_name() -> None:
    names = ["load__order" if name == "load__orders" else name for name in training_rows().column_names]

    with pytest.raises(Invalid, match="no column 'load__orders'") as refusal:
        trained(rows=training_rows().rename_columns(names))

    assert refusal.value.fix == "did you mean 'load__order'?"


def centred(batch: Batch) -> dict[str, np.ndarray]:
    return {"distance": batch["distance"] - batch["distance"].mean()}


def ranked(batch: Batch) -> dict[str, np.ndarray]:
    return {"rank": np.argsort(batch["distance"]).astype(np.float64)}


def test_a_preprocess_that_looks_across_rows_is_refused() -> None:
    for function in (centred, ranked):
        with pytest.raises(Invalid, match=rf"'{function.__name__}' gives the input '\w+' of row \d+ as .* alone"):
            trained(function)


def misspelt(batch: Batch) -> dict[str, np.ndarray]:
    return {"distance": batch["distanse"]}


def test_a_column_that_the_batch_does_not_have_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="preprocess 'misspelt' raised KeyError: 'distanse'") as refusal:
        trained(misspelt)

    assert refusal.value.fix == "did you mean 'distance'?"


def divides(batch: Batch) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"ratio": batch["load__orders"] / np.zeros(len(batch["distance"]))}


def test_an_infinite_input_is_refused_with_the_function_and_the_input() -> None:
    with pytest.raises(Invalid, match="preprocess 'divides' returned inf in the input 'ratio'"):
        trained(divides)


def in_place(batch: Batch) -> dict[str, np.ndarray]:
    column = batch["distance"]
    column *= 2
    return {"distance": column}


def test_a_preprocess_may_write_into_its_batch() -> None:
    notes = Notes()

    trained(in_place, trainer=notes)

    assert notes.matrix[:, 0].max() <= 20.0
    assert notes.matrix[:, 0].max() > 10.0


def row_count(batch: Batch) -> dict[str, np.ndarray]:
    return {f"of_{len(batch['distance'])}": batch["distance"]}


def test_input_names_must_not_depend_on_the_batch() -> None:
    with pytest.raises(Invalid, match="preprocess 'row_count' returned the input 'of_1'"):
        trained(row_count)
