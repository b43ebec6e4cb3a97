"""`tiffin features list` and `show`: the compiled catalog beside the editions that are live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli.options import CatalogOption, HomeOption, JsonOption, catalog_of, home_of
from tiffin.cli.output import show, show_table
from tiffin.core.errors import NotFound, nearest

if TYPE_CHECKING:
    from tiffin.embedded.view_reports import ViewReport

__all__ = ["list_views", "show_view"]

DAY_US = 86_400_000_000


def list_views(catalog: CatalogOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Every view of every team: key, columns, time to live; and what is online, when a stack runs.

    Example: tiffin features list
    """
    from tiffin.embedded.view_reports import view_reports  # 1.2 s: boto3, pyarrow, pydantic

    found = view_reports(catalog_of(catalog, home), home_of(home))
    if json:
        show({"views": [one.to_json() for one in found]}, as_json=True, text="")
        return
    rows = [
        [f"{one.record.team}/{one.record.name}", key_of(one), str(len(one.record.row_schema["columns"])), ttl_of(one), online_of(one)]
        for one in found
    ]
    show_table("", ["view", "key", "columns", "ttl", "online, complete up to"], rows)


def show_view(
    view: Annotated[str, typer.Argument(help="team/view, e.g. fleet/carrier_delays.")],
    catalog: CatalogOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """One view: columns with their encodings, times, offline table, online edition, owner.

    Example: tiffin features show fleet/carrier_delays
    """
    from tiffin.embedded.view_reports import view_reports  # as above

    found = {f"{one.record.team}/{one.record.name}": one for one in view_reports(catalog_of(catalog, home), home_of(home))}
    if view not in found:
        raise NotFound(f"there is no feature view {view!r} in the catalog", fix=nearest(view, found))
    one = found[view]
    if json:
        show(one.to_json(), as_json=True, text="")
        return
    record = one.record
    lines = [
        ("about", record.description),
        ("owner", record.owner),
        ("key", key_of(one)),
        ("since", record.partition_start),
        ("known after", f"{record.delay_us / 60_000_000:g} min"),
        ("ttl", ttl_of(one) or "none"),
        ("offline", "not materialised, or no stack runs" if one.table_version is None else f"table version {one.table_version}"),
        ("online", online_of(one) or "not published, or no stack runs"),
        ("definition", record.definition[:12]),
    ]
    show_table(view, ["", ""], [[name, text] for name, text in lines])
    columns = record.row_schema["columns"]
    rows = [[column["name"], column["encoding"], "yes" if column["nullable"] else ""] for column in columns]
    show_table("\ncolumns", ["column", "encoding", "may be null"], rows)


def key_of(one: ViewReport) -> str:
    """For people."""
    return ", ".join(f"{field.name}: {field.type}" for field in one.record.entity.keys)


def ttl_of(one: ViewReport) -> str:
    """For people."""
    return "" if one.record.ttl_us is None else f"{one.record.ttl_us / DAY_US:g} d"


def online_of(one: ViewReport) -> str:
    """The edition that is promoted, or what is wrong with it."""
    if one.online is None:
        return ""
    return str(one.online.get("trouble") or f"{one.online['watermark']} ({one.online['rows']} rows)")
