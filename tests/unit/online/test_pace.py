"""A publication yields while the server is busy, never for ever, and not to noise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiffin.online.pace import Pace

QUICK, SLOW = 0.0002, 0.05


def test_it_pauses_longer_while_answers_are_slow_and_stops_when_they_are_quick_again():
    pace = Pace()

    busy = [pace.after(latency, worked_s=1.0) for latency in [QUICK, *[SLOW] * 5]]
    calm = [pace.after(QUICK, worked_s=1.0) for _ in range(8)]

    assert busy[0] == 0.0
    assert busy[1:] == sorted(busy[1:])
    assert busy[1] > 0.0
    assert calm == sorted(calm, reverse=True)
    assert calm[-1] == 0.0


def test_noise_below_the_slack_is_no_reason():
    pace = Pace()

    assert [pace.after(latency, worked_s=1.0) for latency in (QUICK, 4 * QUICK, 5 * QUICK)] == [0.0, 0.0, 0.0]


def test_a_server_that_became_slower_for_good_does_not_hold_a_publication_up():
    pace = Pace()
    pace.after(QUICK, worked_s=1.0)

    pauses = [pace.after(SLOW, worked_s=1.0) for _ in range(300)]

    assert max(pauses) <= pace.longest_s
    assert pauses[-1] == 0.0


@given(st.lists(st.floats(0.0, 10.0), max_size=50))
def test_a_pause_is_never_negative_nor_longer_than_the_longest(latencies):
    pace = Pace()

    assert all(0.0 <= pace.after(latency, worked_s=1.0) <= pace.longest_s for latency in latencies)


def test_at_most_half_of_the_time_is_spent_pausing():
    pace = Pace()
    pace.after(QUICK, worked_s=0.02)

    pauses = [pace.after(SLOW, worked_s=0.02) for _ in range(10)]

    assert max(pauses) == 0.02
