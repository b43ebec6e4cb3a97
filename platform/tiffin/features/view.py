"""A feature view: typed feature columns of one entity, made by one transform, most often partitioned by time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, overload

import pyarrow as pa
from pydantic import BeforeValidator, Field, field_validator, model_validator

from tiffin.compute.spec import Compute
from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid, nearest
from tiffin.core.names import check_name, split_ref
from tiffin.core.spec import Spec
from tiffin.core.units import parse_duration
from tiffin.features.entity import Entity
from tiffin.features.expectations import Expect, GoldenRow, check_golden
from tiffin.features.feature_types import FeatureType
from tiffin.features.name_hashes import name_hashes
from tiffin.features.partitions import Partitions, Snapshot, Window
from tiffin.lineage.code import code_digest
from tiffin.manifests.records import Layout, ViewRecord
from tiffin.wire.schema import Column, RowSchema

__all__ = ["Duration", "Feature", "FeatureView", "Online", "Source", "Transform", "feature_view"]

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
EVERYTHING = Snapshot.sees
RESERVED = {"event_time", "known_at", "written_at", "partition", "run"}


Transform = Callable[..., pa.Table]
"""`fn(rows, window)`, and a keyword for each input: `fn(rows, window, planes)`."""


class Feature(Spec):
    """A named, typed column: `Feature("flights_7d", Int32())`."""

    name: str
    type: FeatureType
    nullable: bool = Field(default=True, description="whether a row may lack it")
    description: str = ""
    expect: Expect = Field(default=Expect(), description="what is usual, where earlier partitions cannot tell")

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

    @property
    def table(self) -> str:
        """What code calls it: the last part of its name."""
        return self.name.rpartition("/")[2]


class Online(Spec):
    """How a view is served. Rows older than `ttl`, counted from their event time, read as null."""

    ttl: Duration | None = None
    publish: Literal["daily", "hourly"] | None = Field(default=None, description="publish each new partition when it lands; None: by hand")
    freshness: Duration | None = Field(default=None, description="how old the newest published event time may get before the view is late")
    layout: Layout = Field(
        default="plain", description="dense: rows of up to 64 bytes share hashes, half the memory for twice the server time"
    )
    compat: Literal["xxhash32"] | None = Field(
        default=None, description="the view shares a published layout (tiffin features migrate): names that collide there are refused"
    )
    fewest_rows_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="a generation with a smaller share of the live one's rows is refused",
    )
    null_rate_rise: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="how far a feature's share of nulls may rise above the live generation's",
    )

    def __init__(self, **fields: Any) -> None:
        # spelled out so that type checkers accept what pydantic reads: ttl="14d"
        super().__init__(None, **fields)


class FeatureView(Spec):
    """Made by `feature_view`. Exactly one of `transform` (Python over Arrow) and `sql` is set."""

    name: str
    entity: Entity
    source: Source
    features: tuple[Feature, ...] = Field(min_length=1)
    partitions: Partitions
    inputs: tuple[Source, ...] = Field(default=(), description="further tables; a window sees all of their rows known before its end")
    lookback: Duration = Field(description="how far before its end a window sees; left out, one partition; a snapshot sees everything")
    delay: Duration = Field(default=timedelta(0), description="known_at = event time + delay")
    online: Online | None = None
    transform: Transform | None = None
    sql: str | None = None
    engine: str | None = Field(default=None, description="'spark', or a plug-in's name; None: 'duckdb' for SQL, 'arrow' for Python")
    schema_number: int = Field(default=1, ge=1, le=255)
    description: str = ""
    declared_in: str = Field(default="", description="file that declares it; filled by feature_view")
    golden: tuple[GoldenRow, ...] = Field(default=(), description="rows that are known by other means, checked before a write")
    compute: Compute | None = Field(default=None, description="what a step that makes its partitions asks of the cluster; None: the least")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="feature view")

    @model_validator(mode="before")
    @classmethod
    def one_partition_is_seen(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given  # a view itself, or what pydantic will refuse
        cut = given.get("partitions")
        if isinstance(cut, Snapshot) and given.get("lookback", EVERYTHING) != EVERYTHING:
            raise Invalid("a snapshot sees the whole source and has no lookback", fix="leave lookback out")
        length = EVERYTHING if isinstance(cut, Snapshot) else getattr(cut, "length", timedelta(days=1))
        return {"lookback": length, **given}

    @model_validator(mode="after")
    def partitions_fit(self) -> FeatureView:
        kind, ttl, publish = self.partitions.kind, self.online and self.online.ttl, self.online and self.online.publish
        if not isinstance(self.partitions, Snapshot) and self.lookback < self.partitions.length:
            least = "1d" if kind == "daily" else "1h"
            raise Invalid(f"lookback {self.lookback} is shorter than one {kind} partition", fix=f"use lookback={least!r} or more")
        if kind == "snapshot" and ttl is not None:
            raise Invalid("rows of a snapshot do not expire", fix="leave ttl out, and let the transform leave out what no longer holds")
        if kind == "daily" and publish == "hourly":
            raise Invalid("a daily view has nothing new to publish every hour", fix="use publish='daily', or hourly(...) partitions")
        return self

    @model_validator(mode="after")
    def engine_runs_the_code(self) -> FeatureView:
        if self.engine == "arrow" and self.sql is not None:
            raise Invalid("engine 'arrow' runs functions, and the view has SQL", fix="leave engine out, or use 'duckdb' or 'spark'")
        if self.engine == "duckdb" and self.transform is not None:
            raise Invalid("engine 'duckdb' runs SQL, and the view is a function", fix="leave engine out, or use 'arrow' or 'spark'")
        return self

    @model_validator(mode="after")
    def tables_are_distinct(self) -> FeatureView:
        names = [source.table for source in (self.source, *self.inputs)]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"two of its tables are called {name!r}", fix="name each source once; code calls it by the last part")
        for name in names[1:]:
            if self.transform is not None and name in ("rows", "window"):
                raise Invalid(f"input {name!r} has the name of another argument", fix="rename the table")
        return self

    @model_validator(mode="after")
    def columns_are_distinct(self) -> FeatureView:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"feature {name!r} occurs twice", fix="rename one of the two")
            if name in self.entity.key_names:
                raise Invalid(f"feature {name!r} is also part of entity {self.entity.name!r}'s key", fix="rename the feature")
        if self.online is not None and self.online.compat == "xxhash32":
            name_hashes(names)
        if (self.transform is None) == (self.sql is None):
            raise Invalid("a view needs exactly one of a Python function and sql=", fix="decorate a function, or pass sql='select ...'")
        for row in self.golden:
            check_golden(row, keys=self.entity.key_names, features=names)
        return self

    def feature(self, name: str) -> Feature:
        """One feature by name. Raises Invalid with the nearest name."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise Invalid(f"view {self.name!r} has no feature {name!r}", fix=nearest(name, [f.name for f in self.features]))

    @property
    def engine_name(self) -> str:
        """Which engine computes it."""
        return self.engine or ("arrow" if self.sql is None else "duckdb")

    @property
    def row_schema(self) -> RowSchema:
        """How its rows are packed."""
        return RowSchema(self.schema_number, tuple(feature.column for feature in self.features))

    @property
    def definition(self) -> str:
        """Digest of what computes the values: code or SQL, source, columns, times."""
        # named only where it is used: what did not change keeps its digest
        more: dict[str, Any] = {"inputs": [[one.name, one.time] for one in self.inputs]} if self.inputs else {}
        more |= {"engine": self.engine} if self.engine not in (None, "arrow", "duckdb") else {}
        more |= {} if self.partitions.kind == "daily" else {"partitions": [self.partitions.kind, str(self.partitions.start)]}
        return digest_json(
            {
                **more,
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
            partition_kind=self.partitions.kind,
            delay_us=self.delay // timedelta(microseconds=1),
            ttl_us=None if self.online is None or self.online.ttl is None else self.online.ttl // timedelta(microseconds=1),
            layout="plain" if self.online is None else self.online.layout,
            definition=self.definition,
        )

    def window(self, key: str = "", *, until: datetime | None = None) -> Window:
        """One partition's window. A snapshot has the key `""` and is computed as of `until`."""
        return self.windows_of([key], until=until)[0]

    def windows_of(self, keys: Sequence[str], *, until: datetime | None = None) -> list[Window]:
        """Windows of partition keys, in any order, in time order.

        Args:
            keys: as Dagster has them; of a snapshot `[""]` or none at all.
            until: now; needed for a snapshot alone.

        Raises:
            Invalid: a key that the view does not have; or a snapshot without `until`.
        """
        try:
            if not isinstance(self.partitions, Snapshot):
                return sorted((self.partitions.window(key) for key in keys), key=lambda window: window.start)
            if until is None:
                raise Invalid(f"{self.partitions.described} is computed as of an instant", fix="give until=, now")
            return [self.partitions.window(key, until=until) for key in keys or [""]]
        except Invalid as err:
            raise Invalid(f"view {self.name!r}: {err.message}", fix=err.fix) from err

    def windows(self, *, until: datetime) -> list[Window]:
        """Every complete partition up to `until`, in time order."""
        return self.partitions.windows(until=until)


@overload
def feature_view(
    *, entity: Entity, source: Source, features: Sequence[Feature], partitions: Partitions, name: str, sql: str, **options: Any
) -> FeatureView: ...
@overload
def feature_view(
    *,
    entity: Entity,
    source: Source,
    features: Sequence[Feature],
    partitions: Partitions,
    name: str | None = None,
    sql: None = None,
    **options: Any,
) -> Callable[[Transform], FeatureView]: ...
def feature_view(
    *,
    entity: Entity,
    source: Source,
    features: Sequence[Feature],
    partitions: Partitions,
    name: str | None = None,
    sql: str | None = None,
    **options: Any,
) -> FeatureView | Callable[[Transform], FeatureView]:
    """Declare a feature view: a decorator over `fn(rows, window) -> table`, or a value with `sql=`.

    The function gets the source's rows known in `[window.end - lookback, window.end)` as an Arrow
    table and the `Window`; it returns the key columns and the feature columns, one row per key (or
    several, with its own `event_time` column inside the window's past). SQL sees the same rows as a
    table named like the source's last part, and `$start`, `$end`. Each of `inputs` is one more table of
    that kind, a keyword argument of the function: all its rows known before the window's end. With
    `engine="spark"` the tables are DataFrames and the function returns one, not yet run; SQL is Spark's.

    Raises:
        Invalid: at import, with file, view, field, what was found, what is allowed.

    Example:
        >>> carrier = Entity("carrier", key="carrier: string")
        >>> flights = Source("raw/flights", time="landed_at")
        >>> from tiffin.features.feature_types import Int32
        >>> from tiffin.features.partitions import daily
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
