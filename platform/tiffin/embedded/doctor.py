"""What this machine and this home lack, and for each thing the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tiffin.core.errors import PlatformError
from tiffin.core.settings import Settings
from tiffin.embedded import seaweed, valkey
from tiffin.embedded.identities import secrets_folder
from tiffin.embedded.jail import OPEN_INSTEAD, why_impossible
from tiffin.embedded.processes import alive, port_is_free
from tiffin.embedded.serving_env import MARKER
from tiffin.embedded.state import StackState, read_state

__all__ = ["Finding", "doctor"]

Verdict = Literal["ok", "note", "bad"]
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. A note needs no mending before `tiffin up`; a bad one does.

    Args:
        mend: the command or the deed that mends it; empty when all is well.
    """

    check: str
    verdict: Verdict
    found: str
    mend: str = ""

    def to_json(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def doctor(home: Path, *, settings: Settings | None = None) -> list[Finding]:
    """Look at everything that `tiffin up` needs; starts nothing and changes nothing."""
    given = settings or Settings.from_environment()
    home = home.resolve()
    findings = [
        python_version(sys.version_info[:2]),
        program("valkey", valkey.valkey_binary),
        program("seaweedfs", seaweed.seaweed_binary),
        program("dagster", lambda: module("dagster_webserver")),
        program("uv", lambda: module("uv")),
        serving_environment(given.cache),
        disk(home, need_bytes=2 * GIB),
        disk(given.cache, need_bytes=2 * GIB),
        shared_memory(Path("/dev/shm"), need_bytes=GIB // 4),  # noqa: S108  Triton's, not ours
        isolation(given.isolation),
    ]
    state, finding = state_file(home)
    return [*findings, finding, *ports(state), *secret_modes(secrets_folder(home))]


def python_version(found: tuple[int, ...]) -> Finding:
    """The range that the lock file was made for."""
    text = ".".join(map(str, found))
    if (3, 11) <= found < (3, 13):
        return Finding("python", "ok", text)
    return Finding("python", "bad", f"{text}, expected 3.11 or 3.12", "make the environment with python3.11: rm -rf .venv && make env")


def module(name: str) -> Path:
    """Where an installed package is, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise PlatformError(f"the package {name} is not installed", fix="pip install 'tiffin[embedded]'")
    return Path(found.origin)


def program(name: str, find: Callable[[], Path]) -> Finding:
    """A server that comes out of a package."""
    try:
        path = find()
    except PlatformError as err:
        return Finding(name, "bad", err.message, err.fix)
    if name in ("valkey", "seaweedfs") and not os.access(path, os.X_OK):
        return Finding(name, "bad", f"{path} is not executable", f"chmod +x {path}")
    return Finding(name, "ok", str(path))


def serving_environment(cache: Path) -> Finding:
    """Built once per lock file."""
    if any(cache.glob(f"serving-env-*/{MARKER}")):
        return Finding("serving environment", "ok", f"built in {cache}")
    return Finding("serving environment", "note", f"not in {cache}: the first `tiffin up` builds it (a minute and a download)", "tiffin up")


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def disk(path: Path, *, need_bytes: int) -> Finding:
    """Room, and the right to use it."""
    folder = existing(path)
    free = shutil.disk_usage(folder).free
    name = f"disk at {path}"
    if not os.access(folder, os.W_OK):
        return Finding(name, "bad", f"{folder} is not writable", "choose another folder: --home DIR or TIFFIN_CACHE=DIR")
    if free < need_bytes:
        return Finding(
            name, "bad", f"{free / GIB:.1f} GiB free, {need_bytes / GIB:.0f} needed", "free some space, or choose another disk with --home"
        )
    return Finding(name, "ok", f"{free / GIB:.0f} GiB free")


def shared_memory(path: Path, *, need_bytes: int) -> Finding:
    """Where the model server's processes hand each other tensors."""
    if not path.is_dir():
        return Finding("shared memory", "bad", f"{path} does not exist", f"mount -t tmpfs tmpfs {path}")
    free = shutil.disk_usage(path).free
    if free < need_bytes:
        mend = f"mount -o remount,size=1g {path}   (a container: --shm-size=1g)"
        return Finding("shared memory", "bad", f"{free >> 20} MiB free in {path}, {need_bytes >> 20} needed", mend)
    return Finding("shared memory", "ok", f"{free >> 20} MiB free")


def isolation(wanted: str) -> Finding:
    """Whether steps can be kept from the promoter's keys."""
    if wanted == "none":
        return Finding("isolation", "note", "none: steps can read the promoter's keys", "unset TIFFIN_ISOLATION")
    trouble = why_impossible()
    return Finding("isolation", "ok", "namespaces work") if trouble is None else Finding("isolation", "bad", trouble.message, OPEN_INSTEAD)


def state_file(home: Path) -> tuple[StackState | None, Finding]:
    """Whether the recorded stack can be read, and whether it lives."""
    try:
        state = read_state(home)
    except PlatformError as err:
        return None, Finding("state file", "bad", err.message, err.fix)
    if state is None:
        return None, Finding("state file", "note", f"no stack in {home} yet", "tiffin up")
    dead = [name for name, part in state.parts.items() if not alive(part.process)]
    if dead:
        return state, Finding("state file", "note", f"recorded parts that have died: {', '.join(dead)}", "tiffin up")
    return state, Finding("state file", "ok", f"{len(state.parts)} parts run" if state.parts else "nothing runs")


def ports(state: StackState | None) -> list[Finding]:
    """Ports that a stopped part wants back and somebody else has: it will get new ones."""
    if state is None:
        return [Finding("ports", "ok", "any free ones will do")]
    dead = {name: used for name, used in state.ports.items() if name not in state.parts or not alive(state.parts[name].process)}
    taken = [f"{port} ({name})" for name, used in dead.items() for port in used.values() if not port_is_free(port)]
    if taken:
        return [Finding("ports", "note", f"taken by another program: {', '.join(taken)}", "nothing: `tiffin up` chooses others")]
    return [Finding("ports", "ok", "those of the last run are free" if dead else "in use by the stack itself")]


def secret_modes(folder: Path) -> list[Finding]:
    """Nobody else may read a key."""
    if not folder.is_dir():
        return []
    # the object store keeps sockets here too, behind the folder's own mode
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    open_ones = [path for path in (folder, *files) if path.stat().st_mode & 0o077]
    if open_ones:
        return [Finding("secrets", "bad", f"open to others: {', '.join(map(str, open_ones))}", f"chmod -R go= {folder}")]
    return [Finding("secrets", "ok", "readable by you alone")]
