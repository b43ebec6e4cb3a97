"""What travels with a step: the library modules that it imports, and nothing heavier than numpy and the Redis client."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tiffin.core.errors import NotFound
from tiffin.serving.runtime_files import library_files, outside_imports

STEPS = {"features": {"numpy", "redis", "hiredis"}, "preprocess": {"numpy"}, "model": {"numpy", "lightgbm"}, "postprocess": {"numpy"}}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_only_what_the_serving_environment_holds(step: str) -> None:
    files = library_files(f"tiffin.serving.steps.{step}")

    assert outside_imports(files) - set(sys.stdlib_module_names) <= STEPS[step]


def test_a_step_brings_every_module_that_it_imports() -> None:
    files = library_files("tiffin.serving.steps.features")

    assert {"tiffin/__init__.py", "tiffin/online/reader.py", "tiffin/wire/rows.py", "tiffin/core/errors.py"} <= set(files)
    assert not any("manifests" in path or "storage" in path or path.endswith("render.py") for path in files)


def library(tmp_path: Path, **modules: str) -> Path:
    root = tmp_path / "tiffin"
    root.mkdir()
    (root / "__init__.py").write_text("")
    for name, source in modules.items():
        (root / f"{name}.py").write_text(source)
    return root


def test_imports_are_followed_also_inside_functions_but_not_those_for_type_checkers(tmp_path: Path) -> None:
    root = library(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tiffin.heavy import x\n\ndef f():\n    from tiffin.b import y\n",
        b="import json\n",
    )

    assert set(library_files("tiffin.a", root=root)) == {"tiffin/__init__.py", "tiffin/a.py", "tiffin/b.py"}


def test_an_import_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tiffin\.gone"):
        library_files("tiffin.a", root=library(tmp_path, a="import tiffin.gone\n"))
