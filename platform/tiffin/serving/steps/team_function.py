"""The team's function, from the module that was shipped beside the step."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiffin.core.errors import Invalid

__all__ = ["CODE_FOLDER", "load_function"]

CODE_FOLDER = "team"


def load_function(folder: Path, module: str, function: str) -> Callable[..., Any]:
    """Run `team/<module>.py` once and take one function out of it.

    Raises:
        Invalid: the module does not run here, or lacks the function.
    """
    path = folder / CODE_FOLDER / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"tiffin_team_{module}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    found = getattr(loaded, function, None)
    if not callable(found):
        raise Invalid(f"module {path.name} has no function {function!r}", fix="materialise the deployment again")
    return found  # type: ignore[no-any-return]  # callable() does not narrow Any
