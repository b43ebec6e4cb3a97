"""What a team expects of its values beyond their types: judged before a partition is written, and no part of its definition."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import Field, model_validator

from tiffin.core.errors import Invalid, nearest
from tiffin.core.spec import Spec

__all__ = ["Expect", "GoldenRow", "check_golden"]


class Expect(Spec):
    """What is usual for a feature. What is left out is learnt from earlier partitions.

    Example:
        >>> Expect(low=-90, high=1500, max_null_share=0.5).high
        1500.0
    """

    low: float | None = Field(default=None, description="smallest value")
    high: float | None = Field(default=None, description="largest value")
    max_null_share: float | None = Field(default=None, ge=0, le=1, description="largest share of nulls in a partition")
    steady: bool = Field(default=True, description="False: its size follows events, so that history does not judge it")

    def __init__(self, **fields: Any) -> None:
        super().__init__(None, **fields)

    @model_validator(mode="after")
    def bounds_are_ordered(self) -> Expect:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class GoldenRow(Spec):
    """A row that is known by other means: counted by hand, taken from a report.

    Example:
        >>> GoldenRow("2013-02-08", key={"carrier": "UA"}, values={"flights_1d": 118}).partition
        '2013-02-08'
    """

    partition: str
    key: dict[str, str | int] = Field(min_length=1, description="every part of the entity's key")
    values: dict[str, Any] = Field(min_length=1, description="expected values of some features; None is null")

    def __init__(self, partition: Any = None, /, **fields: Any) -> None:
        super().__init__(partition, **fields)


def check_golden(golden: GoldenRow, *, keys: Collection[str], features: Collection[str]) -> None:
    """Refuse a golden row that names what the view does not have.

    Raises:
        Invalid: with the nearest name.
    """
    if set(golden.key) != set(keys):
        found = f"golden row of {golden.partition!r} has the key {', '.join(golden.key)}"
        raise Invalid(f"{found}: expected {', '.join(keys)}", fix="give every part of the entity's key")
    for name in golden.values:
        if name not in features:
            raise Invalid(f"golden row of {golden.partition!r} has a value for {name!r}, which is no feature", fix=nearest(name, features))
