"""When a table is rebuilt after other teams, decided from what landed."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.orchestration.sensors_core import Decision, Landing, Upstream, decide
from tiffin.orchestration.sensors_days import pack_days, unpack_days
from tiffin.orchestration.sensors_memory import Memory, backlog

WEATHER = Upstream("network/weather", "team:network", "daily", "2013-01-01")
DELAYS = Upstream("fleet/delays", "team:fleet", "daily", "2013-01-01")
HOURS = Upstream("network/hours", "team:network", "hourly", "2013-01-01")
PLANES = Upstream("fleet/planes", "team:fleet", "snapshot", "2013-01-01")
BOTH = (DELAYS, WEATHER)
YEAR = [(date(2013, 1, 1) + timedelta(days=day)).isoformat() for day in range(365)]


def make_landings(upstream: Upstream, partitions: list[str], *, first: int = 1, run: str = "", changed: bool = True) -> list[Landing]:
    return [Landing(first + place, upstream.ref, name, run or f"run-of-{upstream.ref}", changed) for place, name in enumerate(partitions)]


def tick(memory: Memory, landings: list[Landing], upstreams=BOTH, *, now_s: float = 0.0, **options) -> Decision:
    upto = max([memory.after, *(one.storage_id for one in landings)])
    decision = decide(memory, landings, upstreams=upstreams, now_s=now_s, read_up_to=upto, **options)
    assert Memory.from_text(decision.memory.to_text()) == decision.memory
    return decision


def test_a_year_in_one_burst_is_one_run_and_all_of_it_is_consumed() -> None:
    landings = make_landings(DELAYS, YEAR) + make_landings(WEATHER, YEAR, first=1000)

    decision = tick(Memory(), landings)

    assert decision.rebuild is not None
    assert (list(decision.rebuild.days), decision.rebuild.consumed) == (YEAR, 730)
    assert decision.rebuild.upstream_runs == ("run-of-fleet/delays", "run-of-network/weather")
    assert backlog(decision.memory.to_text())["partitions_waiting"] == 0
    assert tick(decision.memory, []).rebuild is None
    assert len(decision.memory.to_text()) < 400


def test_one_upstream_late_starts_nothing_and_tells_its_owner_once() -> None:
    first = tick(Memory(), make_landings(DELAYS, YEAR[:31]), grace_s=3600)
    ticks = [first]
    for minute in range(1, 200):
        ticks.append(tick(ticks[-1].memory, [], now_s=60.0 * minute, grace_s=3600))

    notices = [notice for one in ticks for notice in one.notices]

    assert all(one.rebuild is None for one in ticks)
    assert [(one.owner, one.refs) for one in notices] == [("team:network", ("network/weather",))]
    assert list(notices[0].days) == YEAR[:31]
    assert "31 landed partitions wait for network/weather" in ticks[-1].why
    assert backlog(ticks[-1].memory.to_text())["late"] == ["network/weather"]


def test_two_late_views_of_one_owner_are_one_notice() -> None:
    other = Upstream("network/traffic", "team:network", "daily", "2013-01-01")
    first = tick(Memory(), make_landings(DELAYS, YEAR[:1]), (*BOTH, other))

    (notice,) = tick(first.memory, [], (*BOTH, other), now_s=1e6).notices

    assert notice.refs == ("network/traffic", "network/weather")


def test_an_owner_is_told_again_after_the_view_had_caught_up() -> None:
    one = tick(Memory(), make_landings(DELAYS, YEAR[:1]))
    two = tick(one.memory, [], now_s=1e5)
    three = tick(two.memory, make_landings(WEATHER, YEAR[:1], first=10), now_s=1.1e5)
    four = tick(three.memory, make_landings(DELAYS, YEAR[1:2], first=20), now_s=1.2e5)
    five = tick(four.memory, [], now_s=1.3e5)

    assert [len(found.notices) for found in (one, two, three, four, five)] == [0, 1, 0, 0, 1]
    assert three.rebuild is not None


def test_only_days_that_all_have_landed_go_into_the_run() -> None:
    one = tick(Memory(), make_landings(DELAYS, YEAR[:10]) + make_landings(WEATHER, YEAR[:7], first=100))
    two = tick(one.memory, make_landings(WEATHER, YEAR[7:10], first=200))

    assert one.rebuild is not None
    assert two.rebuild is not None
    assert (list(one.rebuild.days), one.rebuild.consumed) == (YEAR[:7], 14)
    assert (list(two.rebuild.days), two.rebuild.consumed) == (YEAR[7:10], 6)
    assert one.rebuild.key != two.rebuild.key


def test_a_repaired_day_of_one_view_starts_a_run_by_itself() -> None:
    before = tick(Memory(), make_landings(DELAYS, YEAR) + make_landings(WEATHER, YEAR, first=1000))

    after = tick(before.memory, make_landings(WEATHER, [YEAR[100]], first=2000))

    assert after.rebuild is not None
    assert (after.rebuild.days, after.rebuild.consumed) == ((YEAR[100],), 1)


def test_equal_content_that_had_landed_before_is_no_news() -> None:
    before = tick(Memory(), make_landings(DELAYS, YEAR) + make_landings(WEATHER, YEAR, first=1000))

    assert tick(before.memory, make_landings(WEATHER, YEAR, first=2000, changed=False)).rebuild is None
    first = tick(Memory(), make_landings(DELAYS, YEAR, changed=False) + make_landings(WEATHER, YEAR, first=1000, changed=False))
    assert first.rebuild is not None


def test_a_burst_that_is_still_arriving_is_waited_for_but_not_for_ever() -> None:
    memory, ticks = Memory(), []
    for minute, day in enumerate(YEAR[:30]):
        landings = make_landings(DELAYS, [day], first=10 * minute + 1) + make_landings(WEATHER, [day], first=10 * minute + 2)
        ticks.append(tick(memory, landings, now_s=60.0 * minute, settle_s=600))
        memory = ticks[-1].memory
    quiet = tick(memory, [], now_s=1800, settle_s=600)

    started = [one.rebuild.consumed for one in (*ticks, quiet) if one.rebuild is not None]
    assert started == [22, 22, 16]
    assert "waiting for the rest of the burst" in ticks[0].why


def test_no_run_starts_beside_one_that_is_still_building() -> None:
    landings = make_landings(DELAYS, YEAR[:1]) + make_landings(WEATHER, YEAR[:1], first=10)

    during = tick(Memory(), landings, busy="abc")

    assert during.rebuild is None
    assert "run abc is still building; 2 landed partitions wait" in during.why
    assert tick(during.memory, []).rebuild is not None


def test_a_day_of_an_hourly_view_has_landed_with_its_last_hour() -> None:
    hours = [f"2013-01-01-{hour:02d}:00" for hour in range(24)]
    upstreams = (DELAYS, HOURS)
    one = tick(Memory(), make_landings(DELAYS, YEAR[:1]) + make_landings(HOURS, hours[1:], first=10), upstreams)
    two = tick(one.memory, make_landings(HOURS, hours[:1], first=100), upstreams)

    assert one.rebuild is None
    assert two.rebuild is not None
    assert two.rebuild.days == (YEAR[0],)


def test_a_snapshot_must_have_landed_once_and_starts_nothing_by_itself() -> None:
    upstreams = (DELAYS, PLANES)
    one = tick(Memory(), make_landings(DELAYS, YEAR[:1]), upstreams)
    two = tick(one.memory, make_landings(PLANES, [""], first=10), upstreams)
    three = tick(two.memory, make_landings(PLANES, [""], first=20), upstreams)
    four = tick(three.memory, make_landings(DELAYS, YEAR[1:2], first=30), upstreams)

    assert [found.rebuild is not None for found in (one, two, three, four)] == [False, True, False, True]
    assert four.rebuild is not None
    assert four.rebuild.consumed == 2


def test_a_day_before_a_views_first_is_not_asked_of_it() -> None:
    young = Upstream("network/weather", "team:network", "daily", "2013-06-01")

    assert tick(Memory(), make_landings(DELAYS, YEAR[:1]), (DELAYS, young)).rebuild is not None


def test_other_assets_are_read_past() -> None:
    decision = tick(Memory(), [Landing(7, "eta/eta_model", "", "r"), Landing(9, "raw/flights", "", "r")])

    assert decision.memory.after == 9
    assert decision.memory.landed == {}


@st.composite
def histories(draw) -> tuple[list[Landing], list[int], list[bool]]:
    """Landings in any order, the ticks' borders, and which ticks lose their memory after the run was made."""
    days = YEAR[: draw(st.integers(1, 6))]
    pairs = draw(st.lists(st.tuples(st.sampled_from(BOTH), st.sampled_from(days)), min_size=1, max_size=25))
    landings = [Landing(place + 1, one.ref, day, f"r{place}") for place, (one, day) in enumerate(pairs)]
    borders = sorted(draw(st.sets(st.integers(0, len(landings)), max_size=8)) | {len(landings)})
    return landings, borders, draw(st.lists(st.booleans(), min_size=len(borders), max_size=len(borders)))


