"""From a batch to the model's inputs. Runs in training and, this very file, inside Triton: numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["prepare"]

ORIGINS = ("EWR", "JFK", "LGA")
FEATURES = (
    "carrier_delays__flights_1d",
    "carrier_delays__flights_7d",
    "carrier_delays__arr_delay_mean_1d",
    "carrier_delays__arr_delay_mean_7d",
    "carrier_delays__arr_delay_p50_7d",
    "carrier_delays__dep_delay_mean_7d",
    "carrier_delays__late_share_7d",
    "carrier_delays__cancelled_share_7d",
    "airport_weather__temp_last",
    "airport_weather__wind_speed_last",
    "airport_weather__visib_last",
    "airport_weather__pressure_last",
    "airport_weather__precip_sum",
    "airport_weather__gust_max",
)


def prepare(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model inputs by name, `(rows,)` float64 each; NaN is a missing feature.

    Plain arithmetic only: sine and the like may differ in the last bit between numpy's versions, and
    training and Triton run different ones.
    """
    minute = batch["sched_dep_minute"]
    inputs = {
        "distance": batch["distance"],
        "minute": minute,
        "month": batch["month"],
        "weekday": batch["weekday"],
    }
    for origin in ORIGINS:
        inputs[f"from_{origin.lower()}"] = (batch["origin"] == origin).astype(np.float64)
    for name in FEATURES:
        inputs[name] = batch[name]
    inputs["delay_trend"] = batch["carrier_delays__arr_delay_mean_1d"] - batch["carrier_delays__arr_delay_mean_7d"]
    return inputs
