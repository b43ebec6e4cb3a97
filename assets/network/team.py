"""Who the network team is and what it declares."""

from __future__ import annotations

from assets.network.airports import airport_hours, airport_traffic
from assets.network.routes import route_carriers, route_delays
from assets.network.sources import flights, weather
from assets.network.weather import airport_weather
from tiffin.compute import Team

__all__ = ["specs", "team"]

team = Team("network", owner="team:network", description="Airports, the routes between them and the weather above them.")
specs = (flights, weather, airport_weather, airport_traffic, airport_hours, route_delays, route_carriers)
