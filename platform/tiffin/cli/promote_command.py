"""`tiffin promote`: bring a deployment to prod by hand."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import say, show, working

__all__ = ["promote"]


def promote(
    name: Annotated[str, typer.Argument(help="The deployment, e.g. eta.")],
    team: Annotated[str | None, typer.Option(help="Its team.  [default: the only one that has it]", show_default=False)] = None,
    manifest: Annotated[
        str | None, typer.Option(help="An exact manifest digest.  [default: the newest in the dev bucket]", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it serves.")] = 180.0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a deployment's exact bytes from dev to prod, sign it, and wait until it serves.

    Runs under the promoter's identity, so only whoever may read the stack's secrets folder can do it.

    Example: tiffin promote eta

    Example: tiffin promote eta --team eta --manifest 3b1f…
    """
    from tiffin.embedded.operate import open_stack  # 1 s: boto3, pydantic, signing

    started = time.monotonic()
    stack = open_stack(home_of(home))
    team = team or stack.team_of(name, newest="dev")
    with working(f"promoting {team}/{name}", quiet=json) as bar:
        done = stack.promote(team, name, manifest, progress=bar.update)
        bar.describe(f"waiting until {name} serves {done.digest[:12]}")
        stack.wait_live(team, name, done.digest, timeout_s=timeout)
    seconds = round(time.monotonic() - started, 2)
    value = {
        "deployment": f"{team}/{name}",
        "manifest": done.digest,
        "changed": done.changed,
        "copied": done.copied,
        "copied_bytes": done.copied_bytes,
        "sequence": done.pointer.sequence,
        "seconds": seconds,
    }
    if not done.changed and not json:
        say("it was promoted already")
    show(value, as_json=json, text=f"{team}/{name} serves {done.digest[:12]} (copied {done.copied} objects, {seconds:.1f} s)")
