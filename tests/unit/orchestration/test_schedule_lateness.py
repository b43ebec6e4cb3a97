"""A late upstream is named once, to its owner, with everything that is late because of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tiffin.orchestration.schedule_lateness import Late, Promise, late_upstreams, news

NOW = datetime(2030, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def promise(owner: str, *upstream: str, days_ago: float | None, fresh: float | None = 1.25) -> Promise:
    at = None if days_ago is None else NOW - days_ago * DAY
    return Promise(f"team:{owner}", upstream, at, None if fresh is None else fresh * DAY)


def test_everything_on_time_is_nobodys_fault() -> None:
    assert late_upstreams({"a": promise("x", days_ago=1), "b": promise("y", "a", days_ago=1.2)}, now=NOW) == []


def test_one_late_source_is_named_once_whoever_waits_for_it() -> None:
    world = {
        "raw/flights": promise("network", days_ago=3, fresh=None),
        "network/delays": promise("network", "raw/flights", days_ago=3),
        "fleet/load": promise("fleet", "raw/flights", days_ago=3),
        "eta/table": promise("eta", "network/delays", "fleet/load", days_ago=3),
    }

    [late] = late_upstreams(world, now=NOW)

    assert (late.ref, late.owner) == ("raw/flights", "team:network")
    assert late.affects == ("eta/table", "fleet/load", "network/delays")


def test_who_did_not_use_what_is_there_is_the_cause_itself() -> None:
    world = {"raw/flights": promise("network", days_ago=1), "network/delays": promise("network", "raw/flights", days_ago=3)}

    assert [late.ref for late in late_upstreams(world, now=NOW)] == ["network/delays"]


def test_two_causes_are_two_names() -> None:
    world = {
        "a": promise("x", days_ago=4),
        "b": promise("y", days_ago=5),
        "c": promise("z", "a", "b", days_ago=5),
    }

    assert [(late.ref, late.affects) for late in late_upstreams(world, now=NOW)] == [("a", ("a",)), ("b", ("b", "c"))]


def test_what_does_not_exist_yet_is_late_because_of_what_it_waits_for() -> None:
    world = {"a": promise("x", days_ago=None, fresh=None), "b": promise("y", "a", days_ago=None)}

    assert late_upstreams(world, now=NOW) == [Late("a", "team:x", None, ("b",))]


def test_a_cause_is_told_once_and_again_after_it_moved_and_stopped() -> None:
    first = late_upstreams({"a": promise("x", days_ago=3)}, now=NOW)
    later = late_upstreams({"a": promise("x", days_ago=2)}, now=NOW)

    told, memory = news(first, set())
    again, memory = news(first, memory)
    moved, memory = news(later, memory)

    assert (told, again, moved) == (first, [], later)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.booleans(), st.sets(st.integers(0, 7))), min_size=1, max_size=8))
def test_every_broken_promise_has_a_cause_and_cycles_end(nodes: list[tuple[int | None, bool, set[int]]]) -> None:
    world = {
        str(place): promise("x", *map(str, ups), days_ago=ago, fresh=1 if told else None) for place, (ago, told, ups) in enumerate(nodes)
    }

    found = late_upstreams(world, now=NOW)

    assert {ref for late in found for ref in late.affects} == {ref for ref, one in world.items() if one.is_late(NOW)}
