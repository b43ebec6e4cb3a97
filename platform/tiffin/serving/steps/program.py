"""How a step runs inside Triton: arrays in, arrays out, every error a clear answer and never a value.

A step module offers `open_step(folder)`, which reads the step's own files once and returns its
answer function. Triton's module is an argument, so nothing here needs Triton to be imported.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiffin.core.errors import Invalid, NotReady, PlatformError

__all__ = ["INPUTS", "SCORE", "Answer", "Arrays", "launcher", "read_step", "run"]

Arrays = Mapping[str, np.ndarray]
Answer = Callable[[Arrays], dict[str, np.ndarray]]

# tensors from step to step; the public names are lower-case letters first, so these never meet one
INPUTS = "_inputs"
SCORE = "_score"

LAUNCHER = '''"""Starts the step {module}. Generated; everything it runs lies in this folder."""

import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils

# the stub ignores PYTHONDONTWRITEBYTECODE; a file that appears here would count as a changed model
sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from {module} import open_step  # noqa: E402
from tiffin.serving.steps.program import run  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        self.answer = open_step(HERE)

    def execute(self, requests):
        return run(self.answer, requests, pb_utils)
'''


def launcher(module: str) -> bytes:
    """The `model.py` of a step: puts its own folder first on the path and starts `module`."""
    return LAUNCHER.format(module=module).encode()


def read_step(folder: Path) -> dict[str, Any]:
    """The step's configuration, `step.json`."""
    value = json.loads((folder / "step.json").read_bytes())
    assert isinstance(value, dict)
    return value


def run(answer: Answer, requests: Sequence[Any], pb_utils: Any) -> list[Any]:
    """Answer each request by itself: one bad request does not spoil its neighbours."""
    return [respond(answer, request, pb_utils) for request in requests]


def respond(answer: Answer, request: Any, pb_utils: Any) -> Any:
    """One request's tensors or error."""
    try:
        outputs = answer({tensor.name(): tensor.as_numpy() for tensor in request.inputs()})
    except PlatformError as err:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(err), code_of(err, pb_utils.TritonError)))
    except Exception as err:  # noqa: BLE001  the request handler's edge: the client must get an answer
        where = traceback.extract_tb(err.__traceback__)[-1]
        text = f"the step failed: {type(err).__name__}: {err} at {where.filename}:{where.lineno} in {where.name}"
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL))
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()])


def code_of(err: PlatformError, codes: Any) -> Any:
    """The status a client sees: its own fault, not ready, or ours."""
    if isinstance(err, NotReady):
        return codes.UNAVAILABLE
    # Corrupt is an Invalid, but stored bytes are never the client's fault
    return codes.INVALID_ARG if type(err) is Invalid else codes.INTERNAL
