"""A small view with every kind of column, its editions by number, and a real server to publish them to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.manifests.records import EntityRecord, KeyField, ViewRecord
from tiffin.online.fast_source import open_source
from tiffin.online.publisher import Published, publish_generation
from tiffin.online.reader import FeatureReader, ViewRows
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.views import OnlineView
from tiffin.storage.folder import FolderStore
from tiffin.wire.encodings import Ragged, Values, canonical, int_lists, strings
from tiffin.wire.keys import encode_keys
from tiffin.wire.schema import Column, RowSchema

DAY_US = 86_400_000_000
T0 = 15_700 * DAY_US

SCHEMA = RowSchema(
    1,
    (
        Column("edition", "i32", nullable=False),
        Column("delay", "step:0.01:i32"),
        Column("load", "f32"),
        Column("busy", "bool"),
        Column("name", "str:40"),
        Column("near", "vec:3:i8"),
        Column("recent", "ints:5"),
    ),
)
FIELDS = (("airport", "string"), ("slot", "int16"))


def view_record(*, team: str = "network", name: str = "congestion", ttl_us: int | None = None, schema: RowSchema = SCHEMA) -> ViewRecord:
    """The compiled view."""
    return ViewRecord(
        team=team,
        name=name,
        owner="network@example.com",
        description="",
        entity=EntityRecord(name="stand", keys=tuple(KeyField.model_validate({"name": n, "type": t}) for n, t in FIELDS)),
        row_schema=schema.to_json(),
        partition_start="2013-01-01",
        delay_us=0,
        ttl_us=ttl_us,
        definition="0" * 64,
    )


def online_view(record: ViewRecord) -> OnlineView:
    """What a reader is configured with."""
    keys = tuple((field.name, field.type) for field in record.entity.keys)
    return OnlineView(record.team, record.name, keys, RowSchema.from_json(record.row_schema), record.ttl_us)


@dataclass(frozen=True)
class Rows:
    """Rows to publish: raw key columns, keys, columns, event times."""

    airports: list[str]
    slots: np.ndarray
    columns: Mapping[str, Values | Ragged]
    event_time_us: np.ndarray

    @property
    def raw_keys(self) -> dict[str, object]:
        """Key columns as a client sends them."""
        return {"airport": self.airports, "slot": self.slots}

    @property
    def keys(self) -> list[bytes]:
        """Their bytes."""
        return encode_keys(FIELDS, self.raw_keys)[0]


def edition(number: int, ids: range, *, event_time_us: int | np.ndarray = T0) -> Rows:
    """Rows of these ids whose every value depends on the edition."""
    rows = len(ids)
    mix = np.arange(ids.start, ids.stop, dtype=np.int64) * 7919 + number * 104_729
    columns: dict[str, Values | Ragged] = {
        "edition": Values(np.full(rows, number, dtype=np.int32)),
        "delay": Values((mix % 10_007) / 100.0, mix % 11 != 0),
        "load": Values(np.sin(mix).astype(np.float32), mix % 7 != 0),
        "busy": Values((mix // 3) % 2 == 0, mix % 13 != 0),
        "name": strings([None if m % 5 == 0 else f"é{m}" * int(m % 4) for m in mix.tolist()]),
        "near": Values(np.stack([np.cos(mix), np.sin(mix * 2), mix % 17 / 17.0], axis=1).astype(np.float32)),
        "recent": int_lists([[int(m), -int(m)] * int(m % 3) for m in mix.tolist()]),
    }
    named = {column.name: canonical(column, columns[column.name]) for column in SCHEMA.columns}
    times = np.full(rows, event_time_us, dtype=np.int64) if isinstance(event_time_us, int) else event_time_us
    return Rows([f"A{i // 10}" for i in ids], np.array([i % 10 for i in ids], dtype=np.int64), named, times)


def bits(column: Values | Ragged) -> bytes:
    """Everything of a column, as bytes: equal bytes are equal values, nulls and types."""
    valid = b"-" if column.valid is None else column.valid.tobytes()
    if isinstance(column, Ragged):
        return b"|".join([str(column.data.dtype).encode(), column.offsets.tobytes(), column.data.tobytes(), valid])
    return b"|".join([str(column.data.dtype).encode(), str(column.data.shape).encode(), column.data.tobytes(), valid])


def fingerprint(columns: Mapping[str, Values | Ragged], found: np.ndarray) -> bytes:
    """All columns and which rows were found."""
    return b"#".join([found.tobytes(), *(name.encode() + b"=" + bits(column) for name, column in columns.items())])


def read_all(reader: FeatureReader, record: ViewRecord, raw_keys: Mapping[str, object]) -> ViewRows:
    """Rows of one view."""
    return reader.read(raw_keys)[f"{record.team}/{record.name}"]  # type: ignore[arg-type]


@dataclass
class Online:
    """A server, a dev bucket in a folder, and what was promoted."""

    server: Valkey
    dev: FolderStore
    promoted: list[str]

    @property
    def admin(self):
        return connect(self.server.admin)

    def store(self, *, batch: int = 1000) -> RedisStore:
        """As the publisher's user."""
        return RedisStore(connect(self.server.publisher), batch=batch)

    def reader(self, *records: ViewRecord, now_us: int = T0) -> FeatureReader:
        """As the reader's user."""
        return FeatureReader(open_source(self.server.reader), [online_view(record) for record in records], now_us=lambda: now_us)

    def publish(self, record: ViewRecord, rows: Rows, *, watermark_us: int = T0, as_of_us: int | None = None, **options) -> Published:
        """A whole generation."""
        return publish_generation(
            record,
            keys=rows.keys,
            columns=rows.columns,
            event_time_us=rows.event_time_us,
            watermark_us=watermark_us,
            as_of_us=as_of_us,
            dev=self.dev,
            promote=self.promoted.append,
            store=options.pop("store", None) or self.store(),
            **options,
        )

    def names(self) -> list[bytes]:
        """Every key in the server."""
        return sorted(self.admin.scan_iter(match="*", count=5000))

    def row_names(self) -> list[bytes]:
        """The keys of rows: team, view and generation, then an entity key."""
        return [name for name in self.names() if re.match(rb"[a-z2-7]{4}[A-Z][0-9A-Za-z]{3}[^.]", name)]


@contextmanager
def started(folder: Path) -> Iterator[Online]:
    """A server of its own, stopped by pid."""
    server = start_valkey(folder / "valkey")
    try:
        yield Online(server, FolderStore(folder / "dev"), [])
    finally:
        server.stop()
