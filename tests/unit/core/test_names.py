"""A name that is accepted is safe as a key prefix, a path, a Dagster asset key and a Triton model."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.core.names import check_name, split_ref


@pytest.mark.parametrize("name", ["a", "carrier_delays", "eta2", "a1_b2", "a" * 48])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name(name, what="feature view") == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "1a", "_a", "a_", "a__b", "a-b", "a.b", "a/b", "a b", "a\n", "é", "a" * 49, "a{b}", "a*", "..", "a\0"],
)
def test_a_name_that_means_something_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="feature view name"):
        check_name(name, what="feature view")


@given(st.text(max_size=60))
def test_an_accepted_name_is_made_of_safe_characters_and_splits_back_at_a_double_underscore(name: str) -> None:
    try:
        check_name(name, what="view")
    except Invalid:
        return
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name)
    assert f"{name}__{name}".split("__") == [name, name]


@given(st.text(max_size=60))
def test_a_suggested_spelling_is_accepted(name: str) -> None:
    try:
        check_name(name, what="view")
    except Invalid as err:
        found = re.fullmatch(r"rename it to '(.*)'", err.fix)
        if found:
            assert check_name(found[1], what="view") == found[1]


@pytest.mark.parametrize(("name", "guess"), [("Carrier-Delays", "carrier_delays"), ("7_days", "days"), ("a__b", "a_b")])
def test_a_refused_name_comes_with_a_spelling_that_works(name: str, guess: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_name(name, what="view")
    assert caught.value.fix == f"rename it to {guess!r}"


def test_a_reference_splits_into_team_and_name() -> None:
    assert split_ref("network/carrier_delays", what="view") == ("network", "carrier_delays")


@pytest.mark.parametrize("ref", ["", "network", "/", "network/", "/x", "a/b/c", "../x", "network/Carrier"])
def test_a_reference_of_another_form_is_refused(ref: str) -> None:
    with pytest.raises(Invalid):
        split_ref(ref, what="view")
