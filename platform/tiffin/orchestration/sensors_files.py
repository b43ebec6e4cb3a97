"""When a raw table is landed again: decided from the files under a prefix, without I/O.

A tick only notes new files; the next one asks for a run over those that were noted. What a run stands for is
thus in the cursor before the run exists: a tick that is repeated after a kill asks for the very same run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid

__all__ = ["FileDecision", "FileMemory", "FileRun", "LandedFile", "decide_files", "file_backlog"]

FORMAT = "tiffin.files.v1"
# S3 dates an upload of several parts by its beginning: a file may appear that is older than ones read before
OVERLAP_S = 2 * 86_400.0
MOST_A_TICK = 5_000


@dataclass(frozen=True, slots=True)
class LandedFile:
    """A file as the object store lists it.

    Args:
        etag: changes with its content.
        modified_s: seconds since 1970.
    """

    key: str
    etag: str
    modified_s: float


@dataclass(frozen=True, slots=True)
class FileMemory:
    """The cursor.

    Args:
        newest_s: latest modification that was seen; files older than it by more than two days count as seen.
        seen: (etag, modification) by key, of files that are younger than that.
        waiting: etag by key, of files that are in no run yet.
        since_s: when the first of them was noted.
    """

    sequence: int = 0
    newest_s: float = 0.0
    seen: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    since_s: float = 0.0

    def to_text(self) -> str:
        """As JSON that a person can read."""
        return json.dumps(
            {
                "format": FORMAT,
                "sequence": self.sequence,
                "newest_s": self.newest_s,
                "since_s": self.since_s,
                "waiting": dict(sorted(self.waiting.items())),
                "seen": dict(sorted(self.seen.items())),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str | None) -> FileMemory:
        """Raises Invalid for what is no cursor of this sensor."""
        if not text:
            return cls()
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**{**content, "seen": {key: (etag, float(instant)) for key, (etag, instant) in content["seen"].items()}})
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            fix = "reset the sensor's cursor: it then takes every file for a new one, and starts one run"
            raise Invalid(f"the sensor's cursor is not of the form {FORMAT}: {text[:80]!r}", fix=fix) from err


@dataclass(frozen=True, slots=True)
class FileRun:
    """One run to be asked for, over files by name and content."""

    key: str
    sequence: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What a tick does. `why` is what it shows when it starts nothing."""

    memory: FileMemory
    run: FileRun | None
    why: str


def decide_files(
    memory: FileMemory, files: Sequence[LandedFile], *, now_s: float, settle_s: float, busy: str | None = None, again: bool = False
) -> FileDecision:
    """Note new files, and ask for a run over the ones noted before, once no more arrive.

    Args:
        files: everything under the prefix.
        settle_s: how long a burst that does not end may hold up its first file.
        busy: the run that is still building.
        again: the run of this sequence is there already, asked for by a tick whose memory was lost: ask for the same.
    """
    new = [one for one in sorted(files, key=lambda one: (one.modified_s, one.key)) if is_new(memory, one)][:MOST_A_TICK]
    arrived = {one.key: one.etag for one in new}
    noted = remember(memory, new)
    due = busy is None and (not new or now_s - memory.since_s >= settle_s)
    if memory.waiting and (due or again):
        sequence = memory.sequence + 1
        run = FileRun(f"{sequence}:{digest_json([sequence, dict(memory.waiting)])[:16]}", sequence, tuple(sorted(memory.waiting)))
        return FileDecision(replace(noted, sequence=sequence, waiting=arrived, since_s=now_s if arrived else 0.0), run, "")
    waiting = {**memory.waiting, **arrived}
    why = f"{len(waiting)} files wait for {'run ' + busy if busy else 'the rest of the burst'}" if waiting else "no new file"
    return FileDecision(replace(noted, waiting=waiting, since_s=memory.since_s if memory.waiting else now_s), None, why)


def is_new(memory: FileMemory, file: LandedFile) -> bool:
    """Whether this content under this name has not been noted."""
    if file.key in memory.seen:
        return memory.seen[file.key][0] != file.etag
    return file.modified_s >= memory.newest_s - OVERLAP_S


def remember(memory: FileMemory, new: Sequence[LandedFile]) -> FileMemory:
    """Note files; forget what is too old to be taken for new."""
    newest = max([memory.newest_s, *(one.modified_s for one in new)])
    seen = {**memory.seen, **{one.key: (one.etag, one.modified_s) for one in new}}
    young = {key: (etag, instant) for key, (etag, instant) in seen.items() if instant >= newest - OVERLAP_S}
    return replace(memory, newest_s=newest, seen=young)


def file_backlog(cursor: str | None) -> dict[str, Any]:
    """A cursor for people and `--json`."""
    memory = FileMemory.from_text(cursor)
    return {"runs_started": memory.sequence, "files_seen": len(memory.seen), "waiting": sorted(memory.waiting)}
