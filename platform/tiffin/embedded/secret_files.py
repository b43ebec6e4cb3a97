"""Files that only their owner may read: passwords, keys, the state file."""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from tiffin.core.errors import Denied, Invalid

__all__ = ["make_private", "new_password", "read_private_json", "write_private"]


def new_password() -> str:
    """43 characters of the URL alphabet: safe in a URL, an ini file and a shell."""
    return secrets.token_urlsafe(32)


def make_private(folder: Path) -> Path:
    """Create a folder that only its owner may enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def write_private(path: Path, data: bytes | str) -> Path:
    """Replace a file atomically; it is 0600 from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return path


def read_private_json(path: Path, *, what: str, mend: str) -> Any:
    """Parse a file that nobody else may read.

    Args:
        what: what the error calls it: "state file".
        mend: what to do when it is damaged.

    Raises:
        Denied: others may read or write it, so its content may be known or forged.
        Invalid: it is not JSON.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Denied(f"{what} {path} is open to others: mode {mode:04o}, expected 0600", fix=f"chmod 600 {path}")
    try:
        return json.loads(path.read_bytes())
    except ValueError as err:
        raise Invalid(f"{what} {path} is damaged: {err}", fix=mend) from err
