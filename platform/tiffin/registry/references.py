"""What a record is called, where it lives, and what it needs beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from tiffin.core.errors import Invalid, nearest
from tiffin.manifests.records import (
    CodeRef,
    DeploymentRecord,
    FileRef,
    GenerationRecord,
    ModelRecord,
    SegmentRef,
    ViewRecord,
)
from tiffin.storage.layout import RecordKind

__all__ = ["RECORD_TYPES", "AnyRecord", "Reference", "check_kind", "check_path", "home_of", "kind_of", "references", "title", "title_of"]

AnyRecord = ViewRecord | GenerationRecord | ModelRecord | DeploymentRecord

RECORD_TYPES: Mapping[RecordKind, type[AnyRecord]] = {
    "view": ViewRecord,
    "generation": GenerationRecord,
    "model": ModelRecord,
    "deployment": DeploymentRecord,
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One thing that a record cannot do without.

    Args:
        kind: `"blob"`, or the kind of a record that is promoted with it.
        digest: its address.
        name: what an error calls it: `"file 'model.txt' of model 'eta/eta'"`.
        path: the name under which programs see a blob; None for records and segments.
        size_bytes: declared size of a blob.
    """

    kind: Literal["blob"] | RecordKind
    digest: str
    name: str
    path: str | None = None
    size_bytes: int | None = None


def check_kind(word: str) -> RecordKind:
    """`word` as a record kind. Raises Invalid with the nearest one."""
    for kind in get_args(RecordKind):
        if word == kind:
            return kind  # type: ignore[no-any-return]  # get_args is untyped; it is one of the literals
    raise Invalid(f"record kind {word!r} does not exist", fix=nearest(word, get_args(RecordKind)))


def check_path(path: str, *, of: str) -> str:
    """A file path that stays inside the folder it is written to.

    Raises:
        Invalid: absolute, climbing, empty, or with a byte that some system reads as a separator.
    """
    pure = PurePosixPath(path)
    clean = path and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path and path != "."
    if clean and not any(char in path for char in "\\\0:\n\r"):
        return path
    raise Invalid(f"file path {path!r} of {of} could leave its folder", fix="use a plain relative path such as 'model/1/model.py'")


def kind_of(record: AnyRecord) -> RecordKind:
    """The kind under which a record is stored."""
    return next(kind for kind, record_type in RECORD_TYPES.items() if isinstance(record, record_type))


def home_of(record: AnyRecord) -> tuple[str, str]:
    """`(team, name)` of the pointer that may name this record."""
    return record.team, record.view if isinstance(record, GenerationRecord) else record.name


def title(kind: RecordKind, team: str, name: str) -> str:
    """What errors call it: `"deployment 'eta/eta'"`."""
    return f"{kind} '{team}/{name}'"


def title_of(record: AnyRecord) -> str:
    """`title` of a record in hand."""
    return title(kind_of(record), *home_of(record))


def file_reference(file: FileRef, *, what: str, of: str) -> Reference:
    """A named blob."""
    return Reference("blob", file.digest, f"{what} {file.path!r} of {of}", check_path(file.path, of=of), file.size_bytes)


def code_reference(code: CodeRef, *, of: str) -> Reference:
    """The archive of the team's package."""
    return file_reference(code.archive, what="code archive", of=of)


def segment_reference(segment: SegmentRef, number: int, *, of: str) -> Reference:
    """Number 0 is the base; deltas count from 1."""
    what = "base segment" if number == 0 else f"delta segment {number}"
    return Reference("blob", segment.digest, f"{what} of {of}", None, segment.size_bytes)


def references(record: AnyRecord) -> list[Reference]:
    """Everything `record` names by digest, one step deep, in a fixed order: records first.

    A new kind of record, or a new digest in an old one, is added here and nowhere else: promotion
    copies, checks and signs what this returns.

    Raises:
        Invalid: a file path that could leave its folder, or one path twice.
    """
    of = title_of(record)
    found: list[Reference] = []
    if isinstance(record, DeploymentRecord):
        found.append(Reference("model", record.model, f"model {record.model_name!r} of {of}"))
        found += [file_reference(file, what="file", of=of) for file in record.files]
        found.append(file_reference(record.golden, what="golden rows", of=of))
        found.append(code_reference(record.code, of=of))
    elif isinstance(record, ModelRecord):
        views = {feature.view_record: feature.view for feature in record.features}
        found += [Reference("view", digest, f"view {view!r} of {of}") for digest, view in views.items()]
        found += [file_reference(file, what="file", of=of) for file in record.files]
        found.append(code_reference(record.code, of=of))
    elif isinstance(record, GenerationRecord):
        found.append(Reference("view", record.view_record, f"view '{record.team}/{record.view}' of {of}"))
        found += [segment_reference(segment, number, of=of) for number, segment in enumerate((record.base, *record.deltas))]
    paths = [file.path for file in record.files] if isinstance(record, DeploymentRecord | ModelRecord) else []
    for path in paths:
        if paths.count(path) > 1:
            raise Invalid(f"file path {path!r} of {of} occurs twice", fix="give each file its own path")
    return found
