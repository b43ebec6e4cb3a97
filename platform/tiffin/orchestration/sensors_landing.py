"""A sensor that lands a raw table again when files have arrived; where they lie is the caller's business."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import time
from collections.abc import Callable, Sequence

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid
from tiffin.features.view import Source
from tiffin.orchestration.asset_keys import source_path
from tiffin.orchestration.sensors import EVERY_S, SENSOR, SEQUENCE, SETTLE_S, runs_of
from tiffin.orchestration.sensors_files import FileMemory, FileRun, LandedFile, decide_files

__all__ = ["files_sensor"]

FILES, FIRST_FILE, LAST_FILE = "tiffin/landed_files", "tiffin/first_file", "tiffin/last_file"


def files_sensor(
    team: Team,
    source: Source,
    list_files: Callable[[], Sequence[LandedFile]],
    *,
    name: str,
    where: str,
    every_s: int = EVERY_S,
    settle_s: float = SETTLE_S,
    now_s: Callable[[], float] = time.time,
    status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """One run of the source's asset per burst of files; each file, by name and content, stands in one run.

    Args:
        source: one that this team lands; its `load` reads what lies there.
        list_files: everything under the prefix, called once a tick.
        where: the place, for people.

    Raises:
        Invalid: the team does not land the source.
    """
    if source.load is None:
        raise Invalid(f"source {source.name!r} is landed by somebody else", fix="give it load=, or let its owner have the sensor")
    target = dg.AssetKey(list(source_path(source.name)))

    @dg.sensor(
        name=name,
        asset_selection=dg.AssetSelection.assets(target),
        minimum_interval_seconds=every_s,
        default_status=status,
        description=f"Lands {source.name} when files have arrived in {where}",
        tags={"team": team.name},
    )
    def landing(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            memory = FileMemory.from_text(context.cursor)
        except Invalid as err:
            raise dg.Failure(description=err.message, metadata={"fix": err.fix}) from err
        stuck, busy, asked_for = runs_of(context.instance, name, memory.sequence, [target])
        if stuck is not None:
            return dg.SensorResult(run_requests=[stuck], cursor=context.cursor)
        decision = decide_files(memory, list_files(), now_s=now_s(), settle_s=settle_s, busy=busy, again=asked_for is not None)
        asked = [] if decision.run is None else [request_of(decision.run, target, name=name)]
        return dg.SensorResult(run_requests=asked, skip_reason=None if asked else decision.why, cursor=decision.memory.to_text())

    return landing


def request_of(run: FileRun, target: dg.AssetKey, *, name: str) -> dg.RunRequest:
    """The run says how many files it stands for, and the first and last of them."""
    tags = {
        SENSOR: name,
        SEQUENCE: str(run.sequence),
        FILES: str(len(run.files)),
        FIRST_FILE: run.files[0],
        LAST_FILE: run.files[-1],
    }
    return dg.RunRequest(run_key=run.key, asset_selection=[target], tags=tags)
