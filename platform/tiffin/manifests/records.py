"""The immutable JSON records. Each is named by its digest; only pointers move."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tiffin.core.spec import Record

__all__ = [
    "CodeRef",
    "DeploymentRecord",
    "EntityRecord",
    "FeatureRef",
    "FileRef",
    "GenerationRecord",
    "KeyField",
    "Layout",
    "Limits",
    "ModelRecord",
    "Pointer",
    "RequestField",
    "SegmentRef",
    "TableRef",
    "ViewRecord",
]


Layout = Literal["plain", "dense"]
"""How rows stand in the online store: one value each, or many in one hash."""


def is_plain(layout: str) -> bool:
    """The layout that every record had before it was named: left out, so that old records keep their addresses."""
    return layout == "plain"


def is_none(value: object) -> bool:
    """A field that came later and is not set: left out, so that bytes stay what they were."""
    return value is None


def is_false(value: bool) -> bool:
    """As `is_none`, for a flag."""
    return not value


class FileRef(Record):
    """A blob under the name it has for people and programs."""

    path: str
    digest: str
    size_bytes: int


class KeyField(Record):
    """One part of an entity key."""

    name: str
    type: Literal["string", "int8", "int16", "int32", "int64"]


class EntityRecord(Record):
    """A thing with a key: one part, or several in a fixed order."""

    name: str
    keys: tuple[KeyField, ...]


class ViewRecord(Record):
    """A compiled feature view: all that a reader, a join or another team needs to know."""

    format: Literal["tiffin.view.v1"] = "tiffin.view.v1"
    team: str
    name: str
    owner: str
    description: str
    entity: EntityRecord
    row_schema: dict[str, Any] = Field(description="tiffin.wire.schema.RowSchema.to_json()")
    partition_start: str = Field(description="first partition's day, YYYY-MM-DD; of a snapshot, from when its rows hold")
    # left out where it is daily: records from before there was another kind keep their digests
    partition_kind: Literal["daily", "hourly", "snapshot"] = Field(default="daily", exclude_if=lambda kind: kind == "daily")
    delay_us: int
    ttl_us: int | None
    layout: Layout = Field(default="plain", exclude_if=is_plain)
    definition: str = Field(description="digest of the transform's code and spec")


class SegmentRef(Record):
    """One immutable file of packed rows."""

    digest: str
    size_bytes: int
    rows: int
    start_us: int
    end_us: int


class GenerationRecord(Record):
    """The online edition of one view under one schema: a base segment plus ordered deltas.

    `as_of_us` is set when the publisher's clock stood still (replayed history): readers then
    count TTL from it instead of from the wall.
    """

    format: Literal["tiffin.generation.v1"] = "tiffin.generation.v1"
    team: str
    view: str
    view_record: str
    entity: EntityRecord
    row_schema: dict[str, Any]
    base: SegmentRef
    deltas: tuple[SegmentRef, ...] = ()
    watermark_us: int
    as_of_us: int | None
    ttl_us: int | None
    layout: Layout = Field(default="plain", exclude_if=is_plain)


class FeatureRef(Record):
    """A feature column that a model reads: `team/view` and the column."""

    view: str
    column: str
    view_record: str


class TableRef(Record):
    """An exact table: reference, version and content."""

    ref: str
    version: int
    rows: int
    digest: str


class CodeRef(Record):
    """A snapshot of a team's package, and of the library beside it."""

    archive: FileRef
    package: str
    library_version: str
    library_digest: str
    git_commit: str | None
    git_dirty: bool | None


class ModelRecord(Record):
    """One trained, immutable model version.

    `inputs` are the model's columns in order; `features` and `request` say where they come from.
    """

    format: Literal["tiffin.model.v1"] = "tiffin.model.v1"
    team: str
    name: str
    owner: str
    trainer: str
    files: tuple[FileRef, ...]
    params: dict[str, Any]
    metrics: dict[str, float]
    gates: tuple[dict[str, Any], ...]
    inputs: tuple[str, ...]
    output: str
    features: tuple[FeatureRef, ...]
    table: TableRef
    code: CodeRef
    preprocess: str = Field(description="digest of the preprocess source that made the inputs")
    image: str | None
    run_id: str | None
    parent: str | None


class RequestField(Record):
    """One input of the endpoint: an id (part of an entity key) or a request-time field."""

    name: str
    role: Literal["key", "field"]
    encoding: str
    nullable: bool


class Limits(Record):
    """What one request may ask for."""

    max_rows: int = Field(ge=1)
    max_bytes: int = Field(ge=1)


class DeploymentRecord(Record):
    """A serving spec bound to one model version: everything the agent needs, by digest."""

    format: Literal["tiffin.deployment.v1"] = "tiffin.deployment.v1"
    team: str
    name: str
    owner: str
    model: str
    model_name: str
    views: tuple[ViewRecord, ...]
    request: tuple[RequestField, ...]
    outputs: tuple[str, ...]
    limits: Limits
    ensemble: str = Field(description="content-hashed ensemble, e.g. eta--1f2e3d4c")
    golden_ensemble: str = Field(description="the same steps without the features step")
    steps: tuple[str, ...] = Field(description="content-hashed step models, features first")
    files: tuple[FileRef, ...] = Field(description="the Triton repository, paths relative to its root")
    golden: FileRef
    code: CodeRef
    image: str | None
    run_id: str | None


class Pointer(Record):
    """Names the current manifest and the ones before it, newest first.

    `previous` is where a rollback goes; `abandoned` is where rollbacks came from, newest first,
    so that the next rollback goes further back instead of bouncing.
    """

    format: Literal["tiffin.pointer.v1"] = "tiffin.pointer.v1"
    manifest: str
    previous: tuple[str, ...] = ()
    abandoned: tuple[str, ...] = ()
    sequence: int = Field(ge=1)
    moved_at_us: int | None = Field(default=None, description="when it began to name this manifest, µs since 1970 UTC")
    fence: str | None = Field(default=None, exclude_if=is_none, description="step '<run>/<step>' that moved it, where steps are fenced")
    attempt: int | None = Field(default=None, ge=1, exclude_if=is_none, description="number of that step's attempt")
    kept: bool = Field(default=False, exclude_if=is_false, description="that step wanted what it named already")
