"""`tiffin backfill`: fill a view's partitions over a range, and say which cannot be made."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import message_console, say, show
from tiffin.core.errors import NotReady

if TYPE_CHECKING:
    from pathlib import Path

    from tiffin.orchestration.backfill_watch import Backfill, Filled, Plan

__all__ = ["backfill"]


def backfill(
    asset: Annotated[str, typer.Argument(help="The partitioned asset, e.g. network/carrier_delays.")],
    first: Annotated[str | None, typer.Option("--from", help="First partition.  [default: the asset's first]", show_default=False)] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last partition.  [default: the asset's last]", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Run partitions that are up to date too.")] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="URL of another Dagster webserver.  [default: the stack's]", show_default=False)
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make what is missing, failed or outdated between two partitions, in one run per range.

    A range that fails is cut and only its failed part runs again, as for a backfill that was started in Dagster's UI; at
    the end the partitions that cannot be made are named. Ctrl-C leaves the runs alone: the same command takes them up again.
    Exit 1 when a partition cannot be made.

    Example: tiffin backfill network/carrier_delays --from 2013-01-01 --to 2013-12-31

    Example: tiffin backfill network/carrier_delays --from 2013-03-10 --to 2013-03-10 --force --json
    """
    from tiffin.orchestration.backfill_client import Dagster
    from tiffin.orchestration.backfill_watch import chosen, follow, launch, plan

    started = time.monotonic()
    dagster = Dagster(endpoint or webserver_of(home_of(home)))
    found = dagster.asset(asset)
    made = plan(dagster, found, chosen(found, first, last), force=force)
    if not json:
        counted = ", ".join(f"{count} {reason}" for reason, count in made.why.items())
        say(f"{asset}: {len(made.asked)} partitions from {made.asked[0]} to {made.asked[-1]}: {counted}")
    if not made.due and not made.running:
        show(told(made, None, None, started), as_json=json, text="everything is up to date")
        return
    running = launch(dagster, made)
    try:
        with Bar(asset, quiet=json) as bar:
            filled = follow(dagster, running, bar.update)
    except KeyboardInterrupt:
        say(f"\nthe runs go on in Dagster (tag tiffin/backfill={running.name}); the same command takes them up again")
        raise
    report(told(made, running, filled, started), filled, as_json=json)


def webserver_of(home: Path) -> str:
    """Where the stack's Dagster answers. Raises NotReady when none is recorded."""
    from tiffin.embedded.state import read_state  # 0.1 s of pydantic, not for --help

    state = read_state(home)
    part = None if state is None else state.parts.get("webserver")
    if part is None:
        raise NotReady(f"no Dagster webserver is recorded in {str(home)!r}", fix="start the stack with `tiffin up`, or give --endpoint")
    return f"http://127.0.0.1:{part.ports['http']}"


def told(made: Plan, running: Backfill | None, filled: Filled | None, started: float) -> dict[str, Any]:
    """The result as one JSON object."""
    unmade = filled.unmade if filled else ()
    lost = sum(len(one.partitions) for one in unmade)
    return {
        "asset": made.asset.name,
        "from": made.asked[0],
        "to": made.asked[-1],
        "asked": len(made.asked),
        "why": made.why,
        "backfill": running.name if running else None,
        "made": len(made.due) + made.why.get("being made by a run", 0) - lost,
        "runs": [{"run_id": run.run_id, "status": run.status, "range": span(run.tags)} for run in (filled.runs if filled else ())],
        "unmade": [{"partitions": one.partitions, "error": one.error, "fix": one.fix, "run_id": one.run_id} for one in unmade],
        "seconds": round(time.monotonic() - started, 2),
    }


def span(tags: Any) -> list[str]:
    """First and last partition of a run."""
    from tiffin.orchestration.backfill_ranges import RANGE_END, RANGE_START

    return [tags.get(RANGE_START, ""), tags.get(RANGE_END, "")]


def report(result: dict[str, Any], filled: Filled, *, as_json: bool) -> None:
    """Say how it ended; exit 1 when something could not be made."""
    lines = [f"{result['made']} partitions made by {len(result['runs'])} runs in {result['seconds']:.1f} s"]
    for one in filled.unmade:
        names = ", ".join(one.partitions[:5]) + (f" and {len(one.partitions) - 5} more" if len(one.partitions) > 5 else "")
        lines += [f"cannot be made: {names}", f"  {one.error}", *([f"  fix: {one.fix}"] if one.fix else []), f"  run: {one.run_id}"]
    show(result, as_json=as_json, text="\n".join(lines))
    if filled.unmade:
        sys.exit(1)


class Bar:
    """Partitions done, time left and rows a second; nothing where nobody looks."""

    def __init__(self, text: str, *, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = message_console()
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")),
            *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
        )
        self.progress = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
        self.task = self.progress.add_task(text, total=None, pace="")

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, done: int, total: int, rows_per_s: float) -> None:
        """So far and in all."""
        self.progress.update(self.task, completed=done, total=total, pace=f"{rows_per_s:,.0f} rows/s" if rows_per_s else "")
