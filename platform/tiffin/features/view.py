"""A feature view: typed feature columns of one entity, made by one transform, partitioned by time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, overload

import pyarrow as pa
from pydantic import BeforeValidator, Field, field_validator, model_validator

from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid, nearest
from tiffin.core.names import check_name, split_ref
from tiffin.core.spec import Spec
from tiffin.core.units import parse_duration, to_us
from tiffin.features.entity import Entity
from tiffin.features.feature_types import FeatureType
from tiffin.lineage.code import code_digest
from tiffin.manifests.records import ViewRecord
from tiffin.wire.schema import Column, RowSchema

__all__ = ["Daily", "Duration", "Feature", "FeatureView", "Online", "Source", "Transform", "Window", "daily", "feature_view"]

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
RESERVED = {"event_time", "known_at", "written_at", "partition", "run"}


class Window(Spec):
    """One partition: features of `[start, end)`; a row's facts are complete at `end`."""

    start: datetime
    end: datetime

    @property
    def partition(self) -> str:
        """The daily partition key, `YYYY-MM-DD`."""
        return self.start.strftime("%Y-%m-%d")


Transform = Callable[[pa.Table, Window], pa.Table]


class Feature(Spec):
    """A named, typed column: `Feature("flights_7d", Int32())`."""

    name: str
    type: FeatureType
    nullable: bool = Field(default=True, description="whether a row may lack it")
    description: str = ""

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        if name in RESERVED:
            raise Invalid(f"feature name {name!r} is reserved", fix=f"rename it, e.g. {name + '_value'!r}")
        return check_name(name, what="feature")

    def __init__(self, name: Any = None, kind: Any = None, /, **fields: Any) -> None:
        super().__init__(name, **({"type": kind} if kind is not None else {}), **fields)

    @property
    def column(self) -> Column:
        """How the wire stores it."""
        return Column(self.name, self.type.encoding, self.nullable)


class Source(Spec):
    """A raw table someone else writes.

    `time` names the column with the instant at which a row became known to the business (a flight:
    when it landed); a window sees only rows known before its end.
    """

    name: str = Field(description="'raw/flights'")
    time: str = Field(description="timestamp column: when the row became known")
    load: Callable[[], pa.Table] | None = Field(default=None, description="lands the table, when this team does that")
    description: str = ""

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_a_reference(cls, name: str) -> str:
        split_ref(name, what="source")
        return name


class Daily(Spec):
    """One partition per UTC day from `start`, up to and including `end`."""

    start: date
    end: date | None = Field(default=None, description="last day, for a table that has ended")

    @model_validator(mode="after")
    def days_are_ordered(self) -> Daily:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self


def daily(start: str | date, end: str | date | None = None) -> Daily:
    """Daily partitions: `daily("2013-01-01")`."""
    given: dict[str, Any] = {"start": start, "end": end}  # pydantic reads ISO text
    return Daily(**given)


class Online(Spec):
    """How a view is served. Rows older than `ttl`, counted from their event time, read as null."""

    ttl: Duration | None = None

    def __init__(self, **fields: Any) -> None:
        # spelled out so that type checkers accept what pydantic reads: ttl="14d"
        super().__init__(None, **fields)


