"""A publisher that a newer attempt at its step has overtaken turns nothing live."""

from __future__ import annotations

import pytest

from tests.object_store_fake import MemoryStore
from tests.online_case import T0, edition, view_record
from tests.online_memory_store import MemoryOnlineStore
from tiffin.compute.fence import Attempt, take
from tiffin.core.errors import Conflict
from tiffin.online.editions import LiveState
from tiffin.online.publisher import LAST_MOMENTS, Published, publish_delta, publish_generation
from tiffin.orchestration.online_assets import newest_wins

VIEW = view_record()


class World:
    """A bucket, a server, and what was promoted."""

    def __init__(self) -> None:
        self.dev, self.store, self.promoted = MemoryStore(), MemoryOnlineStore(), list[str]()

    def take(self) -> Attempt:
        return take(self.dev, "run", "network__congestion_online")

    def live(self) -> LiveState | None:
        return self.store.state(VIEW.team, VIEW.name)

    def publish(self, number: int, fence: Attempt | None, *, upon: Published | None = None, at=lambda step: None) -> Published:  # type: ignore[no-untyped-def]
        rows = edition(number, range(9), event_time_us=T0 + number * 1_000_000)
        given = {
            "keys": rows.keys,
            "columns": rows.columns,
            "event_time_us": rows.event_time_us,
            "watermark_us": T0 + number,
            "as_of_us": None,
            "dev": self.dev,
            "promote": self.promoted.append,
            "store": self.store,
            "fence": fence,
            "at": at,
        }
        return publish_generation(VIEW, **given) if upon is None else publish_delta(VIEW, **given, current=upon.record)


@pytest.mark.parametrize("moment", LAST_MOMENTS)
@pytest.mark.parametrize("is_delta", [False, True], ids=["generation", "delta"])
def test_whoever_is_overtaken_stops_before_others_see_it(moment: str, is_delta: bool) -> None:
    world = World()
    first = world.publish(1, None)
    fence, before, seen = world.take(), world.live(), list(world.promoted)

    def overtake(step: str) -> None:
        if step == moment:
            world.take()

    with pytest.raises(Conflict, match="attempt 2 took its place"):
        world.publish(2, fence, upon=first if is_delta else None, at=overtake)

    live = world.live()
    assert live is not None
    assert before is not None
    if moment == "before-promote":
        assert world.promoted == seen
    if moment != "before-watermark":
        # a delta is marked as under way before its rows are written; readers do not mind the mark
        assert live.current.with_applying("") == before.current
    assert live.current.watermark_us == before.current.watermark_us


@pytest.mark.parametrize("is_delta", [False, True], ids=["generation", "delta"])
def test_the_newer_attempt_completes_what_the_older_one_left(is_delta: bool) -> None:
    world = World()
    first = world.publish(1, None)
    fence = world.take()

    def overtake(step: str) -> None:
        if step == "before-flip":
            world.take()

    upon = first if is_delta else None
    with pytest.raises(Conflict):
        world.publish(2, fence, upon=upon, at=overtake)
    done = world.publish(2, world.take(), upon=upon)

    live = world.live()
    assert live is not None
    assert (live.current.manifest, live.current.applying, live.current.watermark_us) == (done.manifest, "", T0 + 2)


class Publisher:
    """Meets so many conflicts, then publishes."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts, self.calls = conflicts, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.conflicts:
            raise Conflict("another publisher was faster", fix="publish again")
        return "published"


def test_the_newest_attempt_looks_again_when_it_meets_the_last_act_of_an_older_one() -> None:
    world = World()
    world.take()

    assert newest_wins(Publisher(1), world.take(), "network/congestion") == "published"


@pytest.mark.parametrize("fenced", [False, True], ids=["no fence", "first attempt"])
def test_where_no_older_attempt_can_be_a_conflict_stays_one(fenced: bool) -> None:
    world, publisher = World(), Publisher(1)

    with pytest.raises(Conflict, match="another publisher was faster"):
        newest_wins(publisher, world.take() if fenced else None, "network/congestion")

    assert publisher.calls == 1


def test_an_older_attempt_is_told_so_and_does_not_try_again() -> None:
    world, publisher = World(), Publisher(1)
    world.take()
    older = world.take()
    world.take()

    with pytest.raises(Conflict, match="attempt 3 took its place"):
        newest_wins(publisher, older, "network/congestion")

    assert publisher.calls == 1


def test_a_rival_that_is_no_older_attempt_is_still_told() -> None:
    world = World()
    world.take()

    with pytest.raises(Conflict, match="another publisher was faster"):
        newest_wins(Publisher(9), world.take(), "network/congestion")
