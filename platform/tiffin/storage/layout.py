"""Every key and path in one place: where a blob, a manifest, a pointer or a table lives in a bucket."""

from __future__ import annotations

import re
from typing import Literal

from tiffin.core.errors import Invalid
from tiffin.core.names import check_name, split_ref

__all__ = [
    "USAGE_MEMORY",
    "RecordKind",
    "audit_key",
    "blob_key",
    "checkpoint_prefix",
    "fence_key",
    "manifest_key",
    "pointer_key",
    "request_key",
    "signature_key",
    "table_path",
    "usage_prefix",
    "verdict_key",
]

RecordKind = Literal["view", "generation", "model", "deployment"]
# a run's id, and a step's key as Dagster writes it: names, dots, and the mapping key of a dynamic step in brackets
STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.\[\]-]{0,299}")


def blob_key(digest: str) -> str:
    """An immutable file: model text, code, packed segment, Triton file."""
    return f"blobs/{digest[:2]}/{digest}"


def manifest_key(kind: RecordKind, digest: str) -> str:
    """An immutable JSON record, named by its digest."""
    return f"manifests/{kind}/{digest}.json"


def signature_key(kind: RecordKind, digest: str) -> str:
    """The detached ed25519 signature beside a promoted manifest."""
    return f"manifests/{kind}/{digest}.sig"


def pointer_key(kind: RecordKind, team: str, name: str) -> str:
    """The one mutable word that names the current manifest."""
    return f"pointers/{kind}/{check_name(team, what='team')}/{check_name(name, what=kind)}.json"


def request_key(ticket: str) -> str:
    """A step's wish to promote, in the dev bucket; the promoter reads it."""
    return f"promotions/requests/{ticket}.json"


def verdict_key(ticket: str) -> str:
    """The promoter's answer, in the prod bucket."""
    return f"promotions/verdicts/{ticket}.json"


def table_path(ref: str) -> str:
    """`"team/table"` → the Delta table's prefix."""
    team, name = split_ref(ref, what="table")
    return f"tables/{team}/{name}"


def audit_key(what: str, team: str, name: str, record: str) -> str:
    """A record of something that was done to a view for good, in the prod bucket; never overwritten."""
    return f"audit/{what}/{check_name(team, what='team')}/{check_name(name, what='view')}/{record}.json"


def fence_key(step: str) -> str:
    """Who makes the newest attempt at a step `"<run>/<step>"`, in the dev bucket."""
    return f"fences/{check_step(step)}.json"


def checkpoint_prefix(step: str) -> str:
    """Where a step keeps what its next attempt may go on from, in the dev bucket; with the slash."""
    return f"checkpoints/{check_step(step)}/"


def check_step(step: str) -> str:
    """A step's name is part of a key: it must not be able to name another place."""
    if not STEP.fullmatch(step):
        raise Invalid(f"step {step!r} is not '<run>/<step>'", fix="give the run's id and the step's key as Dagster shows them")
    return step


def usage_prefix(day: str) -> str:
    """Usage records of one UTC day, in the dev bucket; with the slash."""
    return f"usage/{day}/"


USAGE_MEMORY = "usage/memory.json"
"""What the collector of usage records has told already."""
