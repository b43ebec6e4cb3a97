"""The code behind a model: the team's package as one deterministic archive, and what it ran with."""

from __future__ import annotations

import gzip
import io
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tiffin
from tiffin.core.digests import digest_bytes, digest_json
from tiffin.core.errors import Invalid, NotFound
from tiffin.manifests.records import CodeRef, FileRef
from tiffin.registry.pickles import refuse_pickle
from tiffin.storage.objects import ObjectStore, put_blob

__all__ = ["Snapshot", "snapshot"]

logger = logging.getLogger(__name__)

MAX_ARCHIVE_BYTES = 64_000_000
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})
SKIPPED_ENDINGS = (".pyc", ".pyo")
GIT_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A package, frozen.

    Args:
        archive: tar.gz; equal files give equal bytes, whenever and wherever it is made.
        code: what records say about it.
    """

    archive: bytes
    code: CodeRef

    def save(self, dev: ObjectStore) -> CodeRef:
        """Write the archive as a blob; twice is harmless."""
        put_blob(dev, self.archive)
        return self.code


def snapshot(package_dir: Path, *, library_dir: Path | None = None) -> Snapshot:
    """Freeze a team's package; hidden files, caches and who or where we are stay out of it.

    Args:
        package_dir: the folder of the package, the one with its `__init__.py`.
        library_dir: the library's own folder; by default the one that is running.

    Raises:
        NotFound: no such folder. Denied: a file could be a pickle.
        Invalid: a symbolic link, or more bytes than code has.
    """
    package_dir = package_dir.resolve()
    if not package_dir.is_dir():
        raise NotFound(f"package folder {str(package_dir)!r} does not exist", fix="give the folder that holds the package's __init__.py")
    library_dir = (library_dir or Path(tiffin.__file__).parent).resolve()
    package = dotted_name(package_dir)
    files = read_package(package_dir, package=package)
    data = archive(files, folder=package.replace(".", "/"))
    commit, dirty = git_state(package_dir)
    code = CodeRef(
        archive=FileRef(path=f"{package}.tar.gz", digest=digest_bytes(data), size_bytes=len(data)),
        package=package,
        library_version=tiffin.__version__,
        library_digest=library_digest(library_dir),
        git_commit=commit,
        git_dirty=dirty,
    )
    return Snapshot(data, code)


def dotted_name(package_dir: Path) -> str:
    """`assets/eta` → `"assets.eta"`: as far up as there are packages."""
    parts = [package_dir.name]
    above = package_dir.parent
    while (above / "__init__.py").is_file():
        parts.insert(0, above.name)
        above = above.parent
    return ".".join(parts)


def code_files(folder: Path) -> Iterator[Path]:
    """Files of a package in the order of their paths, without caches and hidden files."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if any(part.startswith(".") or part in SKIPPED_FOLDERS for part in inside) or path.name.endswith(SKIPPED_ENDINGS):
            continue
        if path.is_symlink() or path.is_file():
            yield path


def read_package(package_dir: Path, *, package: str) -> dict[str, bytes]:
    """Files by relative path, each looked at before it is kept."""
    files: dict[str, bytes] = {}
    for path in code_files(package_dir):
        relative = path.relative_to(package_dir).as_posix()
        if path.is_symlink():
            raise Invalid(
                f"package {package!r} holds a symbolic link, {relative!r}: what it points to is not part of the package",
                fix="put a copy of the file there instead",
            )
        data = path.read_bytes()
        refuse_pickle(relative, data, name=f"file {relative!r} of package {package!r}")
        files[relative] = data
    total = sum(map(len, files.values()))
    if total > MAX_ARCHIVE_BYTES:
        largest = max(files, key=lambda path: len(files[path]))
        raise Invalid(
            f"package {package!r} has {total} bytes of files, at most {MAX_ARCHIVE_BYTES} are kept; the largest is {largest!r}",
            fix="move data out of the package and read it from a source",
        )
    return files


def archive(files: dict[str, bytes], *, folder: str) -> bytes:
    """A tar.gz whose bytes depend on paths and contents alone."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{path}")  # TarInfo's own defaults: mode 0644, owner 0, time 0
            entry.size = len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    zipped = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=zipped, mtime=0, compresslevel=9) as file:
        file.write(tar_bytes.getvalue())
    return zipped.getvalue()


def library_digest(library_dir: Path) -> str:
    """Digest of the library's Python sources: path and content of each."""
    sources = (path for path in code_files(library_dir) if path.suffix == ".py")
    return digest_json({path.relative_to(library_dir).as_posix(): digest_bytes(path.read_bytes()) for path in sources})


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """The commit that holds the package, and whether its files differ from it.

    None when there is no git, no repository, or the repository does not track this folder (a
    package installed below some checkout). Remotes, hosts, branches and authors are not asked for.
    """
    program = shutil.which("git")
    if program is None or not git(program, folder, "ls-files", "--", "."):
        return None, None
    commit = git(program, folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None, None
    status = git(program, folder, "status", "--porcelain", "--untracked-files=all", "--", ".")
    return commit.strip(), None if status is None else bool(status.strip())


def git(program: str, folder: Path, *arguments: str) -> str | None:
    """Output of one git command, or None when it fails; hooks and the caller's GIT_* variables play no part."""
    command = [program, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    environment = {"PATH": os.defpath, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        logger.warning("git did not answer; the code snapshot has no commit", extra={"folder": str(folder)})
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
