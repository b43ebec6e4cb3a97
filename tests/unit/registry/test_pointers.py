"""Pointers: where they go forward, where they go back, and who wins a race."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store_fake import MemoryStore, WatchedStore
from tests.registry_records import fixed_now
from tiffin.core.errors import Conflict, Denied, Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.manifests.records import Pointer
from tiffin.registry.pointers import MAX_PREVIOUS, advance, current, move, move_back, step_back

NOW_US = to_us(fixed_now())


def after(*digests: str) -> Pointer:
    """The pointer after promoting these, in this order."""
    pointer: Pointer | None = None
    for digest in digests:
        pointer = advance(pointer, digest, at_us=1)
    assert pointer is not None
    return pointer


def back(pointer: Pointer, steps: int = 1) -> Pointer:
    return step_back(pointer, steps, of="deployment 'eta/eta'", at_us=2)


def test_the_first_promotion_has_nothing_before_it() -> None:
    assert after("a") == Pointer(manifest="a", sequence=1, moved_at_us=1)


def test_a_promotion_remembers_what_was_before_newest_first() -> None:
    assert after("a", "b", "c").previous == ("b", "a")


def test_the_memory_is_bounded() -> None:
    pointer = after(*(f"m{number}" for number in range(100)))

    assert len(pointer.previous) == MAX_PREVIOUS
    assert pointer.previous[0] == "m98"


def test_rolling_back_goes_to_the_one_before_and_remembers_what_it_left() -> None:
    pointer = back(after("a", "b", "c"))

    assert (pointer.manifest, pointer.previous, pointer.abandoned) == ("b", ("a",), ("c",))


def test_rolling_back_twice_goes_two_back() -> None:
    pointer = back(back(after("a", "b", "c")))

    assert (pointer.manifest, pointer.previous, pointer.abandoned) == ("a", (), ("b", "c"))


@given(count=st.integers(2, 12), data=st.data())
def test_several_steps_are_the_same_as_one_step_several_times(count: int, data: st.DataObject) -> None:
    pointer = after(*(f"m{number}" for number in range(count)))
    steps = data.draw(st.integers(1, count - 1))
    one_by_one = pointer
    for _ in range(steps):
        one_by_one = back(one_by_one)

    at_once = back(pointer, steps)

    assert (at_once.manifest, at_once.previous, at_once.abandoned) == (one_by_one.manifest, one_by_one.previous, one_by_one.abandoned)


def test_a_promotion_after_a_rollback_goes_back_to_what_was_live_not_to_what_was_abandoned() -> None:
    pointer = advance(back(after("a", "b", "c")), "d", at_us=3)

    assert (pointer.manifest, pointer.previous, pointer.abandoned) == ("d", ("b", "a"), ("c",))
    assert back(pointer).manifest == "b"


def test_promoting_an_abandoned_manifest_again_forgives_it() -> None:
    assert advance(back(after("a", "b")), "b", at_us=3).abandoned == ()


@given(moves=st.lists(st.one_of(st.sampled_from("abcde"), st.none()), max_size=30))
def test_the_sequence_always_grows_so_that_no_two_states_share_a_tag(moves: list[str | None]) -> None:
    pointer = after("start")
    for digest in moves:
        before = pointer
        if digest is None:
            if not pointer.previous:
                continue
            pointer = back(pointer)
        else:
            pointer = advance(pointer, digest, at_us=1)

        assert pointer.sequence == before.sequence + 1
        assert pointer.to_bytes() != before.to_bytes()


def test_rolling_back_further_than_there_is_says_how_far_one_can() -> None:
    with pytest.raises(NotFound, match="1 earlier editions") as caught:
        back(after("a", "b"), 2)
    assert "at most 1" in caught.value.fix


@pytest.mark.parametrize("steps", [0, -1])
def test_rolling_back_by_no_step_is_refused(steps: int) -> None:
    with pytest.raises(Invalid, match="makes no sense"):
        back(after("a", "b"), steps)


def test_moving_to_the_current_manifest_writes_nothing() -> None:
    store = MemoryStore()
    move(store, "model", "eta", "eta", "a", now=fixed_now)
    before = dict(store.objects)

    pointer, changed = move(store, "model", "eta", "eta", "a", now=fixed_now)

    assert (pointer.manifest, changed) == ("a", False)
    assert store.objects == before


@pytest.mark.parametrize("start", [[], ["a"]], ids=["first ever", "later"])
def test_a_lost_race_is_read_again_and_both_moves_are_remembered(start: list[str]) -> None:
    store = MemoryStore()
    for digest in start:
        move(store, "model", "eta", "eta", digest, now=fixed_now)
    raced: list[str] = []

    def rival(operation: str, key: str) -> None:
        if operation == "put" and not raced:
            raced.append(key)
            move(store, "model", "eta", "eta", "rival", now=fixed_now)

    pointer, changed = move(WatchedStore(store, rival), "model", "eta", "eta", "mine", now=fixed_now)

    assert changed
    assert (pointer.manifest, pointer.previous) == ("mine", ("rival", *reversed(start)))
    assert current(store, "model", "eta", "eta") == pointer


def test_a_race_lost_to_the_same_manifest_is_no_move() -> None:
    store = MemoryStore()
    raced: list[str] = []

    def rival(operation: str, key: str) -> None:
        if operation == "put" and not raced:
            raced.append(key)
            move(store, "model", "eta", "eta", "same", now=fixed_now)

    pointer, changed = move(WatchedStore(store, rival), "model", "eta", "eta", "same", now=fixed_now)

    assert (pointer.sequence, changed) == (1, False)


@pytest.mark.parametrize("start", [[], ["a"]], ids=["first ever", "later"])
def test_a_pointer_that_moved_since_its_mover_began_is_left_to_the_winner(start: list[str]) -> None:
    store = MemoryStore()
    for digest in start:
        move(store, "model", "eta", "eta", digest, now=fixed_now)
    move(store, "model", "eta", "eta", "winner", now=fixed_now)

    with pytest.raises(Conflict) as caught:
        move(store, "model", "eta", "eta", "loser", now=fixed_now, since=len(start))

    assert caught.value.context["manifest"] == "winner"
    assert move(store, "model", "eta", "eta", "next", now=fixed_now, since=len(start) + 1)[1]


def test_a_race_that_is_always_lost_ends_in_a_conflict() -> None:
    store = MemoryStore()
    numbers = iter(range(1000))

    def rival(operation: str, key: str) -> None:
        if operation == "put":
            move(store, "model", "eta", "eta", f"rival{next(numbers)}", now=fixed_now)

    with pytest.raises(Conflict, match="model 'eta/eta'"):
        move(WatchedStore(store, rival), "model", "eta", "eta", "mine", now=fixed_now)


def test_a_rollback_that_meets_a_promotion_is_refused_because_one_back_means_something_else_now() -> None:
    store = MemoryStore()
    for digest in ("a", "b"):
        move(store, "deployment", "eta", "eta", digest, now=fixed_now)

    def rival(operation: str, key: str) -> None:
        if operation == "put":
            move(store, "deployment", "eta", "eta", "c", now=fixed_now)

    with pytest.raises(Conflict, match="rolling back"):
        move_back(WatchedStore(store, rival), "deployment", "eta", "eta", 1, now=fixed_now, check=lambda digest: None)
    found = current(store, "deployment", "eta", "eta")
    assert found is not None
    assert found.manifest == "c"


def test_a_wish_from_before_a_rollback_does_not_undo_it_and_a_later_one_does() -> None:
    store = MemoryStore()
    for digest in ("a", "b"):
        move(store, "deployment", "eta", "eta", digest, now=fixed_now)
    move_back(store, "deployment", "eta", "eta", 1, now=fixed_now, check=lambda digest: None)

    with pytest.raises(Denied, match="was rolled back"):
        move(store, "deployment", "eta", "eta", "b", now=fixed_now, asked_at_us=NOW_US - 1)
    assert move(store, "deployment", "eta", "eta", "b", now=fixed_now, asked_at_us=NOW_US + 1)[0].manifest == "b"


def test_there_is_no_pointer_before_the_first_promotion() -> None:
    assert current(MemoryStore(), "model", "eta", "eta") is None


def test_a_pointer_written_by_the_first_version_still_reads() -> None:
    old = b'{"format":"tiffin.pointer.v1","manifest":"a","previous":["b"],"sequence":2}'

    assert Pointer.from_bytes(old, name="pointer").abandoned == ()
