"""How commands speak: tables and bars for people, JSON for programs, one meaning per exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from tiffin.core.errors import Conflict, Denied, NotFound, NotReady, PlatformError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EPILOG", "exit_code", "fail", "message_console", "say", "show", "show_table", "working"]

# most specific first: the first class that fits decides
CODES: tuple[tuple[type[PlatformError], int], ...] = ((NotReady, 3), (NotFound, 4), (Denied, 5), (Conflict, 6), (PlatformError, 1))
EPILOG = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not ready (try again later), "
    "4 not found, 5 denied, 6 somebody else was first."
)


def exit_code(error: PlatformError) -> int:
    """The decision that an error asks for, as a number.

    Example:
        >>> exit_code(NotReady("warming up", fix="wait"))
        3
    """
    return next(code for kind, code in CODES if isinstance(error, kind))


def message_console() -> Console:
    """For people, on standard error: standard output is the result's alone."""
    from rich.console import Console  # 60 ms, not for --json and --help

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def show(value: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """The result of a command: one JSON object, or text."""
    print(json.dumps(value, default=str) if as_json else text, flush=True)


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people on standard output; narrow terminals fold long cells."""
    from rich.console import Console  # see message_console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def fail(error: PlatformError, *, as_json: bool) -> NoReturn:
    """End the command with an error that names its fix."""
    if as_json:
        print(
            json.dumps({"error": type(error).__name__, "message": error.message, "fix": error.fix, "context": error.context}, default=str)
        )
    else:
        print(f"error: {error.message}\n  fix: {error.fix}", file=sys.stderr)
    sys.exit(exit_code(error))


@contextmanager
def working(text: str, *, quiet: bool) -> Iterator[Any]:
    """A bar with `text` while something long goes on; call `.update(done, total)` when it can be counted."""
    console = None if quiet else message_console()
    if console is None or not console.is_terminal:
        yield Silent()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # see message_console

    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True) as progress:
        yield Bar(progress, progress.add_task(text, total=None))


class Silent:
    """Where nobody looks, nothing is drawn."""

    def update(self, done: int, total: int) -> None:
        """Draw nothing."""

    def describe(self, text: str) -> None:
        """Draw nothing."""


class Bar:
    """One line that fills up."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task

    def update(self, done: int, total: int) -> None:
        """So far and in all."""
        self.progress.update(self.task, completed=done, total=total)

    def describe(self, text: str) -> None:
        """Another text before the bar."""
        self.progress.update(self.task, description=text)