@given(histories())
def test_whatever_is_lost_every_landing_is_consumed_once(history: tuple[list[Landing], list[int], list[bool]]) -> None:
    """A tick is killed after its run was made and before its cursor was kept: the next one asks for the same run."""
    landings, borders, killed = history
    memory, runs = Memory(), {}
    steps = [*zip(borders, killed, strict=True), (len(landings), False), (len(landings), False)]
    for border, lost in steps:
        asked = next((run for run in runs.values() if run.sequence == memory.sequence + 1), None)
        upto = border if asked is None else asked.upto
        seen = [one for one in landings if memory.after < one.storage_id <= upto]
        decision = decide(memory, seen, upstreams=BOTH, now_s=0.0, read_up_to=upto, again=asked is not None)
        if asked is not None:
            assert decision.rebuild == asked
        if decision.rebuild is not None:
            runs.setdefault(decision.rebuild.key, decision.rebuild)
        if not lost:
            memory = decision.memory

    ready = {day for day in YEAR if all(any((one.ref, one.partition) == (up.ref, day) for one in landings) for up in BOTH)}
    assert sorted(run.sequence for run in runs.values()) == list(range(1, len(runs) + 1))
    assert {day for run in runs.values() for day in run.days} == ready
    assert {day for days in memory.waiting.values() for day in days}.isdisjoint(ready)
    # a landing that came after its day's run stands in a later run of the same day
    once = [day for run in runs.values() for day in run.days]
    most = {day: sum(one.partition == day for one in landings) for day in ready}
    assert all(once.count(day) <= most[day] for day in ready)


@given(st.sets(st.integers(0, 364)))
def test_days_are_packed_and_unpacked(days: set[int]) -> None:
    names = {YEAR[day] for day in days}

    assert unpack_days(pack_days(names)) == names


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "tiffin.landings.v0"}', '{"format": "tiffin.landings.v1", "after": 1}'])
def test_a_cursor_that_cannot_be_read_says_what_to_do(text: str) -> None:
    with pytest.raises(Invalid, match="reset the sensor's cursor"):
        Memory.from_text(text)
