"""`tiffin features get`: what one key's features are, online now or offline as of an instant."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli.options import CatalogOption, HomeOption, JsonOption, catalog_of, home_of
from tiffin.cli.output import show, show_table
from tiffin.cli.predict_command import parse_row

__all__ = ["get"]


def get(
    view: Annotated[str, typer.Argument(help="team/view, e.g. fleet/carrier_delays.")],
    key: Annotated[list[str], typer.Argument(help="The key, as part=value ...")],
    live: Annotated[bool, typer.Option("--live", help="From the running online store, as a request would get it now.")] = False,
    as_of: Annotated[str | None, typer.Option(help="From the offline table, as a label at this instant would get it.")] = None,
    catalog: CatalogOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """One key's values; say where from: --live or --as-of INSTANT.

    Example: tiffin features get fleet/carrier_delays carrier=UA origin=EWR --live

    Example: tiffin features get fleet/carrier_delays carrier=UA origin=EWR --as-of 2013-06-10T00:30:00Z
    """
    from tiffin.core.units import parse_instant
    from tiffin.embedded.stack import load  # 0.4 s
    from tiffin.embedded.view_reports import dev_tables, find_record, live_values, offline_values, read_key  # 1.2 s: boto3, pyarrow

    if live == (as_of is not None):
        raise typer.BadParameter("say where from: --live for the running store, or --as-of INSTANT for the offline table")
    record = find_record(catalog_of(catalog, home), view)
    row = read_key(record, parse_row(key))
    settings = load(home_of(home)).settings()
    if as_of is None:
        found = live_values(record, row, settings=settings)
    else:
        found = offline_values(record, row, as_of=parse_instant(as_of), tables=dev_tables(settings))
    value = {
        "view": view,
        "key": row.to_pylist()[0],
        "from": "online" if as_of is None else "offline",
        "as_of": as_of,
        "source": found.source,
        "found": found.event_time is not None,
        "event_time": found.event_time,
        "values": found.values,
    }
    if json:
        show(value, as_json=True, text="")
        return
    title = f"{view}, {value['from']}: {found.source}"
    when = "no row is alive for this key" if found.event_time is None else f"complete at {found.event_time.isoformat()}"
    show_table(f"{title}\n{when}", ["column", "value"], [[name, "" if one is None else str(one)] for name, one in found.values.items()])
