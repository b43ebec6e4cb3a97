"""Never half: a publisher killed anywhere leaves a whole edition, and its retry completes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.online_case import T0, Online, edition, fingerprint, read_all, started, view_record
from tiffin.core.errors import PlatformError
from tiffin.wire.encodings import take

ROOT = Path(__file__).resolve().parents[2]
ROWS, ABSENT, BATCH = 3000, 60, 150
STEPS = (
    "before-promote",
    "after-promote",
    "before-validate",
    "after-validate",
    "before-flip",
    "after-flip",
    "before-watermark",
    "after-watermark",
    "before-collect",
    "collecting",
    "after-collect",
)
POINTS = [{"rows": round(ROWS * part / 18)} for part in range(1, 18)] + [{"step": step} for step in STEPS]
POINTS += [{"step": "collecting", "nth": nth} for nth in (3, 9)]


class Zygote:
    """The process that forks publishers."""

    def __init__(self, online: Online) -> None:
        command = [sys.executable, "-m", "tests.online_zygote", online.server.publisher, str(online.dev.path)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def publish(self, **order: object) -> int:
        """Wait status of the publisher: 9 when it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@pytest.fixture
def online(tmp_path):
    with started(tmp_path) as server:
        yield server


@pytest.fixture
def zygote(online):
    process = Zygote(online)
    yield process
    process.stop()


def ids_of(number: int) -> range:
    """Edition n lacks the first or the last ids, by turns, so that membership differs too."""
    return range(ABSENT, ROWS + ABSENT) if number % 2 else range(ROWS)


def expected(number: int) -> bytes:
    """What a reader of all ids must see of an edition: every row of it and no other."""
    ids, rows = ids_of(number), edition(number, ids_of(number))
    index = np.arange(ROWS + ABSENT, dtype=np.int64) - ids.start
    index = np.where((index >= 0) & (index < len(ids)), index, -1)
    return fingerprint({name: take(column, index) for name, column in rows.columns.items()}, index >= 0)


class Watcher(threading.Thread):
    """Reads all rows again and again, and counts what it saw."""

    def __init__(self, online: Online) -> None:
        super().__init__(daemon=True)
        self.online, self.view = online, view_record()
        self.keys = edition(0, range(ROWS + ABSENT)).raw_keys
        self.known: dict[bytes, int] = {}
        self.seen: Counter[int] = Counter()
        self.mixed = 0
        self.errors: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        reader = self.online.reader(self.view)
        while not self.stopping.is_set():
            try:
                found = read_all(reader, self.view, self.keys)
            except PlatformError as err:
                self.errors.append(str(err))
                continue
            number = self.known.get(fingerprint(found.columns, found.found))
            if number is None:
                self.mixed += 1
            else:
                self.seen[number] += 1


def test_a_generation_killed_at_thirty_points_is_never_half_and_its_retry_completes(online, zygote):
    view = view_record()
    online.publish(view, edition(0, ids_of(0)), watermark_us=T0)
    watcher = Watcher(online)
    watcher.known[expected(0)] = 0
    watcher.start()
    reader = online.reader(view)
    assert len(POINTS) == 30

    for number, point in enumerate(POINTS, start=1):
        watcher.known[expected(number)] = number
        order = {"edition": number, "ids": [ids_of(number).start, ids_of(number).stop], "batch": BATCH}

        killed = zygote.publish(**order, die=point)
        found = read_all(reader, view, watcher.keys)
        half = watcher.known.get(fingerprint(found.columns, found.found))
        retried = zygote.publish(**order, die={})

        whole = read_all(reader, view, watcher.keys)
        names = online.row_names()
        state = online.store().state(view.team, view.name)
        assert killed == signal.SIGKILL, point
        assert half in (number - 1, number), point
        assert retried == 0, point
        assert watcher.known[fingerprint(whole.columns, whole.found)] == number, point
        assert whole.watermark_us == T0 + number, point
        kept = {edition.generation.encode() for edition in (state.current, state.previous)}
        assert {name[4:8] for name in names} == kept, point
        assert len(names) == 2 * ROWS, point
        registered = online.admin.hkeys(next(name for name in online.names() if name.endswith(b".generations")))
        assert {token for token in registered if not token.startswith(b".")} == kept, point

    watcher.stopping.set()
    watcher.join(20)
    assert watcher.mixed == 0
    assert watcher.errors == []
    assert sum(watcher.seen.values()) >= len(POINTS)


def test_a_first_publication_killed_anywhere_is_not_ready_or_whole(online, zygote):
    view, rows = view_record(), edition(1, range(600))
    for point in ({"rows": 150}, {"rows": 600}, *({"step": step} for step in STEPS if step != "collecting")):
        online.admin.flushall()
        killed = zygote.publish(edition=1, ids=[0, 600], batch=150, die=point)

        try:
            found = read_all(online.reader(view), view, rows.raw_keys)
            whole = fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(600, dtype=bool))
        except PlatformError as err:
            whole = "has no generation" in str(err)

        assert killed == signal.SIGKILL
        assert whole, point
        assert zygote.publish(edition=1, ids=[0, 600], batch=150, die={}) == 0
        assert read_all(online.reader(view), view, rows.raw_keys).found.all()
        assert len(online.row_names()) == 600


def test_a_delta_killed_anywhere_leaves_whole_rows_and_its_retry_completes(online, zygote):
    view = view_record()
    base = edition(0, range(1000))
    current = online.publish(view, base, watermark_us=T0).record
    reader = online.reader(view)
    points = [{"rows": rows} for rows in (100, 300, 500)] + [{"step": step} for step in STEPS if step != "collecting"]

    for number, point in enumerate(points, start=1):
        order = {
            "edition": number,
            "ids": [200, 700],
            "batch": 100,
            "later_us": number * 1_000_000,
            "current": current.model_dump(mode="json"),
        }
        before = read_all(reader, view, base.raw_keys)

        killed = zygote.publish(**order, die=point)
        during = read_all(reader, view, base.raw_keys)
        retried = zygote.publish(**order, die={})

        after = read_all(reader, view, base.raw_keys)
        numbers = during.columns["edition"].data
        made = edition(number, range(1000))
        for column, held in during.columns.items():
            whole = np.where(numbers == number, 0, 1)
            for row in (199, 200, 350, 450, 699, 700):
                source = made.columns[column] if whole[row] == 0 else before.columns[column]
                one = np.array([row])
                assert fingerprint({column: take(held, one)}, one) == fingerprint({column: take(source, one)}, one), (point, column, row)
        assert (killed, retried) == (signal.SIGKILL, 0), point
        assert during.found.all()
        assert set(numbers[200:700].tolist()) <= {number, number - 1}, point
        assert set(after.columns["edition"].data[200:700].tolist()) == {number}, point
        assert set(after.columns["edition"].data[:200].tolist()) == {0}, point
        assert before.watermark_us <= during.watermark_us <= after.watermark_us == T0 + number, point
        assert during.watermark_us == before.watermark_us or (numbers[200:700] == number).all(), point
        current = type(current).from_bytes(
            online.dev.get(f"manifests/generation/{online.store().state(view.team, view.name).current.manifest}.json").data, name="now"
        )
        assert len(current.deltas) == number
