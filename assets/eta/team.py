"""Who the eta team is and what it declares."""

from __future__ import annotations

from assets.eta.departures import eta, eta_model, eta_table
from tiffin.compute import Team

__all__ = ["specs", "team"]

team = Team("eta", owner="team:eta", description="Arrival times.")
specs = (eta_table, eta_model, eta)
