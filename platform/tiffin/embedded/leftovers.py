"""Processes of a stack that its state file no longer knows: found by a mark in their environment.

A command that is killed between starting a server and writing it down, or a server that dies before its
children, leaves such processes. They carry the mark; nothing without it is ever touched.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from tiffin.embedded.processes import Process, identify

__all__ = ["find", "marked"]

MARK = "EMBEDDED_STACK"


def marked(home: Path, part: str) -> dict[str, str]:
    """The variable that every process of a part inherits."""
    return {MARK: f"{part}@{home}"}


def find(home: Path, part: str | None = None) -> dict[str, list[Process]]:
    """Living processes of this home by part, or of one part; the model server by its repository."""
    found: dict[str, list[Process]] = {}
    for one in psutil.process_iter():
        try:
            name = owner(one, home)
        except psutil.Error:
            continue
        if name is not None and part in (None, name) and (process := identify(one.pid)):
            found.setdefault(name, []).append(process)
    return found


def owner(process: psutil.Process, home: Path) -> str | None:
    """The part of this home that a process belongs to."""
    name, _, folder = process.environ().get(MARK, "").partition("@")
    if name and folder == str(home):
        return name
    # Triton is started with a clean environment of its own
    if process.name().startswith(("tritonserver", "triton_python")):
        words = process.cmdline()
        if any(word.startswith((f"--model-repository={home}/", f"{home}/serving/")) for word in words):
            return "triton"
    return None
