"""A secret argument reaches the program and nobody else: asked of programs that look at themselves first thing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tiffin.core.errors import NotFound, Unsupported
from tiffin.embedded.hidden_arguments import spawn_hiding
from tiffin.embedded.processes import alive, wait_until

LOOK = """
import json, os, subprocess, sys
seen = open("/proc/self/cmdline", "rb").read().decode()
child = subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout
print(json.dumps({"argv": sys.argv[1:], "seen": seen, "environ": dict(os.environ), "child": child}), flush=True)
"""


@pytest.mark.parametrize("size", [1, 43, 9000], ids=["one character", "a key", "more than two pages"])
def test_the_program_gets_what_its_command_line_does_not_show(tmp_path: Path, size: int) -> None:
    secrets = {"--one=": f"--one={'x' * size}", "--two=": f"--two={'ü' * size}"}
    command = [sys.executable, "-c", LOOK, "first", *secrets, "last"]

    child = spawn_hiding(command, secrets, log=tmp_path / "log", environ={"LANG": "C.UTF-8", "KEPT": "yes"})
    assert wait_until(lambda: not alive(child), timeout_s=30)

    told = json.loads((tmp_path / "log").read_text())
    assert told["argv"] == ["first", *secrets.values(), "last"]
    assert told["seen"].split("\0")[-5:] == ["first", "--one=", "--two=", "last", ""]
    assert told["environ"]["KEPT"] == "yes"
    assert told["environ"]["LANG"] == "C.UTF-8"
    for text in secrets.values():
        assert text not in json.dumps(told["environ"], ensure_ascii=False) + told["child"]


def test_an_argument_that_the_command_does_not_have_starts_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = [sys.executable, "-c", f"open({str(marker)!r}, 'w')", "--one="]

    with pytest.raises(Unsupported, match="argument '--other=' is not where"):
        spawn_hiding(command, {"--other=": "secret"}, log=tmp_path / "log", environ={"PATH": os.defpath})

    assert not marker.exists()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no program"):
        spawn_hiding([tmp_path / "nothing"], {}, log=tmp_path / "log", environ={"PATH": os.defpath})
