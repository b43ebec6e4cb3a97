"""`tiffin predict`: ask a live endpoint."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, show_table
from tiffin.core.errors import Invalid

__all__ = ["columns_of", "parse_row", "predict", "read_rows"]


def predict(
    name: Annotated[str, typer.Argument(help="The endpoint, e.g. eta.")],
    fields: Annotated[list[str] | None, typer.Argument(help="One row as field=value ...", show_default=False)] = None,
    rows: Annotated[str | None, typer.Option("--rows", help="A file with one JSON object per line, or - for standard input.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a live endpoint: ids and request-time fields in, predictions out.

    Example: tiffin predict eta carrier=UA origin=EWR distance=1400

    Example: tiffin predict eta --rows requests.jsonl --json
    """
    from tiffin.embedded.stack import load  # 0.4 s
    from tiffin.serving.client import predict as ask  # 0.4 s: numpy, gRPC

    if bool(fields) == (rows is not None):
        raise typer.BadParameter("give the request either as field=value ... or as --rows FILE")
    table = [parse_row(fields)] if fields else read_rows(rows or "-")
    settings = load(home_of(home)).settings()
    answer = {
        output: array.tolist() for output, array in ask(settings.need("triton_grpc"), name, columns_of(table), timeout_s=timeout).items()
    }
    if json:
        show({"endpoint": name, "rows": len(table), "predictions": answer}, as_json=True, text="")
        return
    names = list(table[0])
    cells = [
        [*(str(one[field]) for field in names), *(f"{answer[output][number]:g}" for output in answer)] for number, one in enumerate(table)
    ]
    show_table(name, [*names, *answer], cells)


def parse_row(pairs: Iterable[str]) -> dict[str, Any]:
    """`["carrier=UA", "month=12"]` → a row: JSON where it reads as JSON, text where not.

    Example:
        >>> parse_row(["carrier=UA", "hour=17", "note="])
        {'carrier': 'UA', 'hour': 17, 'note': ''}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals or not field:
            raise Invalid(f"{pair!r} is not of the form field=value", fix=f"write {field or 'field'}=value")
        if field in found:
            raise Invalid(f"field {field!r} is given twice", fix="for several rows use --rows FILE with one JSON object per line")
        try:
            found[field] = jsonlib.loads(text)
        except ValueError:
            found[field] = text
    return found


def read_rows(source: str) -> list[dict[str, Any]]:
    """JSON lines of a file, or of standard input for `-`; the error names the line."""
    path = Path(source)
    if source != "-" and not path.is_file():
        raise Invalid(f"there is no file {source!r}", fix="give a file with one JSON object per line, or - for standard input")
    lines = sys.stdin.read().splitlines() if source == "-" else path.read_text().splitlines()
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = jsonlib.loads(line)
        except ValueError as err:
            raise Invalid(f"line {number} of {source!r} is not JSON: {err}", fix='write one object per line: {"carrier": "UA"}') from err
        if not isinstance(one, dict):
            raise Invalid(f"line {number} of {source!r} is {one!r}, not an object", fix='write one object per line: {"carrier": "UA"}')
        found.append(one)
    if not found:
        raise Invalid(f"{source!r} holds no rows", fix="write one JSON object per line")
    return found


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows to columns; all rows must have the fields of the first one.

    Example:
        >>> columns_of([{"a": 1}, {"a": 2}])
        {'a': [1, 2]}
    """
    fields = list(rows[0])
    for number, one in enumerate(rows, start=1):
        if set(one) != set(fields):
            odd = sorted(set(one) ^ set(fields))[0]
            raise Invalid(f"row {number} and row 1 differ in field {odd!r}", fix="give every row the same fields; null stands for no value")
    return {field: [one[field] for one in rows] for field in fields}
