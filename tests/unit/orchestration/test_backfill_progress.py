"""One line in the run log says how far a run is, and is read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiffin.orchestration.backfill_progress import Meter, Progress


@given(done=st.integers(0, 9000), more=st.integers(0, 9000), rows=st.integers(0, 10**9), elapsed=st.floats(0.001, 1e5))
def test_a_line_says_the_same_when_it_is_read(done: int, more: int, rows: int, elapsed: float) -> None:
    made = Progress(done, done + more, rows, elapsed)

    read = Progress.read(f"demo__load - {made.line()}")

    assert read is not None
    assert (read.done, read.total, read.rows) == (done, done + more, rows)
    assert abs(read.rows_per_s - made.rows_per_s) <= 0.5


def test_another_line_is_no_progress() -> None:
    assert Progress.read("materialised 3 of 4 partitions") is None


def test_before_the_first_partition_nothing_is_promised() -> None:
    assert (Progress(0, 10, 0, 5.0).left_s, Progress(0, 10, 0, 0.0).rows_per_s) == (0.0, 0.0)


def test_a_line_every_few_seconds_and_one_at_the_end() -> None:
    lines: list[str] = []
    seconds = iter([0.0, 1.0, 6.0, 7.0, 8.0])
    meter = Meter(lines.append, now_s=lambda: next(seconds), every_s=5)

    for done in range(1, 5):
        meter(done, 4, 10 * done)

    assert [line.split(" partitions")[0] for line in lines] == ["progress: 2 of 4", "progress: 4 of 4"]
