"""The environment of Triton's python backend: built once per lock file, kept in the cache.

It is an environment of its own because the backend's stub answers zeros under numpy 2, and because
what serves must hold neither Dagster nor Spark nor scikit-learn.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import NotFound, NotReady

__all__ = ["checkout", "serving_python"]

logger = logging.getLogger(__name__)

GROUP = "triton"
MARKER = "complete"


def checkout() -> Path:
    """The project folder that holds `uv.lock`.

    Raises:
        NotFound: the library was installed without its checkout.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "uv.lock").is_file() and (folder / "pyproject.toml").is_file():
            return folder
    raise NotFound(
        f"the serving environment is built from uv.lock, and no folder above {Path(__file__).resolve()} holds one",
        fix="run the embedded stack from a checkout of the project, or hand in a ready environment's python",
    )


def serving_python(
    cache: Path,
    *,
    project: Path | None = None,
    say: Callable[[str], None] = logger.info,
    timeout_s: float = 900,
) -> Path:
    """The python of the serving environment; the first call for a lock file builds it.

    A virtual environment cannot be moved after it was built, so it is built in place under a lock and
    a marker file is written last: a folder without the marker is an abandoned attempt and is rebuilt.

    Args:
        cache: shared by stacks; the folder `serving-env-<digest>` appears in it.
        project: where `uv.lock` is; by default the checkout this module belongs to.
        say: told when the cache is being filled, which takes a minute and a download.

    Raises:
        NotReady: uv could not build it; its last words are in the message.
    """
    project = project or checkout()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"serving-env-{digest_bytes((project / 'uv.lock').read_bytes() + version.encode())[:16]}"
    folder = cache.expanduser().resolve() / name
    python = folder / "bin" / "python"
    if (folder / MARKER).is_file():
        return python

    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{name}.lock")):
        if (folder / MARKER).is_file():
            return python
        say(f"filling the cache: building the serving environment in {folder} (once per uv.lock)")
        shutil.rmtree(folder, ignore_errors=True)
        sync(project, folder, version, timeout_s)
        (folder / MARKER).touch()
    return python


def sync(project: Path, folder: Path, version: str, timeout_s: float) -> None:
    """Let uv install the locked group into `folder`."""
    import uv  # deferred: only a cache miss needs it, and it ships no types

    # `env` adds the two variables to whatever proxy and cache settings we were started with
    command = ["/usr/bin/env", f"UV_PROJECT_ENVIRONMENT={folder}", "UV_PYTHON_DOWNLOADS=never"]
    command += [uv.find_uv_bin(), "sync", "--frozen", "--no-install-project", "--only-group", GROUP, "--python", sys.executable]
    try:
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as err:
        raise NotReady(
            f"building the serving environment (python {version}) in {folder} took more than {timeout_s:.0f} s",
            fix="check the network, then start again: what was downloaded is kept by uv",
        ) from err
    if done.returncode != 0:
        raise NotReady(
            f"building the serving environment (python {version}) in {folder} failed: {done.stderr.strip()[-800:]}",
            fix=f"run `{' '.join(command)}` in {project} and mend what it says",
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One builder at a time; the lock falls with the process that holds it."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
