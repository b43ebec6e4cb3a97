"""The preprocess function of the model in `tests.identity_worker`: what runs inside Triton imports numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def prepare(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One input."""
    return {"flights": np.nan_to_num(batch["load__flights"])}
