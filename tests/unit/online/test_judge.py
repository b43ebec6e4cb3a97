"""A generation that is not plausible is refused before anything of it is stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.online_case import SCHEMA, T0, edition
from tests.unit.online.test_bring import VIEW, World, packed
from tiffin.core.errors import Corrupt, Invalid
from tiffin.online.judge import Limits, check_decodes, summarise
from tiffin.online.keyed_rows import KeyedRows, joined
from tiffin.online.publisher import Deletes, make_rows
from tiffin.wire.encodings import Values
from tiffin.wire.rows import pack

ROWS = edition(1, range(100))


def with_nulls(rows, column: str, share: float):
    """The rows with more nulls in one column."""
    valid = np.arange(len(rows.event_time_us)) >= share * len(rows.event_time_us)
    return replace(rows, columns={**rows.columns, column: Values(rows.columns[column].data, valid)})


def test_a_summary_counts_rows_and_nulls_and_no_tombstones():
    rows = with_nulls(ROWS, "load", 0.25)
    gone = Deletes(edition(1, range(200, 230)).keys, np.full(30, T0))

    made = make_rows(VIEW, rows.keys, rows.columns, rows.event_time_us, gone)
    found = summarise(SCHEMA, made.rows)

    assert len(made) == 130
    assert found.rows == 100
    assert found.null_rates["load"] == 0.25
    assert found.null_rates["delay"] == pytest.approx(np.mean(~rows.columns["delay"].valid))
    assert "edition" not in found.null_rates


@pytest.mark.parametrize(
    ("rows", "limits", "match"),
    [
        pytest.param(edition(2, range(49)), Limits(fewest_rows_share=0.5), "49 rows, the previous one 100", id="too few rows"),
        pytest.param(with_nulls(ROWS, "load", 0.9), Limits(null_rate_rise=0.1), "column 'load' is null in 90.0%", id="too many nulls"),
        pytest.param(ROWS, Limits(ranges={"delay": (0.0, 50.0)}), r"column 'delay'.*outside 0.0..50.0", id="outside its range"),
        pytest.param(ROWS, Limits(ranges={"delays": (0.0, None)}), "no number column 'delays'", id="a range of nothing"),
        pytest.param(ROWS, Limits(ranges={"near": (None, 0.5)}), "column 'near'", id="a vector outside its range"),
    ],
)
def test_a_limit_that_is_not_kept_refuses_the_generation_and_stores_nothing(rows, limits, match):
    world = World()
    world.publish(ROWS)
    before, objects = world.live(), dict(world.dev.objects)

    with pytest.raises(Invalid, match=match) as caught:
        world.publish(rows, limits=limits)

    assert caught.value.fix
    assert (world.live(), world.dev.objects, len(world.promoted)) == (before, objects, 1)


@pytest.mark.parametrize(
    ("rows", "limits"),
    [
        pytest.param(edition(2, range(50)), Limits(fewest_rows_share=0.5), id="just enough rows"),
        pytest.param(edition(2, range(100)), Limits(null_rate_rise=0.1, ranges={"delay": (0.0, 101.0)}), id="like before"),
        pytest.param(edition(2, range(1)), Limits(), id="nothing is declared"),
    ],
)
def test_a_plausible_generation_goes_live(rows, limits):
    world = World()
    world.publish(ROWS)

    world.publish(rows, limits=limits)

    assert world.live() == packed(rows)


def test_a_first_generation_has_nothing_to_be_compared_with():
    world = World()

    world.publish(edition(1, range(3)), limits=Limits(fewest_rows_share=1.0, null_rate_rise=0.0))

    assert world.live() == packed(edition(1, range(3)))


def test_packed_rows_that_do_not_decode_to_the_table_are_refused():
    other = edition(2, range(100))

    with pytest.raises(Corrupt, match="does not decode"):
        check_decodes("a/b", SCHEMA, ROWS.columns, pack(SCHEMA, other.columns, other.event_time_us))


def test_rows_are_joined_in_order():
    one, two = edition(1, range(5)), edition(1, range(5, 9))

    both = joined([KeyedRows.of(rows.keys, list(packed(rows).values())) for rows in (one, two)])

    assert both.key_list() == [*one.keys, *two.keys]
