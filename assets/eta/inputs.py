"""From a batch to the models' inputs. Runs in training and, this very file, inside Triton: numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["prepare"]

ORIGINS = ("EWR", "JFK", "LGA")
MAKERS = ("airbus", "boeing", "bombardier", "embraer", "mcdonnell_douglas")
SHARES = 8
NUMBERS = (
    "airport_hours__flights_3h",
    "airport_hours__arr_delay_mean_3h",
    "airport_hours__dep_delay_mean_3h",
    "airport_hours__cancelled_3h",
    "airport_traffic__flights_1d",
    "airport_traffic__dep_delay_mean_1d",
    "airport_traffic__late_share_1d",
    "airport_traffic__cancelled_share_1d",
    "airport_weather__temp_last",
    "airport_weather__wind_speed_last",
    "airport_weather__visib_last",
    "airport_weather__pressure_last",
    "airport_weather__precip_sum",
    "airport_weather__gust_max",
    "carrier_delays__flights_1d",
    "carrier_delays__flights_7d",
    "carrier_delays__arr_delay_mean_1d",
    "carrier_delays__arr_delay_mean_7d",
    "carrier_delays__arr_delay_p50_7d",
    "carrier_delays__dep_delay_mean_7d",
    "carrier_delays__late_share_7d",
    "carrier_delays__cancelled_share_7d",
    "route_delays__flights_14d",
    "route_delays__arr_delay_mean_14d",
    "route_delays__air_time_mean_14d",
    "route_delays__late_share_14d",
    "route_carriers__flights_28d",
    "route_carriers__arr_delay_p50_28d",
    "route_carriers__arr_delay_p80_28d",
    "route_carriers__cancelled_share_28d",
    "plane_days__legs_1d",
    "plane_days__arr_delay_last",
    "plane_days__air_time_1d",
    "planes__seats",
    "planes__built",
)


def prepare(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model inputs by name, `(rows,)` float64 each; NaN is a missing feature.

    Plain arithmetic only: sine and the like may differ in the last bit between numpy's versions, and
    training and Triton run different ones.
    """
    inputs = {
        "distance": batch["distance"],
        "minute": batch["sched_dep_minute"],
        "month": batch["month"],
        "weekday": batch["weekday"],
    }
    for origin in ORIGINS:
        inputs[f"from_{origin.lower()}"] = (batch["origin"] == origin).astype(np.float64)
    for maker in MAKERS:
        inputs[f"by_{maker}"] = (batch["planes__maker"] == maker).astype(np.float64)
    inputs["has_propeller"] = (batch["planes__engine"] == "propeller").astype(np.float64)
    for name in NUMBERS:
        inputs[name] = batch[name]
    shares = batch["carrier_profile__delay_shares_28d"]
    for place in range(SHARES):
        inputs[f"carrier_share_{place}"] = shares[:, place].astype(np.float64)
    inputs["worst_delay"], inputs["fifth_delay"] = ends(batch["airport_traffic__worst_delays_1d"])
    inputs["delay_trend"] = batch["carrier_delays__arr_delay_mean_1d"] - batch["carrier_delays__arr_delay_mean_7d"]
    inputs["airport_trend"] = batch["airport_hours__dep_delay_mean_3h"] - batch["airport_traffic__dep_delay_mean_1d"]
    return inputs


def ends(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last number of each list, `(rows,)` float64; NaN for none."""
    first, last = np.full(len(lists), np.nan), np.full(len(lists), np.nan)
    for row, one in enumerate(lists):
        if one is not None and len(one):
            first[row], last[row] = one[0], one[-1]
    return first, last
