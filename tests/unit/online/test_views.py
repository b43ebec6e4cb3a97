"""The words in the server and what a reader is configured with."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online_case import SCHEMA, T0, online_view, view_record
from tiffin.core.errors import Corrupt
from tiffin.online.editions import Edition, LiveState
from tiffin.online.views import LivePointer, OnlineView

POINTER = LivePointer("abc234", "m" * 64, SCHEMA.digest, 1, T0, None, 5, 2)
EDITION = Edition("network", "congestion", "abc234", "m" * 64, "b" * 64, ("d" * 64,), SCHEMA, T0, None, 5)

pointers = st.builds(
    LivePointer,
    st.text("abc234", min_size=6, max_size=6),
    st.text("0123456789abcdef", max_size=64),
    st.text("0123456789abcdef", max_size=64),
    st.integers(1, 255),
    st.integers(-(2**62), 2**62),
    st.none() | st.integers(),
    st.none() | st.integers(),
    st.integers(0, 999),
)


def test_a_view_survives_json():
    view = online_view(view_record(ttl_us=7))

    assert OnlineView.from_json(json.loads(json.dumps(view.to_json()))) == view
    assert view.ref == "network/congestion"


@given(pointers)
def test_a_pointer_comes_back_from_its_bytes(pointer):
    assert LivePointer.from_bytes(pointer.to_bytes(), name="x") == pointer


def test_a_pointer_is_small_since_every_request_reads_it():
    assert len(POINTER.to_bytes()) < 400


@given(st.binary(max_size=40) | st.sampled_from([b"{}", b"[1]", b"null", b'"v"', b'{"v":1}', b'{"v":2}', b'{"v":3}']))
def test_other_bytes_are_no_pointer_and_no_state(data):
    with pytest.raises(Corrupt, match="team/view"):
        LivePointer.from_bytes(data, name="team/view")
    with pytest.raises(Corrupt, match="team/view"):
        LiveState.from_bytes(data, name="team/view")


@pytest.mark.parametrize("field", ["generation", "manifest", "schema", "schema_number", "watermark_us", "as_of_us", "ttl_us", "deltas"])
@pytest.mark.parametrize("value", [1.5, True, [], {}])
def test_a_pointer_with_a_field_of_another_type_is_corrupt(field, value):
    held = json.loads(POINTER.to_bytes())
    held[field] = value

    with pytest.raises(Corrupt):
        LivePointer.from_bytes(json.dumps(held).encode(), name="x")


def test_a_state_comes_back_from_its_bytes_and_equal_states_are_equal_bytes():
    for state in (LiveState(EDITION, None), LiveState(EDITION, EDITION.with_generation("zzz222").with_applying("c"))):
        assert LiveState.from_bytes(state.to_bytes(), name="x") == state
        assert LiveState.from_bytes(state.to_bytes(), name="x").to_bytes() == state.to_bytes()


def test_content_is_the_rows_and_not_the_watermark():
    assert EDITION.with_watermark(1).with_generation("zzz222").content == EDITION.content
    assert Edition(**{**fields(EDITION), "deltas": ()}).content != EDITION.content
    assert Edition(**{**fields(EDITION), "base": "c" * 64}).content != EDITION.content
    assert Edition(**{**fields(EDITION), "view": "other"}).content != EDITION.content


def test_another_way_to_keep_rows_is_another_content_and_no_extension():
    for changes in ({"ttl_us": 6}, {"as_of_us": T0}, {"buckets": 3}):
        other = Edition(**{**fields(EDITION), **changes})

        assert other.content != EDITION.content
        assert not other.extends(EDITION)
    replayed = Edition(**{**fields(EDITION), "as_of_us": T0})
    assert Edition(**{**fields(EDITION), "as_of_us": T0 + 1, "ttl_us": 7}).content == replayed.content


@pytest.mark.parametrize("make", [pytest.param(POINTER, id="pointer"), pytest.param(LiveState(EDITION, None), id="state")])
def test_the_bytes_of_the_first_version_decode(make):
    held = json.loads(make.to_bytes())
    old = {"v": 1, **{name: value for name, value in held.items() if name not in ("v", "buckets", "shards", "sequence")}}
    if "current" in old:
        old["current"] = {name: value for name, value in old["current"].items() if name not in ("life", "buckets", "shards")}

    assert type(make).from_bytes(json.dumps(old).encode(), name="x") == make


def test_an_edition_extends_only_its_own_beginning():
    base = Edition(**{**fields(EDITION), "deltas": ()})
    other = Edition(**{**fields(EDITION), "deltas": ("e" * 64, "d" * 64)})

    assert EDITION.extends(base)
    assert EDITION.extends(EDITION)
    assert not base.extends(EDITION)
    assert not other.extends(EDITION)


def test_another_generation_makes_the_live_one_the_previous_and_the_same_one_does_not():
    live = LiveState(EDITION, EDITION.with_generation("old222"))

    assert live.after(EDITION.with_watermark(9)).previous == live.previous
    assert live.after(EDITION.with_generation("new222")) == LiveState(EDITION.with_generation("new222"), EDITION, 2)


def fields(edition: Edition) -> dict:
    return {name: getattr(edition, name) for name in Edition.__slots__}
