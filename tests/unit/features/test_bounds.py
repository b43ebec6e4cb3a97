"""Declared bounds are kept, also where the stored integer could hold more."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.features import Feature, Float32, Int8
from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.features.bounds import refuse_outside
from tiffin.features.feature_types import FeatureType
from tiffin.wire.encodings import canonical


def check(kind: FeatureType, *values: float | None) -> None:
    feature = Feature("share", kind)
    stored = to_arrow(canonical(feature.column, to_values(pa.array(values, pa.float64()), feature.column)), feature.type.arrow)
    refuse_outside(feature, stored, subject="view 'v'")


@pytest.mark.parametrize("value", [-1.0, 101.0, 127.0])
def test_a_value_outside_is_refused_by_row_although_its_integer_would_hold_it(value: float) -> None:
    with pytest.raises(Invalid) as caught:
        check(Float32(step=1, low=0, high=100), None, 50.0, value)

    assert f"view 'v': column 'share', row 2: value {value} is not allowed: expected 0..100" in caught.value.message
    assert "widen low and high" in caught.value.fix


@given(low=st.integers(-500, 500), width=st.integers(1, 500), step=st.sampled_from([0.0001, 0.01, 0.1, 0.3, 0.5, 1.0, 7.0]))
def test_both_bounds_are_allowed_and_the_next_step_is_not(low: int, width: int, step: float) -> None:
    kind = Float32(step=step, low=low * step, high=(low + width) * step)

    check(kind, low * step, (low + width) * step, None, float("nan"))
    for outside in (low - 1, low + width + 1):
        with pytest.raises(Invalid):
            check(kind, outside * step)


def test_a_value_that_rounds_to_a_bound_is_inside() -> None:
    check(Float32(step=0.1, low=0, high=0.3), 0.3, float(np.float32(0.3)), 0.34)


def test_types_without_bounds_take_what_their_encoding_takes() -> None:
    check(Float32(step=1), -1e6, 1e6)
    check(Float32(), 1e30)
    refuse_outside(Feature("share", Int8()), pa.array([127], pa.int8()), subject="view 'v'")
