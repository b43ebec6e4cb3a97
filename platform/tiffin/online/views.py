"""What a reader must know of a view, and the small word in the server that says which generation is live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Corrupt, Invalid
from tiffin.online.places import rows_prefix
from tiffin.wire.schema import RowSchema

__all__ = ["LivePointer", "OnlineView"]


@dataclass(frozen=True, slots=True)
class OnlineView:
    """A view as a reader is configured with it: a deployment names schemas, never generations.

    Args:
        keys: `(name, type)` of each part of the entity key, in order.
        schema: of the columns that the reader wants.
        ttl_us: a row is alive while `now - event_time <= ttl_us`; None: for ever.
    """

    team: str
    name: str
    keys: tuple[tuple[str, str], ...]
    schema: RowSchema
    ttl_us: int | None

    @property
    def ref(self) -> str:
        """`"team/view"`."""
        return f"{self.team}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back."""
        return {
            "team": self.team,
            "name": self.name,
            "keys": [list(key) for key in self.keys],
            "schema": self.schema.to_json(),
            "ttl_us": self.ttl_us,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> OnlineView:
        """Read what `to_json` wrote."""
        keys = tuple((str(name), str(kind)) for name, kind in value["keys"])
        return cls(value["team"], value["name"], keys, RowSchema.from_json(value["schema"]), value["ttl_us"])


@dataclass(frozen=True, slots=True)
class LivePointer:
    """The live generation of a view. It is read with every request, so it is small.

    Args:
        generation: token in the row keys.
        manifest: digest of the generation's record.
        schema, schema_number: digest and number of the row schema.
        watermark_us: up to which event time the generation is complete.
        as_of_us: "now" when the publisher replays history; None: the wall.
        ttl_us: the view's time to live when it was published.
        deltas: how many deltas stand in it.
        buckets: how many hashes hold its rows (layout "dense"); 0: every row is a value of its own.
        shards: over how many hash tags of a cluster its rows are spread; 0: one server.
    """

    generation: str
    manifest: str
    schema: str
    schema_number: int
    watermark_us: int
    as_of_us: int | None
    ttl_us: int | None
    deltas: int
    buckets: int = 0
    shards: int = 0

    def row_prefix(self, team: str, view: str) -> bytes:
        """What the names of its rows begin with.

        Raises:
            Corrupt: it names no generation.
        """
        try:
            return rows_prefix(team, view, self.generation)
        except Invalid as err:
            raise Corrupt(
                f"view {team}/{view}: its pointer names the generation {self.generation!r}", fix="publish the view again"
            ) from err

    def to_bytes(self) -> bytes:
        """As it stands in the server."""
        return canonical_json({"v": 2, **{name: getattr(self, name) for name in self.__slots__}})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> LivePointer:
        """Read it; `name` is the view in the error.

        Raises:
            Corrupt: these are not the bytes of a pointer.
        """
        try:
            value = json.loads(data)
            if value.pop("v") not in (1, 2):
                raise ValueError("not version 1 or 2")
            pointer = cls(**value)
            whole = (pointer.schema_number, pointer.watermark_us, pointer.deltas, pointer.buckets, pointer.shards)
            optional = (pointer.as_of_us, pointer.ttl_us)
            texts = (pointer.generation, pointer.manifest, pointer.schema)
            right = all(type(item) is int for item in whole) and all(item is None or type(item) is int for item in optional)
            if not right or not all(isinstance(item, str) for item in texts):
                raise ValueError("a field has another type")
        except (ValueError, TypeError, KeyError, AttributeError) as err:
            raise Corrupt(
                f"view {name}: its pointer in the online store is not one of ours: {data[:60]!r}",
                fix="find who else writes there, then publish the view again",
                context={"view": name},
            ) from err
        return pointer
