"""Step 4: scores in, the endpoint's outputs out: checked, because Triton does not check a step's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tiffin.core.errors import Invalid, nearest
from tiffin.serving.steps.program import SCORE, Answer, Arrays, read_step
from tiffin.serving.steps.team_function import load_function

__all__ = ["check_outputs", "make_answer", "open_step"]


def open_step(folder: Path) -> Answer:
    """Load the team's function, when there is one."""
    config = read_step(folder)
    function = None if config["function"] is None else load_function(folder, config["module"], config["function"])
    return make_answer(config, function)


def make_answer(config: dict[str, Any], function: Callable[[np.ndarray], Any] | None) -> Answer:
    """Without a function the endpoint has one output, the score."""
    outputs = config["outputs"]

    def answer(arrays: Arrays) -> dict[str, np.ndarray]:
        score = arrays[SCORE].reshape(-1)
        made = {outputs[0]: score} if function is None else function(score.copy())
        found = check_outputs(made, rows=len(score), function=config["function"] or "identity", names=outputs)
        return {name: array.reshape(-1, 1) for name, array in found.items()}

    return answer


def check_outputs(made: Any, *, rows: int, function: str, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """What a postprocess function returned, as `{output: (rows,) float64}`, finite or one kind of NaN.

    Args:
        names: the outputs that the endpoint declares; None takes the function's own.

    Raises:
        Invalid: naming the function, the output, what was found and what is allowed.
    """
    if not isinstance(made, Mapping) or not made:
        refuse(function, f"returned {type(made).__name__}", "return {output: (rows,) float64 array}")
    declared = list(made) if names is None else list(names)
    for name in made:
        if name not in declared:
            refuse(function, f"returned the output {name!r}, which the endpoint does not have", nearest(str(name), declared))
    checked: dict[str, np.ndarray] = {}
    for name in declared:
        if name not in made:
            refuse(function, f"did not return the output {name!r}", "return the same outputs for every request")
        array = made[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            refuse(function, f"returned the output {name!r} as {getattr(array, 'dtype', type(array).__name__)}", "return a float64 array")
        if array.shape != (rows,):
            refuse(function, f"returned the output {name!r} with shape {array.shape}", f"return one number per row: shape ({rows},)")
        values = array.astype(np.float64)
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            refuse(function, f"returned {values[row]} in the output {name!r}, row {row}", "return finite numbers, or NaN for no answer")
        values[np.isnan(values)] = np.nan
        checked[name] = values
    return checked


def refuse(function: str, found: str, fix: str) -> NoReturn:
    """Every complaint about a postprocess function begins alike."""
    raise Invalid(f"postprocess {function!r} {found}", fix=fix)
