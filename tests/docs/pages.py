"""A page of docs/how-to as what a reader would do: files to write, changes to make, commands to run, word for word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Step", "steps_of"]

FENCE = re.compile(r"^```(?P<kind>[a-z]*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {"", "text", "json"}
"""Kinds of block that only show something."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block. `kind` is `sh` (run it), `diff` (apply it) or `python`/`yaml`/`sql` with a `path` (write it)."""

    kind: str
    body: str
    path: str | None
    line: int


def steps_of(page: Path) -> Iterator[Step]:
    """The blocks of a page in order.

    Raises:
        ValueError: a block that a reader could not follow: code without the name of its file, or of an unknown kind.
    """
    text = page.read_text()
    for found in FENCE.finditer(text):
        kind, title = found["kind"], found["title"]
        line = text.count("\n", 0, found.start()) + 1
        if kind in SHOWN:
            continue
        if kind not in {"sh", "diff"} and (kind not in {"python", "yaml", "sql"} or title is None):
            raise ValueError(f'{page.name}, line {line}: a {kind!r} block needs title="path", or is of no known kind')
        yield Step(kind, found["body"], title, line)
