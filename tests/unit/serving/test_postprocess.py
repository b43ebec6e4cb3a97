"""Outputs are checked in the last step, because Triton passes on whatever a step makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiffin.core.errors import Invalid
from tiffin.serving.steps.postprocess import check_outputs, make_answer

SCORES = np.array([[1.0], [np.nan]])


def test_without_a_function_the_score_is_the_output() -> None:
    answer = make_answer({"outputs": ["delay"], "function": None}, None)

    assert np.array_equal(answer({"_score": SCORES})["delay"], SCORES, equal_nan=True)


def test_a_function_cannot_change_the_scores_it_was_given() -> None:
    def spoil(scores: np.ndarray) -> dict[str, np.ndarray]:
        scores[:] = 0
        return {"delay": scores}

    make_answer({"outputs": ["delay"], "function": "spoil"}, spoil)({"_score": SCORES})

    assert SCORES[0, 0] == 1.0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        pytest.param(np.zeros(2), "returned ndarray", id="no mapping"),
        pytest.param({}, "returned dict", id="nothing"),
        pytest.param({"delay": np.zeros(2), "dealy": np.zeros(2)}, "output 'dealy', which the endpoint does not have", id="one too many"),
        pytest.param({}, "returned dict", id="one too few"),
        pytest.param({"delay": np.zeros(3)}, "output 'delay' with shape (3,)", id="another row count"),
        pytest.param({"delay": np.zeros((2, 1))}, "output 'delay' with shape (2, 1)", id="a matrix"),
        pytest.param({"delay": [1.0, 2.0]}, "output 'delay' as list", id="a list"),
        pytest.param({"delay": np.array(["a", "b"])}, "output 'delay' as <U1", id="text"),
        pytest.param({"delay": np.array([1.0, np.inf])}, "returned inf in the output 'delay', row 1", id="infinity"),
    ],
)
def test_what_breaks_the_endpoints_promise_is_refused(made: Any, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_outputs(made, rows=2, function="clip", names=["delay"])

    assert message in refused.value.message
    assert refused.value.message.startswith("postprocess 'clip' ")


def test_every_nan_is_the_same_nan() -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)

    found = check_outputs({"delay": odd}, rows=2, function="clip")["delay"]

    assert set(found.view(np.uint64).tolist()) == {int(np.array([np.nan]).view(np.uint64)[0])}
