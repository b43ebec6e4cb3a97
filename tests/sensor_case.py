"""Two upstream teams, a team that follows them, and Dagster's own sensor daemon code in a child that may be killed anywhere."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.launcher.base import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.monitoring.run_monitoring import monitor_starting_run
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster._time import get_current_timestamp
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tiffin.compute import Team
from tiffin.orchestration.sensors import follow_sensor
from tiffin.orchestration.sensors_core import Upstream

YEAR = [(date(2013, 1, 1) + timedelta(days=day)).isoformat() for day in range(365)]
WEATHER = Upstream("network/weather", "team:network", "daily", "2013-01-01")
DELAYS = Upstream("fleet/delays", "team:fleet", "daily", "2013-01-01")
FOLLOW = "rebuild_after_fleet_network"
LAUNCHED = "launched"
ROUND_S = 60.0
"""What lies between two rounds, by the daemon's and the sensor's clock."""
START_TIMEOUT_S = 300
logger = logging.getLogger(__name__)


@event.listens_for(Engine, "connect")
def without_waiting_for_the_disk(connection: Any, record: Any) -> None:
    """A killed process loses nothing by it; only a killed machine would."""
    connection.execute("PRAGMA synchronous = OFF")


@dg.asset(key=["eta", "eta_table"])
def eta_table() -> None: ...


def definitions() -> dg.Definitions:
    """The following team's location: a sensor without pauses."""
    sensor = follow_sensor(
        Team("eta", owner="team:eta"),
        [DELAYS, WEATHER],
        [dg.AssetKey(["eta", "eta_table"])],
        name=FOLLOW,
        settle_s=0,
        grace_s=3600,
        every_s=1,
        now_s=get_current_timestamp,
        lag_s=0,
        status=dg.DefaultSensorStatus.RUNNING,
    )
    return dg.Definitions(assets=[eta_table], sensors=[sensor])


defs = definitions()


class NotingLauncher(RunLauncher, ConfigurableClass):
    """Notes a launch durably, and lets nothing run: whether a run was launched twice is what is asked."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        with (Path(self._instance.root_directory) / LAUNCHED).open("a") as file:
            file.write(f"{context.dagster_run.run_id}\n")

    def terminate(self, run_id: str) -> bool:
        return False


def make_home(folder: Path) -> Path:
    """A Dagster home that launches at once and tells nobody."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_launcher: {module: tests.sensor_case, class: NotingLauncher}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
        f"run_monitoring: {{enabled: true, start_timeout_seconds: {START_TIMEOUT_S}}}\n"
    )
    with dg.DagsterInstance.from_config(str(folder)):
        return folder


def land(home: Path, upstream: Upstream, days: Sequence[str]) -> None:
    """What a run of another team leaves in the event log."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for day in days:
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(upstream.ref.split("/")), partition=day))


def iterate(home: Path, *, now_s: float, kill_at: int | None = None) -> tuple[bool, int]:
    """One round of the sensor daemon in a child.

    Args:
        now_s: what its clock shows, seconds since 1970.
        kill_at: the Python call before which the child is killed (SIGKILL).

    Returns:
        Whether it lived to the end, and how many calls it made.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            with freeze_time(datetime.fromtimestamp(now_s, UTC)):
                calls = one_round(home, kill_at)
            os.write(writer, str(calls).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001  # a fork must never return into the test
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the round failed with {code}"
    return code == 0, int(text or 0)


def counted(work: Callable[[], None], kill_at: int | None) -> int:
    """Run, counting Python calls; die before one of them."""
    calls = 0

    def count(frame: Any, kind: str, argument: Any) -> None:
        nonlocal calls
        if kind == "call":
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return calls


def one_round(home: Path, kill_at: int | None) -> int:
    """What the daemon does every few seconds; calls are counted from the tick's beginning to its end."""
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(executable_path=sys.executable, module_name=__name__, attribute="defs"))
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace,
    ):
        return counted(lambda: evaluate(workspace), kill_at)


def evaluate(workspace: WorkspaceProcessContext) -> None:
    """Dagster's own code: tick, evaluation, runs, launches, cursor."""
    for error in execute_sensor_iteration(workspace, logger, threadpool_executor=None, submit_threadpool_executor=None):
        assert error is None, error


def finish_runs(home: Path, *, now_s: float) -> None:
    """Workers of launched runs end, whatever became of the daemon; and Dagster's run monitoring fails a run that it called
    STARTING and, killed between the two, never launched.
    """
    launched = (home / LAUNCHED).read_text().split() if (home / LAUNCHED).exists() else []
    much_later = datetime.fromtimestamp(now_s + 2 * START_TIMEOUT_S, UTC)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for record in instance.get_run_records():
            run = record.dagster_run
            if run.run_id in launched and not run.is_finished:
                ended = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
                instance.report_dagster_event(ended, run.run_id)
            elif run.status is dg.DagsterRunStatus.STARTING:
                with freeze_time(much_later):
                    monitor_starting_run(instance, record, logger)
