"""Step 3: a LightGBM text model over the matrix of inputs, one thread, float64."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np

from tiffin.core.errors import Corrupt
from tiffin.serving.steps.program import INPUTS, SCORE, Answer, Arrays, read_step

__all__ = ["open_step"]


def open_step(folder: Path) -> Answer:
    """Read the model and check that it has the inputs that the manifest says."""
    config = read_step(folder)
    path = folder / config["model_file"]
    booster = lightgbm.Booster(model_str=path.read_text(), params={"verbosity": -1})
    if booster.feature_name() != config["inputs"]:
        raise Corrupt(f"{path.name} has inputs {booster.feature_name()}, the manifest says {config['inputs']}", fix="train the model again")

    def answer(arrays: Arrays) -> dict[str, np.ndarray]:
        score = np.asarray(booster.predict(arrays[INPUTS], num_threads=1), dtype=np.float64)
        return {SCORE: score.reshape(-1, 1)}

    return answer
