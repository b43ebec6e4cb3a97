"""The bounds that a stepped float declares: often narrower than what its stored integer holds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tiffin.core.errors import Invalid
from tiffin.features.feature_types import Float32
from tiffin.features.view import Feature

__all__ = ["refuse_outside"]


def refuse_outside(feature: Feature, values: pa.Array, *, subject: str) -> None:
    """Refuse a canonical value that lies outside `Float32(step=, low=, high=)`; other types have no bounds.

    Compared in whole steps, as they are stored: float32(0.3) is above 0.3 and yet its third step of 0.1.

    Args:
        values: `(rows,)` of the feature, in its declared encoding; nulls lie nowhere.
        subject: what errors call the rows.

    Raises:
        Invalid: the first value outside, by column and row.
    """
    kind = feature.type
    if not isinstance(kind, Float32) or kind.step is None or kind.low is None or kind.high is None:
        return
    floats = values.to_numpy(zero_copy_only=False)
    steps = np.rint(floats.astype(np.float64) / kind.step)
    outside = (steps < round(kind.low / kind.step)) | (steps > round(kind.high / kind.step))
    if outside.any():
        row = int(np.argmax(outside))
        raise Invalid(
            f"{subject}: column {feature.name!r}, row {row}: value {float(floats[row])!r} is not allowed: "
            f"expected {kind.low:g}..{kind.high:g}",
            fix="widen low and high, or clip it in the transform",
            context={"check": "value_range", "column": feature.name, "row": row, "found": float(floats[row])},
        )
