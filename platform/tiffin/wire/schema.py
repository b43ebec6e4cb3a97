"""What one packed row of a view looks like: columns, their encodings, the unit of its event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid

__all__ = ["Column", "RowSchema"]


@dataclass(frozen=True, slots=True)
class Column:
    """One feature as it is stored.

    Args:
        name: feature name, unique in its view.
        encoding: text form of the declared type, parsed by `tiffin.wire.encodings`:
            `i8 i16 i32 i64 f16 f32 bool ts str:MAX_BYTES[:zip] cat:["WORD",...] step:STEP:WIDTH vec:N:KIND
            ints:MAX_LENGTH[:zip]`.
        nullable: whether the row carries a null bit for it.
    """

    name: str
    encoding: str
    nullable: bool = True


@lru_cache(maxsize=1024)
def shared(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The first of all equal ones."""
    return columns


@dataclass(frozen=True, slots=True)
class RowSchema:
    """The layout of a view's packed rows under one schema number.

    Args:
        number: the view's schema number, 1 to 255; the first byte of every row.
        columns: in stored order.
        unit_us: event times are stored as a u32 count of this many µs since `epoch_us`.
        epoch_us: µs since 1970-01-01 UTC.
    """

    number: int
    columns: tuple[Column, ...]
    unit_us: int = 1_000_000
    epoch_us: int = 0
    # a read looks six times for something that is kept by schema; over 20 columns a hash takes 5 µs
    hashed: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # equal schemas share their columns: comparing them, as each of those six looks does, then costs a glance
        object.__setattr__(self, "columns", shared(tuple(self.columns)))
        object.__setattr__(self, "hashed", hash((self.number, self.columns, self.unit_us, self.epoch_us)))
        if not 1 <= self.number <= 255:
            raise Invalid(f"schema number {self.number} is outside 1..255", fix="start a new view name after 255 schemas")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise Invalid(f"column {twice!r} occurs twice in one schema", fix="rename one of the two features")

    def __hash__(self) -> int:
        return self.hashed

    def __reduce__(self) -> tuple[Any, ...]:
        # a hash of text is another one in every process: a copy makes its own
        return RowSchema, (self.number, self.columns, self.unit_us, self.epoch_us)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back; its digest names the schema."""
        return {
            "number": self.number,
            "unit_us": self.unit_us,
            "epoch_us": self.epoch_us,
            "columns": [{"name": c.name, "encoding": c.encoding, "nullable": c.nullable} for c in self.columns],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RowSchema:
        """Read what `to_json` wrote."""
        columns = tuple(Column(c["name"], c["encoding"], c["nullable"]) for c in value["columns"])
        return cls(value["number"], columns, value["unit_us"], value["epoch_us"])

    @property
    def digest(self) -> str:
        """Equal schemas have equal digests."""
        return digest_of(self)


# readers and publishers ask for it at every turn: 15 µs each time otherwise
@lru_cache(maxsize=1024)
def digest_of(schema: RowSchema) -> str:
    """`RowSchema.digest`."""
    return digest_json(schema.to_json())
