"""Our own way, through the public doors: publish a generation or a delta, read rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.online_data import KEY, Rows, online_view, view_record
from bench.online_servers import Server
from tiffin.manifests.records import GenerationRecord
from tiffin.online.bring import bring, silent, unnoticed
from tiffin.online.fast_source import open_source
from tiffin.online.publisher import Published, make_rows, make_segment, publish_delta, publish_generation
from tiffin.online.reader import FeatureReader, ViewRows
from tiffin.online.redis_store import RedisStore
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import get_blob, put_blob
from tiffin.wire.keys import pack_keys
from tiffin.wire.rows import Packed, pack, split_rows

__all__ = ["Ours"]


@dataclass
class Ours:
    """A view on one server, its dev bucket in a folder."""

    server: Server
    rows: Rows
    folder: Path
    layout: Literal["plain", "dense"] = "plain"

    def __post_init__(self) -> None:
        self.dev = FolderStore(self.folder)
        self.store = RedisStore(self.server.client())
        self.view = view_record(self.rows, layout=self.layout)
        self.reader = self.make_reader()

    def make_reader(self) -> FeatureReader:
        """As a serving step opens it."""
        return FeatureReader(open_source(self.server.url), [online_view(self.rows)], now_us=lambda: int(self.rows.event_time_us[0]))

    def encoded(self, rows: Rows) -> Packed:
        """Key bytes."""
        return pack_keys([(KEY, "int32")], {KEY: rows.ids})[0]

    def publish(self, rows: Rows | None = None) -> Published:
        """A whole generation: pack, segment, dev bucket, load, validate, flip, collect."""
        rows = rows or self.rows
        return publish_generation(
            self.view,
            keys=self.encoded(rows),
            columns=rows.columns,
            event_time_us=rows.event_time_us,
            watermark_us=int(rows.event_time_us.max()),
            as_of_us=None,
            dev=self.dev,
            promote=lambda manifest: None,
            store=self.store,
        )

    def publish_delta(self, rows: Rows, current: GenerationRecord) -> Published:
        """Some rows on top of the live generation."""
        return publish_delta(
            self.view,
            keys=self.encoded(rows),
            columns=rows.columns,
            event_time_us=rows.event_time_us,
            watermark_us=int(rows.event_time_us.max()),
            as_of_us=None,
            dev=self.dev,
            promote=lambda manifest: None,
            store=self.store,
            current=current,
        )

    def delta_record(self, rows: Rows, current: GenerationRecord) -> GenerationRecord:
        """The record of a delta whose segment is durable and whose rows are not yet in the server."""
        data, ref = make_segment(self.view, make_rows(self.view, self.encoded(rows), rows.columns, rows.event_time_us))
        put_blob(self.dev, data)
        watermark_us = int(rows.event_time_us.max())
        return current.model_copy(update={"deltas": (*current.deltas, ref), "watermark_us": watermark_us})

    def bring(self, record: GenerationRecord) -> None:
        """The server's part alone, from the durable segments: claim, load, validate, flip."""
        live = self.store.state(record.team, record.view)
        bring(record, fetch=self.fetch, store=self.store, live=live, at=silent, progress=unnoticed)

    def fetch(self, digest: str, name: str) -> bytes:
        """A segment's bytes, verified."""
        return get_blob(self.dev, digest, name=name)

    def names(self) -> list[bytes]:
        """The server's keys of all rows of the live generation."""
        live = self.store.state("bench", self.rows.view)
        assert live is not None
        prefix = live.current.pointer().row_prefix("bench", self.rows.view)
        return [prefix + key for key in split_rows(self.encoded(self.rows))]

    def packed(self, rows: Rows | None = None) -> list[bytes]:
        """The bytes of all rows."""
        rows = rows or self.rows
        return split_rows(pack(rows.schema, rows.columns, rows.event_time_us))

    def read(self, ids: npt.NDArray[np.generic]) -> ViewRows:
        """Rows of these entities, as numpy columns."""
        return self.reader.read({KEY: ids})[f"bench/{self.rows.view}"]
