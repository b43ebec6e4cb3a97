"""A folder as an object store: unit tests and the agent's local copies, no server."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady, PlatformError
from tiffin.storage.objects import Stored

__all__ = ["FolderStore"]

HIDDEN = ".tiffin-"
"""Lock and temporary files start with this; keys may not."""


class FolderStore:
    """One file per key under `path`; an etag is the digest of the content.

    A write is a rename of a finished file, so a reader sees the old bytes or the new ones.
    Conditional writes hold a lock on the folder: several processes may share it.

    A key whose part names a file (`a` beside `a/b`) cannot exist in a folder and is refused.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write atomically; see `ObjectStore.put`."""
        if if_absent and if_match is not None:
            raise Invalid(f"writing {key!r}: if_absent and if_match exclude each other", fix="give one of the two")
        target = self.file(key)
        with translated(key, self.path):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as err:
                raise shadowed(key) from err
            if target.is_dir():
                raise shadowed(key)
            handle, name = tempfile.mkstemp(prefix=HIDDEN, dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if if_absent:
                    os.link(name, target)  # fails when the key exists, in one step
                elif if_match is not None:
                    with self.locked():
                        if not target.is_file() or digest_bytes(target.read_bytes()) != if_match:
                            raise changed(key)
                        os.replace(name, target)
                else:
                    with self.locked():
                        os.replace(name, target)
            except FileExistsError as err:
                raise changed(key) from err
            finally:
                Path(name).unlink(missing_ok=True)
        return digest_bytes(data)

    def get(self, key: str) -> Stored:
        """Read a whole file. Raises NotFound."""
        with translated(key, self.path):
            data = self.file(key).read_bytes()
        return Stored(data, digest_bytes(data))

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under `prefix`, sorted by code point like S3's."""
        # the deepest folder that holds every match, so that a listing does not walk the whole store
        start = self.path / prefix.rpartition("/")[0]
        if ".." in prefix.split("/"):
            raise Invalid(f"prefix {prefix!r} is not allowed", fix="leave out '..'")
        with translated(prefix, self.path):
            found = (Path(folder) / name for folder, _, names in os.walk(start) for name in names if not name.startswith(HIDDEN))
            keys = sorted(file.relative_to(self.path).as_posix() for file in found)
        yield from (key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove a file; a missing one is no error."""
        file = self.file(key)
        with translated(key, self.path), self.locked():
            if file.is_file():
                file.unlink(missing_ok=True)

    def file(self, key: str) -> Path:
        """Where a key lives; a key that would leave the folder is refused."""
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or part.startswith(HIDDEN) or "\0" in part for part in parts):
            raise Invalid(f"object key {key!r} is not allowed", fix="use names separated by single slashes, without '.' and '..'")
        return self.path.joinpath(*parts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; it falls with the process, so a killed writer blocks nobody."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / f"{HIDDEN}lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def changed(key: str) -> Conflict:
    """The conditional write lost."""
    return Conflict(f"object {key!r} was written by somebody else first", fix="read it again and repeat the change", context={"key": key})


def shadowed(key: str) -> Invalid:
    """A folder cannot hold both `a` and `a/b`; a bucket can."""
    return Invalid(
        f"object key {key!r}: another key is a folder or a file on its path",
        fix="rename one of the two keys: a folder cannot hold both 'a' and 'a/b'",
        context={"key": key},
    )


@contextmanager
def translated(key: str, root: Path) -> Iterator[None]:
    """The file system's errors as decisions."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
        raise NotFound(
            f"no object {key!r} in folder {str(root)!r}", fix="check the key, or publish it first", context={"key": key}
        ) from err
    except PermissionError as err:
        if isinstance(err, PlatformError):
            raise
        raise Denied(
            f"object {key!r} in folder {str(root)!r}: this user may not", fix="change the folder's owner or mode", context={"key": key}
        ) from err
    except OSError as err:
        raise NotReady(
            f"object {key!r} in folder {str(root)!r}: {err}", fix="check the disk: space, mount, limits", context={"key": key}
        ) from err
