"""Move a view out of the published layout while it is being written there: copy, publish, compare every row, repeat.

Copying is done page by page into a folder, so a migration that was killed goes on at its page. What is published is then
compared with its source, row by row and bit for bit; what the source changed meanwhile is published as a delta, and
compared again, until nothing differs. What comes newly into the source after that is found by running it again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiffin.core.errors import Conflict, Invalid
from tiffin.manifests.records import GenerationRecord, ViewRecord
from tiffin.online.compat import PublishedLayout, read_published
from tiffin.online.keyed_rows import KeyedRows, joined
from tiffin.online.publisher import Deletes, publish_delta, publish_generation
from tiffin.online.redis import Client, translated
from tiffin.online.store import OnlineStore, Progress
from tiffin.storage.objects import ObjectStore
from tiffin.wire.keys import pack_keys
from tiffin.wire.layouts import HEADER
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import RowSchema
from tiffin.wire.segments import build_segment, read_segment
from tiffin.wire.tombstones import TOMBSTONE

__all__ = ["Migrated", "Migration"]

PAGE = 1000
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the copy is: where SCAN goes on, and how many pages are in the folder."""

    event_time_us: int
    scan: int = 0
    pages: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did.

    Args:
        rows: entities that are live now; every one of them was compared with its source.
        changed: rows that the source changed or removed meanwhile, all rounds together.
        rounds: comparisons until nothing differed.
        resumed: whether pages of an earlier attempt were used.
    """

    manifest: str
    rows: int
    changed: int
    rounds: int
    resumed: bool


class Migration:
    """One view's move.

    Args:
        source: of a user that may SCAN and HMGET where the published layout stands.
        event_time_us: what every row's event time will be: the layout has none. A whole number of the schema's units.
        work: a folder of this migration's own.
        dev, promote, store: as `publish_generation` wants them.
    """

    def __init__(
        self,
        view: ViewRecord,
        layout: PublishedLayout,
        *,
        source: Client,
        event_time_us: int,
        work: Path,
        dev: ObjectStore,
        promote: Callable[[str], None],
        store: OnlineStore,
        page: int = PAGE,
    ) -> None:
        self.view = view
        self.layout = layout
        self.source = source
        self.schema = RowSchema.from_json(view.row_schema)
        self.event_time_us = event_time_us
        self.work = work
        self.page = page
        self.publishing: dict[str, Any] = {"as_of_us": None, "dev": dev, "promote": promote, "store": store}
        self.store = store

    def run(self, *, progress: Progress) -> Migrated:
        """All of it.

        Raises:
            Corrupt: a value of the source is no text of its type; names feature and value.
            Conflict: the source changes faster than it can be followed, or another publisher is at work.
        """
        resumed = self.cursor().pages > 0
        self.event_time_us = self.cursor().event_time_us
        self.copy(progress=progress)
        rows, names = self.copied()
        columns, times = unpack(self.schema, rows.rows)
        done = publish_generation(
            self.view, keys=rows.keys, columns=columns, event_time_us=times, watermark_us=self.event_time_us, **self.publishing
        )
        record, changed, stale = done.record, 0, []
        for number in range(1, ROUNDS + 1):
            stale = self.differing(names, progress=progress)
            if not stale:
                self.clear()
                rows_now = sum(substance(row) is not None for row in self.live_rows(list(names)))
                return Migrated(record.address, rows_now, changed, number, resumed)
            changed += len(stale)
            record = self.catch_up(record, stale, names, self.event_time_us + number * self.schema.unit_us)
        raise Conflict(
            f"view {self.view.team}/{self.view.name}: {len(stale)} rows still differ from their source after {ROUNDS} rounds",
            fix="run it again when less is written there",
        )

    def cursor(self) -> Cursor:
        """Where an earlier attempt stopped."""
        path = self.work / "cursor.json"
        return Cursor(**json.loads(path.read_text())) if path.exists() else Cursor(self.event_time_us)

    def copy(self, *, progress: Progress) -> None:
        """Fetch page after page; each is on disk before the cursor says so."""
        self.work.mkdir(parents=True, exist_ok=True)
        cursor = self.cursor()
        while not cursor.finished:
            with translated("looking for entities in the layout 'xxhash32'"):
                found: Any = self.source.scan(cursor.scan, match=self.layout.pattern, count=self.page, _type="hash")
            keys = [key for key in sorted(set(found[1])) if self.layout.parts(key) is not None]
            if keys:
                self.write_page(cursor.pages, keys)
            cursor = Cursor(self.event_time_us, int(found[0]), cursor.pages + bool(keys), int(found[0]) == 0)
            replace_file(self.work / "cursor.json", json.dumps(asdict(cursor)).encode())
            progress(cursor.pages, 0)

    def write_page(self, number: int, source_keys: Sequence[bytes]) -> None:
        """Rows of these entities, and what each is called in the source: not every spelling comes back from an entity key."""
        rows, present = self.rows_of(source_keys, self.event_time_us)
        segment = build_segment(self.schema, rows.keys, rows.rows, team=self.view.team, view=self.view.name, start_us=0, end_us=0)
        found = [key for key, there in zip(source_keys, present, strict=True) if there]
        names = {key.hex(): source.hex() for key, source in zip(rows.key_list(), found, strict=True)}
        replace_file(self.work / f"{number:06}.names", json.dumps(names).encode())
        replace_file(self.work / f"{number:06}.segment", segment)

    def rows_of(self, source_keys: Sequence[bytes], time_us: int) -> tuple[KeyedRows, list[bool]]:
        """Packed rows as the source has them now, and which of the entities it has: those with any field of ours."""
        found = read_published(self.source, self.layout, source_keys)
        present = [any(value is not None for value in row) for row in found]
        columns = self.layout.decode([row for row, there in zip(found, present, strict=True) if there])
        parts = [self.layout.parts(key) or {} for key, there in zip(source_keys, present, strict=True) if there]
        keys, _ = pack_keys(self.layout.fields, {name: [part[name] for part in parts] for name, _ in self.layout.fields})
        return KeyedRows(keys, pack(self.schema, columns, np.full(len(parts), time_us, dtype=np.int64))), present

    def copied(self) -> tuple[KeyedRows, dict[bytes, bytes]]:
        """All pages as one, and what each entity is called in the source. SCAN may give one twice: the later one counts."""
        pages: list[KeyedRows] = []
        names: dict[bytes, bytes] = {}
        for number in range(self.cursor().pages):
            path = self.work / f"{number:06}.segment"
            page = read_segment(path.read_bytes(), name=path.name)
            pages.append(KeyedRows(page.key_bytes, page.packed))
            for key, source in json.loads(path.with_suffix(".names").read_text()).items():
                if names.setdefault(bytes.fromhex(key), bytes.fromhex(source)) != bytes.fromhex(source):
                    raise Invalid(
                        f"{bytes.fromhex(source)!r} and {names[bytes.fromhex(key)]!r} are one entity of {self.view.team}/{self.view.name}",
                        fix="remove one of them from the source",
                    )
        if not pages:
            return KeyedRows.of([], []), {}
        whole = joined(pages)
        last = {key: place for place, key in enumerate(whole.key_list())}
        return whole.take(np.fromiter(last.values(), dtype=np.int64, count=len(last))), names

    def live_rows(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What the store holds of them."""
        live = self.store.state(self.view.team, self.view.name)
        if live is None:
            raise Conflict(f"view {self.view.team}/{self.view.name} vanished during its migration", fix="run it again")
        return self.store.rows(live.current, keys)

    def differing(self, names: Mapping[bytes, bytes], *, progress: Progress) -> list[bytes]:
        """Entities whose live row is not what the source says now, bit for bit but for the event time."""
        stale, keys = [], list(names)
        for start in range(0, len(keys), self.page):
            some = keys[start : start + self.page]
            fresh = self.current_rows([names[key] for key in some])
            for key, row, held in zip(some, fresh, self.live_rows(some), strict=True):
                if substance(row) != substance(held):
                    stale.append(key)
            progress(start + len(some), len(keys))
        return stale

    def current_rows(self, source_keys: Sequence[bytes], time_us: int | None = None) -> list[bytes | None]:
        """Rows as the source has them now; None: the entity is gone there."""
        rows, present = self.rows_of(source_keys, self.event_time_us if time_us is None else time_us)
        found = iter(rows.row_list())
        return [next(found) if there else None for there in present]

    def catch_up(self, record: GenerationRecord, stale: Sequence[bytes], names: Mapping[bytes, bytes], time_us: int) -> GenerationRecord:
        """Publish what the source changed, as a delta; what is gone there, as deleted."""
        fresh = self.current_rows([names[key] for key in stale], time_us)
        kept = [(key, row) for key, row in zip(stale, fresh, strict=True) if row is not None]
        gone = [key for key, row in zip(stale, fresh, strict=True) if row is None]
        changed = KeyedRows.of([key for key, _ in kept], [row for _, row in kept])
        columns, times = unpack(self.schema, changed.rows)
        deletes = Deletes(gone, np.full(len(gone), time_us, dtype=np.int64)) if gone else None
        given: dict[str, Any] = {"keys": changed.keys, "columns": columns, "event_time_us": times, "watermark_us": time_us}
        return publish_delta(self.view, current=record, deletes=deletes, **given, **self.publishing).record

    def clear(self) -> None:
        """The pages have served."""
        for path in (*self.work.glob("*.segment"), *self.work.glob("*.names"), self.work / "cursor.json"):
            path.unlink(missing_ok=True)


def substance(row: bytes | None) -> bytes | None:
    """What a row says: neither check nor event time; None for a tombstone, too."""
    return None if row is None or row[0] == TOMBSTONE else row[:1] + row[HEADER:]


def replace_file(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_bytes(data)
    os.replace(fresh, path)
