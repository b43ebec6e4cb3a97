"""From scores to the answer. Runs inside Triton: numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["clip"]

EARLIEST_MINUTES = -90.0
LATEST_MINUTES = 720.0


def clip(scores: np.ndarray) -> Mapping[str, np.ndarray]:
    """Arrival delay in minutes, `(rows,)` float64, kept within what has been seen to happen."""
    return {"arr_delay": np.clip(scores, EARLIEST_MINUTES, LATEST_MINUTES)}
