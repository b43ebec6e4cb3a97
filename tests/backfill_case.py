"""A small team under a real Dagster: code server, webserver and daemon as processes that a test may kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from tiffin.embedded.dagster_server import daemon_command, webserver_command, write_instance
from tiffin.embedded.processes import Process, family, free_port, identify, send, spawn, stop, wait_until
from tiffin.orchestration.backfill_client import Dagster
from tiffin.storage.delta import DeltaStore

ROOT = Path(__file__).parents[1]
ASSET = "demo/load"
START = datetime(2013, 1, 1, tzinfo=UTC)
CARRIERS = ("AA", "B6", "DL", "EV", "UA")
CODE = """
    import json
    import os
    import time
    from pathlib import Path

    import dagster as dg
    import pyarrow as pa

    from tests.dagster_parts import bound
    from tiffin.compute import Team
    from tiffin.features import Entity, Feature, Int32, Source, daily, feature_view
    from tiffin.orchestration.definitions import team_definitions

    HERE = Path(__file__).parent

    flights = Source("raw/flights", time="landed_at")


    def told(window) -> dict:
        return json.loads((HERE / "mood.json").read_text())


    @feature_view(
        name="load",
        entity=Entity("carrier", key="carrier: string"),
        source=flights,
        features=[Feature("flights", Int32())],
        partitions=daily("2013-01-01", "2013-12-31"),
    )
    def load(rows, window):
        mood = told(window)
        time.sleep(mood.get("pause_s", 0))
        if window.partition in mood.get("bad", ()):
            raise ValueError(f"the oven of {window.partition} is cold")
        if window.partition in mood.get("deadly", ()):
            os._exit(9)  # what the kernel does to a process that is too large
        return rows.group_by("carrier", use_threads=False).aggregate([([], "count_all")]).rename_columns(["carrier", "flights"])


    definitions = team_definitions(Team("demo", owner="team:demo"), load, resources=bound(HERE / "tables"))
"""


@dataclass
class House:
    """Servers over one code location; the daemon may be killed and started again."""

    folder: Path
    port: int
    environ: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dagster(self) -> Dagster:
        return Dagster(self.url)

    @property
    def tables(self) -> DeltaStore:
        return DeltaStore(str(self.folder / "tables"))

    def mood(self, **told: Any) -> None:
        """How the transform behaves from now on: pause_s, bad and deadly partitions."""
        beside = self.folder / "mood.json.new"
        beside.write_text(json.dumps(told))
        beside.replace(self.folder / "mood.json")

    def start(self, name: str, command: list[str | Path]) -> None:
        self.processes[name] = spawn(command, log=self.folder / f"{name}.log", environ=self.environ, cwd=ROOT)

    def start_daemon(self) -> None:
        self.start("daemon", daemon_command(self.folder / "home" / "workspace.yaml"))

    def kill(self, name: str) -> None:
        """SIGKILL, without a word before: the process and its children."""
        send(family(self.processes.pop(name)), signal.SIGKILL)

    def run_workers(self) -> list[Process]:
        """Processes in which runs are executed: the code server's children by multiprocessing."""
        found = []
        for process in family(self.processes["code"]):
            try:
                command = " ".join(psutil.Process(process.pid).cmdline())
            except psutil.Error:
                continue
            if "spawn_main" in command and (known := identify(process.pid)) is not None:
                found.append(known)
        return found

    def tiffin(self, *arguments: str, background: bool = False) -> Any:
        """`tiffin backfill --json` against this house: its process, or exit code, JSON and words."""
        # Ctrl-C reaches it, also where these tests were started by a shell in the background, which ignores it
        program = [shutil.which("env") or "env", "--default-signal=INT", Path(sys.executable).parent / "tiffin"]
        command = [*program, "backfill", ASSET, "--endpoint", self.url, "--json", *arguments]
        if background:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environ, cwd=ROOT)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=self.environ, cwd=ROOT)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, done.stderr

    def commits(self) -> dict[str, int]:
        """How many commits added files to each partition, from the table's log itself."""
        found: dict[str, int] = {}
        for path in sorted((self.folder / "tables" / "tables" / ASSET / "_delta_log").glob("*.json")):
            partitions = {
                action["add"]["partitionValues"]["partition"]
                for action in map(json.loads, path.read_text().splitlines())
                if "add" in action
            }
            for partition in partitions:
                found[partition] = found.get(partition, 0) + 1
        return found

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))


def landings(days: int) -> pa.Table:
    """A few flights a day of each carrier, other numbers every day."""
    rows = [
        (carrier, START + timedelta(days=day, minutes=15 * place + 1))
        for day in range(days)
        for place, carrier in enumerate(CARRIERS)
        for _ in range(1 + (day + place) % 4)
    ]
    instant = pa.timestamp("us", tz="UTC")
    return pa.table({"carrier": pa.array([row[0] for row in rows]), "landed_at": pa.array([row[1] for row in rows], instant)})


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def started(folder: Path, *, days: int = 365, environ: Mapping[str, str] | None = None) -> Iterator[House]:
    """The house with its source landed, stopped again."""
    home = folder / "home"
    write_instance(home)
    (folder / "demo_location.py").write_text(textwrap.dedent(CODE))
    (folder / "workspace.yaml").write_text(
        f"load_from:\n  - python_file: {{relative_path: {folder}/demo_location.py, location_name: demo}}\n"
    )
    here = {"DAGSTER_HOME": str(home), "PATH": str(Path(sys.executable).parent), "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    house = House(folder, free_port(), {**here, **(environ or {})})
    house.mood()
    house.tables.replace("raw/flights", landings(days), partitions=None)
    servers = [sys.executable, "-m", "tiffin.embedded.code_servers", "--workspace", folder / "workspace.yaml", "--folder", home]
    try:
        house.start("code", servers)
        assert wait_until((home / "workspace.yaml").exists, timeout_s=120), house.logs()
        house.start("web", webserver_command(house.port, home / "workspace.yaml"))
        house.start_daemon()
        assert wait_until(lambda: answers(house.url), timeout_s=120), house.logs()
        yield house
    finally:
        for name in list(house.processes):
            stop(house.processes[name], grace_s=5)
