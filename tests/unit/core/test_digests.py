"""Equal values have equal addresses, for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.digests import canonical_json, digest_bytes, digest_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


def reversed_keys(value: Any) -> Any:
    """The same value with its keys in another order."""
    if isinstance(value, dict):
        return {key: reversed_keys(below) for key, below in reversed(value.items())}
    return [reversed_keys(below) for below in value] if isinstance(value, list) else value


def test_the_address_of_a_value_is_a_stored_format_that_stays() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == b'{"a":"\xc3\xa9","b":[1,2.5,null,true]}'
    assert digest_json({"b": 1, "a": ["x"]}) == "9bfce180614e8aaffe8a52084e7be3ee3b4c2e740cae2793550177f953f11c04"
    assert digest_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(VALUES)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert canonical_json(reversed_keys(value)) == canonical_json(value)


@given(VALUES)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    try:
        data = canonical_json(value)
    except UnicodeEncodeError:
        return  # a lone surrogate has no UTF-8, and so no address
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@given(VALUES, VALUES)
def test_different_texts_have_different_addresses(one: Any, other: Any) -> None:
    try:
        assert (canonical_json(one) == canonical_json(other)) == (digest_json(one) == digest_json(other))
    except UnicodeEncodeError:
        return


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_a_number_that_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)
