"""What the server holds of a view, as the publisher sees it: the live edition and the one before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.digests import canonical_json, digest_json
from tiffin.core.errors import Corrupt
from tiffin.manifests.records import GenerationRecord
from tiffin.online.dense import buckets_for
from tiffin.online.keyed_rows import event_units
from tiffin.online.views import LivePointer
from tiffin.wire.rows import Packed
from tiffin.wire.schema import RowSchema

__all__ = ["GRACE_US", "Edition", "LiveState"]

GRACE_US = 3_600_000_000
LATEST_US = 10**16 - 1


@dataclass(frozen=True, slots=True)
class Edition:
    """One generation in one server.

    Args:
        generation: token under which its rows stand in this server; `""` before it is claimed.
        manifest: digest of the generation's record.
        base, deltas: digests of its segments.
        applying: content that a delta, begun and not finished, is making of it; `""` when its rows are exactly
            those of base and deltas.
        life: names the server's memory since it was last empty: what was claimed in an earlier life is gone.
        buckets: how many hashes hold its rows (layout "dense"); 0: every row is a value of its own.
        shards: over how many hash tags of a cluster its rows are spread; 0: one server.
    """

    team: str
    view: str
    generation: str
    manifest: str
    base: str
    deltas: tuple[str, ...]
    schema: RowSchema
    watermark_us: int
    as_of_us: int | None
    ttl_us: int | None
    applying: str = ""
    life: str = ""
    buckets: int = 0
    shards: int = 0

    @classmethod
    def of(cls, record: GenerationRecord) -> Edition:
        """The edition that a record describes, not yet in any server."""
        return cls(
            record.team,
            record.view,
            "",
            record.address,
            record.base.digest,
            tuple(delta.digest for delta in record.deltas),
            RowSchema.from_json(record.row_schema),
            record.watermark_us,
            record.as_of_us,
            record.ttl_us,
            buckets=buckets_for(record.base.rows) if record.layout == "dense" else 0,
        )

    @property
    def content(self) -> str:
        """Equal rows, schemas and ways to keep them have equal content; watermarks are no part of it."""
        return content_of(self.team, self.view, self.schema, self.base, self.deltas, self.lifetime_us, self.buckets)

    @property
    def lifetime_us(self) -> int | None:
        """After how long the server itself drops a row, counted from its event time; None: never.

        A generation that replays history must not be dropped by the wall's clock, and fields of a bucket have
        no time to live of their own: there the reader alone judges.
        """
        return None if self.ttl_us is None or self.as_of_us is not None or self.buckets else self.ttl_us

    def expires_ms(self, rows: Packed, *, now_us: int) -> npt.NDArray[np.int64] | None:
        """`(rows,)` instants in ms since 1970 at which the server drops each row; None: it drops none.

        The reader judges by the µs. The server waits an hour longer, and an hour from now at least: so a reader whose
        clock is late loses nothing, and a publisher finds all that it wrote.
        """
        if self.lifetime_us is None:
            return None
        times = self.schema.epoch_us + event_units(rows) * self.schema.unit_us + self.lifetime_us
        until: npt.NDArray[np.int64] = np.clip(np.maximum(times, now_us) + GRACE_US, 0, LATEST_US) // 1000
        return until

    @property
    def ref(self) -> str:
        """`"team/view"`."""
        return f"{self.team}/{self.view}"

    def with_generation(self, generation: str, *, life: str = "", shards: int = 0) -> Edition:
        """The edition under a claimed token."""
        return replace(self, generation=generation, life=life, shards=shards)

    def standing_as(self, other: Edition) -> Edition:
        """The edition where the rows of `other` stand."""
        return replace(self, generation=other.generation, life=other.life, shards=other.shards)

    def with_watermark(self, watermark_us: int) -> Edition:
        """The edition, complete up to another instant."""
        return replace(self, watermark_us=watermark_us)

    def with_applying(self, content: str) -> Edition:
        """The edition while a delta is written into it."""
        return replace(self, applying=content)

    @property
    def mark(self) -> str:
        """What the registry says of its token."""
        return f"applying {self.applying}" if self.applying else self.content

    def extends(self, earlier: Edition) -> bool:
        """Whether it is `earlier` plus some deltas."""
        same = (self.base, self.schema, self.lifetime_us, self.buckets) == (
            earlier.base,
            earlier.schema,
            earlier.lifetime_us,
            earlier.buckets,
        )
        return same and self.deltas[: len(earlier.deltas)] == earlier.deltas

    def pointer(self) -> LivePointer:
        """What readers see of it."""
        return LivePointer(
            self.generation,
            self.manifest,
            self.schema.digest,
            self.schema.number,
            self.watermark_us,
            self.as_of_us,
            self.ttl_us,
            len(self.deltas),
            self.buckets,
            self.shards,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back."""
        # not asdict: it copies every column of the schema, a fifth of a small delta's time
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "deltas": list(self.deltas), "schema": self.schema.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Edition:
        """Read what `to_json` wrote."""
        return cls(**{**value, "deltas": tuple(value["deltas"]), "schema": RowSchema.from_json(value["schema"])})


# plans ask for it at every turn: 25 µs each time otherwise
@lru_cache(maxsize=4096)
def content_of(team: str, view: str, schema: RowSchema, base: str, deltas: tuple[str, ...], lifetime_us: int | None, buckets: int) -> str:
    """`Edition.content`."""
    return digest_json([team, view, schema.digest, base, list(deltas), lifetime_us, buckets])


@dataclass(frozen=True, slots=True)
class LiveState:
    """The live edition, and the previous one, whose rows are kept for a rollback.

    Args:
        sequence: rises with every flip: whoever writes under a lower one has been overtaken.
    """

    current: Edition
    previous: Edition | None
    sequence: int = 1

    def to_bytes(self) -> bytes:
        """As it stands in the server; equal states are equal bytes, which the server compares."""
        previous = None if self.previous is None else self.previous.to_json()
        return canonical_json({"v": 2, "current": self.current.to_json(), "previous": previous, "sequence": self.sequence})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> LiveState:
        """Read it; `name` is the view in the error. Raises Corrupt."""
        try:
            value = json.loads(data)
            if value["v"] not in (1, 2):
                raise ValueError("not version 1 or 2")
            previous = None if value["previous"] is None else Edition.from_json(value["previous"])
            return cls(Edition.from_json(value["current"]), previous, int(value.get("sequence", 1)))
        except (ValueError, TypeError, KeyError) as err:
            raise Corrupt(
                f"view {name}: its state in the online store is not one of ours: {data[:60]!r}",
                fix="find who else writes there; delete the key and publish the view again",
                context={"view": name},
            ) from err

    def after(self, edition: Edition, *, forget: bool = False) -> LiveState:
        """The state once `edition` is live: another generation makes the current one the previous; `forget` keeps none."""
        same = edition.generation == self.current.generation
        return LiveState(edition, None if forget else self.previous if same else self.current, self.sequence + 1)
