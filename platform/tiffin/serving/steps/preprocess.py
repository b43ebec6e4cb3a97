"""Step 2: request-time fields and features in, the model's inputs out, by the team's own function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tiffin.serving.steps.program import INPUTS, Answer, Arrays, read_step
from tiffin.serving.steps.team_function import load_function
from tiffin.serving.steps.tensors import FeatureColumn, RequestColumn, decode_features, decode_request
from tiffin.wire.batch import from_wire, stack

__all__ = ["make_answer", "open_step"]


def open_step(folder: Path) -> Answer:
    """Load the team's function."""
    config = read_step(folder)
    return make_answer(config, load_function(folder, config["module"], config["function"]))


def make_answer(config: dict[str, Any], function: Callable[[dict[str, np.ndarray]], Any]) -> Answer:
    """The batch has the columns of training in the same order: ids, fields, features."""
    request = [RequestColumn.read(value) for value in config["request"]]
    features = [FeatureColumn.read(value) for value in config["features"]]
    inputs = config["inputs"]

    def answer(arrays: Arrays) -> dict[str, np.ndarray]:
        batch = from_wire(decode_request(request, arrays))
        batch.update(decode_features(features, arrays))
        rows = len(arrays[request[0].name])
        _, matrix = stack(function(batch), rows=rows, function=config["function"], inputs=inputs)
        return {INPUTS: matrix}

    return answer
