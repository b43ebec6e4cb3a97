"""Ends Jobs whose run is over, and runs that nobody is alive to end.

One code location of the platform's has it: `dg.Definitions(sensors=[janitor_sensor()])`. Its identity may list and delete Jobs in
the teams' namespaces.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from tiffin.compute.cluster import JobRef
from tiffin.core.errors import Invalid
from tiffin.orchestration.janitor import Patience, Sweep
from tiffin.orchestration.janitor_round import sweep_once
from tiffin.orchestration.kueue_launcher import KueueRunLauncher

__all__ = ["clean_up", "janitor_sensor"]


def janitor_sensor(
    *, name: str = "janitor", every_s: int = 30, patience: Patience | None = None, before: Callable[[JobRef], None] | None = None
) -> dg.SensorDefinition:
    """A sensor that starts nothing.

    Args:
        patience: how long things are left alone; the start timeout is the run launcher's own when this is left out.
        before: see `tiffin.orchestration.janitor_round.sweep_once`.
    """

    @dg.sensor(name=name, minimum_interval_seconds=every_s, default_status=dg.DefaultSensorStatus.RUNNING)
    def janitor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = clean_up(context.instance, patience=patience, before=before)
        for ref, words in done.delete:
            context.log.info(f"deleted Job {ref.namespace}/{ref.name}: {words}")
        return dg.SkipReason(f"{len(done.delete)} Jobs deleted, {len(done.cancel)} runs cancelled, {len(done.fail)} failed")

    return janitor


def clean_up(instance: dg.DagsterInstance, *, patience: Patience | None = None, before: Callable[[JobRef], None] | None = None) -> Sweep:
    """One round over every namespace that the instance's launcher uses."""
    launcher = instance.run_launcher
    if not isinstance(launcher, KueueRunLauncher):
        raise Invalid(
            f"the janitor cleans up behind KueueRunLauncher, and this instance has {type(launcher).__name__}",
            fix="name KueueRunLauncher as run_launcher in dagster.yaml, or remove the janitor's sensor",
        )
    spaces = {launcher.job_namespace, *launcher.namespaces.values()}
    asked = Patience(start=launcher.start_timeout) if patience is None else patience
    return sweep_once(instance, launcher.cluster, spaces, now=datetime.now(UTC), patience=asked, before=before)
