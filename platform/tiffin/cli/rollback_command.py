"""`tiffin rollback`: back to the deployment that served before."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, working

__all__ = ["rollback"]


def rollback(
    name: Annotated[str, typer.Argument(help="The deployment, e.g. eta.")],
    team: Annotated[str | None, typer.Option(help="Its team.  [default: the only one that has it]", show_default=False)] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many editions back.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it serves.")] = 180.0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Point a deployment back to an earlier edition and wait until that one serves.

    Example: tiffin rollback eta
    """
    from tiffin.embedded.operate import open_stack  # 1 s: boto3, pydantic, signing

    started = time.monotonic()
    stack = open_stack(home_of(home))
    team = team or stack.team_of(name, newest="prod")
    with working(f"rolling {team}/{name} back", quiet=json):
        pointer = stack.rollback(team, name, steps=steps)
        stack.wait_live(team, name, pointer.manifest, timeout_s=timeout)
    seconds = round(time.monotonic() - started, 2)
    value = {"deployment": f"{team}/{name}", "manifest": pointer.manifest, "sequence": pointer.sequence, "seconds": seconds}
    show(value, as_json=json, text=f"{team}/{name} serves {pointer.manifest[:12]} again ({seconds:.1f} s)")
