"""`tiffin reload`: Dagster loads the teams' code anew."""

from __future__ import annotations

import time

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, working
from tiffin.core.errors import Invalid, NotReady

__all__ = ["reload"]


def reload(home: HomeOption = None, json: JsonOption = False) -> None:
    """Load every code location anew, as after an edit of a team's package.

    A location that does not load is named with its error, and its assets stay as they were. A location that was
    added to workspace.yaml is found by `tiffin up`.

    Example: tiffin reload
    """
    from tiffin.embedded import dagster_server, stack  # 0.4 s: settings, signing, psutil

    started = time.monotonic()
    running = stack.load(home_of(home)).running()
    if "webserver" not in running:
        raise NotReady("Dagster's webserver does not run", fix="tiffin up")
    port = running["webserver"].ports["http"]
    with working("loading code", quiet=json):
        loaded = dagster_server.reload_locations(port)
        broken = dagster_server.broken_locations(port)
    if broken:
        name, error = next(iter(broken.items()))
        fix = "mend the code, then `tiffin reload`"
        raise Invalid(f"code location {name!r} does not load: {error}", fix=fix, context={"broken": broken})
    seconds = round(time.monotonic() - started, 2)
    show({"locations": loaded, "seconds": seconds}, as_json=json, text=f"loaded {', '.join(loaded)} ({seconds:.1f} s)")
