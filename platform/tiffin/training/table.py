"""A training table: labels at their times, joined to the features known then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from tiffin.compute.spec import Compute
from tiffin.core.errors import Invalid
from tiffin.core.names import check_name, split_ref
from tiffin.core.spec import Spec
from tiffin.features.entity import parse_key
from tiffin.features.view import Feature, FeatureView, Source
from tiffin.lineage.code import code_digest
from tiffin.manifests.records import KeyField

__all__ = ["Spine", "TrainingTable", "feature_column"]


def feature_column(view: str, feature: str) -> str:
    """The name of a joined feature: names hold no double underscore, so this splits back.

    Example:
        >>> feature_column("network/carrier_delays", "flights_7d")
        'carrier_delays__flights_7d'
    """
    return f"{view.rpartition('/')[2]}__{feature}"


class Spine(Spec):
    """What is predicted, about whom, and when: one row per label.

    `keys` and `fields` together are what a client sends at serving time: ids and request-time
    fields. `time` is the instant of the prediction: features known after it are not joined.
    `rows` may reshape the source first; it returns `keys`, `time`, `fields` and `label`.
    """

    name: str
    source: Source
    keys: str = Field(description="'carrier: string, origin: string': the ids of every joined entity")
    time: str = Field(description="timestamp column: when the prediction would have been asked")
    label: Feature
    fields: tuple[Feature, ...] = Field(default=(), description="request-time fields")
    rows: Callable[[pa.Table], pa.Table] | None = None

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="spine")

    @model_validator(mode="after")
    def columns_are_distinct(self) -> Spine:
        names = [field.name for field in self.key_fields] + [field.name for field in self.fields] + [self.label.name, self.time]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"column {name!r} has two roles", fix="keys, time, fields and label are distinct columns")
        return self

    @property
    def key_fields(self) -> tuple[KeyField, ...]:
        """The ids, typed, in order."""
        return parse_key(self.keys)

    @property
    def code(self) -> str:
        """Digest of what `rows` stands on."""
        return "" if self.rows is None else code_digest(self.rows)


class TrainingTable(Spec):
    """Labels plus point-in-time features: `"network/carrier_delays"` names another team's view."""

    name: str
    spine: Spine
    features: tuple[FeatureView | str, ...] = Field(min_length=1, description="views of this team, or 'team/view'")
    start: date | None = Field(default=None, description="first day of label times (UTC)")
    end: date | None = Field(default=None, description="day after the last (UTC)")
    after: tuple[str, ...] = Field(
        default=(), description="'network/*', 'fleet/planes': rebuilt, and its models with it, when all of them have landed a new day"
    )
    description: str = ""
    compute: Compute | None = Field(default=None, description="what the join asks of the cluster; None: the least")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="training table")

    @field_validator("after")
    @classmethod
    def patterns_are_readable(cls, after: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in after:
            team, slash, name = pattern.partition("/")
            if not slash:
                raise Invalid(f"after={pattern!r} is not of the form 'team/view'", fix=f"write '{pattern}/*' for all views of that team")
            check_name(team, what="team")
            if name != "*":
                check_name(name, what="feature view")
        return after

    @field_validator("features")
    @classmethod
    def references_are_readable(cls, features: tuple[Any, ...]) -> tuple[Any, ...]:
        names: list[str] = []
        for view in features:
            name = split_ref(view, what="feature view")[1] if isinstance(view, str) else view.name
            if name in names:
                raise Invalid(f"feature view {name!r} is joined twice", fix="name each view once; rename one of two views of the same name")
            names.append(name)
        return features
