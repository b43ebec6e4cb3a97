"""What the test cluster is built from, and how a start finds what was built."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from deploy.devcluster import build as building
from deploy.devcluster.build import PROGRAMS, build, build_key, built, linker_flags, pinned
from deploy.devcluster.golang import Go
from tiffin.core.errors import Invalid, NotReady


class Compiler(Go):
    """Writes a file for each program instead of compiling for a quarter of an hour; counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere/go"), "1.26.6")
        self.asked: list[str] = []
        self.breaks_at = ""

    def run(self, *arguments: str, cwd: Path) -> str:
        if arguments[0] != "build":
            return "/modules/kueue"
        package = arguments[-1]
        self.asked.append(package)
        if package == self.breaks_at:
            raise NotReady("out of memory", fix="try again")
        out = Path(arguments[arguments.index("-o") + 1])
        # the last program is asked to render the manifests
        out.write_text("#!/bin/sh\necho rendered\n")
        out.chmod(0o755)
        return ""


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    found = Compiler()
    monkeypatch.setattr(building, "find_go", lambda cache, *, say: found)
    return found


def quiet(text: str) -> None:
    """Nobody listens."""


def test_a_second_build_compiles_nothing(compiler: Compiler, tmp_path: Path) -> None:
    first = build(tmp_path, say=quiet)
    second = build(tmp_path, say=quiet)

    assert first == second == built(tmp_path)
    assert compiler.asked == [program.package for program in PROGRAMS]
    assert (first / "kueue.yaml").read_text() == "rendered\n"
    assert sorted(path.name for path in first.iterdir()) == sorted([*(program.name for program in PROGRAMS), "kueue.yaml", "built.json"])


def test_a_build_that_broke_is_not_taken_for_one_and_leaves_nothing_for_the_next(compiler: Compiler, tmp_path: Path) -> None:
    compiler.breaks_at = PROGRAMS[-1].package
    with pytest.raises(NotReady, match="out of memory"):
        build(tmp_path, say=quiet)
    with pytest.raises(NotReady, match="not in"):
        built(tmp_path)

    compiler.breaks_at = ""
    folder = build(tmp_path, say=quiet)

    assert [path.name for path in (tmp_path / "devcluster").iterdir() if path.is_dir()] == [folder.name]


def test_builders_that_start_together_compile_once(compiler: Compiler, tmp_path: Path) -> None:
    threads = [threading.Thread(target=build, args=(tmp_path,), kwargs={"say": quiet}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(compiler.asked) == len(PROGRAMS)


def test_a_build_of_other_pins_is_not_taken(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path, say=quiet)
    monkeypatch.setattr(building, "RECIPE", 99)

    with pytest.raises(NotReady, match="17 minutes"):
        built(tmp_path)
    assert json.loads((folder / "built.json").read_text())["go"] == "1.26.6"


def test_the_key_names_the_versions_and_changes_with_the_compiler() -> None:
    assert build_key("1.26.6").startswith("v1.36.2-kueue-v0.19.2-")
    assert build_key("1.26.6") != build_key("1.26.8")


def test_a_program_is_stamped_with_the_version_that_its_module_pins() -> None:
    assert f"gitVersion={pinned('kubernetes', 'k8s.io/kubernetes')}" in linker_flags("kubernetes")
    assert "gitMinor=36" in linker_flags("kubernetes")
    assert f"GitVersion={pinned('kueue', 'sigs.k8s.io/kueue')}" in linker_flags("kueue")
    with pytest.raises(Invalid, match=r"requires no k8s\.io/kueue"):
        pinned("kueue", "k8s.io/kueue")
