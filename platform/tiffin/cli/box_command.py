"""`tiffin box`: the exact deployed artifact in this process, without Triton."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import say, show, working
from tiffin.cli.predict_command import ExplainOption, RowArgument, RowsOption, TopOption, show_answers, show_explained, wanted_rows
from tiffin.serving.json_rows import columns_of

__all__ = ["box"]


def box(
    name: Annotated[str, typer.Argument(help="The deployment, e.g. eta.")],
    fields: RowArgument = None,
    rows: RowsOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Features from the offline tables, as of --as-of.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Features from the running online store.")] = False,
    as_of: Annotated[str | None, typer.Option(help="With --offline: the instant.  [default: the stack's now]", show_default=False)] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Stay in the foreground and answer over HTTP, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --serve: the port; 0 takes a free one.")] = 0,
    explain: ExplainOption = False,
    top: TopOption = 10,
    team: Annotated[str | None, typer.Option(help="Its team.  [default: the only one that has it]", show_default=False)] = None,
    manifest: Annotated[str | None, typer.Option(help="An exact edition.  [default: the promoted one]", show_default=False)] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Run the exact promoted artifact here: every file checked by its digest, the golden rows asked first.

    Say where features come from: --offline or --live.

    Example: tiffin box eta --rows requests.jsonl --offline --as-of 2013-06-10T00:30:00Z

    Example: tiffin box eta --live --serve --port 8123
    """
    from tiffin.core.units import parse_instant
    from tiffin.embedded.boxes import open_deployed_box  # 2 s: boto3, lightgbm, pyarrow
    from tiffin.serving.explain import explain_box

    if offline == live:
        raise typer.BadParameter("say where features come from: --offline for the tables, --live for the running store")
    if as_of is not None and live:
        raise typer.BadParameter("the online store has one edition only; use --offline with --as-of")
    if serve and (fields or rows):
        raise typer.BadParameter("--serve answers over HTTP; leave the row out, or --serve")
    table = None if serve else wanted_rows(fields, rows)
    instant = None if as_of is None else parse_instant(as_of)
    with tempfile.TemporaryDirectory(prefix="tiffin-box-") as folder:
        with working(f"opening {name}", quiet=json):
            found = open_deployed_box(home_of(home), name, team=team, manifest=manifest, as_of=instant, live=live, folder=Path(folder))
        about = {"manifest": found.deployed.manifest, "features": found.source}
        if table is None:
            serve_box(name, found.box, port, about, json=json)
            return
        if not json:
            say(f"manifest {found.deployed.manifest[:12]}, features from {found.source}")
        if explain:
            why = explain_box(found.box, columns_of(table), model=found.deployed.model, files=found.deployed.files)
            show_explained(name, table, why, top=top, json=json, more=about)
            return
        outputs = found.box.predict(columns_of(table)).outputs
        show_answers(name, table, {output: array.tolist() for output, array in outputs.items()}, json=json, more=about)


def serve_box(name: str, opened: Any, port: int, about: dict[str, Any], *, json: bool) -> None:
    """Answer until somebody interrupts."""
    from tiffin.serving.box_server import box_server

    server = box_server(opened, port, about={"endpoint": name, **about})
    url = f"http://127.0.0.1:{server.server_port}"
    text = f"{name} answers at {url}/predict, features from {about['features']}; Ctrl-C ends it"
    show({"endpoint": name, "url": url, **about}, as_json=json, text=text)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        server.server_close()
