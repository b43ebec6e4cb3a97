"""The kernel against a slow, obvious oracle and against DuckDB's ASOF join."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.asof.kernel import pick
from tiffin.core.errors import Invalid

LOW, HIGH = -(2**63), 2**63 - 1
EXTREMES = [LOW, LOW + 1, LOW + 7, -1, 0, 1, HIGH - 7, HIGH - 1, HIGH]

few_keys = st.integers(-1, 3)
any_keys = st.one_of(few_keys, st.sampled_from(EXTREMES), st.integers(LOW, HIGH))
near_times = st.integers(-4, 6)
any_times = st.one_of(near_times, st.sampled_from(EXTREMES), st.integers(LOW, HIGH))
ttls = st.one_of(st.none(), st.integers(0, 5), st.sampled_from([HIGH, HIGH - 1, 2**62]))

Label = tuple[int, int]
Row = tuple[int, int, int, int, int]


def oracle(labels: list[Label], rows: list[Row], ttl: int | None) -> list[int]:
    """What the rules say, in plain loops over Python integers."""
    answers = []
    for label_key, label_time in labels:
        best = -1
        for position, (key, event, known, written, sequence) in enumerate(rows):
            if key == -1 or key != label_key or known > label_time:
                continue
            if best == -1:
                best = position
                continue
            _, best_event, best_known, best_written, best_sequence = rows[best]
            if event != best_event:
                better = event > best_event
            elif known != best_known:
                better = known > best_known
            elif written != best_written:
                better = written > best_written
            elif sequence != best_sequence:
                better = sequence > best_sequence
            else:
                better = True  # equal in everything: the later position
            if better:
                best = position
        if best != -1 and ttl is not None and label_time - rows[best][1] > ttl:
            best = -1
        answers.append(best)
    return answers


def columns(tuples: list[Any], width: int) -> list[np.ndarray]:
    return [np.array([one[i] for one in tuples], dtype=np.int64) for i in range(width)]


def picked(labels: list[Label], rows: list[Row], ttl: int | None = None) -> list[int]:
    key, event, known, written, sequence = columns(rows, 5)
    return pick(*columns(labels, 2), key, event, known, written, sequence=sequence, ttl_us=ttl).tolist()


def tables(keys: st.SearchStrategy[int], times: st.SearchStrategy[int]) -> tuple[Any, Any]:
    small = st.integers(0, 2)
    labels = st.lists(st.tuples(keys, times), max_size=12)
    return labels, st.lists(st.tuples(keys, times, times, st.one_of(small, times), small), max_size=16)


near_labels, near_rows = tables(few_keys, near_times)
far_labels, far_rows = tables(any_keys, any_times)


@settings(max_examples=150, deadline=None)
@given(near_labels, near_rows, ttls)
def test_pick_equals_the_oracle_where_everything_ties(labels: list[Label], rows: list[Row], ttl: int | None) -> None:
    assert picked(labels, rows, ttl) == oracle(labels, rows, ttl)


@settings(max_examples=150, deadline=None)
@given(far_labels, far_rows, ttls)
def test_pick_equals_the_oracle_up_to_the_ends_of_int64(labels: list[Label], rows: list[Row], ttl: int | None) -> None:
    assert picked(labels, rows, ttl) == oracle(labels, rows, ttl)


@settings(max_examples=75, deadline=None)
@given(near_labels, near_rows, st.integers(0, 3))
def test_pick_equals_the_oracle_when_every_row_is_known_a_fixed_delay_after_its_event(
    labels: list[Label], rows: list[Row], delay: int
) -> None:
    delayed = [(key, event, event + delay, written, sequence) for key, event, _, written, sequence in rows]

    assert picked(labels, delayed) == oracle(labels, delayed, None)


@settings(max_examples=75, deadline=None)
@given(near_labels, near_rows, ttls, st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(labels: list[Label], rows: list[Row], ttl: int | None, random: Any) -> None:
    distinct = list(dict.fromkeys(rows))
    shuffled, asked = random.sample(distinct, len(distinct)), random.sample(labels, len(labels))
    straight = dict(zip(labels, picked(labels, distinct, ttl), strict=True))

    answers = picked(asked, shuffled, ttl)

    assert [shuffled[i] if i >= 0 else None for i in answers] == [distinct[straight[a]] if straight[a] >= 0 else None for a in asked]


def test_a_row_is_seen_from_the_instant_at_which_it_is_known() -> None:
    row = [(1, 10, 15, 0, 0)]

    assert picked([(1, 14), (1, 15)], row) == [-1, 0]


def test_a_backfill_written_later_serves_older_labels() -> None:
    assert picked([(1, 12)], [(1, 10, 10, 9_999, 0)]) == [0]


def test_a_late_row_with_a_newer_event_waits_and_the_older_row_serves_until_then() -> None:
    rows = [(1, 20, 50, 0, 0), (1, 10, 10, 0, 0), (1, 30, 40, 0, 0)]

    assert picked([(1, 9), (1, 10), (1, 39), (1, 40), (1, 60)], rows) == [-1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param((1, 1, 5, 9, 9), (1, 2, 2, 0, 0), id="event time first"),
        pytest.param((1, 1, 2, 9, 9), (1, 1, 3, 0, 0), id="then known at"),
        pytest.param((1, 1, 2, 3, 9), (1, 1, 2, 4, 0), id="then written at"),
        pytest.param((1, 1, 2, 3, 4), (1, 1, 2, 3, 5), id="then sequence"),
    ],
)
def test_ties_are_broken_in_order(older: Row, newer: Row) -> None:
    assert picked([(1, 9)], [older, newer]) == [1]
    assert picked([(1, 9)], [newer, older]) == [0]


def test_a_row_is_alive_at_exactly_its_ttl_and_expired_one_microsecond_later() -> None:
    assert picked([(1, 110), (1, 111)], [(1, 10, 10, 0, 0)], ttl=100) == [0, -1]


def test_ttl_counts_from_the_event_and_not_from_when_it_was_known() -> None:
    assert picked([(1, 105)], [(1, 10, 100, 0, 0)], ttl=50) == [-1]


def test_an_expired_row_is_null_and_never_falls_back() -> None:
    # Row 1 wins the tie on event time, so row 0 cannot answer although both have the same age.
    rows = [(1, 5, 5, 0, 0), (1, 10, 10, 0, 0)]

    assert picked([(1, 21)], rows, ttl=10) == [-1]


def test_a_null_key_sees_nothing_and_is_seen_by_nobody() -> None:
    assert picked([(-1, 9), (1, 9)], [(-1, 1, 1, 0, 0)]) == [-1, -1]


def test_duplicate_labels_each_get_an_answer() -> None:
    assert picked([(1, 9), (1, 9), (1, 9)], [(1, 1, 1, 0, 0)]) == [0, 0, 0]


@pytest.mark.parametrize("rows", [pytest.param([], id="no rows"), pytest.param([(-1, 0, 0, 0, 0)], id="only null keys")])
def test_nothing_to_choose_from_gives_no_row(rows: list[Row]) -> None:
    assert picked([(1, 5), (2, 5)], rows) == [-1, -1]
    assert picked([], rows) == []


def test_a_label_never_gets_a_row_of_another_key() -> None:
    rows = [(2, 1, 1, 0, 0), (5, 1, 1, 0, 0)]

    assert picked([(1, 9), (2, 0), (3, 9), (5, 0), (6, 9)], rows) == [-1] * 5


def test_times_and_keys_at_both_ends_of_int64_do_not_overflow() -> None:
    rows = [(LOW, LOW, LOW, 0, 0), (LOW, HIGH, HIGH, 0, 0), (HIGH, LOW, HIGH, 0, 0)]

    assert picked([(LOW, LOW), (LOW, HIGH), (HIGH, HIGH - 1), (HIGH, HIGH), (0, 0)], rows) == [0, 1, -1, 2, -1]
    assert picked([(LOW, HIGH), (HIGH, HIGH)], rows, ttl=HIGH) == [1, -1]


def test_times_before_1970_work() -> None:
    assert picked([(1, -5), (1, -11)], [(1, -10, -10, 0, 0)], ttl=5) == [0, -1]


def test_a_ttl_that_reaches_before_the_beginning_of_time_keeps_every_row() -> None:
    assert picked([(1, LOW + 5)], [(1, LOW, LOW, 0, 0)], ttl=100) == [0]


@pytest.mark.parametrize("ttl", [-1, 2**63])
def test_a_ttl_outside_int64_is_refused(ttl: int) -> None:
    with pytest.raises(Invalid, match="ttl_us"):
        picked([(1, 1)], [(1, 1, 1, 1, 1)], ttl=ttl)


def test_arrays_of_another_type_or_length_are_refused() -> None:
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)

    with pytest.raises(Invalid, match="row array is int64"):
        pick(one, one, two, one, one, one)
    with pytest.raises(Invalid, match="label array is float64"):
        pick(one.astype(float), one, two, two, two, two)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pick_equals_duckdbs_asof_join_where_the_two_mean_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, rows, keys = 20_000, 15_000, 300
    event = random.permutation(np.arange(-40_000, 40_000))[:rows].astype(np.int64) * 1_000_000  # no ties
    row_key, label_key = random.integers(0, keys, rows), random.integers(0, keys + 20, labels)
    label_time = random.choice(np.arange(-45_000, 45_000), labels).astype(np.int64) * 1_000_000

    answers = pick(label_key, label_time, row_key, event, event, event)

    asked = pa.table({"id": np.arange(labels), "k": label_key, "t": label_time})
    offered = pa.table({"row": np.arange(rows), "k": row_key, "t": event})
    with duckdb.connect() as db:
        db.register("asked", asked)
        db.register("offered", offered)
        found = db.sql("select coalesce(o.row, -1) as row from asked a asof left join offered o on a.k = o.k and a.t >= o.t order by a.id")
        expected = found.to_arrow_table()["row"].to_numpy()
    assert (answers == expected).all()
    assert 0 < (answers == -1).sum() < labels
