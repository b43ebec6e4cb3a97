"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CatalogOption", "HomeOption", "JsonOption", "catalog_of", "home_of"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The stack's folder.  [default: $TIFFIN_HOME or .tiffin]", show_default=False)
]
CatalogOption = Annotated[
    Path | None,
    typer.Option("--catalog", help="The compiled catalog.  [default: assets/catalog.json beside the workspace]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; errors too.")]


def home_of(home: Path | None) -> Path:
    """The folder that a command is about."""
    if home is not None:
        return home
    from tiffin.core.settings import Settings  # 80 ms of pydantic, not for --help

    return Settings.from_environment().home


def catalog_of(catalog: Path | None, home: Path | None) -> Path:
    """The compiled views of all teams: as given, else beside the stack's workspace file, else of this folder."""
    if catalog is not None:
        return catalog
    from tiffin.embedded.state import read_state  # as above

    state = read_state(home_of(home))
    folder = Path(state.workspace).parent if state is not None and state.workspace else Path()
    return folder / "assets" / "catalog.json"