class FeatureView(Spec):
    """Made by `feature_view`. Exactly one of `transform` (Python over Arrow) and `sql` is set."""

    name: str
    entity: Entity
    source: Source
    features: tuple[Feature, ...] = Field(min_length=1)
    partitions: Daily
    lookback: Duration = Field(default=timedelta(days=1), description="how far before its end a window sees")
    delay: Duration = Field(default=timedelta(0), description="known_at = event time + delay")
    online: Online | None = None
    transform: Transform | None = None
    sql: str | None = None
    schema_number: int = Field(default=1, ge=1, le=255)
    description: str = ""
    declared_in: str = Field(default="", description="file that declares it; filled by feature_view")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="feature view")

    @model_validator(mode="after")
    def columns_are_distinct(self) -> FeatureView:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"feature {name!r} occurs twice", fix="rename one of the two")
            if name in self.entity.key_names:
                raise Invalid(f"feature {name!r} is also part of entity {self.entity.name!r}'s key", fix="rename the feature")
        if (self.transform is None) == (self.sql is None):
            raise Invalid("a view needs exactly one of a Python function and sql=", fix="decorate a function, or pass sql='select ...'")
        if self.lookback < timedelta(days=1):
            raise Invalid(f"lookback {self.lookback} is shorter than one daily partition", fix="use lookback='1d' or more")
        return self

    def feature(self, name: str) -> Feature:
        """One feature by name. Raises Invalid with the nearest name."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise Invalid(f"view {self.name!r} has no feature {name!r}", fix=nearest(name, [f.name for f in self.features]))

    @property
    def row_schema(self) -> RowSchema:
        """How its rows are packed."""
        return RowSchema(self.schema_number, tuple(feature.column for feature in self.features))

    @property
    def definition(self) -> str:
        """Digest of what computes the values: code or SQL, source, columns, times."""
        return digest_json(
            {
                "code": code_digest(self.transform) if self.transform is not None else self.sql,
                "source": [self.source.name, self.source.time],
                "entity": self.entity.record().model_dump(mode="json"),
                "schema": self.row_schema.to_json(),
                "lookback_s": self.lookback.total_seconds(),
                "delay_s": self.delay.total_seconds(),
            }
        )

    def record(self, *, team: str, owner: str) -> ViewRecord:
        """The compiled form: what other teams and the serving agent see."""
        return ViewRecord(
            team=team,
            name=self.name,
            owner=owner,
            description=self.description,
            entity=self.entity.record(),
            row_schema=self.row_schema.to_json(),
            partition_start=self.partitions.start.isoformat(),
            delay_us=self.delay // timedelta(microseconds=1),
            ttl_us=None if self.online is None or self.online.ttl is None else self.online.ttl // timedelta(microseconds=1),
            definition=self.definition,
        )

    def windows(self, *, until: datetime) -> list[Window]:
        """Every complete partition up to `until`."""
        day = datetime.combine(self.partitions.start, datetime.min.time(), tzinfo=until.tzinfo)
        last = self.partitions.end
        found: list[Window] = []
        while day + timedelta(days=1) <= until and (last is None or day.date() <= last):
            found.append(Window(start=day, end=day + timedelta(days=1)))
            day += timedelta(days=1)
        return found


@overload
def feature_view(
    *, entity: Entity, source: Source, features: Sequence[Feature], partitions: Daily, name: str, sql: str, **options: Any
) -> FeatureView: ...
@overload
def feature_view(
    *,
    entity: Entity,
    source: Source,
    features: Sequence[Feature],
    partitions: Daily,
    name: str | None = None,
    sql: None = None,
    **options: Any,
) -> Callable[[Transform], FeatureView]: ...
def feature_view(
    *,
    entity: Entity,
    source: Source,
    features: Sequence[Feature],
    partitions: Daily,
    name: str | None = None,
    sql: str | None = None,
    **options: Any,
) -> FeatureView | Callable[[Transform], FeatureView]:
    """Declare a feature view: a decorator over `fn(rows, window) -> table`, or a value with `sql=`.

    The function gets the source's rows known in `[window.end - lookback, window.end)` as an Arrow
    table and the `Window`; it returns the key columns and the feature columns, one row per key (or
    several, with its own `event_time` column inside the window's past). SQL sees the same rows as a
    table named like the source's last part, and `$start`, `$end`.

    Raises:
        Invalid: at import, with file, view, field, what was found, what is allowed.

    Example:
        >>> carrier = Entity("carrier", key="carrier: string")
        >>> flights = Source("raw/flights", time="landed_at")
        >>> from tiffin.features.feature_types import Int32
        >>> @feature_view(entity=carrier, source=flights, partitions=daily("2013-01-01"), features=[Feature("flights_1d", Int32())])
        ... def carrier_load(rows, window):
        ...     return rows.group_by("carrier").aggregate([([], "count_all")]).rename_columns(["carrier", "flights_1d"])
        >>> carrier_load.name
        'carrier_load'
    """
    given = {"entity": entity, "source": source, "features": tuple(features), "partitions": partitions, **options}
    if sql is not None:
        return FeatureView(name, sql=sql, **given)

    def declare(fn: Transform) -> FeatureView:
        code = inspect.unwrap(fn)
        return FeatureView(
            name or code.__name__,
            transform=fn,
            declared_in=code.__code__.co_filename,
            **{"description": inspect.getdoc(fn) or "", **given},
        )

    return declare


def event_time_us(window: Window) -> int:
    """A row's default event time: the window's end, when its facts are complete."""
    return to_us(window.end)
