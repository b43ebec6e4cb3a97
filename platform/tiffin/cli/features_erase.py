"""`tiffin features erase`: one entity of a view, for good."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from tiffin.cli.options import CatalogOption, HomeOption, JsonOption, catalog_of, home_of
from tiffin.cli.output import show, working
from tiffin.cli.predict_command import parse_row

__all__ = ["erase"]


def erase(
    view: Annotated[str, typer.Argument(help="team/view, e.g. fleet/carrier_delays.")],
    key: Annotated[list[str], typer.Option("--key", help="A part of the entity's key, as part=value; repeat it for each part.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. It cannot be undone.")] = False,
    catalog: CatalogOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Erase one entity from the online store and from every segment in dev and prod; an audit record is written to prod.

    Not touched: offline and training tables, models, prediction logs, backups. Delete the entity from the offline
    table first, or the next publication brings it back. Doing it again is harmless.

    Example: tiffin features erase fleet/carrier_delays --key carrier=UA --key origin=EWR
    """
    from tiffin.embedded.operate import open_stack  # 1 s: boto3, pydantic, signing
    from tiffin.embedded.view_erasure import erase_from_stack
    from tiffin.embedded.view_reports import find_record, read_key

    record = find_record(catalog_of(catalog, home), view)
    row = read_key(record, parse_row(key))
    if not yes:
        typer.confirm(f"Erase {row.to_pylist()[0]} of {view} for good?", abort=True, err=True)
    with working(f"erasing from {view}", quiet=json) as bar:
        done = erase_from_stack(open_stack(home_of(home)), record, row, by=getpass.getuser(), progress=bar.update)
    counted = {name: len(digests) for name, digests in done.segments.items()}
    value = {"view": view, **done.model_dump(mode="json", exclude={"team", "view", "format"})}
    text = f"erased from {view}: {done.online_rows} rows online, segments {counted}" if done.rewritten or any(counted.values()) else ""
    show(value, as_json=json, text=text or f"{view} holds nothing of this entity any more")
