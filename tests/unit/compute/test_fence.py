"""The fence: numbers of attempts, and that of two attempts at a step only the newer one is heard, in whatever order they come."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interleaving import Turn, TurnFence, TurnStore, interleave
from tests.object_store_fake import MemoryStore
from tiffin.compute.fence import Attempt, FenceRecord, look, raised, resume, take
from tiffin.core.clock import wall_clock
from tiffin.core.errors import Conflict, Invalid, PlatformError
from tiffin.manifests.records import Pointer
from tiffin.registry.pointers import current, move
from tiffin.storage.content import PARTITION, content_digests
from tiffin.storage.delta import DeltaStore, shown_as
from tiffin.storage.fencing import Fence
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import ObjectStore

RUN, STEP = "5e1c7f0a", "network__carrier_delays"
NAMED = f"{RUN}/{STEP}"
TABLE = "network/carrier_delays"
DAY = "2013-01-01"

# a few long stretches come to more places between two requests than many short ones
stretches = st.tuples(st.integers(0, 2), st.integers(1, 12))
schedules = st.lists(stretches, max_size=8).map(lambda found: [place for place, count in found for _ in range(count)])
killings = st.frozensets(st.integers(0, 2), max_size=2)


def put_pointer(store: MemoryStore, digest: str, fence: Fence | None, *, since: int | None = None) -> tuple[Pointer, bool]:
    return move(store, "model", "network", "delays", digest, now=wall_clock, since=since, fence=fence)


def test_attempts_are_counted_from_one() -> None:
    store = MemoryStore()

    numbers = [take(store, RUN, STEP).number for _ in range(3)]

    assert numbers == [1, 2, 3]


def test_steps_and_runs_are_counted_apart() -> None:
    store = MemoryStore()

    numbers = [take(store, run, step).number for run, step in itertools.product([RUN, "other"], [STEP, "network__routes"])]

    assert numbers == [1, 1, 1, 1]


def test_whoever_asks_twice_is_one_attempt() -> None:
    store = MemoryStore()
    first = take(store, RUN, STEP, holder="pod-a")

    again, other, late = (take(store, RUN, STEP, holder=holder).number for holder in ("pod-a", "pod-b", "pod-a"))

    # once another has started, the first one's name is that of a new attempt
    assert (first.number, again, other, late) == (1, 1, 2, 3)


def test_a_check_names_the_newer_attempt() -> None:
    store = MemoryStore()
    older, newer = take(store, RUN, STEP), take(store, RUN, STEP)

    newer.check("writing")
    with pytest.raises(Conflict, match=r"attempt 1 of step .* attempt 2 took its place") as caught:
        older.check("writing")

    assert caught.value.context == {"fence": NAMED, "attempt": 2}


def test_a_child_goes_on_under_the_number_that_it_was_told() -> None:
    store = MemoryStore()
    taken = take(store, RUN, STEP)

    assert resume(store, RUN, STEP, taken.number) == taken
    with pytest.raises(Invalid, match="counted from 1"):
        resume(store, RUN, STEP, 0)


def test_all_attempts_share_their_checkpoint_and_no_two_steps_do() -> None:
    store = MemoryStore()

    prefixes = [take(store, RUN, step).checkpoint for step in (STEP, STEP, "network__routes")]

    assert prefixes == [f"checkpoints/{NAMED}/", f"checkpoints/{NAMED}/", f"checkpoints/{RUN}/network__routes/"]


@pytest.mark.parametrize("step", ["a/../../models/x", "", "..", "a b", "a//b", "x" * 400])
def test_a_step_names_no_other_place(step: str) -> None:
    with pytest.raises(Invalid, match="is not '<run>/<step>'"):
        take(MemoryStore(), RUN, step)


def test_a_dynamic_step_has_a_fence_too() -> None:
    assert take(MemoryStore(), RUN, "graph.op[key_1]").number == 1


@given(holders=st.lists(st.sampled_from("abc"), max_size=12))
def test_a_number_grows_exactly_when_the_holder_changes(holders: list[str]) -> None:
    record: FenceRecord | None = None
    for holder in holders:
        record = raised(record, holder)

    changes = len([key for key, _ in itertools.groupby(holders)])
    assert (record.number if record else 0) == changes


@settings(max_examples=150, deadline=None)
@given(schedule=schedules)
def test_no_two_attempts_get_one_number(schedule: list[int]) -> None:
    store = MemoryStore()

    def work(turn: Turn) -> int:
        return take(TurnStore(store, turn), RUN, STEP).number

    actors = interleave([work, work, work], schedule)

    found = look(store, NAMED)
    assert sorted(actor.answer for actor in actors) == [1, 2, 3]
    assert found is not None
    assert found[0].number == 3


@dataclass
class Tale:
    """What really happened, in its order: attempts that started, and what landed in the shared place."""

    happened: list[tuple[str, int]] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def note(self, what: str, number: int) -> None:
        self.happened.append((what, number))

    def of(self, what: str) -> list[int]:
        return [number for kind, number in self.happened if kind == what]


def begins(tale: Tale, store: ObjectStore, turn: Turn, place: int) -> tuple[TurnStore, TurnFence]:
    """An attempt that starts, and is noted once it has."""
    watched = TurnStore(store, turn)
    attempt = take(watched, RUN, STEP)
    tale.note("started", attempt.number)
    tale.places[attempt.number] = place
    turn()
    tale.note("commits", attempt.number)
    return watched, TurnFence(attempt, turn)


def judge(tale: Tale, outcomes: list[BaseException | None], landed: list[int], *, whole: bool) -> None:
    """The promises, said over the tale without any of the code under test.

    Args:
        outcomes: how each attempt that started ended, by its number; None: it committed and was told so.
        landed: numbers of the attempts in the order in which theirs became current.
        whole: nobody was killed.
    """
    assert landed == sorted(landed), "an older attempt landed upon a newer one"
    for older, newer in itertools.combinations(tale.of("started"), 2):
        older, newer = sorted((older, newer))
        began = tale.happened.index(("started", newer))
        if ("commits", older) in tale.happened[began:]:
            error = outcomes[older - 1]
            assert error is not None, f"attempt {older} committed after attempt {newer} had started"
            assert not isinstance(error, Conflict) or error.context["fence"] == NAMED
    if whole:
        assert outcomes[-1] is None, f"the newest attempt did not get through: {outcomes[-1]}"
    for error in outcomes:
        assert error is None or not isinstance(error, PlatformError) or error.context.get("fence") == NAMED, error


@dataclass
class PointerStore(MemoryStore):
    """Notes whose pointer is written, in order."""

    landed: list[int] = field(default_factory=list)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        tag = super().put(key, data, if_absent=if_absent, if_match=if_match)
        if key.startswith("pointers/"):
            number = Pointer.from_bytes(data, name=key).attempt
            if number is not None:
                self.landed.append(number)
        return tag


@settings(max_examples=400, deadline=None)
@given(
    schedule=schedules,
    killed=killings,
    digests=st.lists(st.sampled_from(["old", "a", "b"]), min_size=3, max_size=3),
    stands=st.booleans(),
    careful=st.booleans(),
)
def test_of_a_pointer_the_newest_attempt_is_the_last_to_be_heard(
    schedule: list[int], killed: frozenset[int], digests: list[str], stands: bool, careful: bool
) -> None:
    store, tale = PointerStore(), Tale()
    if stands:
        put_pointer(store, "older", None)
        put_pointer(store, "old", None)
    before = current(store, "model", "network", "delays")

    def work(place: int) -> Callable[[Turn], None]:
        def attempt(turn: Turn) -> None:
            watched, fence = begins(tale, store, turn, place)
            stood = current(watched, "model", "network", "delays")
            sequence = 0 if stood is None else stood.sequence
            put_pointer(watched, digests[place], fence, since=sequence if careful else None)

        return attempt

    actors = interleave([work(place) for place in range(3)], schedule, killed=killed)

    started = [actors[tale.places[number]] for number in sorted(tale.places)]
    judge(tale, [actor.error for actor in started], store.landed, whole=not killed)
    after = current(store, "model", "network", "delays")
    if started and started[-1].error is None:
        assert after is not None
        assert after.manifest == digests[tale.places[len(started)]]
    if after is not None:
        # one run leaves one edition behind, however many of its attempts got that far
        stood = [] if before is None else [before.manifest, *before.previous]
        unmoved = before is not None and after.manifest == before.manifest
        assert [*after.previous] == (stood[1:] if unmoved else stood)


@settings(max_examples=60, deadline=None)
@given(
    schedule=schedules,
    killed=killings,
    contents=st.lists(st.sampled_from([1, 2, 3]), min_size=3, max_size=3),
    stands=st.sampled_from([None, 1, 2]),
)
def test_a_table_gets_one_commit_of_a_run_and_none_of_an_attempt_that_was_overtaken(
    schedule: list[int], killed: frozenset[int], contents: list[int], stands: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store, tale = DeltaStore(folder), FolderStore(f"{folder}/objects"), Tale()
        if stands is not None:
            tables.replace(TABLE, day_of(stands), partitions=[DAY], attempt="another-run")

        def work(place: int) -> Callable[[Turn], object]:
            def attempt(turn: Turn) -> object:
                _, fence = begins(tale, store, turn, place)
                turn()
                own = DeltaStore(folder, sleep=lambda seconds: turn())
                since = own.version(TABLE)
                done = own.replace(
                    TABLE, day_of(contents[place]), partitions=[DAY], attempt=RUN, since=-1 if since is None else since, fence=fence
                )
                return value_in(own, done.version), done.digests

            return attempt

        actors = interleave([work(place) for place in range(3)], schedule, killed=killed)

        started = [actors[tale.places[number]] for number in sorted(tale.places)]
        shown, commits = history(tables)
        judge(tale, [actor.error for actor in started], shown, whole=not killed)
        assert commits <= 1, "two commits of one run"
        if started and started[-1].error is None:
            # what the newest attempt was told is what stands
            version = tables.version(TABLE)
            assert version is not None
            value, digests = started[-1].answer
            assert value == value_in(tables, version)
            assert digests == content_digests(day_of(value[0]), by=PARTITION, groups=[DAY])


def day_of(value: int) -> pa.Table:
    return pa.table({"value": [value], "partition": [DAY]})


def value_in(tables: DeltaStore, version: int) -> list[int]:
    return list(tables.read(TABLE, version=version)["value"].to_pylist())


def history(tables: DeltaStore) -> tuple[list[int], int]:
    """Numbers shown by version, and how many versions hold other rows than the one before by this run."""
    newest = tables.version(TABLE)
    if newest is None:
        return [], 0
    shown, commits, before = [], 0, {}
    for version in range(newest + 1):
        table = tables.open(TABLE, version)
        assert table is not None
        number, files = table.transaction_version(shown_as(resume(MemoryStore(), RUN, STEP, 1))), tables.contents(TABLE, version=version)
        shown += [] if number is None else [number]
        commits += number is not None and files != before
        before = files
    return shown, commits


def test_an_older_attempt_that_comes_after_the_newer_one_is_told_by_whom() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        older, newer = take(store, RUN, STEP), take(store, RUN, STEP)
        tables.replace(TABLE, day_of(2), partitions=[DAY], attempt=RUN, fence=newer)
        store.delete(f"fences/{NAMED}.json")  # what the table shows is enough

        with pytest.raises(Conflict, match="attempt 2 took its place"):
            tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=older)

        assert value_in(tables, 0) == [2]


def test_a_newer_attempt_takes_over_what_the_older_one_committed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        first = tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=take(store, RUN, STEP))

        second = tables.replace(TABLE, day_of(2), partitions=[DAY], attempt=RUN, since=0, fence=take(store, RUN, STEP))

        assert (second.version, second.digests, second.changed) == (first.version, first.digests, ())


def test_a_newer_attempt_replaces_other_ranges_of_the_older_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        older = take(store, RUN, STEP)
        tables.replace(TABLE, day_of(0), partitions=[DAY], attempt="another-run")
        tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=older)

        newer = take(store, RUN, STEP)
        both = pa.concat_tables([day_of(2), pa.table({"value": [3], "partition": ["2013-01-02"]})])
        done = tables.replace(TABLE, both, partitions=[DAY, "2013-01-02"], attempt=RUN, since=0, fence=newer)

        assert value_in(tables, done.version) == [2, 3]


def at_turn(number: int, happens: Callable[[], object]) -> Turn:
    """What happens at the n-th of the turns that somebody is asked to wait for, and at no other."""
    turns = itertools.count(1)

    def turn() -> None:
        if next(turns) == number:
            happens()

    return turn


def test_an_attempt_that_an_older_one_comes_before_by_an_instant_tells_what_stands() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        tables.replace(TABLE, day_of(0), partitions=[DAY], attempt="another-run")
        older, newer = take(store, RUN, STEP), take(store, RUN, STEP)
        last_instant = Attempt(MemoryStore(), NAMED, older.number)  # it was past its check when the newer one started

        def lands() -> None:
            DeltaStore(folder).replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=last_instant)

        done = tables.replace(TABLE, day_of(2), partitions=[DAY], attempt=RUN, since=0, fence=TurnFence(newer, at_turn(2, lands)))

        assert (done.version, value_in(tables, 1), tables.version(TABLE)) == (1, [1], 1)
        assert done.digests == content_digests(day_of(1), by=PARTITION, groups=[DAY])


def test_a_pointer_that_the_newer_attempt_was_content_with_stays_so() -> None:
    store = MemoryStore()
    put_pointer(store, "old", None)
    older, newer = take(store, RUN, STEP), take(store, RUN, STEP)
    # past its check when the newer one started, and just about to write
    late = TurnFence(Attempt(MemoryStore(), NAMED, older.number), at_turn(1, lambda: put_pointer(store, "old", newer)))

    with pytest.raises(Conflict, match="attempt 2 took its place"):
        put_pointer(store, "new", late)

    pointer = current(store, "model", "network", "delays")
    assert pointer is not None
    assert (pointer.manifest, pointer.sequence, pointer.previous) == ("old", 1, ())


@dataclass
class OvertakenWhileWriting(FolderStore):
    """Data files that take so long that the next attempt starts."""

    root: str
    meanwhile: Callable[[], object]

    def __post_init__(self) -> None:
        super().__init__(self.root)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.meanwhile()
        return super().put(key, data, if_absent=if_absent, if_match=if_match)


def test_an_attempt_that_is_overtaken_while_it_writes_its_files_commits_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        tables.replace(TABLE, day_of(0), partitions=[DAY], attempt="another-run")
        older = take(store, RUN, STEP)
        tables.files = OvertakenWhileWriting(folder, lambda: take(store, RUN, STEP))

        with pytest.raises(Conflict, match="attempt 2 took its place"):
            tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=older)

        assert tables.version(TABLE) == 0


def test_a_try_after_the_first_closes_the_door_even_where_nothing_changed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables, store = DeltaStore(folder), MemoryStore()
        tables.replace(TABLE, day_of(1), partitions=[DAY], attempt="another-run")
        first = tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=take(store, RUN, STEP))
        before = tables.contents(TABLE)

        second = tables.replace(TABLE, day_of(1), partitions=[DAY], attempt=RUN, fence=take(store, RUN, STEP))

        assert (first.version, second.version) == (0, 1)
        assert (second.changed, tables.contents(TABLE)) == ((), before)
        assert second.digests == first.digests


def test_without_a_fence_a_pointer_keeps_its_bytes() -> None:
    store = MemoryStore()

    pointer, _ = put_pointer(store, "a", None)

    assert b"fence" not in pointer.to_bytes()
    assert b"attempt" not in pointer.to_bytes()
