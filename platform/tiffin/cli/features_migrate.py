"""`tiffin features migrate`: a view leaves the published layout, live."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli.options import CatalogOption, HomeOption, JsonOption, catalog_of, home_of
from tiffin.cli.output import show, working

__all__ = ["migrate"]


def migrate(
    view: Annotated[str, typer.Argument(help="team/view, e.g. fleet/carrier_delays.")],
    source: Annotated[
        str, typer.Option("--from", help="URL of the server that holds the layout 'xxhash32'.", envvar="TIFFIN_MIGRATE_FROM")
    ],
    key: Annotated[str, typer.Option("--key", help="How its entity keys look, e.g. 'carrier:{carrier}:{origin}'.")],
    work: Annotated[
        Path | None, typer.Option(help="Folder for copied pages, to go on after a stop.  [default: in the home]", show_default=False)
    ] = None,
    catalog: CatalogOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a view from the published layout, publish it, and compare every row with its source until none differs.

    The source may be written meanwhile; it is only read. Killed, it goes on where it was; run it again once the old writers
    have stopped, to bring what came last. The rows' event time is the instant at which the migration began.

    Example: tiffin features migrate fleet/carrier_delays --from redis://old:6379/0 --key 'carrier:{carrier}:{origin}'
    """
    from tiffin.embedded.operate import open_stack  # 1 s: boto3, pydantic, signing
    from tiffin.embedded.view_migration import migrate_to_stack
    from tiffin.embedded.view_reports import find_record

    record = find_record(catalog_of(catalog, home), view)
    folder = work or home_of(home) / "migrations" / view.replace("/", "-")
    with working(f"migrating {view}", quiet=json) as bar:
        done = migrate_to_stack(
            open_stack(home_of(home)),
            record,
            source=source,
            template=key,
            work=folder,
            now_us=time.time_ns() // 1000,
            progress=bar.update,
        )
    show(
        {"view": view, **asdict(done)},
        as_json=json,
        text=f"{view} serves {done.rows} rows, each compared with its source; {done.changed} changed meanwhile ({done.rounds} rounds)",
    )
