"""Spoiled bytes: 100,000 new cases, and one of every kind of outcome that was ever found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.wire_fuzz import cells, read, run
from bench.wire_slow import SlowFlaw, slow_read
from tiffin.wire.flaws import BadRows
from tiffin.wire.packed import join_rows
from tiffin.wire.schema import RowSchema

CORPUS = Path(__file__).parents[2] / "golden" / "wire" / "corpus"
KINDS = {"length", "schema number", "check byte", "padding", "number", "code", "tail", "codec", "UTF-8", "varint", "limit", None}


def test_of_100_000_spoiled_rows_none_is_a_wrong_value_and_no_good_one_is_refused():
    tally = run(100_000, seed=11)

    assert tally.wrong == []
    assert sum(tally.cases.values()) >= 100_000
    assert set(tally.flaws) >= KINDS - {None, "limit"}
    # 255 of 256, within five standard deviations
    assert tally.plain > 1000
    assert abs(tally.plain_passed - tally.plain / 256) < 5 * (tally.plain / 256) ** 0.5 + 1


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_the_corpus_means_for_ever_what_it_meant(path):
    held = json.loads(path.read_text())
    schema, row = RowSchema.from_json(held["schema"]), bytes.fromhex(held["row"])

    try:
        columns, times = read(schema, join_rows([row]))
        found = (None, None)
    except BadRows as err:
        found = (err.context["what"], err.context.get("column"))
    try:
        slowly = slow_read(schema, row)
    except SlowFlaw as err:
        slowly = err.all

    assert found == (held["what"], held["column"])
    if held["what"] is None:
        assert slowly == ({name: cells(column)[0] for name, column in columns.items()}, int(times[0]))
    else:
        assert found in slowly


def test_the_corpus_has_every_kind_of_outcome():
    assert {json.loads(path.read_text())["what"] for path in CORPUS.glob("*.json")} == KINDS
