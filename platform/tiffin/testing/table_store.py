"""Conformance kit for table stores: what every `TableStore` must do, whoever wrote it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tiffin.core.errors import Conflict, Invalid, NotFound, PlatformError
from tiffin.storage.content import content_digest
from tiffin.storage.fencing import overtaken
from tiffin.storage.tables import TableStore
from tiffin.testing.object_store import expect, expect_error

__all__ = ["CASES", "Case", "check_table_store", "rows_of_day", "run_random_program"]

Case = Callable[[TableStore, str], None]
"""Gets the store and a table reference of its own."""

INSTANT = pa.timestamp("us", tz="UTC")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAYS = ("2030-01-01", "2030-01-02", "2030-01-03")


def check_table_store(store: TableStore, team: str, *, seed: int = 0, rounds: int = 3) -> None:
    """Run the whole kit. Raises AssertionError that names the case.

    Args:
        team: tables of it are written; give every run its own.
        seed, rounds: of the random programs that are compared with a dictionary.
    """
    for number, (name, case) in enumerate(CASES.items()):
        try:
            case(store, f"{team}/case_{number}_table")
        except (AssertionError, PlatformError) as err:
            raise AssertionError(f"{name}: {err}") from err
    for number in range(rounds):
        run_random_program(store, f"{team}/program_{number}_table", seed + number)


def rows_of_day(day: str | None, values: Sequence[int], *, written_at: datetime = NOON) -> pa.Table:
    """A small table; `day` fills its partition column, None leaves it out."""
    count = len(values)
    columns = {
        "key": pa.array([f"k{place}" for place in range(count)], pa.string()),
        "value": pa.array(values, pa.int32()),
        "written_at": pa.array([written_at] * count, INSTANT),
    }
    return pa.table(columns if day is None else {**columns, "partition": pa.array([day] * count, pa.string())})


def together(values: Mapping[str, Sequence[int]]) -> pa.Table:
    """Several days in one table."""
    return pa.concat_tables([rows_of_day(day, numbers) for day, numbers in values.items()])


def values_of(store: TableStore, ref: str, *, version: int | None = None) -> dict[str, list[int]]:
    """Sorted values by partition."""
    found: dict[str, list[int]] = {}
    for row in store.read(ref, columns=["value", "partition"], version=version).to_pylist():
        found.setdefault(row["partition"], []).append(row["value"])
    return {day: sorted(values) for day, values in found.items()}


def absent(store: TableStore, ref: str) -> None:
    expect(store.version(ref) is None, "a table that nobody made has a version")
    expect_error(NotFound, lambda: store.read(ref), "reading a table that nobody made")


def every_type_reads_back(store: TableStore, ref: str) -> None:
    table = pa.table(
        {
            "text": pa.array(["é", None, ""]),
            "small": pa.array([1, None, -128], pa.int8()),
            "short": pa.array([1, None, -(2**15)], pa.int16()),
            "whole": pa.array([1, None, 2**31 - 1], pa.int32()),
            "long": pa.array([1, None, 2**63 - 1], pa.int64()),
            "real": pa.array([0.5, None, -3.25], pa.float32()),
            "double": pa.array([0.1, None, 1e300], pa.float64()),
            "flag": pa.array([True, None, False]),
            "instant": pa.array([0, None, 1_234_567_890_123_457], pa.int64()).cast(INSTANT),
            "vector": pa.array([[0.5, 1.0], None, []], pa.list_(pa.float32())),
            "numbers": pa.array([[1, 2**62], None, []], pa.list_(pa.int64())),
        }
    )
    store.replace(ref, table, partitions=None)
    found = store.read(ref)
    expect(found.schema.types == table.schema.types, f"types changed: {found.schema}")
    expect(found.equals(table), "values changed, or the order of rows")


def equal_content_commits_nothing(store: TableStore, ref: str) -> None:
    table = together({DAYS[0]: [3, 1, 2], DAYS[1]: [5]})
    first = store.replace(ref, table, partitions=DAYS[:2])
    expect(first.changed == DAYS[:2] and first.size_bytes > 0, f"the first write changed {first.changed}")
    shuffled = table.take([3, 2, 0, 1]).set_column(2, "written_at", pa.array([datetime(2031, 1, 1, tzinfo=UTC)] * 4, INSTANT))
    shuffled = shuffled.set_column(0, "key", shuffled["key"].dictionary_encode())
    again = store.replace(ref, shuffled, partitions=DAYS[:2])
    expect((again.version, again.changed, again.size_bytes) == (first.version, (), 0), f"equal content made {again}")
    expect(again.digests == first.digests and again.rows == first.rows, "equal content has other digests or counts")


def only_changed_partitions_are_written(store: TableStore, ref: str) -> None:
    first = store.replace(ref, together({day: [place, 7] for place, day in enumerate(DAYS)}), partitions=DAYS)
    second = store.replace(ref, together({DAYS[0]: [0, 7], DAYS[1]: [8, 9, 10]}), partitions=DAYS[:2])
    expect(second.changed == (DAYS[1],), f"changed: {second.changed}")
    expect(values_of(store, ref) == {DAYS[0]: [0, 7], DAYS[1]: [8, 9, 10], DAYS[2]: [2, 7]}, "another partition changed")
    expect(values_of(store, ref, version=first.version)[DAYS[1]] == [1, 7], "the old version lost its rows")
    expect(second.digests[DAYS[0]] == first.digests[DAYS[0]], "an unchanged partition has another digest")
    expect_error(NotFound, lambda: store.read(ref, version=second.version + 1), "reading a version that nobody made")


def a_partition_may_be_empty(store: TableStore, ref: str) -> None:
    store.replace(ref, together({DAYS[0]: [1], DAYS[1]: [2]}), partitions=DAYS[:2])
    emptied = store.replace(ref, rows_of_day(DAYS[0], []), partitions=DAYS[:1])
    expect(emptied.rows == {DAYS[0]: 0} and emptied.changed == DAYS[:1], f"emptying made {emptied}")
    expect(values_of(store, ref) == {DAYS[1]: [2]}, "the empty partition has rows, or the other has none")
    again = store.replace(ref, rows_of_day(DAYS[0], []), partitions=DAYS[:1])
    expect(again.changed == (), "an empty partition is equal to an empty one")
    expect(store.read(ref, partitions=DAYS[:1]).num_rows == 0, "reading the empty partition")


def columns_and_partitions_are_chosen(store: TableStore, ref: str) -> None:
    store.replace(ref, together({day: [place] for place, day in enumerate(DAYS)}), partitions=DAYS)
    found = store.read(ref, columns=["value"], partitions=[DAYS[2], DAYS[0], "2099-01-01"])
    expect(found.column_names == ["value"] and found["value"].to_pylist() == [0, 2], f"found {found.to_pylist()}")
    expect(store.read(ref, partitions=[]).num_rows == 0, "no partitions are no rows")
    expect("partition" in store.read(ref).column_names, "all columns lack the partition")
    expect_error(Invalid, lambda: store.read(ref, columns=["valeu"]), "reading an unknown column")


def a_whole_table_is_replaced(store: TableStore, ref: str) -> None:
    first = store.replace(ref, rows_of_day(None, [3, 1, 2]), partitions=None)
    expect(store.read(ref, columns=["value"])["value"].to_pylist() == [3, 1, 2], "the order of rows changed")
    wider = rows_of_day(None, [4]).append_column("more", pa.array([0.5], pa.float32()))
    second = store.replace(ref, wider, partitions=None)
    expect(second.version > first.version and store.read(ref).column_names[-1] == "more", "a whole table may change its columns")
    expect(store.read(ref, version=first.version).num_rows == 3, "the old version lost its rows")


def an_attempt_commits_once(store: TableStore, ref: str) -> None:
    store.replace(ref, rows_of_day(DAYS[0], [1]), partitions=DAYS[:1], attempt="run-1")
    second = store.replace(ref, rows_of_day(DAYS[0], [2]), partitions=DAYS[:1], attempt="run-2")
    late = store.replace(ref, rows_of_day(DAYS[0], [3]), partitions=DAYS[:1], attempt="run-2")
    expect((late.version, late.changed, late.digests) == (second.version, (), second.digests), f"a repeated attempt made {late}")
    expect(values_of(store, ref) == {DAYS[0]: [2]}, "a repeated attempt committed")
    other = store.replace(ref, rows_of_day(DAYS[1], [4]), partitions=DAYS[1:2], attempt="run-2")
    expect(other.changed == DAYS[1:2], "an attempt may write each of several ranges")


def wrong_data_is_refused(store: TableStore, ref: str) -> None:
    store.replace(ref, together({DAYS[0]: [1], DAYS[1]: [2]}), partitions=DAYS[:2])
    one = rows_of_day(DAYS[0], [5])
    wider = one.append_column("more", pa.array([0.5], pa.float32()))
    narrow = one.set_column(1, "value", pa.array([5], pa.int16()))
    expect_error(Invalid, lambda: store.replace(ref, wider, partitions=DAYS[:1]), "a new column beside other partitions")
    expect_error(Invalid, lambda: store.replace(ref, narrow, partitions=DAYS[:1]), "another type beside other partitions")
    expect_error(Invalid, lambda: store.replace(ref, one, partitions=DAYS[1:2]), "rows of a partition that is not named")
    expect_error(Invalid, lambda: store.replace(ref, rows_of_day(None, [5]), partitions=None), "a partitioned table written whole")
    expect_error(Invalid, lambda: store.replace(ref, rows_of_day("../x", [5]), partitions=["../x"]), "a partition that is a path")
    expect(values_of(store, ref) == {DAYS[0]: [1], DAYS[1]: [2]}, "refused data were written")


def writers_of_other_partitions_all_succeed(store: TableStore, ref: str) -> None:
    days = [f"2030-02-{day:02d}" for day in range(1, 9)]
    store.replace(ref, rows_of_day(DAYS[0], [0]), partitions=DAYS[:1])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: store.replace(ref, rows_of_day(day, [int(day[-2:])]), partitions=[day]), days))
    expect(values_of(store, ref) == {DAYS[0]: [0], **{day: [int(day[-2:])] for day in days}}, "a commit was lost")


def writers_of_one_partition_never_mix(store: TableStore, ref: str) -> None:
    def write(worker: int) -> bool:
        try:
            store.replace(ref, rows_of_day(DAYS[0], [worker, worker]), partitions=DAYS[:1])
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    found = values_of(store, ref)[DAYS[0]]
    expect(any(won), "nobody won")
    expect(any(found == [worker, worker] for worker, did in enumerate(won) if did), f"{found} is no winner's content")


def who_began_earlier_does_not_overwrite(store: TableStore, ref: str) -> None:
    store.replace(ref, together({DAYS[0]: [0], DAYS[1]: [0]}), partitions=DAYS[:2])
    began = store.version(ref)
    store.replace(ref, rows_of_day(DAYS[0], [1]), partitions=DAYS[:1], attempt="winner")
    lost = expect_error(
        Conflict,
        lambda: store.replace(ref, rows_of_day(DAYS[0], [2]), partitions=DAYS[:1], attempt="loser", since=began),
        "a partition that was written after its writer began",
    )
    expect(lost.context.get("winner") == "winner", f"the winner is not named: {lost.context}")
    store.replace(ref, rows_of_day(DAYS[1], [2]), partitions=DAYS[1:2], attempt="other", since=began)
    equal_and_new = together({DAYS[0]: [1], DAYS[2]: [3]})
    store.replace(ref, equal_and_new, partitions=[DAYS[0], DAYS[2]], attempt="equal", since=began)
    expect(values_of(store, ref) == {DAYS[0]: [1], DAYS[1]: [2], DAYS[2]: [3]}, "a neighbour was refused, or the winner overwritten")


def who_began_before_there_was_a_table_does_not_overwrite(store: TableStore, ref: str) -> None:
    store.replace(ref, rows_of_day(None, [1]), partitions=None, attempt="winner")
    lost = expect_error(
        Conflict,
        lambda: store.replace(ref, rows_of_day(None, [2]), partitions=None, attempt="loser", since=-1),
        "a table that was made after its writer began",
    )
    expect(lost.context.get("winner") == "winner", f"the winner is not named: {lost.context}")


@dataclass(frozen=True, slots=True)
class Numbered:
    """One attempt at a step; `newest` is what the record of the fence says."""

    number: int
    newest: int
    step: str = "run/step"

    def check(self, doing: str) -> None:
        """See `Fence.check`."""
        if self.newest > self.number:
            raise overtaken(doing, self, self.newest)


def an_overtaken_attempt_is_refused(store: TableStore, ref: str) -> None:
    day: dict[str, Any] = {"partitions": DAYS[:1], "attempt": "run"}
    store.replace(ref, rows_of_day(DAYS[0], [0]), partitions=DAYS[:1], attempt="another run")
    started = expect_error(
        Conflict, lambda: store.replace(ref, rows_of_day(DAYS[0], [1]), **day, fence=Numbered(1, 2)), "an attempt after a newer one started"
    )
    expect(started.context.get("attempt") == 2, f"the newer attempt is not named: {started.context}")
    store.replace(ref, rows_of_day(DAYS[0], [2]), **day, fence=Numbered(2, 2))
    # its own look was before the newer one's start: what the table shows must be enough
    late = expect_error(
        Conflict,
        lambda: store.replace(ref, rows_of_day(DAYS[0], [1]), **day, fence=Numbered(1, 1)),
        "an attempt after a newer one committed",
    )
    expect(late.context.get("attempt") == 2, f"the newer attempt is not named: {late.context}")
    other = Numbered(1, 1, step="run/another step")
    store.replace(ref, rows_of_day(DAYS[1], [3]), partitions=DAYS[1:2], attempt="run", fence=other)
    expect(values_of(store, ref) == {DAYS[0]: [2], DAYS[1]: [3]}, "an overtaken attempt committed, or another step's was refused")


def a_newer_attempt_takes_over_what_stands(store: TableStore, ref: str) -> None:
    day: dict[str, Any] = {"partitions": DAYS[:1], "attempt": "run"}
    first = store.replace(ref, rows_of_day(DAYS[0], [1]), **day, fence=Numbered(1, 1))
    second = store.replace(ref, rows_of_day(DAYS[0], [2]), **day, since=-1, fence=Numbered(2, 2))
    expect((second.version, second.changed, second.digests) == (first.version, (), first.digests), f"a second commit of one run: {second}")
    expect(values_of(store, ref) == {DAYS[0]: [1]}, "a second commit of one run")


def contents_change_with_the_content(store: TableStore, ref: str) -> None:
    expect_error(NotFound, lambda: store.contents(ref), "the contents of a table that nobody made")
    first = store.replace(ref, together({DAYS[0]: [0], DAYS[1]: [0]}), partitions=DAYS)
    before = store.contents(ref)
    store.replace(ref, rows_of_day(DAYS[1], [1]), partitions=DAYS[1:2])
    after = store.contents(ref)
    expect(set(before) == {DAYS[0], DAYS[1]}, f"{sorted(before)}: an empty partition has no content")
    expect(after[DAYS[0]] == before[DAYS[0]], "an untouched partition has another content")
    expect(after[DAYS[1]] != before[DAYS[1]], "a changed partition has the same content")
    expect(store.contents(ref, version=first.version) == before, "an old version has other contents than it had")


CASES: dict[str, Case] = {
    "a table that nobody made": absent,
    "every type reads back": every_type_reads_back,
    "equal content commits nothing": equal_content_commits_nothing,
    "only changed partitions are written": only_changed_partitions_are_written,
    "a partition may be empty": a_partition_may_be_empty,
    "columns and partitions are chosen": columns_and_partitions_are_chosen,
    "a whole table is replaced": a_whole_table_is_replaced,
    "an attempt commits once": an_attempt_commits_once,
    "wrong data is refused": wrong_data_is_refused,
    "writers of other partitions all succeed": writers_of_other_partitions_all_succeed,
    "writers of one partition never mix": writers_of_one_partition_never_mix,
    "who began earlier does not overwrite": who_began_earlier_does_not_overwrite,
    "who began before there was a table does not overwrite": who_began_before_there_was_a_table_does_not_overwrite,
    "an overtaken attempt is refused": an_overtaken_attempt_is_refused,
    "a newer attempt takes over what stands": a_newer_attempt_takes_over_what_stands,
    "contents change with the content": contents_change_with_the_content,
}


def run_random_program(store: TableStore, ref: str, seed: int, *, steps: int = 8) -> None:
    """Replace random partitions with random rows; compare the table and what was reported with a dictionary."""
    chance = random.Random(seed)  # noqa: S311 # a program, not a secret
    held: dict[str, list[int]] = {}
    history: dict[int, dict[str, list[int]]] = {}
    for step in range(steps):
        days = chance.sample(DAYS, chance.randint(1, 3))
        values = {day: [chance.randint(0, 2) for _ in range(chance.randint(0, 3))] for day in days}
        done = store.replace(ref, together(values), partitions=days)
        differs = {day for day in days if keyed(held.get(day, [])) != keyed(values[day])}
        what = f"random program {seed}, step {step}, {values}"
        expect(step == 0 or set(done.changed) == differs, f"{what}: changed {done.changed}, expected {differs}")
        held |= values
        history[done.version] = {day: sorted(numbers) for day, numbers in held.items() if numbers}
        expect(done.rows == {day: len(values[day]) for day in days}, f"{what}: rows {done.rows}")
        expect(done.digests == {day: content_digest(rows_of_day(day, values[day])) for day in days}, f"{what}: digests")
    for version, expected in history.items():
        expect(values_of(store, ref, version=version) == expected, f"random program {seed}: version {version} holds other rows")


def keyed(values: Sequence[int]) -> list[tuple[int, int]]:
    """What `rows_of_day` makes of values: each has a key of its place."""
    return list(enumerate(values))
