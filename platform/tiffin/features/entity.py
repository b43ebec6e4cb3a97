"""An entity: a thing with a key of one part or several."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

from pydantic import Field, field_validator, model_validator

from tiffin.core.errors import Invalid, nearest
from tiffin.core.names import check_name
from tiffin.core.spec import Spec
from tiffin.manifests.records import EntityRecord, KeyField

__all__ = ["Entity"]

KEY_TYPES = get_args(KeyField.model_fields["type"].annotation)


class Entity(Spec):
    """A thing that features describe: a carrier, an airport, a (carrier, origin) pair.

    Example:
        >>> Entity("carrier_at_origin", key="carrier: string, origin: string").key_names
        ('carrier', 'origin')
    """

    name: str = Field(description="unique in the team")
    key: str = Field(description="'part: type', comma-separated; types: string, int8, int16, int32, int64")
    description: str = ""

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="entity")

    @model_validator(mode="after")
    def key_is_readable(self) -> Entity:
        parse_key(self.key)
        return self

    @property
    def fields(self) -> tuple[KeyField, ...]:
        """The parts of the key, in order."""
        return parse_key(self.key)

    @property
    def key_names(self) -> tuple[str, ...]:
        """Column names of the key, in order."""
        return tuple(field.name for field in self.fields)

    def record(self) -> EntityRecord:
        """The compiled form."""
        return EntityRecord(name=self.name, keys=self.fields)


@lru_cache(maxsize=1024)  # asked for ten times a view while a location loads
def parse_key(text: str) -> tuple[KeyField, ...]:
    """`"carrier: string, origin: string"` → key fields."""
    fields: list[KeyField] = []
    for part in text.split(","):
        name, colon, kind = (piece.strip() for piece in part.partition(":"))
        if not colon:
            raise Invalid(f"key part {part.strip()!r} has no type", fix=f"write '{part.strip() or 'id'}: string'")
        if kind not in KEY_TYPES:
            raise Invalid(f"key part {name!r} has type {kind!r}, which is not a key type", fix=nearest(kind, KEY_TYPES))
        check_name(name, what="key part")
        if any(field.name == name for field in fields):
            raise Invalid(f"key part {name!r} occurs twice", fix="name each part once")
        fields.append(KeyField.model_validate({"name": name, "type": kind}))
    return tuple(fields)
