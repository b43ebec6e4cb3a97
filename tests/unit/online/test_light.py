"""What runs inside Triton stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[3] / "platform"
HEAVY = ("pydantic", "pyarrow", "boto3", "deltalake", "duckdb", "dagster", "lightgbm", "tritonclient")
LIGHT = (
    "tiffin.online.reader",
    "tiffin.online.fast_source",
    "tiffin.online.row_sources",
    "tiffin.online.async_reader",
    "tiffin.online.async_source",
    "tiffin.online.cache",
    "tiffin.online.redis",
    "tiffin.online.views",
    "tiffin.wire.rows",
    "tiffin.wire.keys",
    "tiffin.wire.encodings",
    "tiffin.wire.segments",
    "tiffin.wire.batch",
)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_brings_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(LIBRARY)}, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == ""
