"""`tiffin predict`: ask a live endpoint."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, show_table
from tiffin.core.errors import Invalid
from tiffin.serving.json_rows import columns_of

if TYPE_CHECKING:
    from tiffin.serving.explain import Explained

__all__ = ["parse_row", "predict", "read_rows", "show_answers", "show_explained", "wanted_rows"]


RowArgument = Annotated[list[str] | None, typer.Argument(help="One row as field=value ...", show_default=False)]
RowsOption = Annotated[str | None, typer.Option("--rows", help="A file with one JSON object per line, or - for standard input.")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Say what each input of the model adds to the score.")]
TopOption = Annotated[int, typer.Option("--top", min=1, help="With --explain: how many inputs to show; --json has all.")]


def predict(
    name: Annotated[str, typer.Argument(help="The endpoint, e.g. eta.")],
    fields: RowArgument = None,
    rows: RowsOption = None,
    explain: ExplainOption = False,
    top: TopOption = 10,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a live endpoint: ids and request-time fields in, predictions out.

    Example: tiffin predict eta carrier=UA origin=EWR dest=SFO distance=2565 ...

    Example: tiffin predict eta --rows requests.jsonl --json

    Example: tiffin predict late --rows requests.jsonl --explain --top 5
    """
    from tiffin.embedded.stack import load  # 0.4 s
    from tiffin.serving.client import predict as ask  # 0.4 s: numpy, gRPC

    table = wanted_rows(fields, rows)
    settings = load(home_of(home)).settings()
    if explain:
        from tiffin.embedded.boxes import explain_endpoint  # 1.5 s: boto3, lightgbm

        show_explained(name, table, explain_endpoint(settings, name, columns_of(table), timeout_s=timeout), top=top, json=json)
        return
    found = ask(settings.need("triton_grpc"), name, columns_of(table), timeout_s=timeout)
    show_answers(name, table, {output: array.tolist() for output, array in found.items()}, json=json)


def wanted_rows(fields: list[str] | None, rows: str | None) -> list[dict[str, Any]]:
    """The request: one row of the command line, or a file's."""
    if bool(fields) == (rows is not None):
        raise typer.BadParameter("give the request either as field=value ... or as --rows FILE")
    return [parse_row(fields)] if fields else read_rows(rows or "-")


def show_answers(
    name: str, table: list[dict[str, Any]], answer: dict[str, list[float]], *, json: bool, more: dict[str, Any] | None = None
) -> None:
    """Predictions, beside the rows that were asked.

    Args:
        more: what else the JSON says.
    """
    if json:
        show({"endpoint": name, "rows": len(table), **(more or {}), "predictions": answer}, as_json=True, text="")
        return
    names = list(table[0])
    cells = [
        [*(str(one[field]) for field in names), *(f"{answer[output][number]:g}" for output in answer)] for number, one in enumerate(table)
    ]
    show_table(name, [*names, *answer], cells)


def show_explained(
    name: str, table: list[dict[str, Any]], found: Explained, *, top: int, json: bool, more: dict[str, Any] | None = None
) -> None:
    """Predictions, and below each row what its score is made of."""
    answer = {output: array.tolist() for output, array in found.trace.outputs.items()}
    rows = [found.row(number) for number in range(len(table))]
    if json:
        show_answers(name, table, answer, json=True, more={**(more or {}), "explanations": rows})
        return
    show_answers(name, table, answer, json=False)
    for number, row in enumerate(rows):
        shown = row["contributions"][:top]
        rest = sum(one["adds"] for one in row["contributions"][top:])
        cells = [[one["input"], "" if one["value"] is None else f"{one['value']:g}", f"{one['adds']:+.4g}"] for one in shown]
        cells.append([f"{len(row['contributions']) - len(shown)} other inputs", "", f"{rest:+.4g}"])
        cells = [["base", "", f"{row['base']:+.4g}"], *cells, ["raw score", "", f"{row['raw_score']:.6g}"]]
        show_table(f"\nrow {number + 1}: why", ["input", "value", "adds"], cells)


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
