"""Metrics, beside slow and obvious counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.training.measure import auc, calibration_curve, measure_classifier, measure_regressor

scored = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


def arrays(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in pairs]), np.array([float(truth) for _, truth in pairs])


def test_errors_are_in_the_labels_unit_and_bias_has_a_sign() -> None:
    assert measure_regressor(np.array([1.0, 5.0]), np.array([2.0, 2.0])) == {"mae": 2.0, "rmse": 5.0**0.5, "bias": 1.0, "rows": 2.0}


@given(pairs=scored)
def test_auc_is_the_chance_that_a_positive_scores_above_a_negative(pairs: list[tuple[float, bool]]) -> None:
    duels = [(up > down) + (up == down) / 2 for up, yes in pairs if yes for down, no in pairs if not no]

    found = auc(*arrays(pairs))

    assert found == (pytest.approx(sum(duels) / len(duels)) if duels else None)


@given(pairs=scored)
def test_a_calibration_curve_counts_every_row_once_and_keeps_equal_scores_together(pairs: list[tuple[float, bool]]) -> None:
    scores, label = arrays(pairs)

    mean, share, rows = calibration_curve(scores, label, bins=3)

    assert 1 <= len(rows) <= 3
    assert rows.sum() == len(pairs)
    assert (mean * rows).sum() == pytest.approx(scores.sum())
    assert (share * rows).sum() == pytest.approx(label.sum())
    ordered, ends = np.sort(scores), np.cumsum(rows).astype(int)
    assert all(ordered[end - 1] < ordered[end] for end in ends[:-1])


def test_calibration_error_is_how_far_mean_scores_are_from_what_happened() -> None:
    scores, label = np.repeat([0.2, 0.8], 10), np.repeat([0.0, 1.0], 10)

    found = measure_classifier(scores, label)

    assert found["calibration_error"] == pytest.approx(0.2)
    assert found["auc"] == 1.0
    assert found["logloss"] == pytest.approx(-math.log(0.8))
    assert found["brier"] == pytest.approx(0.04)
    assert (found["base_rate"], found["bias"], found["rows"]) == (0.5, pytest.approx(0.0), 20.0)


def test_a_certain_and_wrong_answer_costs_much_but_no_infinity() -> None:
    assert 30 < measure_classifier(np.array([1.0, 0.0]), np.array([0.0, 0.0]))["logloss"] * 2 < 40


def test_without_both_classes_there_is_no_auc_so_a_gate_on_it_fails() -> None:
    assert "auc" not in measure_classifier(np.array([0.5, 0.25]), np.array([1.0, 1.0]))
