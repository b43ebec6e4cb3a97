"""What a preprocess function is given, and what it may return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.wire.batch import from_wire, stack
from tiffin.wire.columns import Values, int_lists, strings, to_int_lists


def mask(*valid: int) -> np.ndarray:
    return np.array(valid, dtype=bool)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "f4"])
def test_numbers_become_float64_with_nan_for_null(dtype: str) -> None:
    column = Values(np.array([3, 0, -7], dtype=dtype), mask(1, 0, 1))

    batch = from_wire({"x": column})

    assert batch["x"].dtype == np.float64
    np.testing.assert_array_equal(batch["x"], [3.0, np.nan, -7.0])


def test_a_float32_keeps_its_value_exactly() -> None:
    tenth = np.float32(0.1)

    assert from_wire({"x": Values(np.array([tenth]))})["x"][0] == float(tenth)


def test_booleans_become_zero_and_one() -> None:
    np.testing.assert_array_equal(from_wire({"x": Values(mask(1, 0, 0), mask(1, 1, 0))})["x"], [1.0, 0.0, np.nan])


def test_instants_become_microseconds() -> None:
    us = 1_388_534_400_000_001

    assert from_wire({"x": Values(np.array([us]))})["x"].tolist() == [float(us)]


def test_text_becomes_an_object_array_with_none_for_null() -> None:
    batch = from_wire({"x": strings(["EWR", None, "", "São"])})

    assert batch["x"].dtype == object
    assert batch["x"].tolist() == ["EWR", None, "", "São"]


def test_vectors_stay_float32_with_nan_rows_for_null() -> None:
    batch = from_wire({"x": Values(np.array([[1, 2], [0, 0]], dtype="f4"), mask(1, 0))})

    assert batch["x"].dtype == np.float32
    np.testing.assert_array_equal(batch["x"], [[1, 2], [np.nan, np.nan]])


@given(st.lists(st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), max_size=6))
def test_integer_lists_become_an_object_array_of_arrays(items: list[list[int] | None]) -> None:
    column = int_lists(items)

    found = from_wire({"x": column})["x"]

    assert found.dtype == object
    assert found.shape == (len(items),)
    assert [None if row is None else row.tolist() for row in found] == items == to_int_lists(column)


def test_a_function_may_write_into_its_batch_without_changing_the_columns() -> None:
    column = Values(np.array([1.0, 2.0]))

    from_wire({"x": column})["x"][:] = 9

    assert column.data.tolist() == [1.0, 2.0]


def test_no_rows_give_empty_arrays() -> None:
    batch = from_wire({"a": strings([]), "b": Values(np.zeros(0)), "c": int_lists([]), "d": Values(np.zeros((0, 3)))})

    assert {name: array.shape for name, array in batch.items()} == {"a": (0,), "b": (0,), "c": (0,), "d": (0, 3)}


def test_a_result_is_stacked_in_the_functions_order() -> None:
    names, matrix = stack({"b": np.array([1, 2]), "a": np.array([True, False])}, rows=2, function="prepare")

    assert names == ("b", "a")
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_a_trained_models_order_wins() -> None:
    _, matrix = stack({"b": np.array([1.0]), "a": np.array([2.0])}, rows=1, function="prepare", inputs=("a", "b"))

    assert matrix.tolist() == [[2.0, 1.0]]


def test_nan_is_allowed() -> None:
    assert np.isnan(stack({"a": np.array([np.nan])}, rows=1, function="prepare")[1]).all()


@pytest.mark.parametrize(
    ("outputs", "found", "fix"),
    [
        pytest.param({"a": np.array([1.0, np.inf])}, "inf in the input 'a', row 1", "NaN for null", id="infinite"),
        pytest.param({"a": np.zeros(3)}, r"'a' with shape \(3,\)", r"shape (2,)", id="another length"),
        pytest.param({"a": np.zeros((2, 1))}, r"'a' with shape \(2, 1\)", "one number per row", id="two dimensions"),
        pytest.param({"a": np.array(["x", "y"], dtype=object)}, "'a' as object", "each text a number", id="text"),
        pytest.param({"a": np.array(["2013", "2014"], dtype="M8[Y]")}, "'a' as datetime64", "numbers", id="datetime"),
        pytest.param({"a": [1.0, 2.0]}, "'a' as list", "numpy array", id="a list"),
        pytest.param({"a b": np.zeros(2)}, "input name 'a b'", "underscores", id="name with a space"),
        pytest.param({1: np.zeros(2)}, "input name 1", "underscores", id="name that is no text"),
        pytest.param({}, "returned nothing", "return {input", id="nothing"),
        pytest.param(np.zeros(2), "returned ndarray", "return {input", id="no mapping"),
    ],
)
def test_a_result_that_breaks_the_rules_is_refused_with_the_function_and_the_input(outputs: Any, found: str, fix: str) -> None:
    with pytest.raises(Invalid, match=f"preprocess 'prepare' returned.*{found}|preprocess 'prepare' {found}") as refusal:
        stack(outputs, rows=2, function="prepare")

    assert fix in refusal.value.fix


def test_a_missing_or_unknown_input_of_a_trained_model_is_refused() -> None:
    with pytest.raises(Invalid, match="did not return the input 'hour'"):
        stack({"distance": np.zeros(1)}, rows=1, function="prepare", inputs=("distance", "hour"))
    with pytest.raises(Invalid, match="'distanse', which the model does not have") as refusal:
        stack({"distanse": np.zeros(1), "distance": np.zeros(1)}, rows=1, function="prepare", inputs=("distance",))
    assert refusal.value.fix == "did you mean 'distance'?"
