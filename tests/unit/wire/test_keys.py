"""Entity keys: injective, the same from every source, safe in patterns."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.wire.encodings import Values, strings
from tiffin.wire.keys import (
    encode_keys,
    generation_token,
    owner_key,
    pack_keys,
    pointer_key,
    registry_key,
    row_prefix,
    schema_key,
    state_key,
    token,
)
from tiffin.wire.packed import split_rows

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
awkward = st.text(st.sampled_from("\0\x01ÿas\u0301é"), max_size=5)
WIDTHS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def part(kind: str) -> st.SearchStrategy:
    return st.one_of(text, awkward) if kind == "string" else st.integers(-(2 ** (WIDTHS[kind] - 1)), 2 ** (WIDTHS[kind] - 1) - 1)


def key(kinds: list[str], values: list) -> bytes:
    fields = [(f"k{place}", kind) for place, kind in enumerate(kinds)]
    return encode_keys(fields, {f"k{place}": [value] for place, value in enumerate(values)})[0][0]


def meaning(values: list) -> list:
    return [unicodedata.normalize("NFC", value) if isinstance(value, str) else value for value in values]


@st.composite
def two_keys(draw):
    kinds = draw(st.lists(st.sampled_from(["string", *WIDTHS]), min_size=1, max_size=3))
    return kinds, *[[draw(part(kind)) for kind in kinds] for _ in range(2)]


@given(two_keys())
def test_two_keys_share_bytes_only_if_they_mean_the_same(case):
    kinds, one, other = case

    assert (key(kinds, one) == key(kinds, other)) == (meaning(one) == meaning(other))


@given(st.lists(awkward, min_size=2, max_size=3), st.lists(awkward, min_size=2, max_size=3))
def test_no_composite_key_runs_over_into_another(one, other):
    if len(one) == len(other):
        kinds = ["string"] * len(one)
        assert (key(kinds, one) == key(kinds, other)) == (meaning(one) == meaning(other))


@given(st.sampled_from(list(WIDTHS)), st.data())
def test_numbers_sort_like_their_values(kind, data):
    one, other = data.draw(part(kind)), data.draw(part(kind))

    assert (key([kind], [one]) < key([kind], [other])) == (one < other)


@pytest.mark.parametrize(
    ("kinds", "values", "expected"),
    [
        pytest.param(["string"], ["UA"], b"sUA", id="text"),
        pytest.param(["string"], [""], b"s", id="empty text"),
        pytest.param(["int8"], [1], b"b\x81", id="int8"),
        pytest.param(["int16"], [-2], b"h\x7f\xfe", id="int16"),
        pytest.param(["int32"], [0], b"i\x80\0\0\0", id="int32"),
        pytest.param(["int64"], [-(2**63)], b"q" + b"\0" * 8, id="int64"),
        pytest.param(["string", "int8"], ["a\0b", 0], b"sa\0\xffb\0b\x80", id="composite with a zero byte"),
        pytest.param(["string", "string"], ["a", "b\0"], b"sa\0sb\0\xff", id="the last part is not ended"),
        pytest.param(["string"], ["e\u0301"], "sé".encode(), id="decomposed"),
    ],
)
def test_key_bytes_are_fixed_for_ever(kinds, values, expected):
    assert key(kinds, values) == expected


def test_every_source_gives_the_same_bytes():
    names = ["UA", "é", "a\0b"]
    sources = [
        names,
        np.array(names, dtype=object),
        np.array([name.encode() for name in names], dtype=object),
        [n.encode() for n in names],
        strings(names),
        np.array(names),
    ]
    encoded = [encode_keys([("k", "string")], {"k": source})[0] for source in sources]
    numbers = [
        [1, -2],
        np.array([1, -2], dtype=np.int8),
        np.array([1, -2], dtype=np.int64),
        np.array([1, -2], dtype=object),
        Values(np.array([1, -2])),
        [np.int16(1), np.int16(-2)],
    ]
    whole = [encode_keys([("k", "int16")], {"k": source})[0] for source in numbers]

    assert all(found == encoded[0] for found in encoded)
    assert all(found == whole[0] for found in whole)


def test_a_null_part_makes_the_row_keyless():
    keys, valid = encode_keys([("a", "string"), ("n", "int8")], {"a": ["x", None, "z", None], "n": [1, 2, None, None]})

    assert valid.tolist() == [True, False, False, False]
    assert keys == [b"sx\0b\x81", b"", b"", b""]
    assert encode_keys([("n", "int8")], {"n": Values(np.array([1, 999]), np.array([True, False]))})[0] == [b"b\x81", b""]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("int8", [1, 128], r"key part 'k', row 1: value 128 is not allowed: expected -128\.\.127"),
        ("int64", [2**63], "9223372036854775808"),
        ("int8", [1.0], "expected a whole number"),
        ("int8", [True], "expected a whole number"),
        ("int8", ["1"], "expected a whole number"),
        ("int8", np.array([1.5]), "holds float64"),
        ("string", [b"ok", b"\xff"], "key part 'k', row 1: value b'.xff' is not allowed"),
        ("string", [7], "expected text"),
        ("string", ["\ud800"], "expected text"),
        ("float", [1], "has type 'float'"),
    ],
)
def test_a_value_that_is_no_key_is_refused_by_part_and_row(kind, values, message):
    with pytest.raises(Invalid, match=message):
        encode_keys([("k", kind)], {"k": values})


def test_uneven_and_missing_parts_are_refused():
    with pytest.raises(Invalid, match="'b' has 1 rows, 'a' has 2"):
        encode_keys([("a", "string"), ("b", "int8")], {"a": ["x", "y"], "b": [1]})
    with pytest.raises(Invalid, match="key part 'carrier' is missing") as caught:
        encode_keys([("carrier", "string")], {"carier": ["UA"]})
    assert "did you mean 'carier'" in caught.value.fix


def test_tokens_are_fixed_for_ever_and_safe_in_patterns():
    assert (token("network"), token("eta"), generation_token("abc"), generation_token("abc", 1)) == (b"gae3", b"mol2", b"imkfaz", b"vlp2v6")
    for name in ("network", "congestion", "x", "a_1"):
        assert re.fullmatch(rb"[a-z2-7]{4}", token(name))


def test_what_a_view_keeps_never_meets_its_rows_or_another_view():
    rows = row_prefix("network", "congestion", b"abc234")
    others = [
        pointer_key("network", "congestion"),
        state_key("network", "congestion"),
        registry_key("network", "congestion"),
        owner_key("network", "congestion"),
        schema_key("network", "congestion", "0" * 64),
    ]

    assert len({rows, *others}) == 6
    assert all(name.startswith(rows[:8] + b".") for name in others)
    with pytest.raises(Invalid, match="generation"):
        row_prefix("network", "congestion", b"abc*34")
    assert owner_key("network") == token("network") + b".owner"


MIXED = st.one_of(st.none(), st.text("ab", max_size=3), awkward)


def slow_key(kinds: list[str], values: list) -> bytes:
    """A key, part by part, as its description reads."""
    out = b""
    for place, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        if value is None:
            return b""
        if kind == "string":
            plain = unicodedata.normalize("NFC", value).encode()
            out += b"s" + plain.replace(b"\0", b"\0\xff") + (b"" if place == len(kinds) - 1 else b"\0")
        else:
            out += kind.replace("int8", "b").replace("int16", "h").replace("int32", "i").replace("int64", "q").encode()
            out += (value + 2 ** (WIDTHS[kind] - 1)).to_bytes(WIDTHS[kind] // 8, "big")
    return out


def as_sources(kind: str, values: list) -> list:
    """The same part in every form it may come in."""
    as_objects = np.array([*values, None], dtype=object)[:-1]
    if kind != "string":
        there = np.array([value is not None for value in values], dtype=bool)
        numbers = np.array([0 if value is None else value for value in values], dtype=np.int64)
        return [values, as_objects, Values(numbers, there), *([] if None in values else [numbers])]
    forms = [values, as_objects, [None if value is None else value.encode() for value in values], strings(values)]
    if None in values or any(value.endswith("\0") for value in values):  # numpy's fixed-size text loses zeros at its end
        return forms
    return [*forms, np.array(values, dtype="U9"), np.array([value.encode() for value in values], dtype="S30")]


@settings(max_examples=200)
@given(st.data())
def test_every_form_of_a_column_gives_the_keys_of_the_description(data):
    kinds = data.draw(st.lists(st.sampled_from(["string", "string", "int8", "int64"]), min_size=1, max_size=3))
    rows = data.draw(st.integers(0, 5))
    drawn = [data.draw(st.lists(MIXED if k == "string" else st.one_of(st.none(), part(k)), min_size=rows, max_size=rows)) for k in kinds]
    expected = [slow_key(kinds, list(row)) for row in zip(*drawn, strict=True)]
    fields = [(f"k{place}", kind) for place, kind in enumerate(kinds)]
    choices = [data.draw(st.sampled_from(range(len(as_sources(kind, values))))) for kind, values in zip(kinds, drawn, strict=True)]
    columns = {name: as_sources(kind, values)[at] for (name, kind), values, at in zip(fields, drawn, choices, strict=True)}

    keys, valid = encode_keys(fields, columns)
    packed, packed_valid = pack_keys(fields, columns)

    assert keys == expected
    assert valid.tolist() == packed_valid.tolist() == [key != b"" for key in expected]
    assert [key for key, there in zip(split_rows(packed), valid.tolist(), strict=True) if there] == [key for key in expected if key]


def test_keys_of_one_width_are_a_matrix():
    numbers = pack_keys([("n", "int64")], {"n": np.arange(5)})[0].matrix
    texts = pack_keys([("a", "string"), ("n", "int8")], {"a": np.array(["UA", "AA"]), "n": [1, None]})[0].matrix

    assert numbers.shape == (5, 9)
    assert texts.shape == (2, 6)
    assert texts[0].tobytes() == b"sUA\0b\x81"
    assert pack_keys([("a", "string")], {"a": ["UA", "DAL"]})[0].matrix is None


def test_a_zero_byte_within_a_text_is_escaped_whatever_the_text_came_in():
    for column in (["a\0b", "c"], np.array(["a\0b", "c"]), np.array([b"a\0b", b"c"]), strings(["a\0b", "c"])):
        assert encode_keys([("k", "string")], {"k": column})[0] == [b"sa\0\xffb", b"sc"]
