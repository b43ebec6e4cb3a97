"""The demo's driver against a real Dagster webserver: what it launches, and what it says when a step fails."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiffin.embedded.processes import free_port, spawn, stop, wait_until

ROOT = Path(__file__).parents[2]
CODE = """
    from pathlib import Path
    import dagster as dg

    HERE = Path(__file__).parent
    DAYS = dg.DailyPartitionsDefinition(start_date="2013-01-01", end_date="2013-01-06")
    SWITCH = HERE / "broken"

    @dg.asset(key=["raw", "rows"], code_version="1")
    def rows() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    @dg.asset(key=["demo", "daily"], deps=[rows], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="1")
    def daily() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    @dg.asset(key=["demo", "answer"], deps=[daily], code_version=(HERE / "version").read_text())
    def answer() -> dg.MaterializeResult:
        if SWITCH.exists():
            raise dg.Failure(description="the oven is cold", metadata={"fix": dg.MetadataValue.text("light it")})
        return dg.MaterializeResult()

    definitions = dg.Definitions(assets=[rows, daily, answer])
"""
SETTINGS = """
    telemetry: {enabled: false}
    nux: {enabled: false}
    run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""


@dataclass
class Server:
    """A webserver over one small code location."""

    folder: Path
    url: str

    def drive(self, *arguments: str) -> Told:
        command = [sys.executable, str(ROOT / "scripts" / "materialise.py"), "--endpoint", self.url, "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.stdout, done.stderr
        return Told(done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr)

    def reload(self) -> None:
        query = 'mutation { reloadRepositoryLocation(repositoryLocationName: "demo") { __typename } }'
        request = urllib.request.Request(f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert "WorkspaceLocationEntry" in answer.read().decode()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Told:
    """One call of the driver: exit code, JSON object, words for people."""

    code: int
    result: dict[str, Any]
    shown: str

    @property
    def launched(self) -> list[list[str]]:
        return [run["assets"] for run in self.result["runs"]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """Four calls: with a broken asset, mended, once more, and after its code changed."""
    folder = tmp_path_factory.mktemp("driver")
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(textwrap.dedent(SETTINGS))
    (folder / "demo.py").write_text(textwrap.dedent(CODE))
    (folder / "version").write_text("1")
    (folder / "broken").touch()
    workspace = folder / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - python_file: {{relative_path: {folder / 'demo.py'}, location_name: demo}}\n")
    port = free_port()
    program = str(Path(sys.executable).parent / "dagster-webserver")
    environ = {"DAGSTER_HOME": str(home), "PATH": str(Path(sys.executable).parent), "HOME": str(folder)}
    command = [program, "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)]
    process = spawn(command, log=folder / "web.log", environ=environ, cwd=folder)
    server = Server(folder, f"http://127.0.0.1:{port}")
    try:
        assert wait_until(lambda: answers(f"{server.url}/server_info"), timeout_s=120), (folder / "web.log").read_text()
        told = {"broken": server.drive()}
        (folder / "broken").unlink()
        told["mended"] = server.drive()
        told["again"] = server.drive()
        (folder / "version").write_text("2")
        server.reload()
        told["changed"] = server.drive()
        yield told
    finally:
        stop(process, grace_s=10)


def test_a_failing_step_is_told_in_its_own_words_with_its_fix(story: dict[str, Told]) -> None:
    told = story["broken"]

    assert told.code == 1
    assert told.result["ok"] is False
    assert "step demo__answer failed: the oven is cold" in told.shown
    assert "fix: light it" in told.shown


def test_what_failed_is_taken_up_where_it_stopped(story: dict[str, Told]) -> None:
    told = story["mended"]

    assert told.code == 0
    assert told.launched == [["demo/answer"]]
    assert (told.result["assets"], told.result["partitions"]) == (3, 5)


def test_a_second_call_launches_nothing(story: dict[str, Told]) -> None:
    told = story["again"]

    assert (told.code, told.launched) == (0, [])
    assert "everything is up to date" in told.shown


def test_a_changed_code_version_is_materialised_again_alone(story: dict[str, Told]) -> None:
    told = story["changed"]

    assert told.code == 0
    assert told.launched == [["demo/answer"]]
    assert "code version 1 is now 2" in told.shown
