"""What may travel to the server of a team's code, and how the rest is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving_prepare import clip, prepare
from tiffin.core.errors import Invalid
from tiffin.serving.team_code import check_source, team_code


def function_of(tmp_path: Path, source: str, name: str = "prepare") -> Any:
    """A function from a module that is written and imported here."""
    path = tmp_path / "its_module.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("its_module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def test_a_plain_function_is_shipped_as_its_whole_module_byte_for_byte() -> None:
    code = team_code(prepare, role="preprocess")

    assert (code.module, code.function) == ("serving_prepare", "prepare")
    assert code.source == Path(prepare.__code__.co_filename).read_bytes()
    assert code.digest == team_code(clip, role="postprocess").digest


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np",
        "import numpy.typing as npt",
        "import math, datetime, re",
        "from collections.abc import Mapping",
        "from functools import lru_cache",
        "from __future__ import annotations",
    ],
)
def test_numpy_and_the_safe_part_of_the_standard_library_are_allowed(line: str) -> None:
    check_source(line.encode(), path="module.py", role="preprocess 'f'")


@pytest.mark.parametrize(
    ("line", "found", "fix"),
    [
        pytest.param("import pickle", "imports 'pickle': nothing is ever unpickled", "constants into the module", id="pickle"),
        pytest.param("from joblib import load", "imports 'joblib': nothing is ever unpickled", "constants", id="joblib"),
        pytest.param("import os", "imports 'os', which is not allowed in the server", "from the batch alone", id="os"),
        pytest.param("import os.path", "imports 'os.path'", "from the batch alone", id="os.path"),
        pytest.param("from subprocess import run", "imports 'subprocess'", "from the batch alone", id="subprocess"),
        pytest.param("import importlib", "imports 'importlib'", "from the batch alone", id="importlib"),
        pytest.param("import ctypes", "imports 'ctypes'", "from the batch alone", id="ctypes"),
        pytest.param("import pandas as pd", "imports 'pandas', which the serving environment does not hold", "use numpy", id="pandas"),
        pytest.param("from tiffin.features import Entity", "imports 'tiffin.features'", "in a module of its own", id="tiffin"),
        pytest.param("from . import tables", "imports a neighbour module", "into this module", id="relative"),
        pytest.param("from numpy import load", "imports 'load' from 'numpy'", "from the batch alone", id="numpy load by name"),
        pytest.param("from math import *", "imports '*'", "from the batch alone", id="star"),
        pytest.param("import numpy.ctypeslib", "imports 'numpy.ctypeslib'", "", id="numpy ctypeslib"),
        pytest.param("np.load('x', allow_pickle=True)", "uses '.load'", "constants into the module", id="numpy load"),
        pytest.param("np.fromfile('x')", "uses '.fromfile'", "constants", id="fromfile"),
        pytest.param("open('/etc/passwd')", "uses 'open'", "from the batch alone", id="open"),
        pytest.param("eval('1')", "uses 'eval'", "from the batch alone", id="eval"),
        pytest.param("__import__('os')", "uses '__import__'", "from the batch alone", id="dunder import"),
    ],
)
def test_anything_else_is_refused_with_file_line_and_remedy(line: str, found: str, fix: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_source(f"x = 1\n\n{line}\n".encode(), path="teams/inputs.py", role="preprocess 'prepare'")

    assert "preprocess 'prepare': teams/inputs.py:3 " in refused.value.message
    assert found in refused.value.message
    assert fix in refused.value.fix


def test_a_forbidden_import_inside_a_function_is_found_too() -> None:
    with pytest.raises(Invalid, match=r"inputs.py:2 imports 'socket'"):
        check_source(b"def prepare(batch):\n    import socket\n", path="inputs.py", role="preprocess")


def test_a_module_that_declares_specs_is_refused_with_the_way_out(tmp_path: Path) -> None:
    function = function_of(tmp_path, "from tiffin.core import names\n\ndef prepare(batch):\n    return batch\n")

    with pytest.raises(Invalid) as refused:
        team_code(function, role="preprocess")

    assert f"{tmp_path / 'its_module.py'}:1 imports 'tiffin.core'" in refused.value.message
    assert "module of its own" in refused.value.fix


def nested() -> Callable[[Any], Any]:
    def inner(batch: Any) -> Any:
        return batch

    return inner


@pytest.mark.parametrize(
    ("function", "found"),
    [
        pytest.param(lambda batch: batch, "is a lambda", id="lambda"),
        pytest.param(nested(), "is a nested function", id="nested"),
        pytest.param(len, "no plain function", id="builtin"),
        pytest.param(Path("x").joinpath, "no plain function", id="bound method"),
    ],
)
def test_what_has_no_module_of_its_own_is_refused(function: Any, found: str) -> None:
    with pytest.raises(Invalid, match=found) as refused:
        team_code(function, role="postprocess")

    assert "def name" in refused.value.fix


def test_source_that_this_python_cannot_read_is_refused() -> None:
    with pytest.raises(Invalid, match="is not Python that this version reads"):
        check_source(b"def prepare(:\n", path="inputs.py", role="preprocess")
