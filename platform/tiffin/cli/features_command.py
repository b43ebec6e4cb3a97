"""`tiffin features`: what the views hold, offline and online. One module a command; this one only collects them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from tiffin.cli.features_erase import erase
from tiffin.cli.features_get import get
from tiffin.cli.features_list import list_views, show_view
from tiffin.cli.features_migrate import migrate
from tiffin.cli.output import EPILOG

__all__ = ["features"]

features = typer.Typer(
    name="features",
    help="Feature views: what is declared, what one key's values are, offline and online.",
    epilog=EPILOG,
    no_args_is_help=True,
)
COMMANDS: dict[str, Callable[..., None]] = {"list": list_views, "show": show_view, "get": get, "erase": erase, "migrate": migrate}
for name, command in COMMANDS.items():
    features.command(name, epilog=EPILOG)(command)
