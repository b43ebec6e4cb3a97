"""The stack's state file: which processes are ours, on which ports, under which settings.

Written atomically after every change, 0600. It holds what a user of the stack may know (the dev
and prod-read keys) and never what only the promoter may: that is in `secrets/`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tiffin.core.errors import Invalid, NotReady
from tiffin.embedded.processes import Process
from tiffin.embedded.secret_files import read_private_json, write_private

__all__ = ["FORMAT", "PartState", "StackState", "locked", "read_state", "state_path", "write_state"]

FORMAT = "tiffin.stack.v1"
MEND = "run `tiffin down --force` (it finds the processes by themselves and keeps the data), then `tiffin up`"


class PartState(BaseModel):
    """One running process of the stack.

    Args:
        environment: digest of what it was started with; another one means it must start again.
        detail: what the part itself wants to know when it is stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    born: str
    started_at: str
    ports: dict[str, int] = Field(default_factory=dict)
    environment: str = ""
    detail: dict[str, Any] = Field(default_factory=dict)

    @property
    def process(self) -> Process:
        """The process it names, and no other."""
        return Process(self.pid, self.born)


class StackState(BaseModel):
    """All that `tiffin` remembers between two commands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["tiffin.stack.v1"] = "tiffin.stack.v1"
    as_of: str | None = None
    isolation: str = "namespace"
    workspace: str | None = None
    cluster: str | None = Field(default=None, description="kubeconfig of the cluster where runs go; None: they are processes here")
    parts: dict[str, PartState] = Field(default_factory=dict)
    ports: dict[str, dict[str, int]] = Field(default_factory=dict, description="last used per part, kept while it is down")
    settings: dict[str, str] = Field(default_factory=dict, description="the TIFFIN_* variables that reach this stack")

    def with_part(self, name: str, part: PartState | None) -> StackState:
        """A copy in which the part runs, or no longer does; its ports are remembered."""
        parts = {**self.parts, name: part} if part is not None else {key: value for key, value in self.parts.items() if key != name}
        ports = {**self.ports, name: part.ports} if part is not None and part.ports else self.ports
        return self.model_copy(update={"parts": parts, "ports": ports})


def state_path(home: Path) -> Path:
    """Where a home keeps its state."""
    return home / "state.json"


def write_state(home: Path, state: StackState) -> None:
    """Replace the state file atomically."""
    write_private(state_path(home), json.dumps(state.model_dump(mode="json"), indent=1, sort_keys=True) + "\n")


def read_state(home: Path) -> StackState | None:
    """The recorded state, or None where no stack has run.

    Raises:
        Denied: others can read the file. Invalid: it is damaged, or of another version.
    """
    path = state_path(home)
    if not path.exists():
        return None
    found = read_private_json(path, what="state file", mend=MEND)
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise Invalid(f"state file {path} has format {version!r}, expected {FORMAT!r}: another version of tiffin wrote it", fix=MEND)
    try:
        return StackState.model_validate(found)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"state file {path} is damaged: field {where!r}: {first['msg']}", fix=MEND) from err


@contextmanager
def locked(home: Path, *, wait: bool = True) -> Iterator[None]:
    """One `up` or `down` of a home at a time; the lock falls with the process that holds it.

    Raises:
        NotReady: `wait` is False and another command holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as err:
            raise NotReady(f"another `tiffin up` or `down` works on {home}", fix="wait for it to end") from err
        yield
    finally:
        os.close(descriptor)
