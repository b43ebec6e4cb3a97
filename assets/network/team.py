"""Who the network team is and what it declares."""

from __future__ import annotations

from assets.network.views import airport_weather, carrier_delays, flights, weather
from tiffin.compute import Team

__all__ = ["specs", "team"]

team = Team("network", owner="team:network", description="Carriers, airports and the flights between them.")
specs = (flights, weather, carrier_delays, airport_weather)
