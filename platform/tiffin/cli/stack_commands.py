"""`tiffin up` and `tiffin down`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import say, show, working

__all__ = ["down", "up"]


def up(
    home: HomeOption = None,
    as_of: Annotated[str | None, typer.Option(help="Replay history as if now were this instant; kept until another is given.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this part and what it needs; may be repeated.")] = None,
    workspace: Annotated[Path | None, typer.Option(help="Dagster's workspace file.  [default: workspace.yaml]", show_default=False)] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="KUBECONFIG", help="Runs become Jobs on this cluster, through Kueue; 'none': here again; kept.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Start the local stack, or mend the one that runs: object store, online store, model server, agent, promoter, Dagster.

    Doing it twice is harmless: what works is kept.

    Example: tiffin up --as-of 2013-12-31T00:00:00Z
    """
    from tiffin.embedded import dagster_server, stack  # 0.4 s: settings, signing, psutil
    from tiffin.embedded.parts import PARTS  # as above

    started = time.monotonic()
    folder = home_of(home)
    with working("starting", quiet=json) as bar:
        seen: dict[str, str] = {}

        def progress(part: str, step: stack.Step) -> None:
            seen[part] = step
            bar.update(sum(each in ("up", "kept") for each in seen.values()), len(only or PARTS))
            bar.describe(", ".join(name for name, each in seen.items() if each in ("starting", "mending")) or "checking")
            if step in ("up", "kept") and not json:
                say(f"  {part:<10} {step:<5} {time.monotonic() - started:5.1f} s")

        tell = (lambda text: None) if json else say
        found = stack.up(folder, as_of=as_of, parts=only, workspace=workspace, cluster=cluster, say=tell, progress=progress)
    seconds = round(time.monotonic() - started, 2)
    broken = dagster_server.broken_locations(found.state.parts["webserver"].ports["http"]) if "webserver" in found.running() else {}
    for name, error in broken.items():
        say(f"warning: code location {name!r} does not load: {error}\n  fix: mend the code, then reload it in Dagster or run `tiffin up`")
    urls = found.urls()
    lines = [f"up in {seconds:.1f} s, replaying {found.state.as_of}" if found.state.as_of else f"up in {seconds:.1f} s"]
    lines += [f"  {name:<14} {url}" for name, url in urls.items()]
    if found.state.cluster:
        lines.append(f"  runs           on the cluster of {found.state.cluster}")
    if found.state.isolation == "none":
        lines.append("  isolation      none: steps can read the promoter's keys (TIFFIN_ISOLATION=none)")
    value = {
        "home": str(found.home),
        "seconds": seconds,
        "as_of": found.state.as_of,
        "isolation": found.state.isolation,
        "cluster": found.state.cluster,
        "parts": seen,
        "urls": urls,
        "broken_locations": broken,
    }
    show(value, as_json=json, text="\n".join(lines))


def down(
    home: HomeOption = None,
    force: Annotated[bool, typer.Option("--force", help="When the state file is damaged: find the processes without it.")] = False,
    json: JsonOption = False,
) -> None:
    """Stop the local stack. Data, keys and logs stay; nothing is left running.

    Example: tiffin down
    """
    from tiffin.embedded import stack  # see up

    started = time.monotonic()
    with working("stopping", quiet=json):
        stopped = stack.down(home_of(home), force=force)
    seconds = round(time.monotonic() - started, 2)
    text = f"stopped {', '.join(stopped)} in {seconds:.1f} s" if stopped else "nothing was running"
    show({"stopped": stopped, "seconds": seconds}, as_json=json, text=text)
