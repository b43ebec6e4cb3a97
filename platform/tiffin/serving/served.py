"""What the agent knows of each deployment, how it says so, and the little it remembers over a restart."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tiffin.core.errors import PlatformError
from tiffin.core.spec import Record
from tiffin.serving.health import Edition

__all__ = ["Memory", "Refusal", "Served", "read_memory", "write_memory"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest that may not go live, and when to look at it again."""

    digest: str
    reason: str
    fix: str
    attempts: int
    retry_at: float

    @classmethod
    def of(cls, digest: str, err: PlatformError, before: Refusal | None, *, now: float) -> Refusal:
        """The next refusal; each time the agent waits longer, up to half a minute."""
        attempts = 1 if before is None or before.digest != digest else before.attempts + 1
        return cls(digest, err.message, err.fix, attempts, now + min(30.0, 0.5 * 2.0**attempts))


@dataclass(slots=True)
class Served:
    """One deployment.

    Args:
        remembered: manifest that was live before this agent started, until it is live again.
        live: answers under the public name. previous: still loaded, for a rollback at once.
        reason: why it is not ready; None when its last inference succeeded.
        refused: the manifest that the pointer names, when it may not go live.
    """

    team: str
    name: str
    remembered: str | None = None
    live: Edition | None = None
    previous: Edition | None = None
    reason: str | None = "not asked yet"
    refused: Refusal | None = None

    @property
    def ref(self) -> str:
        """`"team/name"`."""
        return f"{self.team}/{self.name}"

    @property
    def promised(self) -> bool:
        """Whether clients count on it: it is live, or was before this agent started."""
        return self.live is not None or self.remembered is not None

    def to_json(self) -> dict[str, Any]:
        """For `/status`."""
        live, refused = self.live, self.refused
        return {
            "team": self.team,
            "name": self.name,
            "ready": self.reason is None,
            "reason": self.reason,
            "manifest": None if live is None else live.digest,
            "model": None if live is None else live.record.model,
            "ensemble": None if live is None else live.record.ensemble,
            "previous": None if self.previous is None else self.previous.digest,
            "refused": None
            if refused is None
            else {"manifest": refused.digest, "reason": refused.reason, "fix": refused.fix, "attempts": refused.attempts},
        }


class Memory(Record):
    """The agent's state file: which manifest was live, by `team/name`."""

    format: Literal["tiffin.agent.v1"] = "tiffin.agent.v1"
    live: dict[str, str] = Field(default_factory=dict)


def read_memory(path: Path) -> Memory:
    """What an earlier agent served; nothing when there was none."""
    return Memory.from_bytes(path.read_bytes(), name=str(path)) if path.is_file() else Memory()


def write_memory(path: Path, memory: Memory) -> None:
    """In one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(memory.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
