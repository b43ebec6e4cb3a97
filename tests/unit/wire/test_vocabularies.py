"""Words and codes: any text comes back, nothing outside the vocabulary is taken."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.wire.columns import strings, to_strings
from tiffin.wire.encodings import canonical, parse_encoding
from tiffin.wire.schema import Column
from tiffin.wire.vocabularies import vocabulary_of, vocabulary_text

word = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).map(lambda text: text[:40])


@settings(max_examples=150)
@given(st.lists(word, min_size=1, max_size=20), st.data())
def test_every_word_and_null_comes_back(words, data):
    try:
        text = vocabulary_text(tuple(words))
    except Invalid:
        words = list(dict.fromkeys(words))[:1]
        text = vocabulary_text(tuple(words))
    vocabulary = vocabulary_of(text)
    rows = data.draw(st.lists(st.one_of(st.none(), st.sampled_from(vocabulary.words)), max_size=8))
    found = canonical(Column("x", f"cat:{text}"), strings(rows))

    codes = vocabulary.encode("x", found)

    assert codes.tolist() == [0 if row is None else vocabulary.words.index(row) + 1 for row in rows]
    picked = codes if found.valid is None else codes[found.valid]
    assert to_strings(vocabulary.decode(picked, found.valid)) == rows


@given(st.lists(word, min_size=2, max_size=9, unique=True), word)
def test_a_text_that_is_no_word_is_refused_by_row(words, other):
    try:
        column = Column("x", f"cat:{vocabulary_text(tuple(words))}")
    except Invalid:
        return
    known = parse_encoding(column.encoding).vocabulary.words
    given_rows = strings([known[0], other])

    if to_strings(canonical(Column("x", "str:99"), given_rows))[1] in known:
        canonical(column, given_rows)
    else:
        with pytest.raises(Invalid, match="column 'x', row 1: value"):
            canonical(column, given_rows)


def test_the_refusal_offers_the_nearest_word():
    column = Column("carrier", 'cat:["UA","AA","Delta"]')
    for wrong in ("UAA", "ua", "UA\0", "", "a text longer than any word"):
        with pytest.raises(
            Invalid, match=r"column 'carrier', row 1: value .* is not allowed: expected one of 'UA', 'AA', 'Delta'"
        ) as caught:
            canonical(column, strings(["Delta", wrong]))
        assert caught.value.context == {"column": "carrier", "row": 1}
    with pytest.raises(Invalid) as caught:
        canonical(column, strings(["UAA"]))
    assert "did you mean 'UA'" in caught.value.fix or "did you mean 'AA'" in caught.value.fix


def test_codes_take_one_byte_up_to_255_words_and_then_two():
    for count, width in ((1, 1), (255, 1), (256, 2), (65_535, 2)):
        words = tuple(f"word {number}" for number in range(count))
        form = parse_encoding(f"cat:{vocabulary_text(words)}")
        rows = [words[-1], words[0], None]

        codes = form.vocabulary.encode("x", canonical(Column("x", f"cat:{vocabulary_text(words)}"), strings(rows)))

        assert (form.stored.itemsize, codes.tolist()) == (width, [count, 1, 0])
    with pytest.raises(Invalid, match="65536 words"):
        vocabulary_text(tuple(map(str, range(65_536))))


def test_a_vocabulary_has_one_spelling():
    assert vocabulary_text(("e\u0301", "ÅB")) == '["é","ÅB"]'
    with pytest.raises(Invalid, match="'é' stands twice"):
        vocabulary_text(("é", "e\u0301"))
    for text in ("[]", '["a", "b"]', '["a","a"]', '"a"', "[1]", '["\\u00e9"]', '["e\u0301"]', '["a"', "", '{"a":1}'):
        with pytest.raises(Invalid, match="vocabulary"):
            parse_encoding(f"cat:{text}")
    for bad in ("x" * 256, "a\0b", "\ud800"):
        with pytest.raises(Invalid, match="word"):
            vocabulary_text((bad,))


def test_words_that_share_a_mark_still_get_codes_of_their_own():
    words = [f"{number:024d}" for number in range(2000)]
    vocabulary = vocabulary_of(json.dumps(words, separators=(",", ":")))
    codes = vocabulary.encode("x", strings(words))

    assert codes.tolist() == list(range(1, 2001))
    assert np.unique(vocabulary.marks[1:]).size == 2000
