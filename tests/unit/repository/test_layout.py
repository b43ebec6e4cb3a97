"""Promises about the repository itself."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON_FILES = sorted(path for top in ("platform", "assets", "resources", "sensors", "scripts") for path in (ROOT / top).rglob("*.py"))


def test_platform_has_no_init_that_would_shadow_the_stdlib() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_import_platform_at_the_root_is_the_stdlibs() -> None:
    code = "import platform; print(platform.__file__); print(platform.python_version())"

    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()

    assert Path(shown[0]).parent == Path(sysconfig.get_paths()["stdlib"])
    assert shown[1].startswith("3.")


UNPICKLERS = {"pickle", "cPickle", "_pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_from_storage_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text())

    allow_pickle = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", None) is not False
    ]

    assert not imported(tree) & UNPICKLERS
    assert not allow_pickle


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() in {"platform/tiffin/core/settings.py"} or "scripts" in path.parts:
        return
    tree = ast.parse(path.read_text())

    readers = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]

    assert not readers, f"{path}: read the environment through Settings (lines {readers})"


BANNED = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "types"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in PYTHON_FILES if path.stem in BANNED]


@pytest.mark.parametrize("room", ["features", "training", "compute", "manifests"])
def test_a_rooms_all_is_what_it_exposes(room: str) -> None:
    path = ROOT / "platform" / "tiffin" / room / "__init__.py"
    tree = ast.parse(path.read_text())
    bound = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    listed = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")  # type: ignore[attr-defined]  # a Name by construction

    assert set(listed) == bound
    assert len(listed) == len(bound)
