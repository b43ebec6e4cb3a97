"""The `tiffin` command: thin front doors to the rooms. Errors that we raise on purpose never show a traceback.

Commands import what they need when they run: `tiffin --help` must answer at once (all rooms together
take 2 s to import).
"""

from __future__ import annotations

import sys

import typer

from tiffin.cli.backfill_command import backfill
from tiffin.cli.box_command import box
from tiffin.cli.cost_command import cost
from tiffin.cli.doctor_command import doctor
from tiffin.cli.features_command import features
from tiffin.cli.models_command import models
from tiffin.cli.output import EPILOG, fail
from tiffin.cli.predict_command import predict
from tiffin.cli.promote_command import promote
from tiffin.cli.queue_command import queue
from tiffin.cli.reload_command import reload
from tiffin.cli.rollback_command import rollback
from tiffin.cli.stack_commands import down, up
from tiffin.cli.status_command import status
from tiffin.cli.teams_command import teams
from tiffin.core.errors import PlatformError

__all__ = ["app", "main"]

app = typer.Typer(
    name="tiffin",
    help="Packed once, served hot: features, training tables, models and deployments as Dagster assets.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, down, reload, doctor, status, backfill, predict, box, promote, rollback, cost):
    app.command(epilog=EPILOG)(command)
app.add_typer(features)
app.add_typer(models)
app.add_typer(queue)
app.add_typer(teams)


def main() -> None:
    """Run a command; a `PlatformError` becomes its message, its fix and its exit code."""
    try:
        app()
    except PlatformError as err:
        fail(err, as_json="--json" in sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
