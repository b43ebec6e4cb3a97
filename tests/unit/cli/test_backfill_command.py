"""`tiffin backfill` at its edges: no stack, nobody who answers, help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiffin.embedded.processes import free_port

PROGRAM = Path(sys.executable).parent / "tiffin"


def tiffin(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [PROGRAM, "backfill", "demo/load", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
    )
    return done.returncode, json.loads(done.stdout)


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    code, told = tiffin(tmp_path, "--home", str(tmp_path / "nothing"))

    assert (code, told["error"]) == (3, "NotReady")
    assert "tiffin up" in told["fix"]


def test_a_webserver_that_does_not_answer_is_not_ready(tmp_path: Path) -> None:
    code, told = tiffin(tmp_path, "--endpoint", f"http://127.0.0.1:{free_port()}")

    assert (code, told["error"]) == (3, "NotReady")
