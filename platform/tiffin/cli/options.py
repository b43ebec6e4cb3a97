"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HomeOption", "JsonOption", "home_of"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The stack's folder.  [default: $TIFFIN_HOME or .tiffin]", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; errors too.")]


def home_of(home: Path | None) -> Path:
    """The folder that a command is about."""
    if home is not None:
        return home
    from tiffin.core.settings import Settings  # 80 ms of pydantic, not for --help

    return Settings.from_environment().home
