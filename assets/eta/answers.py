"""From scores to the answers. Runs inside Triton: numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["clip", "probability"]

EARLIEST_MINUTES = -90.0
LATEST_MINUTES = 720.0


def clip(scores: np.ndarray) -> Mapping[str, np.ndarray]:
    """Arrival delay in minutes, `(rows,)` float64, kept within what has been seen to happen."""
    return {"arr_delay": np.clip(scores, EARLIEST_MINUTES, LATEST_MINUTES)}


def probability(scores: np.ndarray) -> Mapping[str, np.ndarray]:
    """Probability of more than 30 minutes of delay, `(rows,)` float64 in 0..1, as the model gives it."""
    return {"late": scores}
