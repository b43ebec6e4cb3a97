"""Does one column of a training table give the label away?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tiffin.orchestration.checks_training import explained, label_leakage

ROWS = 4000
RANDOM = np.random.default_rng(5)
LABEL = RANDOM.normal(7, 40, ROWS)


def honest(strength: float) -> np.ndarray:
    return LABEL * strength + RANDOM.normal(0, 40, ROWS)


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array(LABEL / 60), id="another unit"),
        pytest.param(pa.array(-LABEL + RANDOM.normal(0, 1, ROWS)), id="with noise"),
        pytest.param(pa.array(np.square(LABEL - 300)), id="not linear"),
        pytest.param(pa.array([f"band {int(value // 5)}" for value in LABEL]), id="as words"),
        pytest.param(pa.array(LABEL, mask=RANDOM.random(ROWS) < 0.02), id="with some nulls"),
    ],
)
def test_the_label_in_other_words_is_found(column: pa.Array) -> None:
    rows = pa.table({"label": LABEL, "other": column, "known": honest(0.5)})

    finding = label_leakage(rows, label="label", columns=["known", "other"])

    assert not finding.passed
    assert finding.description.startswith("other gives the label")
    assert finding.evidence["explained"]["other"] > 0.9 > finding.evidence["explained"]["known"]


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array(honest(1.0)), id="a good feature"),
        pytest.param(pa.array([f"N{row}" for row in range(ROWS)]), id="a key that occurs once"),
        pytest.param(pa.array(np.full(ROWS, 3.0)), id="a constant"),
        pytest.param(pa.nulls(ROWS, pa.float64()), id="nothing but nulls"),
    ],
)
def test_an_honest_column_passes(column: pa.Array) -> None:
    assert label_leakage(pa.table({"label": LABEL, "other": column}), label="label", columns=["other"]).passed


def test_a_flag_as_label_is_read_like_a_number() -> None:
    late = LABEL > 30
    rows = pa.table({"late": late, "minutes": LABEL, "luck": RANDOM.normal(0, 1, ROWS)})

    found = label_leakage(rows, label="late", columns=["minutes", "luck"])

    assert found.description.startswith("minutes gives the label 'late' away")
    assert explained(pa.chunked_array([rows["luck"].combine_chunks()]), late.astype(np.float64)) < 0.05


def test_a_table_without_rows_or_columns_gives_nothing_away() -> None:
    rows = pa.table({"label": LABEL, "other": LABEL})

    assert label_leakage(rows.slice(0, 0), label="label", columns=["other"]).passed
    assert label_leakage(rows, label="label", columns=[]).passed
