"""Event times as rows hold them: u32 counts of the schema's unit since its epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.schema import RowSchema

__all__ = ["store_times"]


def store_times(schema: RowSchema, event_time_us: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Event times as u32 counts of the unit; nothing is rounded, so that a TTL means the same on both sides."""
    if event_time_us.ndim != 1 or (event_time_us.size and event_time_us.dtype.kind not in "iu"):
        raise Invalid(f"event times are {event_time_us.dtype.name} {event_time_us.shape}", fix="give (rows,) int64 µs since 1970")
    since = event_time_us.astype(np.int64) - schema.epoch_us
    counts, rest = np.divmod(since, schema.unit_us)
    bad = (rest != 0) | (counts < 0) | (counts > 0xFFFF_FFFF)
    if bad.any():
        row = int(np.argmax(bad))
        last = schema.epoch_us + 0xFFFF_FFFF * schema.unit_us
        raise Invalid(
            f"event time, row {row}: value {int(event_time_us[row])} µs is not allowed: "
            f"expected a multiple of {schema.unit_us} µs in {schema.epoch_us}..{last}",
            fix="bring event_time to whole seconds in the transform (downwards only if its facts are then complete)",
            context={"row": row},
        )
    return counts.astype("<u4")
