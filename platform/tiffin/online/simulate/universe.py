"""What there is to publish: a few bases and deltas over a few keys, and what each record must look like in a server."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tiffin.core.digests import digest_json
from tiffin.manifests.records import EntityRecord, GenerationRecord, KeyField, SegmentRef
from tiffin.online.editions import Edition
from tiffin.online.simulate.server import Row, SimBatch
from tiffin.online.views import OnlineView
from tiffin.wire.schema import Column, RowSchema

__all__ = ["BASES", "DELTAS", "KEYS", "Made", "SimRows", "Universe", "View"]

KEYS = ("a", "b", "c", "d")
BASES, DELTAS = 4, 6
BATCH = 2
SCHEMA = RowSchema(1, (Column("x", "i32"),))

Content = tuple[tuple[str, Row], ...]


@dataclass(frozen=True, slots=True)
class View:
    """The one view of this world."""

    team: str
    name: str
    online: OnlineView


@dataclass(frozen=True, slots=True)
class Made:
    """A record, its edition, and the numbers of its segments."""

    record: GenerationRecord
    edition: Edition
    base: int
    deltas: tuple[int, ...]


class SimRows:
    """Merged rows, batch by batch."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.rows = len(content)
        self.batches = [SimBatch(content[at : at + BATCH]) for at in range(0, len(content), BATCH)]
        self.whole = [SimBatch(content)] if content else []

    def __iter__(self) -> Iterator[SimBatch]:
        return iter(self.batches)

    def sample(self) -> Iterator[SimBatch]:
        """Everything."""
        return iter(self.whole)


class Universe:
    """Segments drawn once from a seed; records are made once and shared by all schedules."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self.view = View("t", "v", OnlineView("t", "v", (("k", "string"),), SCHEMA, None))
        self.segments: dict[str, Content] = {}
        self.bases = [self.segment(f"B{n}", self.drawn(f"B{n}", draw, at_least=2)) for n in range(BASES)]
        self.deltas = [self.segment(f"D{n}", self.drawn(f"D{n}", draw, at_least=1)) for n in range(DELTAS)]
        self.records: dict[tuple[int, tuple[int, ...]], Made] = {}
        self.merges: dict[tuple[str, ...], SimRows] = {}
        self.permitted: dict[tuple[str, tuple[str, ...], str], dict[str, set[Row | None]]] = {}
        self.by_content: dict[str, dict[str, Row]] = {}
        self.watermarks: dict[str, int] = {}

    def drawn(self, name: str, draw: random.Random, *, at_least: int) -> Content:
        keys = sorted(draw.sample(KEYS, draw.randint(at_least, len(KEYS))))
        return tuple((key, (draw.randint(1, 3), name)) for key in keys)

    def segment(self, name: str, rows: Content) -> SegmentRef:
        digest = digest_json([name, [[key, list(row)] for key, row in rows]])
        self.segments[digest] = rows
        return SegmentRef(digest=digest, size_bytes=1, rows=len(rows), start_us=0, end_us=1)

    def generation(self, base: int) -> Made:
        """A whole new edition."""
        return self.made(base, ())

    def delta(self, current: Made, number: int) -> Made:
        """As `publish_delta`: one more delta, unless it is the last one already."""
        stands = bool(current.deltas) and current.deltas[-1] == number
        return current if stands else self.made(current.base, (*current.deltas, number))

    def made(self, base: int, deltas: tuple[int, ...]) -> Made:
        found = self.records.get((base, deltas))
        if found is None:
            record = GenerationRecord(
                team="t",
                view="v",
                view_record="0" * 64,
                entity=EntityRecord(name="e", keys=(KeyField(name="k", type="string"),)),
                row_schema=SCHEMA.to_json(),
                base=self.bases[base],
                deltas=tuple(self.deltas[number] for number in deltas),
                watermark_us=10 * (base + 1) + len(deltas),
                as_of_us=None,
                ttl_us=None,
            )
            edition = Edition.of(record)
            found = self.records[base, deltas] = Made(record, edition, base, deltas)
            self.by_content[edition.content] = dict(self.gather((record.base, *record.deltas)).content)
            self.watermarks[edition.content] = max(record.watermark_us, self.watermarks.get(edition.content, 0))
        return found

    def gather(self, refs: Sequence[SegmentRef]) -> SimRows:
        """Per key the newest event time; at a tie the later segment."""
        name = tuple(ref.digest for ref in refs)
        found = self.merges.get(name)
        if found is None:
            newest: dict[str, Row] = {}
            for digest in name:
                for key, row in self.segments[digest]:
                    if key not in newest or newest[key][0] <= row[0]:
                        newest[key] = row
            found = self.merges[name] = SimRows(tuple(sorted(newest.items())))
        return found

    def allowed(self, edition: Edition) -> dict[str, set[Row | None]]:
        """The rows that may stand under an edition's token: its own, and while a delta is written, those of after it."""
        name = (edition.base, edition.deltas, edition.applying)
        found = self.permitted.get(name)
        if found is None:
            contents = [self.gather_digests((edition.base, *edition.deltas))]
            if edition.applying:
                contents.append(self.by_content[edition.applying])
            found = self.permitted[name] = {key: {content.get(key) for content in contents} for key in KEYS}
        return found

    def gather_digests(self, digests: tuple[str, ...]) -> dict[str, Row]:
        refs = [SegmentRef(digest=digest, size_bytes=1, rows=0, start_us=0, end_us=1) for digest in digests]
        return dict(self.gather(refs).content)
