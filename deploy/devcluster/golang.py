"""Where Go comes from: the machine's own when it is new enough, else the locked package of PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tiffin.core.errors import NotReady

__all__ = ["Go", "find_go"]

OLDEST = (1, 26)
ROOT = Path(__file__).parents[2]
# the whole environment of a compiler run: no workspace, flag or toolchain switch of the user's shell may leak in
KEPT = (
    *("PATH", "HOME", "TMPDIR", "LANG", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME"),
)


class Go:
    """One Go toolchain."""

    def __init__(self, program: Path, version: str) -> None:
        self.program, self.version = program, version

    def run(self, *arguments: str, cwd: Path) -> str:
        """Run it and return what it printed.

        Raises:
            NotReady: it failed; its last lines are in the message.
        """
        environ = {name: os.environ[name] for name in KEPT if name in os.environ}
        environ |= {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
        done = subprocess.run([str(self.program), *arguments], cwd=cwd, env=environ, text=True, capture_output=True, check=False)
        if done.returncode:
            last = "\n".join(done.stderr.splitlines()[-12:])
            raise NotReady(
                f"`go {' '.join(arguments)}` in {cwd} failed:\n{last}",
                fix="look at the lines above: usually the module proxy cannot be reached",
            )
        return done.stdout


def go_version(program: Path) -> str | None:
    """The version of a `go`, such as "1.26.6"; None when it is too old or does not run."""
    try:
        said = subprocess.run(
            [str(program), "version"],
            text=True,
            capture_output=True,
            check=False,
            env={"GOTOOLCHAIN": "local", "PATH": "/usr/bin:/bin", "HOME": "/"},
        )
    except OSError:
        return None
    found = re.search(r"go version go(\d+)\.(\d+)(\S*)", said.stdout)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        return None
    return f"{found[1]}.{found[2]}{found[3]}"


def find_go(cache: Path, *, say: Callable[[str], None]) -> Go:
    """The machine's Go if it is at least 1.26, else the one that `uv.lock` names, installed into the cache.

    Raises:
        NotReady: there is neither.
    """
    for place in (shutil.which("go"), "/usr/local/go/bin/go"):
        if place and (version := go_version(Path(place))):
            return Go(Path(place), version)
    home = cache / "go-from-lock"
    program = home / "bin" / "go"
    if not go_version(program):
        say("no Go 1.26 on this machine: installing the locked one")
        install(home)
    version = go_version(program)
    if version is None:
        raise NotReady(f"the Go installed in {home} does not run", fix=f"remove {home} and try again, or install Go 1.26 yourself")
    return Go(program, version)


def install(home: Path) -> None:
    """Put the locked dependency group `go` into an environment of its own."""
    uv = shutil.which("uv", path=f"{ROOT}/.uv/bin:{ROOT}/.venv/bin:{os.environ.get('PATH', '')}")
    if uv is None:
        raise NotReady("neither Go 1.26 nor uv was found", fix="run `make env` first, or install Go 1.26")
    home.parent.mkdir(parents=True, exist_ok=True)
    locked = home.parent / "go-requirements.txt"
    for command in (
        [uv, "export", "--frozen", "--quiet", "--only-group", "go", "--output-file", str(locked), "--project", str(ROOT)],
        [uv, "venv", "--quiet", "--clear", str(home)],
        [uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(home / "bin" / "python"), "-r", str(locked)],
    ):
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode:
            raise NotReady(
                f"`{' '.join(command[1:3])}` failed: {done.stderr.strip()[-600:]}", fix="check that the package index can be reached"
            )
