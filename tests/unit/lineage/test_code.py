"""Which edits change the version of what a function computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tiffin.lineage.code import code_digest

SOURCE = '''
import math
from statistics import median

LIMIT = 3
UNUSED = 1

def helper(values):
    return deeper(values) + LIMIT

def deeper(values):
    return median(values)

def neighbour(values):
    return UNUSED

def transform(rows, window):
    """What it is."""
    return helper(rows) + math.pi
'''


def digest_of(folder: Path, source: str) -> str:
    path = folder / f"module_{abs(hash(source))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return code_digest(module.transform)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("math.pi", "math.e", id="its own body"),
        pytest.param("deeper(values) + LIMIT", "deeper(values) - LIMIT", id="a helper"),
        pytest.param("median(values)", "median(values) + 1", id="a helper's helper"),
        pytest.param("LIMIT = 3", "LIMIT = 4", id="a constant that a helper uses"),
        pytest.param("from statistics import median", "from statistics import mean as median", id="where a name comes from"),
    ],
)
def test_what_the_result_stands_on_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert digest_of(tmp_path, SOURCE.replace(old, new)) != digest_of(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("What it is.", "What it was.", id="a docstring"),
        pytest.param("def deeper", "# a comment\n\n\ndef deeper", id="a comment and lines"),
        pytest.param("UNUSED = 1", "UNUSED = 2", id="a constant it does not use"),
        pytest.param("return UNUSED", "return 7", id="a neighbour"),
        pytest.param("rows, window)", "rows: list, window: object) -> float", id="types"),
    ],
)
def test_what_changes_no_result_changes_no_digest(tmp_path: Path, old: str, new: str) -> None:
    assert SOURCE.count(old) == 1

    assert digest_of(tmp_path, SOURCE.replace(old, new)) == digest_of(tmp_path, SOURCE)
