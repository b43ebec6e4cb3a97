"""When a raw table is landed again, decided from the files under a prefix."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.orchestration.sensors_files import FileDecision, FileMemory, LandedFile, decide_files, file_backlog

DAY = 86_400.0


def make_files(count: int, *, first: int = 0, etag: str = "a", modified_s: float = 0.0) -> list[LandedFile]:
    return [LandedFile(f"landing/{place:04d}.csv", etag, modified_s) for place in range(first, first + count)]


def tick(
    memory: FileMemory, files: list[LandedFile], *, now_s: float = 0.0, settle_s: float = 600, busy: str | None = None
) -> FileDecision:
    decision = decide_files(memory, files, now_s=now_s, settle_s=settle_s, busy=busy)
    assert FileMemory.from_text(decision.memory.to_text()) == decision.memory
    return decision


def test_365_files_in_one_burst_are_one_run_which_the_cursor_knew_before() -> None:
    files = make_files(365)

    noted = tick(FileMemory(), files)
    asked = tick(noted.memory, files)
    quiet = tick(asked.memory, files)

    assert (noted.run, quiet.run) == (None, None)
    assert len(file_backlog(noted.memory.to_text())["waiting"]) == 365
    assert asked.run is not None
    assert len(asked.run.files) == 365
    assert file_backlog(asked.memory.to_text())["waiting"] == []


def test_a_tick_that_is_repeated_after_a_kill_asks_for_the_very_same_run() -> None:
    noted = tick(FileMemory(), make_files(3))

    first = tick(noted.memory, make_files(3), now_s=1000)
    again = tick(noted.memory, make_files(5), now_s=1000)

    assert first.run == again.run
    assert file_backlog(again.memory.to_text())["waiting"] == ["landing/0003.csv", "landing/0004.csv"]


def test_a_burst_that_does_not_end_is_cut_after_a_while() -> None:
    memory, runs = FileMemory(), []
    for minute in range(30):
        decision = tick(memory, make_files(minute + 1), now_s=60.0 * minute)
        runs += [decision.run] if decision.run else []
        memory = decision.memory

    assert [len(run.files) for run in runs] == [10, 10]


def test_a_file_that_was_written_over_is_a_new_one() -> None:
    noted = tick(FileMemory(), make_files(2))
    asked = tick(noted.memory, make_files(2))
    rewritten = [*make_files(1), *make_files(1, first=1, etag="b", modified_s=5)]
    again = tick(tick(asked.memory, rewritten).memory, rewritten)

    assert again.run is not None
    assert again.run.files == ("landing/0001.csv",)


def test_a_file_that_appears_a_day_late_is_not_lost() -> None:
    memory = tick(FileMemory(), make_files(1, modified_s=10 * DAY)).memory
    late = [*make_files(1, modified_s=10 * DAY), *make_files(1, first=1, modified_s=9 * DAY)]

    assert "landing/0001.csv" in tick(memory, late).memory.waiting


def test_what_is_long_past_is_forgotten_and_not_taken_for_new() -> None:
    memory = tick(FileMemory(), make_files(100)).memory
    files = [*make_files(100), *make_files(1, first=100, modified_s=10 * DAY)]

    after = tick(memory, files).memory

    assert set(after.seen) == {"landing/0100.csv"}
    assert len(after.waiting) == 101
    assert tick(after, files, busy="x").memory.waiting == after.waiting


def test_files_wait_while_a_run_is_building() -> None:
    noted = tick(FileMemory(), make_files(3))

    waiting = tick(noted.memory, make_files(3), busy="abc")

    assert waiting.run is None
    assert waiting.why == "3 files wait for run abc"


@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab")), max_size=25),
    st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=12),
)
def test_every_content_stands_in_one_run_whatever_ticks_are_lost(puts: list[tuple[int, str]], ticks: list[tuple[int, bool]]) -> None:
    """`ticks`: how much has been put by then, and whether the tick is killed after its run was made."""
    memory, runs, versions = FileMemory(), {}, Counter()
    for border, killed in [*sorted(ticks), (25, False), (25, False), (25, False)]:
        now: dict[int, str] = {}
        for name, etag in puts[:border]:
            now[name] = etag
        files = [LandedFile(str(name), etag, 0.0) for name, etag in now.items()]
        again = any(run.sequence == memory.sequence + 1 for run in runs.values())
        decision = decide_files(memory, files, now_s=0.0, settle_s=1e9, again=again)
        if decision.run is not None:
            runs.setdefault(decision.run.key, decision.run)
        if not killed:
            versions.update(f"{one.key}" for one in files if memory.seen.get(one.key, ("",))[0] != one.etag)
            memory = decision.memory

    assert sorted(run.sequence for run in runs.values()) == list(range(1, len(runs) + 1))
    stood = Counter(name for run in runs.values() for name in run.files)
    assert set(stood) == {str(name) for name, _ in puts}
    assert all(stood[name] <= versions[name] for name in stood)
    assert not memory.waiting


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "tiffin.files.v0"}', '{"format": "tiffin.files.v1", "odd": 1}'])
def test_a_cursor_that_cannot_be_read_says_what_to_do(text: str) -> None:
    with pytest.raises(Invalid, match="reset the sensor's cursor"):
        FileMemory.from_text(text)
