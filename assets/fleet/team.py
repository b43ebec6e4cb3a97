"""Who the fleet team is and what it declares."""

from __future__ import annotations

from assets.fleet.carriers import carrier_delays, carrier_profile
from assets.fleet.planes import plane_days, planes
from assets.fleet.sources import planes as register
from tiffin.compute import Team

__all__ = ["specs", "team"]

team = Team("fleet", owner="team:fleet", description="Carriers and their planes.")
specs = (register, carrier_delays, carrier_profile, plane_days, planes)
