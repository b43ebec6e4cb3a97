"""What the server holds of a view, as the publisher sees it: the live edition and the one before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tiffin.core.digests import canonical_json, digest_json
from tiffin.core.errors import Corrupt
from tiffin.manifests.records import GenerationRecord
from tiffin.online.views import LivePointer
from tiffin.wire.schema import RowSchema

__all__ = ["Edition", "LiveState"]


@dataclass(frozen=True, slots=True)
class Edition:
    """One generation in one server.

    Args:
        generation: token under which its rows stand in this server; `""` before it is claimed.
        manifest: digest of the generation's record.
        base, deltas: digests of its segments.
        applying: content that a delta, begun and not finished, is making of it; `""` when its rows are exactly
            those of base and deltas.
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
        )

    @property
    def content(self) -> str:
        """Equal rows under an equal schema have equal content; watermarks are no part of it."""
        return digest_json([self.team, self.view, self.schema.digest, self.base, list(self.deltas)])

    @property
    def ref(self) -> str:
        """`"team/view"`."""
        return f"{self.team}/{self.view}"

    def with_generation(self, generation: str) -> Edition:
        """The edition under a claimed token."""
        return replace(self, generation=generation)

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
        same = (self.base, self.schema) == (earlier.base, earlier.schema)
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
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back."""
        return {**asdict(self), "deltas": list(self.deltas), "schema": self.schema.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Edition:
        """Read what `to_json` wrote."""
        return cls(**{**value, "deltas": tuple(value["deltas"]), "schema": RowSchema.from_json(value["schema"])})


@dataclass(frozen=True, slots=True)
class LiveState:
    """The live edition, and the previous one, whose rows are kept for a rollback."""

    current: Edition
    previous: Edition | None

    def to_bytes(self) -> bytes:
        """As it stands in the server; equal states are equal bytes, which the server compares."""
        previous = None if self.previous is None else self.previous.to_json()
        return canonical_json({"v": 1, "current": self.current.to_json(), "previous": previous})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> LiveState:
        """Read it; `name` is the view in the error. Raises Corrupt."""
        try:
            value = json.loads(data)
            if value["v"] != 1:
                raise ValueError("not version 1")
            previous = None if value["previous"] is None else Edition.from_json(value["previous"])
            return cls(Edition.from_json(value["current"]), previous)
        except (ValueError, TypeError, KeyError) as err:
            raise Corrupt(
                f"view {name}: its state in the online store is not one of ours: {data[:60]!r}",
                fix="find who else writes there; delete the key and publish the view again",
                context={"view": name},
            ) from err

    def after(self, edition: Edition) -> LiveState:
        """The state once `edition` is live: another generation makes the current one the previous."""
        same = edition.generation == self.current.generation
        return LiveState(edition, self.previous if same else self.current)
